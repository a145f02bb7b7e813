//! What some broken stores are made of: locks of documents, connections of a pool, and pages that are counted.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use annals_memory::MemoryState;
use annals_state::{DocumentKey, DocumentPages, Result, Scan, Scanned, StateError, StateStore};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How often what waits for a connection looks for one.
const LOOKS: usize = 50;
/// How many documents a page has that is counted.
const COUNTED: usize = 100;

/// Locks that go with the commit that holds them, also if it is dropped.
pub(crate) struct Locks<'a> {
    all: &'a Mutex<HashSet<DocumentKey>>,
    own: Vec<DocumentKey>,
}

impl<'a> Locks<'a> {
    /// None yet, of those of a store.
    pub(crate) const fn new(all: &'a Mutex<HashSet<DocumentKey>>) -> Self {
        Self { all, own: Vec::new() }
    }

    /// Waits for the lock while this commit holds none; one that holds another lock would wait forever, at times.
    pub(crate) async fn take(&mut self, key: &DocumentKey) -> Result<()> {
        while !self.all.lock().unwrap().insert(key.clone()) {
            if !self.own.is_empty() {
                return Err(StateError::backend("deadlock detected"));
            }
            tokio::task::yield_now().await;
        }
        self.own.push(key.clone());
        annals_testkit::polls(2).await;
        Ok(())
    }
}

impl Drop for Locks<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap();
        for key in &self.own {
            all.remove(key);
        }
    }
}

/// A connection, or what a pool answers that has none for a while.
pub(crate) async fn connection(connections: Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    for _ in 0..LOOKS {
        if let Ok(permit) = Arc::clone(&connections).try_acquire_owned() {
            return Ok(permit);
        }
        tokio::task::yield_now().await;
    }
    Err(StateError::unavailable("all connections are in use"))
}

/// Pages by `LIMIT` and `OFFSET`.
pub(crate) fn counted(inner: MemoryState, scan: Scan) -> DocumentPages {
    stream::try_unfold(0, move |done| {
        let (inner, scan) = (inner.clone(), scan.clone());
        async move {
            let pages: Vec<Vec<Scanned>> = inner.scan(scan).try_collect().await?;
            let page: Vec<_> = pages.concat().into_iter().skip(done).take(COUNTED).collect();
            let done = done + page.len();
            Ok((!page.is_empty()).then_some((page, done)))
        }
    })
    .boxed()
}
