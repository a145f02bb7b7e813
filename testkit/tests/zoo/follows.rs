//! Follows that lose, repeat or hold something, and adapters that do not close.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals::adapter::{Bell, Wake, follow};
use annals::{
    Append, Capabilities, Error, EventPages, Order, Page, Query, ReadOptions, Result,
    SequenceNumber, StoredEvent,
};
use futures_util::future::select;
use futures_util::{FutureExt, StreamExt, stream};

use super::bent::count;
use super::bent::{Bend, Shared, but, commit_at, dawdle, waits};
use super::numbers::Plain;
use super::scans::{holding, needs_slot};

/// A follow that is right but for the options of each plain read, of which this changes those after the first.
fn resuming(
    shared: &Arc<Shared>,
    size: NonZeroUsize,
    query: Query,
    options: ReadOptions,
    change: impl Fn(&Shared, &mut ReadOptions) + Send + 'static,
) -> EventPages {
    let of = Arc::clone(shared);
    let mut first = true;
    let read = move |query, mut options| {
        if !std::mem::take(&mut first) {
            change(&of, &mut options);
        }
        Plain::read(&Arc::new(Plain), &of, size, query, options)
    };
    follow(query, options, read, waits(shared, 1))
}

/// A follow that is right.
fn right(
    shared: &Arc<Shared>,
    size: NonZeroUsize,
    query: Query,
    options: ReadOptions,
) -> EventPages {
    Plain::follow(&Arc::new(Plain), shared, size, query, options)
}

fn before(number: SequenceNumber) -> SequenceNumber {
    number.prev().unwrap_or(number)
}

/// The last number of an append that is about to be committed, until this is dropped.
struct Taken<'a>(&'a Shared);

impl<'a> Taken<'a> {
    fn new(shared: &'a Shared, prepared: &[StoredEvent]) -> Self {
        let last = prepared.last().map_or(0, |event| event.sequence_number.value());
        shared.counter.store(last, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.counter.store(0, Ordering::SeqCst);
    }
}

bent_specimens! {
    /// A follow ends at the head.
    FollowEndsAtHead caught by ["follow.head"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            Plain::read(&Arc::new(Plain), shared, size, query, but(&options, |it| it.follow = false))
        }
    }

    /// A follow listens when it has come to the head, and does not hear what was appended on the way.
    FollowListensLate caught by ["follow.switch"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (of, bell) = (Arc::clone(shared), shared.bell.clone());
            let read = move |query, options| Plain::read(&Arc::new(Plain), &of, size, query, options);
            follow(query, options, read, move || {
                let bell = bell.clone();
                async move {
                    bell.register(&Query::All).await;
                    Ok(Wake::Changed)
                }
            })
        }
    }

    /// A follow wakes for every second append.
    FollowWakesEverySecond caught by ["follow.wakes"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let of = Arc::clone(shared);
            let read = move |query, options| Plain::read(&Arc::new(Plain), &of, size, query, options);
            follow(query, options, read, waits(shared, 2))
        }
    }

    /// A follow goes on with the last event that it returned.
    FollowRepeats caught by ["follow.switch"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            resuming(shared, size, query, options, |_, it| it.after = before(it.after))
        }
    }

    /// A follow goes on after the head as it is when it wakes.
    FollowSkips caught by ["follow.switch"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            resuming(shared, size, query, options, |shared, it| {
                it.after = it.after.max(before(SequenceNumber::new(shared.log().last)));
            })
        }
    }

    /// A follow of names that begins while an append is about to be committed goes on behind it.
    FollowBeginsBehindCommit caught by ["follow.race"] {
        async fn commit(&self, shared: &Arc<Shared>, _: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            shared.pass_gate().await;
            let _taken = Taken::new(shared, prepared);
            dawdle().await;
            shared.log().push_all(prepared);
            Ok(())
        }

        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let of = Arc::clone(shared);
            let mut first = true;
            let read = move |query: Query, options| {
                let is_named = query.items().iter().any(|item| item.names.is_some());
                let pages = Plain::read(&Arc::new(Plain), &of, size, query, options);
                if !std::mem::take(&mut first) || !is_named {
                    return pages;
                }
                let of = Arc::clone(&of);
                let behind = move |page: Page| {
                    let taken = SequenceNumber::new(of.counter.load(Ordering::SeqCst));
                    but(&page, |it| it.through = it.through.max(taken))
                };
                pages.map(move |page| page.map(&behind)).boxed()
            };
            follow(query, options, read, waits(shared, 1))
        }
    }

    /// A follow keeps the last sixteen events for a reader that rests.
    FollowForgetsTheSlow caught by ["follow.slow"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            resuming(shared, size, query, options, |shared, it| {
                let kept = shared.log().last.saturating_sub(16);
                it.after = it.after.max(SequenceNumber::new(kept));
            })
        }
    }

    /// A follow ends after some wake-ups, without an error.
    FollowStops caught by ["follow.switch", "follow.wakes"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            right(shared, size, query, options).take(8).boxed()
        }
    }

    /// A follow hears only of what its own handle appends.
    FollowHearsOwnHandle { bell: Bell } caught by ["follow.handles"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let stored = Plain.append(shared, writes).await;
            self.bell.ring_all(annals::adapter::Wake::Changed);
            stored
        }

        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (of, bell) = (Arc::clone(shared), self.bell.clone());
            let read = move |query, options| Plain::read(&Arc::new(Plain), &of, size, query, options);
            follow(query, options, read, move || bell.register(&Query::All).map(Ok))
        }
    }

    /// A handle whose first call is a follow begins to listen to others when it waits at the head.
    FirstFollowListensLate { calls: AtomicU64, bell: Bell } caught by ["follow.first_look"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let stored = Plain.append(shared, writes).await;
            self.bell.ring_all(Wake::Changed);
            stored
        }

        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            if let Err(error) = self.check_read(&query, &options) {
                return stream::iter([Err(error)]).boxed();
            }
            let (of, own, others) = (Arc::clone(shared), self.bell.clone(), shared.bell.clone());
            let is_late = Arc::new(AtomicBool::new(self.calls.fetch_add(1, Ordering::SeqCst) == 0));
            let read = move |query, options| Plain::read(&Arc::new(Plain), &of, size, query, options);
            follow(query, options, read, move || {
                let (others, is_late) = (others.clone(), Arc::clone(&is_late));
                let here = own.register(&Query::All);
                let there = (!is_late.load(Ordering::SeqCst)).then(|| others.register(&Query::All));
                async move {
                    is_late.store(false, Ordering::SeqCst);
                    let there = there.unwrap_or_else(|| others.register(&Query::All));
                    select(pin!(here), pin!(there)).await;
                    Ok(Wake::Changed)
                }
            })
        }
    }

    /// A follow holds a connection while it waits, of which there are a hundred.
    FollowHoldsConnection { taken: Arc<AtomicU64> } caught by ["follow.many"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            needs_slot(&self.taken, 100)?;
            Plain.append(shared, writes).await
        }

        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            holding(right(shared, size, query, options), &self.taken, true)
        }
    }

    /// A follow that is dropped keeps its connection.
    DroppedFollowLeaks { taken: Arc<AtomicU64> } caught by ["follow.dropped"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            needs_slot(&self.taken, 20)?;
            Plain.append(shared, writes).await
        }

        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            holding(right(shared, size, query, options), &self.taken, false)
        }
    }

    /// The limit of a follow counts from the head on.
    FollowLimitFromHead caught by ["follow.limit"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let limit = options.limit;
            let options = but(&options, |it| it.limit = None);
            let pages = right(shared, size, query, options).scan((false, limit), |(was_at_head, left), page| {
                let ended = *left == Some(0);
                if let Ok(page) = &page {
                    let events = if *was_at_head { page.events.len() as u64 } else { 0 };
                    *left = left.map(|left| left.saturating_sub(events));
                    *was_at_head |= page.at_head;
                }
                std::future::ready((!ended).then_some(page))
            });
            pages.boxed()
        }
    }

    /// A follow does not end at its last number.
    FollowIgnoresUntil caught by ["follow.until"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            right(shared, size, query, but(&options, |it| it.until = None))
        }
    }

    /// A follow wakes for events that it matches only, and does not see others move the head to its last number.
    FollowUntilOwnEvents caught by ["follow.until"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (of, log, asked) = (Arc::clone(shared), Arc::clone(shared), query.clone());
            let read = move |query, options| Plain::read(&Arc::new(Plain), &of, size, query, options);
            follow(query, options, read, move || {
                let matching = |log: &Shared, query: &Query| log.log().events.iter().filter(|event| query.matches(event)).count();
                let (log, asked) = (Arc::clone(&log), asked.clone());
                let (before, mut ring) = (matching(&log, &asked), log.bell.register(&Query::All));
                async move {
                    loop {
                        ring.await;
                        ring = log.bell.register(&Query::All);
                        if matching(&log, &asked) > before {
                            return Ok(Wake::Changed);
                        }
                    }
                }
            })
        }
    }

    /// A follow backward is a read backward.
    FollowBackward caught by ["follow.rejected"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            if options.direction == annals::Direction::Backward {
                return Plain::read(&Arc::new(Plain), shared, size, query, but(&options, |it| it.follow = false));
            }
            right(shared, size, query, options)
        }
    }

    /// A follow wider than the order is taken from those who allow skips.
    FollowBeyondOrder caught by ["follow.rejected"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_order(Order::Category)
        }

        fn check_read(&self, query: &Query, options: &ReadOptions) -> Result<()> {
            let plain = but(options, |it| it.follow &= !it.allow_skips);
            self.capabilities().check_read(super::bent::NAME, query, &plain)
        }

        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            match self.check_read(&query, &options) {
                Err(error) => stream::iter([Err(error)]).boxed(),
                Ok(()) => right(shared, size, query, options),
            }
        }
    }

    /// A follow that begins beyond the head waits for it.
    FollowWaitsBeyondHead caught by ["follow.ahead"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            if options.after.value() > shared.log().last {
                return stream::pending().boxed();
            }
            right(shared, size, query, options)
        }
    }

    /// A follow of nothing ends.
    FollowOfNothingEnds caught by ["follow.queries"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let ends = query.scope().is_none();
            let pages = right(shared, size, query, options);
            if ends { pages.take(1).boxed() } else { pages }
        }
    }

    /// A follow returns what its query does not ask for.
    FollowUnfiltered caught by ["follow.queries"] {
        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let whole = query.scope().map_or(query, Query::from);
            right(shared, size, whole, options)
        }
    }

    /// Wakes when the highest number rises: what commits late below it is not heard of.
    FollowWakesOnHighest caught by ["follow.gated"] {
        fn capabilities(&self) -> Capabilities {
            Plain.capabilities().with_order(Order::Category).with_contiguous_sequence(false)
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let first = shared.counter.fetch_add(count(&writes) as u64, Ordering::SeqCst) + 1;
            shared.pass_gate().await;
            commit_at(shared, &writes, first..)
        }

        fn follow(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            let (of, log, bend) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(self));
            let read = move |query, options| Self::read(&bend, &of, size, query, options);
            // What it compares is what it saw last, not what it saw in its read.
            let seen = Arc::new(AtomicU64::new(shared.log().last));
            follow(query, options, read, move || {
                let (log, seen) = (Arc::clone(&log), Arc::clone(&seen));
                let mut ring = log.bell.register(&Query::All);
                async move {
                    loop {
                        ring.await;
                        ring = log.bell.register(&Query::All);
                        let last = log.log().last;
                        if seen.swap(last, Ordering::SeqCst) < last {
                            return Ok(Wake::Changed);
                        }
                    }
                }
            })
        }
    }

    /// Close does nothing.
    CloseDoesNothing caught by ["close.calls", "close.reads", "close.follows", "close.dropped"] {
        async fn close(&self, _: &Arc<Shared>, _: &AtomicBool) {}
    }

    /// The first append opens the store, also after close.
    CloseOfUnused { used: AtomicBool, closing: AtomicBool } caught by ["close.calls"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            if self.used.swap(true, Ordering::SeqCst) && self.closing.load(Ordering::SeqCst) {
                return Err(Error::closed(super::bent::NAME));
            }
            Plain.append(shared, writes).await
        }

        fn read(self: &Arc<Self>, shared: &Arc<Shared>, size: NonZeroUsize, query: Query, options: ReadOptions) -> EventPages {
            if self.used.load(Ordering::SeqCst) && self.closing.load(Ordering::SeqCst) {
                return stream::iter([Err(Error::closed(super::bent::NAME))]).boxed();
            }
            Plain::read(&Arc::new(Plain), shared, size, query, options)
        }

        async fn close(&self, shared: &Arc<Shared>, closed: &AtomicBool) {
            if self.used.load(Ordering::SeqCst) {
                return Plain.close(shared, closed).await;
            }
            self.closing.store(true, Ordering::SeqCst);
        }
    }

    /// Reads that are open when the adapter is closed go on.
    CloseForgetsReads caught by ["close.reads"] {
        fn ends_open_reads(&self) -> bool {
            false
        }
    }

    /// Nobody wakes the follows that wait when the adapter is closed.
    CloseForgetsFollows caught by ["close.follows"] {
        async fn close(&self, _: &Arc<Shared>, closed: &AtomicBool) {
            closed.store(true, Ordering::SeqCst);
        }
    }

    /// The adapter is closed when `close` is done, and not if it is dropped before.
    CloseNeedsPatience caught by ["close.dropped"] {
        async fn close(&self, shared: &Arc<Shared>, closed: &AtomicBool) {
            dawdle().await;
            Plain.close(shared, closed).await;
        }
    }

    /// What is under way when the adapter is closed fails.
    CloseFailsAppends caught by ["close.appends"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            dawdle().await;
            if shared.counter.load(Ordering::SeqCst) == 1 {
                return Err(Error::backend("the pool is gone"));
            }
            Plain.append(shared, writes).await
        }

        async fn close(&self, shared: &Arc<Shared>, closed: &AtomicBool) {
            shared.counter.store(1, Ordering::SeqCst);
            Plain.close(shared, closed).await;
        }
    }
}
