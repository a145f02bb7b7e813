//! Today's names and payloads for readers of raw events.

use std::collections::VecDeque;
use std::sync::Arc;

use annals::adapter::{Page, async_trait};
use annals::{
    Append, BoxError, Capabilities, Context, Direction, Error, EventName, EventPages, Metadata,
    Predicate, Query, ReadOptions, Result, StorageAdapter, StoredEvent, WriteCondition,
};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};

use crate::event::schema_version;
use crate::kind::SCHEMA_VERSION;
use crate::registry::Registry;

/// A layer that shows each event of a known kind under its current name and schema version, whatever it was appended as:
/// for readers by raw name, such as SQL views, exports and projections of other languages. It belongs outermost.
///
/// A query for a name of a kind, also in a condition, asks for all names of that kind. This is the exception from rule R3
/// of [`StorageAdapter`]: names and payloads are those of the current version. Events of other names pass as they are.
#[derive(Debug, Clone)]
pub struct Upcast<A> {
    inner: A,
    registry: Arc<Registry>,
    name: String,
}

impl<A: StorageAdapter> Upcast<A> {
    /// Shows the events of `inner` as the kinds of `registry` are today.
    #[must_use]
    pub fn new(inner: A, registry: Registry) -> Self {
        let name = format!("upcast({})", inner.name());
        Self { inner, registry: Arc::new(registry), name }
    }
}

impl Registry {
    /// The event as it would be appended today; the same if its kind is unknown or nothing has changed.
    fn lift(&self, stored: StoredEvent) -> Result<StoredEvent, BoxError> {
        let Some(kind) = self.find(&stored.stream, stored.name().as_str()) else {
            return Ok(stored);
        };
        let lifted = kind.upcast(schema_version(&stored)?, stored.payload())?;
        if lifted.is_none() && *stored.name() == kind.name() {
            return Ok(stored);
        }
        let mut record = stored.into_record();
        record.event.name = EventName::from_static(kind.name());
        if let Some(payload) = lifted {
            record.event.payload = payload;
            record.event.metadata =
                Some(at_version(record.event.metadata.as_ref(), kind.version())?);
        }
        Ok(record.into())
    }

    /// The query with all names of each kind that it names.
    fn widen(&self, query: Query) -> Query {
        let Query::AnyOf(mut items) = query else { return query };
        for item in &mut items {
            if let Some(names) = &mut item.names {
                let wide = names.iter().flat_map(|name| self.names_of(&item.source, name));
                let mut wide: Vec<EventName> = wide.collect();
                wide.sort();
                wide.dedup();
                *names = wide;
            }
        }
        Query::AnyOf(items)
    }

    fn widen_condition(self: &Arc<Self>, condition: WriteCondition) -> Result<WriteCondition> {
        condition.map_leaves(|leaf| {
            Ok(match leaf {
                WriteCondition::NoMatch { query, after } => {
                    WriteCondition::no_match(self.widen(query), after)
                }
                WriteCondition::Custom(inner) => {
                    WriteCondition::custom(Lifted { inner, registry: Arc::clone(self) })
                }
                leaf => leaf,
            })
        })
    }

    /// The page up to the first event that cannot be read, and why it cannot.
    fn lift_page(&self, page: Page, backward: bool) -> (Page, Option<BoxError>) {
        let mut lifted = Vec::with_capacity(page.events.len());
        for stored in page.events {
            let number = stored.sequence_number;
            match self.lift(stored) {
                Ok(stored) => lifted.push(stored),
                Err(error) => {
                    let through = if backward { number.next() } else { number.prev() };
                    return (Page::new(lifted, through.unwrap_or(number)), Some(error));
                }
            }
        }
        let whole = Page::new(lifted, page.through);
        (if page.at_head { whole.at_head() } else { whole }, None)
    }
}

/// The metadata with the schema version `version`. Its other entries stay byte for byte if it had none.
fn at_version(metadata: Option<&Metadata>, version: u64) -> Result<Metadata, BoxError> {
    let mut entries: Map<String, Value> = metadata.map_or(Ok(Map::new()), Metadata::to_json)?;
    if entries.insert(SCHEMA_VERSION.to_owned(), version.into()).is_some() {
        return Ok(Metadata::json(&entries)?);
    }
    Ok(Context::new().with(SCHEMA_VERSION, version).extend(metadata)?)
}

/// A predicate that sees the event as the application does.
#[derive(Debug)]
struct Lifted {
    inner: Arc<dyn Predicate>,
    registry: Arc<Registry>,
}

impl Predicate for Lifted {
    fn expectation(&self) -> String {
        self.inner.expectation()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        // One that cannot be lifted is shown as it is: a predicate has no way to fail.
        let lifted =
            last.map(|last| self.registry.lift(last.clone()).unwrap_or_else(|_| last.clone()));
        self.inner.holds(lifted.as_ref())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Upcast<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, mut writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        for write in &mut writes {
            let condition = std::mem::replace(&mut write.condition, WriteCondition::Always);
            write.condition = self.registry.widen_condition(condition)?;
        }
        let stored = self.inner.append(writes).await?;
        // They are stored: what cannot be lifted is returned as it is, and reported by each read.
        let lifted =
            stored.into_iter().map(|event| self.registry.lift(event.clone()).unwrap_or(event));
        Ok(lifted.collect())
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let backward = options.direction == Direction::Backward;
        let pages = self.inner.read(self.registry.widen(query), options);
        let (registry, name) = (Arc::clone(&self.registry), self.name.clone());
        let state = (Some(pages), VecDeque::new());
        stream::unfold(state, move |(mut pages, mut ready)| {
            let (registry, name) = (Arc::clone(&registry), name.clone());
            async move {
                if ready.is_empty() {
                    match pages.as_mut()?.next().await? {
                        Ok(page) => {
                            let (page, error) = registry.lift_page(page, backward);
                            ready.push_back(Ok(page));
                            if let Some(error) = error {
                                pages = None;
                                ready.push_back(Err(Error::backend(error).at(&name, "read")));
                            }
                        }
                        Err(error) => {
                            pages = None;
                            ready.push_back(Err(error));
                        }
                    }
                }
                ready.pop_front().map(|page| (page, (pages, ready)))
            }
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
