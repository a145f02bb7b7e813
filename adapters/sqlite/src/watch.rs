//! Follows: woken at once by appends of this process, and by a thread that looks for those of others.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use annals::adapter::{Bell, EventPages, Ring, StorageAdapter, follow};
use annals::{Query, ReadOptions, Result};

use crate::place::Place;
use crate::threads::spawn;
use crate::writer::Request;
use crate::{Shared, SqliteAdapter};

/// Wakes the follows of a store.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) bell: Bell,
    /// Whether the thread runs.
    runs: Mutex<bool>,
}

/// The follow of `query`. It keeps the store open, as every read does.
pub(crate) fn pages(adapter: &SqliteAdapter, query: Query, options: ReadOptions) -> EventPages {
    let (reading, watching) = (adapter.clone(), adapter.clone());
    let followed = (query.clone(), options);
    let read = move |query, options| reading.read(query, options);
    follow(query, options, read, move || {
        let registered = register(&watching, &followed.0, &followed.1);
        async move { Ok(registered?.await) }
    })
}

fn register(adapter: &SqliteAdapter, query: &Query, options: &ReadOptions) -> Result<Ring> {
    let shared = &adapter.shared;
    let ring = shared.watch.bell.register_follow(query, options);
    // A store in memory has no other processes.
    if shared.place != Place::Memory {
        let mut runs = shared.watch.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if !*runs {
            let store = Arc::downgrade(shared);
            spawn("watcher", move || look(&store))?;
            *runs = true;
        }
    }
    Ok(ring)
}

/// Has the writer look for commits of others as long as something follows: what it committed itself is no news to its
/// connection.
fn look(store: &Weak<Shared>) {
    while let Some(shared) = store.upgrade() {
        let interval = shared.options.watch_interval;
        {
            let mut runs = shared.watch.runs.lock().unwrap_or_else(PoisonError::into_inner);
            let goes_on = shared.watch.bell.has_waiters()
                && !shared.queue.is_closed()
                && shared.queue.send(Request::Look).is_ok();
            if !goes_on {
                // Under the lock: who registers later starts it again.
                *runs = false;
                return;
            }
        }
        drop(shared);
        std::thread::park_timeout(interval);
    }
}
