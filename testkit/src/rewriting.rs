//! A layer for tests, which stores payloads in another form.

use std::num::NonZeroU32;
use std::sync::Arc;

use annals::{
    Append, Capabilities, Encoding, Error, EventPages, MAX_NAME_BYTES, NewEvent, Payload,
    Predicate, Query, ReadOptions, Result, StorageAdapter, StoredEvent, WriteCondition,
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};

const STORED: Encoding = Encoding::from_static("testkit-reversed");

/// Wraps any adapter, and stores payloads in another form: their bytes in reverse, behind the name of their encoding.
///
/// It does so by nothing but mapping what passes through it, pages of follows included. That an adapter in it passes the
/// suite proves that layers can be built over that adapter.
#[derive(Debug, Clone)]
pub struct Rewriting<A> {
    inner: A,
    name: String,
}

impl<A: StorageAdapter> Rewriting<A> {
    /// Stores the payloads of events in `inner`, rewritten.
    pub fn new(inner: A) -> Self {
        let name = format!("rewriting({})", inner.name());
        Self { inner, name }
    }

    /// The adapter inside.
    pub const fn inner(&self) -> &A {
        &self.inner
    }
}

fn stored(mut event: NewEvent) -> NewEvent {
    let encoding = event.payload.encoding().as_str().as_bytes();
    // A name has at most 255 bytes.
    let mut bytes = vec![u8::try_from(encoding.len()).unwrap_or(u8::MAX)];
    bytes.extend(encoding);
    bytes.extend(event.payload.as_bytes().iter().rev());
    event.payload = Payload::from_store(STORED, bytes);
    event
}

fn restored(event: StoredEvent) -> Result<StoredEvent> {
    let corrupt = || Error::corrupt("a payload is not in the form that the layer stores");
    let mut record = event.into_record();
    let payload = &record.event.payload;
    let (len, rest) = payload.as_bytes().split_first().ok_or_else(corrupt)?;
    let (encoding, reversed) = rest.split_at_checked((*len).into()).ok_or_else(corrupt)?;
    let encoding = std::str::from_utf8(encoding).ok().and_then(|name| Encoding::new(name).ok());
    let encoding = encoding.filter(|_| *payload.encoding() == STORED).ok_or_else(corrupt)?;
    let bytes: Vec<u8> = reversed.iter().rev().copied().collect();
    record.event.payload = Payload::from_store(encoding, bytes);
    Ok(record.into())
}

/// A predicate of the caller, which sees events as they were appended.
#[derive(Debug)]
struct Restored(Arc<dyn Predicate>);

impl Predicate for Restored {
    fn expectation(&self) -> String {
        self.0.expectation()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        match last.cloned().map(restored).transpose() {
            Ok(last) => self.0.holds(last.as_ref()),
            Err(_) => false,
        }
    }
}

/// The predicates of a call, as the adapter inside sees them and as the caller made them.
#[derive(Default)]
struct Predicates(Vec<(Arc<dyn Predicate>, Arc<dyn Predicate>)>);

impl Predicates {
    fn wrap(&mut self, condition: WriteCondition) -> Result<WriteCondition> {
        condition.map_leaves(|leaf| {
            let WriteCondition::Custom(own) = leaf else { return Ok(leaf) };
            let inside: Arc<dyn Predicate> = Arc::new(Restored(Arc::clone(&own)));
            self.0.push((Arc::clone(&inside), own));
            Ok(WriteCondition::Custom(inside))
        })
    }

    fn unwrap(&self, condition: WriteCondition) -> Result<WriteCondition> {
        condition.map_leaves(|leaf| {
            let WriteCondition::Custom(inside) = &leaf else { return Ok(leaf) };
            let found = self.0.iter().find(|(wrapped, _)| Arc::ptr_eq(wrapped, inside));
            Ok(found.map_or(leaf.clone(), |(_, own)| WriteCondition::Custom(Arc::clone(own))))
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Rewriting<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        let less = |most: NonZeroU32| {
            let head = u32::try_from(MAX_NAME_BYTES).unwrap_or(u32::MAX).saturating_add(1);
            NonZeroU32::new(most.get().saturating_sub(head)).unwrap_or(NonZeroU32::MIN)
        };
        // Behind its encoding a payload has less room.
        inner.with_max_payload_bytes(inner.max_payload_bytes.map(less))
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(&self.name, &writes)?;
        let mut predicates = Predicates::default();
        let rewrite = |write: Append| {
            let condition = predicates.wrap(write.condition)?;
            Ok(Append::new(write.stream, write.events.into_iter().map(stored), condition))
        };
        let writes = writes.into_iter().map(rewrite).collect::<Result<_>>()?;
        match self.inner.append(writes).await {
            Ok(events) => events.into_iter().map(restored).collect(),
            Err(Error::ConditionFailed(mut unmet)) => {
                unmet.failed = predicates.unwrap(unmet.failed)?;
                Err(Error::ConditionFailed(unmet))
            }
            Err(error) => Err(error),
        }
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        if let Err(error) = self.capabilities().check_read(&self.name, &query, &options) {
            return stream::iter([Err(error)]).boxed();
        }
        let pages = Some(self.inner.read(query, options));
        stream::unfold(pages, |pages| async move {
            let mut pages = pages?;
            let page = pages.next().await?.and_then(|page| page.try_map(restored));
            let rest = page.is_ok().then_some(pages);
            Some((page, rest))
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
