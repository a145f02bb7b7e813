//! Wake-ups inside a process: who appends rings, who follows waits.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::follow::Wake;
use crate::name::StreamId;
use crate::query::{Query, ReadOptions, Source};

/// For adapters: wakes the follows of an adapter when something was appended that they may match.
///
/// A follow registers for the sources of its query; a ring wakes those that are registered for the log, the category or
/// the stream of what was appended. Its cost depends on the number of streams that were written to, not on the number of
/// follows, and is one atomic load if nobody waits. Clones are handles to the same bell.
///
/// ```
/// # use annals::adapter::Bell;
/// # use annals::{Query, StreamId};
/// # use futures_util::FutureExt;
/// let bell = Bell::default();
/// let mut ring = bell.register(&Query::from(StreamId::from_static("orders", "o-1")));
/// bell.ring([&StreamId::from_static("orders", "o-2")]);
/// assert!((&mut ring).now_or_never().is_none());
/// bell.ring([&StreamId::from_static("orders", "o-1")]);
/// assert!(ring.now_or_never().is_some());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    next: u64,
    by_source: HashMap<Source, HashSet<u64>>,
    slots: HashMap<u64, Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    sources: Vec<Source>,
    rung: Option<Wake>,
    waker: Option<Waker>,
}

impl Bell {
    /// Registers for all that `query` can match; every ring from now on completes the future. It is dropped freely.
    pub fn register(&self, query: &Query) -> Ring {
        let items = query.items().iter().filter(|item| item.can_match());
        let mut sources: Vec<Source> = items.map(|item| item.source.clone()).collect();
        if sources.contains(&Source::Log) {
            sources = vec![Source::Log];
        }
        let mut waiters = self.0.lock();
        let key = waiters.next;
        waiters.next += 1;
        for source in &sources {
            waiters.by_source.entry(source.clone()).or_default().insert(key);
        }
        waiters.slots.insert(key, Slot { sources, ..Slot::default() });
        self.0.waiting.store(waiters.slots.len(), Ordering::SeqCst);
        drop(waiters);
        Ring { shared: Arc::clone(&self.0), key }
    }

    /// Registers for all that can move a follow of `query` with these options: what `query` can match, but everything if
    /// it ends at a number of the log, because whichever stream moves the head ends it.
    pub fn register_follow(&self, query: &Query, options: &ReadOptions) -> Ring {
        self.register(if options.until.is_some() { &Query::All } else { query })
    }

    /// Wakes the follows that may match an event of one of `streams`. Call it after the commit.
    pub fn ring<'a>(&self, streams: impl IntoIterator<Item = &'a StreamId>) {
        if !self.has_waiters() {
            return;
        }
        let mut woken = Vec::new();
        let mut waiters = self.0.lock();
        waiters.ring(&Source::Log, &mut woken);
        for stream in streams {
            waiters.ring(&Source::Category(stream.category.clone()), &mut woken);
            waiters.ring(&Source::Stream(stream.clone()), &mut woken);
        }
        drop(waiters);
        // Outside the lock: a waker runs code of the executor.
        woken.into_iter().for_each(Waker::wake);
    }

    /// Wakes every follow: something may have been appended anywhere, the store may have gone back
    /// ([`Wake::Unsure`]), or the adapter is closed.
    pub fn ring_all(&self, wake: Wake) {
        if !self.has_waiters() {
            return;
        }
        let mut waiters = self.0.lock();
        let slots = waiters.slots.values_mut();
        let woken: Vec<Waker> = slots.filter_map(|slot| slot.ring(wake)).collect();
        drop(waiters);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether any follow is registered.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) > 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiters {
    fn ring(&mut self, source: &Source, woken: &mut Vec<Waker>) {
        let Some(keys) = self.by_source.get(source) else { return };
        for key in keys {
            woken.extend(self.slots.get_mut(key).and_then(|slot| slot.ring(Wake::Changed)));
        }
    }

    fn remove(&mut self, key: u64) {
        let Some(slot) = self.slots.remove(&key) else { return };
        for source in slot.sources {
            if let Some(keys) = self.by_source.get_mut(&source) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.by_source.remove(&source);
                }
            }
        }
    }
}

impl Slot {
    fn ring(&mut self, wake: Wake) -> Option<Waker> {
        if self.rung != Some(Wake::Unsure) {
            self.rung = Some(wake);
        }
        self.waker.take()
    }
}

/// Completes once the [`Bell`] rings for it; see [`Bell::register`].
#[derive(Debug)]
#[must_use = "a ring does nothing until it is polled"]
pub struct Ring {
    shared: Arc<Shared>,
    key: u64,
}

impl Future for Ring {
    type Output = Wake;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Wake> {
        let mut waiters = self.shared.lock();
        // It is there as long as this is not dropped.
        let Some(slot) = waiters.slots.get_mut(&self.key) else {
            return Poll::Ready(Wake::Unsure);
        };
        if let Some(wake) = slot.rung {
            return Poll::Ready(wake);
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut waiters = self.shared.lock();
        waiters.remove(self.key);
        self.shared.waiting.store(waiters.slots.len(), Ordering::SeqCst);
    }
}
