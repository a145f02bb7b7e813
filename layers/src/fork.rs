//! A log of its own that begins as another one.

mod condition;
mod difference;
mod read;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use annals::adapter::async_trait;
use annals::{
    Append, Capabilities, Error, EventId, EventPages, KnownIds, Order, Position, Query, QueryItem,
    ReadOptions, Result, SequenceNumber, Source, StorageAdapter, StoredEvent, StreamId,
};

use crate::decode::of_append;
use crate::pages::one;

pub use difference::{Difference, difference};

/// How many streams' ends are remembered; they never change.
const MAX_ENDS: usize = 16_384;

/// A log that begins as another one, the base, up to one of its events, and goes on in a store of its own, the overlay:
/// to try something out on a living log. The base is only read, and may go on.
///
/// An event of the overlay has the number of the last event of the base that the fork has, plus its number in the
/// overlay; its position goes on behind the events that its stream has in the base. The fork keeps nothing else: opened
/// again at the same number with the same overlay, it is the same log.
pub struct Fork<B, O> {
    parts: Arc<Parts<B, O>>,
}

struct Parts<B, O> {
    base: B,
    overlay: O,
    /// The last event of the base that the fork has.
    last: Option<StoredEvent>,
    name: String,
    ends: Mutex<HashMap<StreamId, Option<StoredEvent>>>,
    /// The last number of the overlay when it was asked; beyond all numbers until then.
    seen: AtomicU64,
    is_closed: AtomicBool,
}

impl<B, O> Clone for Fork<B, O> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

impl<B: fmt::Debug, O: fmt::Debug> fmt::Debug for Fork<B, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &self.parts;
        let mut shown = f.debug_struct("Fork");
        shown.field("base", &parts.base).field("overlay", &parts.overlay);
        shown.field("last", &parts.last.as_ref().map(StoredEvent::id)).finish_non_exhaustive()
    }
}

impl<B: StorageAdapter, O: StorageAdapter> Fork<B, O> {
    /// Forks `base` at its head.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if one of the two is not in the order of the log, or does not know the ids of all its
    /// events; and those of `base`.
    pub async fn open(base: B, overlay: O) -> Result<Self> {
        let last = one(&base, Query::all(), ReadOptions::last(1)).await?;
        Self::with_last(base, overlay, last)
    }

    /// Forks `base` at this number, or opens a fork again: it has the events up to `at`, itself included. `id` is that of
    /// the last of them, if it is known: a base that has another one there went back, or is another log.
    ///
    /// # Errors
    /// - [`Error::Unsupported`]: as [`open`](Self::open).
    /// - [`Error::AheadOfLog`]: the base ends before `at`, or has another event than `id` there.
    pub async fn open_at(
        base: B,
        overlay: O,
        at: SequenceNumber,
        id: Option<EventId>,
    ) -> Result<Self> {
        let head = one(&base, Query::all(), ReadOptions::last(1)).await?;
        let head = head.map_or(SequenceNumber::START, |head| head.sequence_number);
        let last = one(&base, Query::all(), ReadOptions::last(1).until(at)).await?;
        let is_other = id.is_some_and(|id| last.as_ref().map(StoredEvent::id) != Some(id));
        if head < at || is_other {
            let head = if is_other { head.min(at.prev().unwrap_or(at)) } else { head };
            return Err(Error::AheadOfLog { after: at, head });
        }
        Self::with_last(base, overlay, last)
    }

    fn with_last(base: B, overlay: O, last: Option<StoredEvent>) -> Result<Self> {
        for (can, name) in
            [(base.capabilities(), base.name()), (overlay.capabilities(), overlay.name())]
        {
            if can.order < Order::Log {
                return Err(Error::unsupported(name, "a fork: it is not in the order of the log"));
            }
            if can.known_ids < KnownIds::Forever {
                return Err(Error::unsupported(name, "a fork: it forgets ids of events"));
            }
        }
        let name = format!("fork({}, {})", base.name(), overlay.name());
        let (ends, seen) = (Mutex::default(), AtomicU64::new(u64::MAX));
        let is_closed = AtomicBool::new(false);
        Ok(Self { parts: Arc::new(Parts { base, overlay, last, name, ends, seen, is_closed }) })
    }

    /// The number of the last event of the base that the fork has; [`SequenceNumber::START`] of an empty base.
    #[must_use]
    pub fn at(&self) -> SequenceNumber {
        self.parts.at()
    }

    /// The last event of the base that the fork has: keep its number and id to open the fork again.
    #[must_use]
    pub fn last_of_base(&self) -> Option<&StoredEvent> {
        self.parts.last.as_ref()
    }

    /// The store of what the fork appended.
    #[must_use]
    pub fn overlay(&self) -> &O {
        &self.parts.overlay
    }

    /// The log that it begins as.
    #[must_use]
    pub fn base(&self) -> &B {
        &self.parts.base
    }
}

impl<B: StorageAdapter, O: StorageAdapter> Parts<B, O> {
    fn at(&self) -> SequenceNumber {
        self.last.as_ref().map_or(SequenceNumber::START, |last| last.sequence_number)
    }

    /// The base stays open, and is no longer read.
    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(Error::closed(self.name.clone()));
        }
        Ok(())
    }

    /// The last event of `stream` in the base, as far as the fork has it.
    async fn end(&self, stream: &StreamId) -> Result<Option<StoredEvent>> {
        if self.last.is_none() {
            return Ok(None);
        }
        let known = self.ends().get(stream).cloned();
        if let Some(end) = known {
            return Ok(end);
        }
        let options = ReadOptions::last(1).until(self.at());
        let end = one(&self.base, stream.clone().into(), options).await?;
        let mut ends = self.ends();
        if ends.len() >= MAX_ENDS {
            ends.clear();
        }
        ends.insert(stream.clone(), end.clone());
        Ok(end)
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, HashMap<StreamId, Option<StoredEvent>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event of the overlay as one of the fork.
    async fn translate(&self, event: StoredEvent) -> Result<StoredEvent> {
        let end = self.end(&event.stream).await?;
        Ok(self.placed(event, end.as_ref()))
    }

    fn placed(&self, event: StoredEvent, end: Option<&StoredEvent>) -> StoredEvent {
        let mut record = event.into_record();
        record.position = Position::new(record.position.value().saturating_add(length(end)));
        record.sequence_number = self.number(record.sequence_number);
        record.into()
    }

    /// The number in the fork of a number of the overlay.
    fn number(&self, of_overlay: SequenceNumber) -> SequenceNumber {
        SequenceNumber::new(self.at().value().saturating_add(of_overlay.value()))
    }

    /// The number in the overlay of a number of the fork.
    fn below(&self, number: SequenceNumber) -> SequenceNumber {
        SequenceNumber::new(number.value().saturating_sub(self.at().value()))
    }

    /// An id that the base knows, of these; or the overlay, if it is asked.
    async fn known(&self, writes: &[Append], in_overlay: bool) -> Result<Option<EventId>> {
        let ids = writes.iter().flat_map(|write| write.events.iter().map(|event| event.id));
        let ids: Vec<EventId> = ids.collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let query: Query = QueryItem::new(Source::Log).with_ids(ids).into();
        let options = ReadOptions::default().limit(1);
        let mut found = None;
        if self.last.is_some() {
            found = one(&self.base, query.clone(), options.until(self.at())).await?;
        }
        if found.is_none() && in_overlay {
            found = one(&self.overlay, query, options).await?;
        }
        Ok(found.map(|event| event.id()))
    }

    /// Whether the numbers of the fork end before it could append `count` events.
    async fn is_full(&self, count: u64) -> Result<bool> {
        let room = SequenceNumber::MAX.value() - self.at().value();
        // The overlay is asked once, and again only near the end.
        let seen = self.seen.load(Ordering::Relaxed);
        if seen < room.saturating_sub(1 << 32) {
            return Ok(false);
        }
        let head = one(&self.overlay, Query::all(), ReadOptions::last(1)).await?;
        let head = head.map_or(0, |head| head.sequence_number.value());
        self.seen.store(head, Ordering::Relaxed);
        Ok(room.checked_sub(head).is_none_or(|room| room < count))
    }
}

/// How many events a stream has whose last one is this.
fn length(end: Option<&StoredEvent>) -> u64 {
    end.map_or(0, |end| end.position.value().saturating_add(1))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: StorageAdapter, O: StorageAdapter> StorageAdapter for Fork<B, O> {
    fn name(&self) -> &str {
        &self.parts.name
    }

    fn capabilities(&self) -> Capabilities {
        let (base, overlay) = (self.parts.base.capabilities(), self.parts.overlay.capabilities());
        overlay
            .with_tags(overlay.tags && base.tags)
            .with_exact_payload_bytes(overlay.exact_payload_bytes && base.exact_payload_bytes)
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(self.name(), &writes)?;
        let parts = &self.parts;
        parts.check_open()?;
        let count = writes.iter().map(|write| write.events.len() as u64).sum();
        let is_full = count > 0 && parts.is_full(count).await.map_err(of_append)?;
        if let Some(id) = parts.known(&writes, is_full).await.map_err(of_append)? {
            return Err(Error::DuplicateEvent(id));
        }
        let mut translated = HashMap::new();
        let mut inside = Vec::with_capacity(writes.len());
        for write in writes {
            let (condition, leaves) = condition::translate(parts, &write.stream, write.condition)
                .await
                .map_err(of_append)?;
            translated.insert(write.stream.clone(), leaves);
            let events = if is_full { Vec::new() } else { write.events };
            inside.push(Append::new(write.stream, events, condition));
        }
        match parts.overlay.append(inside).await {
            // What it refuses is refused first, as a store does that has numbers left.
            Ok(_) if is_full => Err(Error::invalid("the log has no sequence numbers left")),
            Ok(stored) => {
                let mut all = Vec::with_capacity(stored.len());
                for event in stored {
                    all.push(parts.translate(event).await?);
                }
                Ok(all)
            }
            Err(Error::ConditionFailed(unmet)) => Err(match translated.remove(&unmet.stream) {
                Some(leaves) => {
                    Error::ConditionFailed(Box::new(leaves.restore(parts.at(), *unmet)))
                }
                None => Error::ConditionFailed(unmet),
            }),
            Err(error) => Err(error),
        }
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        if let Err(error) = self.capabilities().check_read(self.name(), &query, &options) {
            return crate::pages::fail(error);
        }
        read::pages(Arc::clone(&self.parts), query, options)
    }

    /// Closes the overlay; the base is somebody else's.
    async fn close(&self) {
        self.parts.is_closed.store(true, Ordering::SeqCst);
        self.parts.overlay.close().await;
    }
}
