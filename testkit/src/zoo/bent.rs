//! A small, right adapter in steps, each of which a specimen can bend.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::{
    Append, Capabilities, Clock, Direction, Error, EventId, EventPages, Facts, Order, Position,
    Query, ReadOptions, Result, SequenceNumber, Source, StorageAdapter, StoredEvent, StreamId,
    SystemClock, Unmet, WriteCondition,
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::concurrency::StreamLocks;
use crate::context::count;
use crate::harness::Gate;

pub(super) const NAME: &str = "specimen";

/// What all handles to one store share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) log: Mutex<Log>,
    /// Held by the append that is under way.
    pub(super) writer: tokio::sync::Mutex<()>,
    /// Where an append stops before it commits, when a test armed it.
    pub(super) gate: Mutex<Option<Arc<dyn Gate + 'static>>>,
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
        let Source::Stream(stream) = query.scope() else { return Box::new(self.events.iter()) };
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

/// The steps of an adapter. The defaults are right; a specimen overrides the step that it gets wrong.
#[async_trait]
pub(super) trait Bend: fmt::Debug + Default + Send + Sync + 'static {
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
            .with_contiguous_sequence(true)
            .with_multi_stream_append(true)
            .with_query_conditions(true)
            .with_custom_conditions(true)
            .with_tags(true)
            .with_exact_payload_bytes(true)
            .with_order(Order::Log)
    }

    fn check_append(&self, writes: &[Append]) -> Result<()> {
        self.capabilities().check_append(NAME, writes)
    }

    fn check_read(&self, query: &Query, options: &ReadOptions) -> Result<()> {
        self.capabilities().check_read(NAME, query, options)
    }

    /// The whole of an append.
    async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.check_append(&writes)?;
        let _alone = shared.writer.lock().await;
        let prepared = self.prepare(&mut shared.log(), &writes)?;
        self.commit(shared, &writes, &prepared).await?;
        self.answer(prepared)
    }

    /// Stores what was prepared, while nobody else appends.
    async fn commit(
        &self,
        shared: &Arc<Shared>,
        _writes: &[Append],
        prepared: &[StoredEvent],
    ) -> Result<()> {
        shared.pass_gate().await;
        let mut log = shared.log();
        for event in prepared {
            self.insert(&mut log, event.clone());
        }
        Ok(())
    }

    /// Judges and numbers; stores nothing.
    fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
        self.duplicates(log, writes)?;
        for write in writes {
            self.judge(log, write)?;
        }
        let count = count(writes);
        if count as u64 > SequenceNumber::MAX.value().saturating_sub(log.last) {
            return Err(Error::invalid("the log has no sequence numbers left"));
        }
        let mut prepared = Vec::with_capacity(count);
        for write in writes {
            for (nth, event) in write.events.iter().enumerate() {
                prepared.push(StoredEvent::new(
                    event.clone(),
                    write.stream.clone(),
                    self.position(log, &write.stream, nth),
                    self.number(log, &write.stream, nth, prepared.len()),
                    SystemClock.now(),
                ));
            }
        }
        Ok(prepared)
    }

    fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
        let mut ids = writes.iter().flat_map(|write| &write.events).map(|event| event.id);
        ids.find(|id| log.ids.contains(id)).map_or(Ok(()), |id| Err(Error::DuplicateEvent(id)))
    }

    fn judge(&self, log: &Log, write: &Append) -> Result<()> {
        write.condition.evaluate(&write.stream, &self.facts(log, write))
    }

    fn facts(&self, log: &Log, write: &Append) -> Facts {
        let answer = |(query, after): (&Query, _)| self.first_match(log, write, query, after);
        Facts {
            head: log.last_of(&write.stream).map(|last| last.position),
            last: log.last_of(&write.stream).cloned(),
            matches: write.condition.queries().into_iter().map(answer).collect(),
        }
    }

    fn first_match(
        &self,
        log: &Log,
        _write: &Append,
        query: &Query,
        after: SequenceNumber,
    ) -> Option<SequenceNumber> {
        log.first_match(query, after)
    }

    /// The position of the event at place `nth` of its batch.
    fn position(&self, log: &Log, stream: &StreamId, nth: usize) -> Position {
        Position::new((log.len_of(stream) + nth) as u64)
    }

    /// The number of the event at place `nth` of its batch and `nth_in_call` of the call.
    fn number(&self, log: &Log, _: &StreamId, _nth: usize, nth_in_call: usize) -> SequenceNumber {
        SequenceNumber::new(log.last + 1 + nth_in_call as u64)
    }

    fn insert(&self, log: &mut Log, event: StoredEvent) {
        log.push(event);
    }

    /// What the caller of an append is given.
    fn answer(&self, stored: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
        Ok(stored)
    }

    /// What a read gives.
    fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
        let events = log.candidates(query);
        let directed: Box<dyn Iterator<Item = &StoredEvent>> = match options.direction {
            Direction::Forward => Box::new(events),
            Direction::Backward => Box::new(events.rev()),
        };
        let wanted = directed.filter(|event| within(event, options) && query.matches(event));
        Ok(wanted.take(limit(options)).cloned().collect())
    }

    /// The whole of a read.
    fn read(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        size: NonZeroUsize,
        query: Query,
        options: ReadOptions,
    ) -> EventPages {
        if let Err(error) = self.check_read(&query, &options) {
            return stream::iter([Err(error)]).boxed();
        }
        let (shared, bend) = (Arc::clone(shared), Arc::clone(self));
        if bend.is_live() {
            return live(shared, bend, size, query, options);
        }
        let pages = async move {
            let selected = bend.select(&shared.log(), &query, &options);
            stream::iter(match selected {
                Ok(events) => bend.pages(events, size.get()).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        };
        stream::once(pages).flatten().boxed()
    }

    /// Whether each page shows the log as it is when the page is polled, instead of all as it was at first.
    fn is_live(&self) -> bool {
        false
    }

    /// How a read is cut into pages.
    fn pages(&self, events: Vec<StoredEvent>, size: usize) -> Vec<Vec<StoredEvent>> {
        events.chunks(size).map(<[_]>::to_vec).collect()
    }
}

/// Whether the event lies within the bounds of the read.
pub(super) fn within(event: &StoredEvent, options: &ReadOptions) -> bool {
    event.sequence_number > options.after
        && options.until.is_none_or(|until| event.sequence_number <= until)
}

/// How many events the read gives at most.
pub(super) fn limit(options: &ReadOptions) -> usize {
    usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
}

/// The same options after a change.
pub(super) fn but(options: &ReadOptions, change: impl FnOnce(&mut ReadOptions)) -> ReadOptions {
    let mut options = *options;
    change(&mut options);
    options
}

/// A handle to a bent store.
#[derive(Debug)]
pub(super) struct Bent<B> {
    pub(super) shared: Arc<Shared>,
    pub(super) bend: Arc<B>,
    pub(super) page_size: NonZeroUsize,
}

#[async_trait]
impl<B: Bend> StorageAdapter for Bent<B> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.bend.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.bend.append(&self.shared, writes).await
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        B::read(&self.bend, &self.shared, self.page_size, query, options)
    }
}

/// A read that takes each page from the log as it is then.
pub(super) fn live<B: Bend>(
    shared: Arc<Shared>,
    bend: Arc<B>,
    size: NonZeroUsize,
    query: Query,
    options: ReadOptions,
) -> EventPages {
    let page = move |mut left: ReadOptions| {
        let most = (size.get() as u64).min(left.limit.unwrap_or(u64::MAX));
        let selected = bend.select(&shared.log(), &query, &but(&left, |it| it.limit = Some(most)));
        let page = selected.unwrap_or_default();
        let last = page.last()?.sequence_number;
        match left.direction {
            Direction::Forward => left.after = last,
            Direction::Backward => left.until = Some(SequenceNumber::new(last.value() - 1)),
        }
        left.limit = left.limit.map(|limit| limit - page.len() as u64);
        Some((Ok(page), left))
    };
    stream::unfold(options, move |left| std::future::ready(page(left))).boxed()
}

/// The outcome, with a refusal told otherwise.
pub(super) fn retold<T>(outcome: Result<T>, change: impl FnOnce(&mut Unmet)) -> Result<T> {
    outcome.map_err(|mut error| {
        if let Error::ConditionFailed(unmet) = &mut error {
            change(unmet);
        }
        error
    })
}

/// Lets other tasks run, a few times.
pub(super) async fn dawdle() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

/// What a read gives when it does not see some events.
pub(super) fn select_without(
    log: &Log,
    query: &Query,
    options: &ReadOptions,
    unseen: impl Fn(&StoredEvent) -> bool,
) -> Result<Vec<StoredEvent>> {
    let plain = super::numbers::Plain;
    let mut found = plain.select(log, query, &but(options, |it| it.limit = None))?;
    found.retain(|event| !unseen(event));
    found.truncate(limit(options));
    Ok(found)
}

/// The same writes without the conditions that were judged before.
pub(super) fn unconditional(writes: &[Append], judged: impl Fn(&Append) -> bool) -> Vec<Append> {
    let without = |write: &Append| Append { condition: WriteCondition::Always, ..write.clone() };
    writes.iter().map(|write| if judged(write) { without(write) } else { write.clone() }).collect()
}

/// Stores `writes` under the lock of the log alone, with these sequence numbers.
pub(super) fn commit_at(
    shared: &Shared,
    writes: &[Append],
    numbers: impl IntoIterator<Item = u64>,
) -> Result<Vec<StoredEvent>> {
    let mut log = shared.log();
    let mut prepared = super::numbers::Plain.prepare(&mut log, writes)?;
    for (event, number) in prepared.iter_mut().zip(numbers) {
        event.sequence_number = SequenceNumber::new(number);
    }
    log.push_all(&prepared);
    log.events.sort_by_key(|event| event.sequence_number);
    reindex(&mut log);
    Ok(prepared)
}

/// Finds the streams of the events anew.
pub(super) fn reindex(log: &mut Log) {
    let events = std::mem::take(&mut log.events);
    log.streams.clear();
    events.into_iter().for_each(|event| log.push(event));
}
