//! Adapters that go wrong when a caller goes away, that are at odds with executors, or that cost too much.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use annals::adapter::Facts;
use annals::{
    Append, Direction, Error, EventPages, Position, Query, ReadOptions, Result, StoredEvent,
    StreamId,
};
use futures_util::{StreamExt, stream};
use tokio::sync::{Semaphore, oneshot};

use super::bent::{Log, Shared, but, dawdle, within};
use super::numbers::Plain;

bent_specimens! {
    /// A dropped append keeps the lock.
    DropKeepsLock caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            while shared.counter.swap(1, Ordering::SeqCst) == 1 {
                tokio::task::yield_now().await;
            }
            let prepared = self.prepare(&mut shared.log(), &writes);
            tokio::task::yield_now().await;
            if let Ok(prepared) = &prepared {
                shared.log().push_all(prepared);
            }
            shared.counter.store(0, Ordering::SeqCst);
            prepared
        }
    }

    /// An append that is dropped half way leaves half of it stored.
    DropStoresHalf caught by ["fault.drop_append"] {
        async fn commit(&self, shared: &Arc<Shared>, _: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            let (first, second) = prepared.split_at(prepared.len() / 2);
            shared.log().push_all(first);
            tokio::task::yield_now().await;
            shared.log().push_all(second);
            Ok(())
        }
    }

    /// An append that is dropped leaves its numbers used, though contiguity is declared.
    DropBurnsNumbers caught by ["fault.drop_append"] {
        async fn commit(&self, shared: &Arc<Shared>, _: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            shared.log().last += prepared.len() as u64;
            tokio::task::yield_now().await;
            shared.log().push_all(prepared);
            Ok(())
        }
    }

    /// Of several streams a dropped append leaves the first.
    DropStoresFirstStream caught by ["fault.drop_append"] {
        async fn commit(&self, shared: &Arc<Shared>, writes: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            let mut rest = prepared;
            for write in writes {
                let (own, others) = rest.split_at(write.events.len());
                shared.log().push_all(own);
                rest = others;
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    }

    /// The ids of an append count as known before it is committed, and go on to when it is dropped.
    DropKeepsIds caught by ["fault.drop_append"] {
        async fn commit(&self, shared: &Arc<Shared>, _: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            shared.log().ids.extend(prepared.iter().map(|event| event.event.id));
            tokio::task::yield_now().await;
            shared.log().push_all(prepared);
            Ok(())
        }
    }

    /// Each stream of a call is written by a task of its own; those that were not begun are left out.
    DropLeavesTasks caught by ["fault.drop_append"] {
        async fn commit(&self, shared: &Arc<Shared>, writes: &[Append], prepared: &[StoredEvent]) -> Result<()> {
            let mut rest = prepared.to_vec();
            for write in writes {
                let others = rest.split_off(write.events.len());
                let (shared, own) = (Arc::clone(shared), std::mem::replace(&mut rest, others));
                let written = tokio::spawn(async move { shared.log().push_all(&own) }).await;
                written.map_err(Error::unavailable)?;
            }
            Ok(())
        }
    }

    /// Whose turn it is is told to the one who waited longest, who may be gone.
    DropLosesTurn { turns: Turns } caught by ["fault.drop_queued"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let _turn = self.turns.take().await;
            dawdle().await;
            Plain.append(shared, writes).await
        }
    }

    /// A call over several streams gives back what it took once it has taken all, and not before.
    DropWhileTaking { permits: Permits } caught by ["fault.drop_queued"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let mut sorted: Vec<_> = writes.iter().map(|write| write.stream.clone()).collect();
            sorted.sort();
            let mut taken = Vec::new();
            for stream in sorted {
                let permits = self.permits.of(stream);
                if let Ok(permit) = permits.acquire().await {
                    permit.forget();
                }
                taken.push(permits);
            }
            let _release = Release(taken);
            dawdle().await;
            Plain.append(shared, writes).await
        }
    }

    /// A refused append is stored at first, and taken back unless it is dropped before.
    DropLeavesRefused caught by ["fault.drop_append"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let _alone = shared.writer.lock().await;
            let before = shared.log().clone();
            let mut stored = writes.clone();
            stored.iter_mut().for_each(|write| write.condition = annals::WriteCondition::Always);
            let prepared = self.prepare(&mut shared.log(), &stored)?;
            let refused = self.prepare(&mut shared.log(), &writes).err();
            shared.log().push_all(&prepared);
            if let Some(error) = refused {
                tokio::task::yield_now().await;
                *shared.log() = before;
                return Err(error);
            }
            Ok(prepared)
        }
    }

    /// A dropped append keeps its connection, of a pool of twenty.
    DropLeaksConnection caught by ["fault.drop_many"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            while shared.counter.load(Ordering::SeqCst) >= 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            shared.counter.fetch_add(1, Ordering::SeqCst);
            dawdle().await;
            let stored = Plain.append(shared, writes).await;
            shared.counter.fetch_sub(1, Ordering::SeqCst);
            stored
        }
    }

    /// A read that is not read to its end keeps its connection, of a pool of ten.
    DroppedReadKeepsConnection caught by ["fault.drop_read"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            while shared.counter.load(Ordering::SeqCst) >= 10 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Plain.append(shared, writes).await
        }

        fn read(
            self: &Arc<Self>,
            shared: &Arc<Shared>,
            size: NonZeroUsize,
            query: Query,
            options: ReadOptions,
        ) -> EventPages {
            let (taken, given) = (Arc::clone(shared), Arc::clone(shared));
            let pages = Plain::read(&Arc::new(Plain), shared, size, query, options);
            let take = stream::once(async move {
                taken.counter.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            });
            let give = stream::once(async move {
                given.counter.fetch_sub(1, Ordering::SeqCst);
            });
            let nothing = |()| stream::empty();
            take.flat_map(nothing).chain(pages).chain(give.flat_map(nothing)).boxed()
        }
    }

    /// A read ends early when the handle that began it is gone.
    ReadEndsWithHandle { alive: Arc<()> } caught by ["fault.drop_handle"] {
        fn read(
            self: &Arc<Self>,
            shared: &Arc<Shared>,
            size: NonZeroUsize,
            query: Query,
            options: ReadOptions,
        ) -> EventPages {
            let handle: Weak<()> = Arc::downgrade(&self.alive);
            let pages = Plain::read(&Arc::new(Plain), shared, size, query, options);
            pages.take_while(move |_| std::future::ready(handle.strong_count() > 0)).boxed()
        }
    }

    /// Blocks its thread where only a runtime of several threads permits it.
    BlocksInPlace caught by ["rt.current_thread"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            tokio::task::block_in_place(|| self.check_append(&writes))?;
            Plain.append(shared, writes).await
        }
    }

    /// What it does without waiting is taken for alone, which it is on one thread only.
    RacesBetweenThreads caught by ["rt.multi_thread"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let prepared = self.prepare(&mut shared.log(), &writes)?;
            (0..10).for_each(|_| std::thread::yield_now());
            shared.log().push_all(&prepared);
            Ok(prepared)
        }
    }

    /// Remembers the heads of streams for each thread.
    HeadsPerThread { heads: Mutex<HashMap<(ThreadId, StreamId), Position>> } caught by ["rt.other_runtime"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
            let known = heads.get(&(std::thread::current().id(), write.stream.clone()));
            let facts = Plain.facts(log, write);
            but(&facts, |it| it.head = known.copied().or(facts.head))
        }

        fn insert(&self, log: &mut Log, event: StoredEvent) {
            let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.insert((std::thread::current().id(), event.stream.clone()), event.position);
            log.push(event);
        }
    }

    /// All work is done on the runtime where the handle was made, for as long as that is there.
    BoundToRuntime { maker: Maker } caught by ["rt.dropped_runtime"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let own = Arc::clone(shared);
            let work = async move { Plain.append(&own, writes).await };
            match &self.maker.0 {
                None => work.await,
                Some(runtime) => runtime.spawn(work).await.unwrap_or_else(|error| Err(Error::unavailable(error))),
            }
        }
    }

    /// Wakes the task that polled it first, whoever polls it now.
    WakesFirstOnly caught by ["rt.send"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let state = Arc::new(Mutex::new((false, None::<Waker>)));
            let done = Arc::clone(&state);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut state = done.lock().unwrap_or_else(PoisonError::into_inner);
                state.0 = true;
                state.1.take().into_iter().for_each(Waker::wake);
            });
            std::future::poll_fn(|context| {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.0 {
                    return Poll::Ready(());
                }
                state.1.get_or_insert_with(|| context.waker().clone());
                Poll::Pending
            })
            .await;
            Plain.append(shared, writes).await
        }
    }

    /// An append blocks its thread for a while.
    BlocksExecutor caught by ["rt.responsive"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            #[expect(clippy::disallowed_methods, reason = "that is the bug")]
            std::thread::sleep(Duration::from_millis(writes.iter().map(|write| write.events.len() as u64).sum()));
            Plain.append(shared, writes).await
        }
    }

    /// An append copies the stream that it writes to.
    AppendCopiesStream caught by ["res.append_scaling"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let copied: Vec<_> = log.candidates(&write.stream.clone().into()).map(|event| (**event).clone()).collect();
            let head = copied.last().map(|event| event.position);
            but(&Plain.facts(log, write), |it| it.head = head)
        }
    }

    /// A read blocks its thread for a while.
    BlocksInReads caught by ["rt.responsive"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let found = Plain.select(log, query, options)?;
            #[expect(clippy::disallowed_methods, reason = "that is the bug")]
            std::thread::sleep(Duration::from_millis(found.len() as u64));
            Ok(found)
        }
    }

    /// An append copies the log, to go back to it if it fails.
    AppendCopiesLog caught by ["res.append_scaling"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let before = shared.log().clone();
            Plain.append(shared, writes).await.inspect_err(|_| drop(before))
        }
    }

    /// A handle that was used has a task clean up when it is dropped.
    DropSpawns { cleaner: Cleaner } caught by ["rt.dropped_outside"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.cleaner.0.store(true, Ordering::SeqCst);
            Plain.append(shared, writes).await
        }
    }

    /// A read takes the whole stream, and leaves out what was not asked for afterwards.
    ReadsWholeStream caught by ["res.read_scaling"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = Plain.select(log, query, &but(options, |it| *it = ReadOptions::default()))?;
            if options.direction == Direction::Backward {
                found.reverse();
            }
            found.retain(|event| within(event, options));
            found.truncate(usize::try_from(options.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
            Ok(found)
        }
    }

    /// The store is closed when one of its handles is dropped.
    DropClosesForAll { closer: Closer } caught by ["res.concurrent_handles"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            if shared.counter.load(Ordering::SeqCst) == 1 {
                return Err(Error::unavailable("closed"));
            }
            self.closer.0.get_or_init(|| Arc::clone(shared));
            Plain.append(shared, writes).await
        }
    }
}

/// The runtime on which it was made.
#[derive(Debug)]
struct Maker(Option<tokio::runtime::Handle>);

impl Default for Maker {
    fn default() -> Self {
        Self(tokio::runtime::Handle::try_current().ok())
    }
}

/// Closes the store when it is dropped.
#[derive(Debug, Default)]
struct Closer(OnceLock<Arc<Shared>>);

impl Drop for Closer {
    fn drop(&mut self) {
        if let Some(shared) = self.0.get() {
            shared.counter.store(1, Ordering::SeqCst);
        }
    }
}

/// Has a task clean up what was used.
#[derive(Debug, Default)]
struct Cleaner(AtomicBool);

impl Drop for Cleaner {
    fn drop(&mut self) {
        if self.0.load(Ordering::SeqCst) {
            tokio::spawn(async {});
        }
    }
}

/// A permit for each stream.
#[derive(Debug, Default)]
struct Permits(Mutex<HashMap<StreamId, Arc<Semaphore>>>);

impl Permits {
    fn of(&self, stream: StreamId) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(stream).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

/// Gives back permits that were forgotten.
struct Release(Vec<Arc<Semaphore>>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.iter().for_each(|taken| taken.add_permits(1));
    }
}

/// A lock that is handed from one to the next.
#[derive(Debug, Default)]
struct Turns(Mutex<(bool, VecDeque<oneshot::Sender<()>>)>);

impl Turns {
    async fn take(&self) -> Turn<'_> {
        let wait = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut state.0, true) {
                let (sender, receiver) = oneshot::channel();
                state.1.push_back(sender);
                Some(receiver)
            } else {
                None
            }
        };
        if let Some(wait) = wait {
            let _ = wait.await;
        }
        Turn(self)
    }
}

struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.1.pop_front() {
            // That nobody may be there to hear it is the bug.
            Some(next) => drop(next.send(())),
            None => state.0 = false,
        }
    }
}
