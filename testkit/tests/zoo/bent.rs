//! A small, right adapter in steps, each of which a specimen can bend.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use annals::adapter::{Bell, Facts, Wake, follow};
use annals::{
    Append, Capabilities, Clock, Direction, Error, EventPages, KnownIds, Order, Page, Position,
    Query, ReadOptions, Result, SequenceNumber, StorageAdapter, StoredEvent, StreamId, SystemClock,
    WriteCondition,
};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

pub(super) use super::changes::{amend, but, count, dawdle, limit, retold, within};
pub(super) use super::log::{Log, Shared};

pub(super) const NAME: &str = "specimen";

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
            .with_known_ids(KnownIds::Forever)
            .with_order(Order::Log)
    }

    /// Whether its harness offers to hold a scope.
    fn has_scopes(&self) -> bool {
        false
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
        let last = log.last_of(&write.stream);
        Facts::new(last.map(|last| last.position))
            .with_last(last.cloned())
            .with_matches(write.condition.queries().into_iter().map(answer).collect())
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
            let pages = {
                let log = shared.log();
                let head = bend.head(&log, &query, &options);
                let selected = bend.select(&log, &query, &options);
                selected.map(|events| {
                    bend.paged(bend.pages(events, size.get()), &query, &options, head)
                })
            };
            stream::iter(match pages {
                Ok(pages) => pages.into_iter().map(Ok).collect(),
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

    /// The head of a read: the last number of the log, or of the query's scope if the order is weaker.
    fn head(&self, log: &Log, query: &Query, options: &ReadOptions) -> SequenceNumber {
        if self.capabilities().order == Order::Log {
            let last = log.events.last();
            return last.map_or(SequenceNumber::START, |last| last.sequence_number);
        }
        let scope = query.scope();
        let inside = |event: &&StoredEvent| {
            scope.as_ref().is_some_and(|scope| scope.contains(&event.stream))
        };
        let last = log.candidates(query).rev().find(inside);
        last.map_or(options.after, |last| last.sequence_number)
    }

    /// The pages of a whole read: how far each has come, and whether the last is at the head.
    fn paged(
        &self,
        cut: Vec<Vec<StoredEvent>>,
        query: &Query,
        options: &ReadOptions,
        head: SequenceNumber,
    ) -> Vec<Page> {
        let mut left = limit(options);
        let mut through = options.begin(head);
        let mut pages = Vec::new();
        for events in cut {
            left = left.saturating_sub(events.len());
            through = events.last().map_or(through, |last| last.sequence_number);
            pages.push(Page::new(events, through));
        }
        if left > 0 {
            let last = pages.pop().unwrap_or_else(|| Page::new(Vec::new(), through));
            pages.push(self.at_head(last.events, query, options, through, head));
        } else if pages.is_empty() {
            pages.push(Page::new(Vec::new(), through));
        }
        pages
    }

    /// The page that completes a read, after `through`.
    fn at_head(
        &self,
        events: Vec<StoredEvent>,
        query: &Query,
        options: &ReadOptions,
        through: SequenceNumber,
        head: SequenceNumber,
    ) -> Page {
        let keeps_order = self.capabilities().keeps_order(query);
        Page::new(events, if keeps_order { options.end(head) } else { through }).at_head()
    }

    /// What closing a handle does.
    async fn close(&self, shared: &Arc<Shared>, closed: &AtomicBool) {
        closed.store(true, Ordering::SeqCst);
        shared.bell.ring_all(annals::adapter::Wake::Changed);
    }

    /// Whether a read that is open when its handle is closed ends there.
    fn ends_open_reads(&self) -> bool {
        true
    }

    /// The whole of a follow.
    fn follow(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        size: NonZeroUsize,
        query: Query,
        options: ReadOptions,
    ) -> EventPages {
        if let Err(error) = self.check_read(&query, &options) {
            return stream::iter([Err(error)]).boxed();
        }
        let (bend, of) = (Arc::clone(self), Arc::clone(shared));
        let read = move |query, options| Self::read(&bend, &of, size, query, options);
        follow(query, options, read, waits(shared, 1))
    }
}

/// Waits for so many rings from its call on.
pub(super) fn waits(
    shared: &Arc<Shared>,
    rings: usize,
) -> impl FnMut() -> BoxFuture<'static, Result<Wake>> + use<> {
    let bell = shared.bell.clone();
    move || {
        let (bell, first) = (bell.clone(), bell.register(&Query::All));
        let rung = async move {
            first.await;
            for _ in 1..rings {
                bell.register(&Query::All).await;
            }
            Ok(Wake::Changed)
        };
        rung.boxed()
    }
}

/// A handle to a bent store.
#[derive(Debug)]
pub(super) struct Bent<B> {
    pub(super) shared: Arc<Shared>,
    pub(super) bend: Arc<B>,
    pub(super) page_size: NonZeroUsize,
    pub(super) closed: Arc<AtomicBool>,
}

/// Rings once an append is over, however it ends: a page more is no harm.
struct Rings<'a>(&'a Bell);

impl Drop for Rings<'_> {
    fn drop(&mut self) {
        self.0.ring_all(annals::adapter::Wake::Changed);
    }
}

#[async_trait]
impl<B: Bend> StorageAdapter for Bent<B> {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.bend.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::closed(NAME));
        }
        let _rings = Rings(&self.shared.bell);
        self.bend.append(&self.shared, writes).await.map_err(|error| error.at(NAME, "append"))
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let (bend, shared, size) = (&self.bend, &self.shared, self.page_size);
        let pages = if options.follow {
            B::follow(bend, shared, size, query, options)
        } else {
            B::read(bend, shared, size, query, options)
        };
        if self.bend.ends_open_reads() {
            return until_closed(pages, Arc::clone(&self.closed));
        }
        let closed = Arc::new(AtomicBool::new(self.closed.load(Ordering::SeqCst)));
        until_closed(pages, closed)
    }

    async fn close(&self) {
        self.bend.close(&self.shared, &self.closed).await;
    }
}

/// The same pages, which end with an error once the handle is closed.
fn until_closed(pages: EventPages, closed: Arc<AtomicBool>) -> EventPages {
    let next = |(pages, closed): (Option<EventPages>, Arc<AtomicBool>)| async move {
        let mut pages = pages?;
        let page = std::future::poll_fn(|context| {
            if closed.load(Ordering::SeqCst) {
                return Poll::Ready(Some(Err(Error::closed(NAME))));
            }
            let page = pages.poll_next_unpin(context);
            page.map_err(|error| error.at(NAME, "read"))
        });
        let page = page.await?;
        let rest = page.is_ok().then_some(pages);
        Some((page, (rest, closed)))
    };
    stream::unfold((Some(pages), closed), next).boxed()
}

/// A read that takes each page from the log as it is then.
pub(super) fn live<B: Bend>(
    shared: Arc<Shared>,
    bend: Arc<B>,
    size: NonZeroUsize,
    query: Query,
    options: ReadOptions,
) -> EventPages {
    let page = move |(left, through): (Option<ReadOptions>, Option<SequenceNumber>)| {
        let mut left = left?;
        let most = (size.get() as u64).min(left.limit.unwrap_or(u64::MAX));
        let log = shared.log();
        let head = bend.head(&log, &query, &options);
        let selected = bend.select(&log, &query, &but(&left, |it| it.limit = Some(most)));
        let events = selected.unwrap_or_default();
        let last = events.last().map(|event| event.sequence_number);
        let through = last.or(through).unwrap_or_else(|| options.begin(head));
        let count = events.len() as u64;
        left.limit = left.limit.map(|limit| limit.saturating_sub(count));
        if left.limit == Some(0) {
            return Some((Ok(Page::new(events, through)), (None, None)));
        }
        if count < most {
            let page = bend.at_head(events, &query, &options, through, head);
            return Some((Ok(page), (None, None)));
        }
        match left.direction {
            Direction::Forward => left.after = through,
            Direction::Backward => left.until = through.prev(),
        }
        Some((Ok(Page::new(events, through)), (Some(left), Some(through))))
    };
    stream::unfold((Some(options), None), move |left| std::future::ready(page(left))).boxed()
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
    let without = |write: &Append| but(write, |it| it.condition = WriteCondition::Always);
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
        amend(event, |it| it.sequence_number = SequenceNumber::new(number));
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
