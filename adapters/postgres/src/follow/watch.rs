//! Who waits for appends, and what other processes are to be notified of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use annals::StreamId;
use annals::adapter::{Bell, Wake};
use hashbrown::HashSet;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Between two looks at the log when nothing happens, and between two looks for listeners.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// So many streams wait for the next notification; beyond that it is for all.
const STREAMS: usize = 512;

/// What the writer and follows share with the task.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) bell: Bell,
    news: Mutex<News>,
    /// Wakes the task.
    pub(super) woken: Notify,
    pub(super) runs: AtomicBool,
    pub(super) task: Mutex<Option<JoinHandle<()>>>,
    is_closed: AtomicBool,
    /// Nobody else listened at the last look.
    pub(super) unheard: AtomicBool,
    /// Follows were woken of some appends since the last look at the log.
    pub(super) told: AtomicBool,
}

/// What was appended since the last notification.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) streams: HashSet<StreamId>,
    pub(super) everywhere: bool,
    /// When it was last known whether anybody listens.
    pub(super) looked: Option<Instant>,
}

impl Watch {
    /// Wakes the follows of these streams, and has other processes notified. Call it after the commit.
    pub(crate) fn appended<'a>(&self, streams: impl Iterator<Item = &'a StreamId> + Clone) {
        self.told.store(true, Ordering::Release);
        self.bell.ring(streams.clone());
        if !self.runs.load(Ordering::Acquire) {
            return;
        }
        let mut news = self.news();
        let looked_lately = news.looked.is_some_and(|looked| looked.elapsed() < LOOK);
        if self.unheard.load(Ordering::Acquire) && looked_lately {
            return;
        }
        for stream in streams {
            if news.streams.len() >= STREAMS {
                news.everywhere = true;
                break;
            }
            if !news.streams.contains(stream) {
                news.streams.insert(stream.clone());
            }
        }
        drop(news);
        self.woken.notify_one();
    }

    /// Ends all follows, and the task with its connection.
    pub(crate) fn close(&self) -> Option<JoinHandle<()>> {
        self.is_closed.store(true, Ordering::Release);
        self.bell.ring_all(Wake::Changed);
        self.end()
    }

    /// Ends the task alone: nobody follows any more.
    pub(crate) fn end(&self) -> Option<JoinHandle<()>> {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        task.inspect(JoinHandle::abort)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// A follow has begun to wait: the task may have nobody to look for until now.
    pub(crate) fn has_follower(&self) {
        self.woken.notify_one();
    }

    pub(super) fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
