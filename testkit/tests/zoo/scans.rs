//! Reads that go wrong between their pages, or that show what is not final.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use annals::{
    Append, Capabilities, Direction, Error, EventPages, Order, Query, ReadOptions, Result,
    SequenceNumber, Source, StoredEvent, Tags,
};
use futures_util::{StreamExt, stream};

use super::bent::count;
use super::bent::{self, Bend, Log, Shared, but, commit_at, dawdle};
use super::numbers::Plain;

/// What a read takes, of something that there is little of, from its first poll to its end.
#[derive(Debug)]
struct Slot {
    taken: Arc<AtomicU64>,
    /// Whether it is given back when the read is dropped before its end.
    on_drop: bool,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.on_drop {
            self.taken.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The same pages, with a slot taken.
pub(super) fn holding(pages: EventPages, taken: &Arc<AtomicU64>, on_drop: bool) -> EventPages {
    let taken = Arc::clone(taken);
    let next = move |(mut pages, slot): (EventPages, Option<Slot>)| {
        let taken = Arc::clone(&taken);
        async move {
            let mut slot = slot.unwrap_or_else(|| {
                taken.fetch_add(1, Ordering::SeqCst);
                Slot { taken, on_drop }
            });
            let page = pages.next().await;
            slot.on_drop |= page.is_none();
            page.map(|page| (page, (pages, Some(slot))))
        }
    };
    stream::unfold((pages, None), next).boxed()
}

/// Refuses an append when so many slots are taken.
pub(super) fn needs_slot(taken: &AtomicU64, slots: u64) -> Result<()> {
    if taken.load(Ordering::SeqCst) < slots {
        return Ok(());
    }
    Err(Error::unavailable("all connections are in use"))
}

/// The pages of the events that were selected when this was called.
fn snapshot(
    shared: &Shared,
    size: NonZeroUsize,
    query: &Query,
    options: &ReadOptions,
) -> EventPages {
    let log = shared.log();
    let selected = Plain.select(&log, query, options).unwrap_or_default();
    let head = Plain.head(&log, query, options);
    let pages = Plain.paged(Plain.pages(selected, size.get()), query, options, head);
    stream::iter(pages).map(Ok).boxed()
}

/// The pages of a read that is right.
fn pages(
    shared: &Arc<Shared>,
    size: NonZeroUsize,
    query: &Query,
    options: &ReadOptions,
) -> EventPages {
    bent::live(Arc::clone(shared), Arc::new(Plain), size, query.clone(), *options)
}

/// The lowest number of an append that is not committed yet.
fn first_open(open: &Mutex<BTreeSet<u64>>) -> Option<u64> {
    open.lock().unwrap_or_else(PoisonError::into_inner).first().copied()
}

/// The last event of `query` so far.
fn last(log: &Log, query: &Query) -> SequenceNumber {
    let found = Plain.select(log, query, &ReadOptions::last(1)).unwrap_or_default();
    found.first().map_or(SequenceNumber::START, |event| event.sequence_number)
}

/// The first of the numbers that an append takes of the sequence.
fn take_numbers(shared: &Shared, writes: &[Append]) -> u64 {
    shared.counter.fetch_add(count(writes) as u64, Ordering::SeqCst) + 1
}

/// Commits an append whose numbers were taken before.
async fn commit(
    shared: &Arc<Shared>,
    writes: &[Append],
    first: u64,
    between: impl Future<Output = ()>,
) -> Result<Vec<StoredEvent>> {
    between.await;
    let _alone = shared.writer.lock().await;
    commit_at(shared, writes, first..)
}

bent_specimens! {
    /// A read selects its events when it is made, not when it is polled.
    ReadsAtOnce caught by ["scan.lazy"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (query, options) = (&query, &options);
            snapshot(shared, size, query, options)
        }
    }

    /// A read holds the only connection between its pages.
    ScanHoldsConnection { taken: Arc<AtomicU64> } caught by ["scan.append_inside_loop"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            needs_slot(&self.taken, 1)?;
            Plain.append(shared, writes).await
        }

        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (query, options) = (&query, &options);
            holding(pages(shared, size, query, options), &self.taken, true)
        }
    }

    /// Reads hold connections between their pages, of which there are fifteen.
    ScansHoldConnections { taken: Arc<AtomicU64> } caught by ["scan.many_open"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            needs_slot(&self.taken, 15)?;
            Plain.append(shared, writes).await
        }

        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (query, options) = (&query, &options);
            holding(pages(shared, size, query, options), &self.taken, true)
        }
    }

    /// A read that is dropped before its end keeps its connection.
    DroppedScanLeaks { taken: Arc<AtomicU64> } caught by ["scan.drop_releases"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            needs_slot(&self.taken, 32)?;
            Plain.append(shared, writes).await
        }

        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (query, options) = (&query, &options);
            holding(pages(shared, size, query, options), &self.taken, false)
        }
    }

    /// A read that rests for more than twenty appends can no longer go on.
    ScanExpires caught by ["scan.slow_consumer"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            shared.counter.fetch_add(1, Ordering::SeqCst);
            Plain.append(shared, writes).await
        }

        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (query, options) = (&query, &options);
            let (of, mut seen) = (Arc::clone(shared), None);
            let pages = pages(shared, size, query, options);
            let pages = pages.map(move |page| {
                let now = of.counter.load(Ordering::SeqCst);
                let before = seen.replace(now).unwrap_or(now);
                if now - before > 20 {
                    return Err(Error::backend("snapshot too old"));
                }
                page
            });
            let until_error = pages.scan(false, |failed, page| {
                let ended = std::mem::replace(failed, page.is_err());
                std::future::ready((!ended).then_some(page))
            });
            until_error.boxed()
        }
    }

    /// Pages are counted off from the start of what the read selects anew each time.
    PagesByOffset caught by ["scan.during_append"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (query, options) = (&query, &options);
            let (shared, query, options) = (Arc::clone(shared), query.clone(), *options);
            let page = move |skipped: Option<usize>| {
                let Some(skipped) = skipped else { return std::future::ready(None) };
                let log = shared.log();
                let selected = Plain.select(&log, &query, &options).unwrap_or_default();
                let head = Plain.head(&log, &query, &options);
                let pages = Plain.pages(selected.into_iter().skip(skipped).collect(), size.get());
                let next = (pages.len() > 1).then_some(skipped + size.get());
                let left = but(&options, |it| it.limit = it.limit.map(|limit| limit - skipped as u64));
                let page = Plain.paged(pages, &query, &left, head).into_iter().next();
                std::future::ready(page.map(|page| (Ok(page), next)))
            };
            stream::unfold(Some(0), page).boxed()
        }
    }

    /// A read backward goes on, after its first page, from the head as it is then.
    BackwardFollowsHead caught by ["scan.during_append"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (query, options) = (&query, &options);
            if options.direction == Direction::Forward {
                return pages(shared, size, query, options);
            }
            let (of, sought, first) = (Arc::clone(shared), query.clone(), last(&shared.log(), query));
            let pages = pages(shared, size, query, options);
            let pages = pages.enumerate().map(move |(nth, page)| {
                let newest = Plain.select(&of.log(), &sought, &ReadOptions::last(1)).unwrap_or_default();
                let newest = newest.into_iter().filter(|event| nth == 1 && event.sequence_number > first);
                page.map(|page| but(&page, |it| it.events.splice(0..0, newest).for_each(drop)))
            });
            pages.boxed()
        }
    }

    /// The limit holds for each page.
    LimitPerPage caught by ["scan.pages_large"] {
        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (query, options) = (&query, &options);
            let limited = options.limit.is_none_or(|limit| limit <= size.get() as u64);
            let whole = but(options, |it| it.limit = None);
            snapshot(shared, size, query, if limited { options } else { &whole })
        }
    }

    /// The category of a stream is ignored in reads of the stream.
    StreamByName caught by ["scan.isolation"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let Some(Source::Stream(stream)) = query.scope() else { return Plain.select(log, query, options) };
            let same = log.streams.keys().filter(|other| other.name == stream.name);
            let items = same.flat_map(|stream| {
                let source = Source::from(stream.clone());
                query.items().iter().map(move |item| but(item, |it| it.source = source.clone()))
            });
            let items: Vec<_> = items.collect();
            if items.is_empty() { Ok(Vec::new()) } else { Plain.select(log, &Query::any_of(items), options) }
        }
    }

    /// Of an item with names and tags, either is enough.
    NamesOrTags caught by ["scan.random", "scan.tags"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let items = query.items().iter().flat_map(|item| {
                if item.names.is_none() || item.tags.is_empty() {
                    return vec![item.clone()];
                }
                let names = item.clone().with_tags(Tags::NONE);
                vec![names, but(item, |it| it.names = None)]
            });
            Plain.select(log, &Query::any_of(items), options)
        }
    }

    /// A read of several items from the end does not begin at its upper bound.
    ItemsFromTheEnd caught by ["scan.random"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let is_merged = (3..5).contains(&query.items().len()) && options.direction == Direction::Backward;
            Plain.select(log, query, &but(options, |it| if is_merged { it.until = None }))
        }
    }

    /// A read that goes on after the last event begins again.
    ResumeAtEndRestarts caught by ["scan.resume"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let is_end = options.after == last(log, query);
            Plain.select(log, query, &but(options, |it| if is_end { it.after = SequenceNumber::START }))
        }
    }

    /// The latest event is the one that occurred last.
    LatestByOccurredAt caught by ["latest.oracle"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            if options.limit != Some(1) || options.direction == Direction::Forward {
                return Plain.select(log, query, options);
            }
            let found = Plain.select(log, query, &but(options, |it| it.limit = None))?;
            Ok(found.into_iter().max_by_key(|event| event.event.occurred_at).into_iter().collect())
        }
    }

    /// The latest event of nothing is an error.
    LatestOfNothingFails caught by ["latest.empty"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let found = Plain.select(log, query, options)?;
            if found.is_empty() && *options == ReadOptions::last(1) {
                return Err(Error::backend("no rows"));
            }
            Ok(found)
        }
    }

    /// Every third read is answered by a replica that lags one event behind.
    ReplicaLags { reads: AtomicU64 } caught by ["vis.sessions", "vis.read_your_writes"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let lags = self.reads.fetch_add(1, Ordering::SeqCst) % 3 == 2;
            let seen = SequenceNumber::new(log.last.saturating_sub(u64::from(lags)));
            Plain.select(log, query, &but(options, |it| it.until = Some(it.until.unwrap_or(seen).min(seen))))
        }
    }

    /// Numbers come from a sequence, outside the lock of the append.
    NumbersFromSequence caught by ["r2.log", "r2.category", "r2.stream", "r2.filtered", "r2.two_handles"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            commit(shared, &writes, take_numbers(shared, &writes), tokio::task::yield_now()).await
        }
    }

    /// Numbers come from an atomic counter, a moment before the lock, and nothing ever waits in between.
    NumbersFromCounter caught by ["r2.log"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let first = take_numbers(shared, &writes);
            commit_at(shared, &writes, first..)
        }
    }

    /// Numbers come from a sequence where only categories are declared to be in order.
    NumbersFromSequenceInCategory caught by ["r2.category", "r2.stream", "r2.filtered", "r2.two_handles"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_order(Order::Category).with_contiguous_sequence(false)
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            commit(shared, &writes, take_numbers(shared, &writes), tokio::task::yield_now()).await
        }
    }

    /// Handles keep their own appends in order, and do not hear of those of others.
    OrderPerHandle { writer: tokio::sync::Mutex<()> } caught by ["r2.two_handles"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = self.writer.lock().await;
            commit(shared, &writes, take_numbers(shared, &writes), dawdle()).await
        }
    }

    /// Reads stop before what is not final, but for reads by name.
    FilterBeyondFinal { open: Mutex<BTreeSet<u64>> } caught by ["r2.filtered"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let first = {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                let first = take_numbers(shared, &writes);
                open.insert(first);
                first
            };
            let stored = commit(shared, &writes, first, dawdle()).await;
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&first);
            // Acknowledged when all before it is final.
            while first_open(&self.open).is_some_and(|open| open < first) {
                tokio::task::yield_now().await;
            }
            stored
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            if query.items().iter().any(|item| item.names.is_some()) {
                return Plain.select(log, query, options);
            }
            let end = first_open(&self.open).map_or(SequenceNumber::MAX, |open| SequenceNumber::new(open - 1));
            Plain.select(log, query, &but(options, |it| it.until = Some(it.until.unwrap_or(end).min(end))))
        }
    }
}
