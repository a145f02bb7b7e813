//! The store that a check of storage works on.

use std::sync::Arc;
use std::time::Duration;

use annals::{
    Append, Capabilities, CategoryName, EventName, Metadata, NewEvent, Order, Payload, Query,
    ReadOptions, Result, SequenceNumber, Source, StorageAdapter, StoredEvent, StreamId, Tags,
    WriteCondition,
};
use futures_util::StreamExt;
use tokio::sync::OnceCell;

use crate::engine::{self, Failure, Outcome, ensure, pace};
use crate::generate::valid;
use crate::harness::{Gate, Opened, Store, Variant};
use crate::pages::Pages;
use crate::storage::{Storage, is_named};

/// What a check of storage is given.
pub type Context = engine::Context<Storage>;

/// The last sequence number of the log before the check began, where the log can be read.
#[derive(Debug, Default)]
pub struct Start(OnceCell<SequenceNumber>);

impl engine::Context<Storage> {
    /// A handle to the store of the namespace; a second call returns a second handle to the same data.
    pub async fn open(&self) -> Outcome<Subject> {
        self.subject(self.harness.open(&self.namespace).await).await
    }

    /// A handle that the check may close.
    pub async fn open_to_close(&self) -> Outcome<Subject> {
        // It may have a log of its own.
        self.apart().subject(self.harness.open_to_close(&self.namespace).await).await
    }

    /// The store of the namespace, opened in a special way.
    pub async fn open_as(&self, variant: Variant) -> Outcome<Subject> {
        self.subject(self.harness.open_as(&self.namespace, variant).await).await
    }

    /// The store of the namespace, with a gate in its appends.
    pub async fn open_gated(&self) -> Outcome<(Subject, Arc<dyn Gate>)> {
        let (store, gate) = self
            .harness
            .open_gated(&self.namespace)
            .await
            .map_err(|error| Failure::not_opened(&error))?;
        Ok((self.subject(Ok(store)).await?, gate))
    }

    async fn subject(&self, opened: Opened) -> Outcome<Subject> {
        let adapter = opened.map_err(|error| Failure::not_opened(&error))?;
        let capabilities = adapter.capabilities();
        let start = *self.shared.0.get_or_try_init(|| head(&adapter, &capabilities)).await?;
        Ok(Subject { adapter, capabilities, namespace: self.namespace.clone(), start })
    }
}

/// The last sequence number of the log; its start where the log cannot be read.
async fn head(adapter: &Store, capabilities: &Capabilities) -> Outcome<SequenceNumber> {
    if capabilities.order < Order::Log {
        return Ok(SequenceNumber::START);
    }
    let last = adapter.read(Query::all(), ReadOptions::last(1)).next().await.transpose();
    let page =
        last.map_err(|error| Failure::from(error).in_context("the first read of the log"))?;
    let last = page.as_ref().and_then(|page| page.events.first());
    Ok(last.map_or(SequenceNumber::START, |event| event.sequence_number))
}

/// A store under test, with the namespace that the check keeps to.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The store.
    pub adapter: Store,
    /// What it declares.
    pub capabilities: Capabilities,
    /// The last sequence number of the log before the check began: what follows is this check's, or other
    /// namespaces' at the same time. The start where the log cannot be read.
    pub start: SequenceNumber,
    namespace: String,
}

impl Subject {
    /// A category of this namespace. The name may be anything that leaves room for the namespace.
    #[must_use]
    pub fn category(&self, name: &str) -> CategoryName {
        valid(CategoryName::new(format!("{}{name}", self.namespace)))
    }

    /// A stream of this namespace, in the category of that name.
    #[must_use]
    pub fn stream(&self, category: &str, name: &str) -> StreamId {
        StreamId { category: self.category(category), name: valid(annals::StreamName::new(name)) }
    }

    /// A tag of this namespace.
    #[must_use]
    pub fn tags(&self, tags: &[&str]) -> Tags {
        valid(Tags::parse(tags.iter().map(|tag| format!("{}{tag}", self.namespace))))
    }

    /// Whether `event` is one of this namespace's: a shared log holds others too.
    #[must_use]
    pub fn owns(&self, event: &StoredEvent) -> bool {
        event.stream.category.as_str().starts_with(&self.namespace)
    }

    /// Appends to one stream.
    pub async fn append(
        &self,
        stream: &StreamId,
        events: Vec<NewEvent>,
        condition: WriteCondition,
    ) -> Result<Vec<StoredEvent>> {
        self.adapter.append(vec![Append::new(stream.clone(), events, condition)]).await
    }

    /// Appends these events to one stream without a condition, in as few calls as they fit into.
    pub async fn put(&self, stream: &StreamId, events: &[NewEvent]) -> Outcome<Vec<StoredEvent>> {
        let mut stored = Vec::new();
        for part in events.chunks(most(self)) {
            let part = self.append(stream, part.to_vec(), WriteCondition::Always).await;
            stored.extend(part.map_err(|error| {
                Failure::from(error).in_context(format!("appending {} events", events.len()))
            })?);
        }
        Ok(stored)
    }

    /// The same with `count` plain events.
    pub async fn fill(&self, stream: &StreamId, count: usize) -> Outcome<Vec<StoredEvent>> {
        self.put(stream, &events(count)).await
    }

    /// Reads to the end, and proves what holds of every read: what its pages claim, nothing after an error, the
    /// direction, the bounds, the limit, and the query.
    pub async fn read(
        &self,
        query: impl Into<Query>,
        options: ReadOptions,
    ) -> Outcome<Vec<StoredEvent>> {
        let query = query.into();
        let found = self.try_read(query.clone(), options).await??;
        let numbers: Vec<_> = found.iter().map(|event| event.sequence_number).collect();
        let ordered = numbers.windows(2).all(|pair| match options.direction {
            annals::Direction::Forward => pair[0] < pair[1],
            annals::Direction::Backward => pair[0] > pair[1],
        });
        ensure!(
            ordered,
            "read of {query} ({options:?}) gave sequence numbers out of order: {numbers:?}"
        );
        let within = |number: SequenceNumber| {
            number > options.after && options.until.is_none_or(|until| number <= until)
        };
        ensure!(
            numbers.iter().all(|number| within(*number)),
            "read of {query} ({options:?}) went beyond its bounds: {numbers:?}"
        );
        ensure!(
            options.limit.is_none_or(|limit| numbers.len() as u64 <= limit),
            "read of {query} ({options:?}) gave {} events",
            numbers.len()
        );
        if let Some(foreign) = found.iter().find(|event| !query.matches(event)) {
            return Err(Failure::new(format!(
                "read of {query} gave {foreign}, which does not match"
            )));
        }
        Ok(found)
    }

    /// Reads to the end or the first error, and proves the shape of the pages.
    pub async fn try_read(
        &self,
        query: impl Into<Query>,
        options: ReadOptions,
    ) -> Outcome<Result<Vec<StoredEvent>>> {
        let query = query.into();
        let mut shape = Pages::new(&self.capabilities, &query, options);
        let mut pages = self.adapter.read(query, options);
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    shape.take(&page)?;
                    found.extend(page.events);
                }
                Err(error) => {
                    is_named(&error, "read")?;
                    let after = pages.next().await;
                    ensure!(after.is_none(), "a read went on after its error: {after:?}");
                    return Ok(Err(error));
                }
            }
        }
        shape.end()?;
        Ok(Ok(found))
    }

    /// All events of one stream.
    pub async fn stream_events(&self, stream: &StreamId) -> Outcome<Vec<StoredEvent>> {
        self.read(stream.clone(), ReadOptions::default()).await
    }

    /// This namespace's events of the widest source that the declared order covers: the log, a category, or
    /// one stream after the other.
    pub async fn all_events(&self, streams: &[StreamId]) -> Outcome<Vec<StoredEvent>> {
        let mut sources: Vec<Source> = Vec::new();
        for stream in streams {
            let source = match self.capabilities.order {
                Order::Log => Source::Log,
                Order::Category => stream.category.clone().into(),
                Order::Stream => stream.clone().into(),
            };
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        let mut found = Vec::new();
        for source in sources {
            found.extend(self.read(source, ReadOptions::default().after(self.start)).await?);
        }
        found.retain(|event| streams.contains(&event.stream));
        Ok(found)
    }

    /// The last event that `query` matches.
    pub async fn latest(&self, query: impl Into<Query>) -> Outcome<Option<StoredEvent>> {
        Ok(self.read(query, ReadOptions::last(1)).await?.pop())
    }
}

/// A plain event with a JSON payload, metadata and an `occurred_at` that differs from now.
pub(crate) fn event(name: &'static str) -> NewEvent {
    let id = annals::EventId::generate();
    let payload = Payload::json(&serde_json::json!({ "of": id.to_string() }));
    let metadata = Metadata::json(&serde_json::json!({ "actor": "testkit" }));
    let occurred_at = time::OffsetDateTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_000);
    NewEvent::new(EventName::from_static(name), valid(payload))
        .with_id(id)
        .with_metadata(valid(metadata))
        .with_occurred_at(occurred_at)
}

/// The same value after a change.
pub(crate) fn but<T: Clone>(value: &T, change: impl FnOnce(&mut T)) -> T {
    let mut value = value.clone();
    change(&mut value);
    value
}

/// The most events that one call may append.
pub(crate) fn most(store: &Subject) -> usize {
    let most = store.capabilities.max_events_per_append;
    most.map_or(usize::MAX, |most| usize::try_from(most.get()).unwrap_or(usize::MAX))
}

/// How many events `writes` have together.
pub(crate) fn count(writes: &[Append]) -> usize {
    writes.iter().map(|write| write.events.len()).sum()
}

/// So many plain events.
pub(crate) fn events(count: usize) -> Vec<NewEvent> {
    (0..count).map(|_| event("happened")).collect()
}

/// Waits for `work` at most so long, or as much longer as the store's calls take, and several times as long on a machine
/// that is too busy; a hang is a failure that says what hung.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Outcome<T> {
    let limit = pace::scaled(limit);
    let late = || Failure::late(format!("{what} did not end within {limit:?}"));
    pace::in_turns(limit, work).await.ok_or_else(late)
}
