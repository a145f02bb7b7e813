//! Follows: woken at once by appends of this process, and by a thread that looks for those of others.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use annals::adapter::{Bell, Ring, Wake};
use annals::{Query, ReadOptions, Result};
use annals_sql::queue::Queue;

use crate::request::Request;
use crate::threads::spawn;

/// Wakes the follows of a store.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    bell: Bell,
    queue: Queue<Request>,
    /// How often to look; `None` if there are no other processes.
    interval: Option<Duration>,
    /// Whether the thread runs.
    runs: Mutex<bool>,
}

impl Watch {
    pub(crate) fn new(bell: Bell, queue: Queue<Request>, interval: Option<Duration>) -> Self {
        Self(Arc::new(Watched { bell, queue, interval, runs: Mutex::new(false) }))
    }

    /// Rings when something came that the follow of `query` may want.
    pub(crate) fn register(&self, query: &Query, options: &ReadOptions) -> Result<Ring> {
        let ring = self.0.bell.register_follow(query, options);
        if let Some(interval) = self.0.interval {
            let mut runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
            if !*runs {
                let watched = Arc::downgrade(&self.0);
                spawn("watcher", move || look(&watched, interval))?;
                *runs = true;
            }
        }
        Ok(ring)
    }

    pub(crate) fn ring_all(&self, wake: Wake) {
        self.0.bell.ring_all(wake);
    }
}

/// Has the writer look for commits of others as long as something follows: what it committed itself is no news to its
/// connection.
fn look(watched: &Weak<Watched>, interval: Duration) {
    while let Some(watched) = watched.upgrade() {
        {
            let mut runs = watched.runs.lock().unwrap_or_else(PoisonError::into_inner);
            let goes_on = watched.bell.has_waiters()
                && !watched.queue.is_closed()
                && watched.queue.send(Request::Look).is_ok();
            if !goes_on {
                // Under the lock: who registers later starts it again.
                *runs = false;
                return;
            }
        }
        drop(watched);
        std::thread::park_timeout(interval);
    }
}
