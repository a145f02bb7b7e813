//! What the specimens keep their events in.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::adapter::Bell;
use annals::{EventId, Query, SequenceNumber, Source, StoredEvent, StreamId};
use annals_testkit::Gate;

use super::concurrency::StreamLocks;

/// What all handles to one store share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) log: Mutex<Log>,
    /// Held by the append that is under way.
    pub(super) writer: tokio::sync::Mutex<()>,
    /// Rung after each append.
    pub(super) bell: Bell,
    /// Where an append stops before it commits, when a test armed it.
    pub(super) gate: Mutex<Option<Arc<dyn Gate + 'static>>>,
    /// What the log is taken back to.
    pub(super) kept: Mutex<Log>,
    /// For specimens that count something of their own.
    pub(super) counter: AtomicU64,
}
impl Shared {
    /// A panic under this lock can only be a test's own.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops at the gate, if there is one.
    pub(super) async fn pass_gate(&self) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(gate) = gate {
            gate.pass().await;
        }
    }
}
/// Events in the order in which they were committed, with what is needed to find them.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    pub(super) events: Vec<StoredEvent>,
    pub(super) streams: HashMap<StreamId, Vec<usize>>,
    pub(super) ids: HashSet<EventId>,
    /// The last sequence number that was given.
    pub(super) last: u64,
    /// Events that an index does not show, for specimens that have one: until so many calls were made.
    pub(super) hidden: HashMap<EventId, u64>,
    /// For specimens that count calls.
    pub(super) calls: Arc<AtomicU64>,
    /// For specimens that lock parts of the log.
    pub(super) partitions: Arc<StreamLocks>,
}
impl Log {
    pub(super) fn len_of(&self, stream: &StreamId) -> usize {
        self.streams.get(stream).map_or(0, Vec::len)
    }

    pub(super) fn last_of(&self, stream: &StreamId) -> Option<&StoredEvent> {
        self.events.get(*self.streams.get(stream)?.last()?)
    }

    pub(super) fn push(&mut self, event: StoredEvent) {
        self.streams.entry(event.stream.clone()).or_default().push(self.events.len());
        self.ids.insert(event.event.id);
        self.last = self.last.max(event.sequence_number.value());
        self.events.push(event);
    }

    pub(super) fn push_all(&mut self, events: &[StoredEvent]) {
        events.iter().for_each(|event| self.push(event.clone()));
    }

    /// The events that may match, in order: of one stream only that stream's.
    pub(super) fn candidates(
        &self,
        query: &Query,
    ) -> Box<dyn DoubleEndedIterator<Item = &StoredEvent> + '_> {
        let Some(Source::Stream(stream)) = query.scope() else {
            return Box::new(self.events.iter());
        };
        let places = self.streams.get(&stream).map(Vec::as_slice).unwrap_or_default();
        Box::new(places.iter().map(|place| &self.events[*place]))
    }

    pub(super) fn first_match(
        &self,
        query: &Query,
        after: SequenceNumber,
    ) -> Option<SequenceNumber> {
        let mut found = self.candidates(query);
        let event = found.find(|event| event.sequence_number > after && query.matches(event));
        event.map(|event| event.sequence_number)
    }
}
