//! What some broken stores are made of: commits in parts, locks of documents, connections of a pool, pages that are
//! counted, and a way that is cut.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use annals::Payload;
use annals_memory::MemoryState;
use annals_state::{
    Change, Commit, DocumentKey, DocumentPages, Got, Result, Scan, Scanned, StateCapabilities,
    StateError, StateStore, async_trait,
};
use annals_testkit::Side;
use annals_testkit::state::{Cut, Store};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Fault;

/// How often what waits for a connection looks for one.
const LOOKS: usize = 50;
/// How many documents a page has that is counted.
const COUNTED: usize = 100;

/// A commit for each write, of one revision.
pub(crate) fn split(commit: &Commit) -> impl Iterator<Item = Commit> + use<> {
    let revision = commit.revision;
    commit.writes.clone().into_iter().map(move |write| Commit::with_revision(revision, [write]))
}

/// Changes all bodies of a commit.
pub(crate) fn bodies(commit: &mut Commit, change: impl Fn(&Payload) -> Payload) {
    for write in &mut commit.writes {
        if let Change::Put { body, .. } = &mut write.change {
            *body = change(body);
        }
    }
}

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

/// A store at the other end of a way that can be cut: a commit is a packet there, and its answer one back.
#[derive(Debug)]
pub(crate) struct Way {
    store: Store,
    fault: Fault,
    /// So many more packets pass of the client, if that is true, or of the server.
    left: Mutex<Option<(bool, u64)>>,
}

impl Way {
    pub(crate) fn new(store: Store, fault: Fault) -> Self {
        Self { store, fault, left: Mutex::default() }
    }

    fn passes(&self, side: Side) -> bool {
        match &mut *self.left.lock().unwrap() {
            Some((_, 0)) => false,
            Some((is_client, left)) if *is_client == (side == Side::Client) => {
                *left -= 1;
                true
            }
            _ => true,
        }
    }

    fn is_cut_after(&self, side: Side) -> bool {
        matches!(&*self.left.lock().unwrap(), Some((client, 0)) if *client == (side == Side::Client))
    }
}

impl Cut for Way {
    fn cut_after(&self, side: Side, packets: u64) {
        *self.left.lock().unwrap() = Some((side == Side::Client, packets));
    }

    fn heal(&self) {
        *self.left.lock().unwrap() = None;
    }
}

#[async_trait]
impl StateStore for Way {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn capabilities(&self) -> StateCapabilities {
        self.store.capabilities()
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let cut = || StateError::outcome_unknown("the connection was cut");
        // What the server cuts it cuts before its answer.
        if !self.is_cut_after(Side::Server) && !self.passes(Side::Client) {
            return if self.fault == Fault::AcknowledgesOnCut { Ok(()) } else { Err(cut()) };
        }
        if self.passes(Side::Server) {
            return self.store.commit(commit).await;
        }
        if self.fault == Fault::HalfOnCut {
            let first = commit.writes.into_iter().take(1);
            self.store.commit(Commit::with_revision(commit.revision, first)).await?;
            return Err(cut());
        }
        self.store.commit(commit).await?;
        match self.fault {
            Fault::PromisesNothingOnCut => Err(StateError::unavailable("the connection was cut")),
            _ => Err(cut()),
        }
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got> {
        self.store.get(keys).await
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        self.store.scan(scan)
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
