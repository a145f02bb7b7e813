//! State stores that do something before or after what they pass on.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use annals_state::{
    Change, Commit, DocumentKey, DocumentPages, Got, Result, Scan, StateCapabilities, StateError,
    StateStore, Write,
};
use async_trait::async_trait;

pub(super) const TRACKING: &str = "annals.tracking";
pub(super) const PROCESSORS: &str = "annals.processors";
pub(super) const MEMBERS: &str = "annals.members";
pub(super) const LOCKS: &str = "annals.locks";
pub(super) const HOLDERS: &str = "annals.lock_holders";
/// What the suite's own sink makes.
pub(super) const MARKS: &str = "marks";

/// What a store does differently; each call is passed on as it is unless it says otherwise.
#[async_trait]
pub(super) trait Bend: fmt::Debug + Send + Sync + 'static {
    async fn commit(&self, inner: &Arc<dyn StateStore>, commit: Commit) -> Result<()> {
        inner.commit(commit).await
    }

    async fn get(&self, inner: &Arc<dyn StateStore>, keys: Vec<DocumentKey>) -> Result<Got> {
        inner.get(keys).await
    }

    fn scan(self: Arc<Self>, inner: &Arc<dyn StateStore>, scan: Scan) -> DocumentPages {
        inner.scan(scan)
    }
}

/// A store through which something bends.
#[derive(Debug)]
pub(super) struct Through<B> {
    inner: Arc<dyn StateStore>,
    bend: Arc<B>,
}

impl<B: Bend> Through<B> {
    pub(super) fn store(inner: Arc<dyn StateStore>, bend: Arc<B>) -> Arc<dyn StateStore> {
        Arc::new(Self { inner, bend })
    }
}

#[async_trait]
impl<B: Bend> StateStore for Through<B> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> StateCapabilities {
        self.inner.capabilities()
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.bend.commit(&self.inner, commit).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got> {
        self.bend.get(&self.inner, keys).await
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        Arc::clone(&self.bend).scan(&self.inner, scan)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

pub(super) fn is_of(write: &Write, collection: &str) -> bool {
    write.key.collection.as_str() == collection
}

/// The owner that a tracking names, of what a write puts.
pub(super) fn owner(write: &Write) -> Option<String> {
    let Change::Put { body, .. } = &write.change else { return None };
    owner_of(body)
}

pub(super) fn owner_of(body: &annals::Payload) -> Option<String> {
    let value: serde_json::Value = body.to_json().ok()?;
    value.get("owner").and_then(|owner| owner.as_str()).map(str::to_owned)
}

/// Sees what all nodes commit.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Watched>);

#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The ids of the marks, in the order of their commits.
    pub(super) marks: Vec<String>,
    /// How often a part came to another owner.
    pub(super) moves: usize,
    pub(super) commits: usize,
    owners: HashMap<DocumentKey, String>,
}

impl Watch {
    pub(super) fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bend for Watch {
    async fn commit(&self, inner: &Arc<dyn StateStore>, commit: Commit) -> Result<()> {
        let writes = commit.writes.clone();
        inner.commit(commit).await?;
        let mut watched = self.lock();
        watched.commits += 1;
        for write in writes {
            let is_put = matches!(write.change, Change::Put { .. });
            if is_of(&write, MARKS) && is_put {
                watched.marks.push(write.key.id.as_str().to_owned());
            }
            if is_of(&write, TRACKING)
                && let Some(owner) = owner(&write)
            {
                let before = watched.owners.insert(write.key, owner.clone());
                watched.moves += usize::from(before.is_some_and(|before| before != owner));
            }
        }
        Ok(())
    }
}

/// Which commit a gate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// One that makes something of events.
    Work,
    /// One that takes a part of a group.
    Claim,
    /// One that takes a lock.
    Lock,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It waits until the gate opens.
    Hold,
    /// It is kept, and its outcome is unknown to who makes it.
    Lose,
}

/// Holds or loses the next commit of a kind that one node makes.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Shut>);

#[derive(Debug, Default)]
struct Shut {
    next: Option<(What, Way)>,
    holds_it: bool,
    held: usize,
    wakers: Vec<Waker>,
    kept: Vec<Commit>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Shut> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next(&self, what: What, way: Way) {
        let mut shut = self.lock();
        shut.next = Some((what, way));
        shut.holds_it = way == Way::Hold;
    }

    /// How many commits were held.
    pub(super) fn held(&self) -> usize {
        self.lock().held
    }

    pub(super) fn open(&self) {
        let mut shut = self.lock();
        shut.holds_it = false;
        std::mem::take(&mut shut.wakers).into_iter().for_each(Waker::wake);
    }

    /// What was lost.
    pub(super) fn kept(&self) -> Vec<Commit> {
        std::mem::take(&mut self.lock().kept)
    }

    fn is_meant(what: What, commit: &Commit) -> bool {
        let puts = |collection| {
            let is_put = |write: &&Write| matches!(write.change, Change::Put { .. });
            commit.writes.iter().filter(is_put).any(|write| is_of(write, collection))
        };
        match what {
            What::Work => puts(MARKS),
            What::Claim => {
                puts(TRACKING) && commit.writes.iter().any(|write| is_of(write, MEMBERS))
            }
            What::Lock => puts(LOCKS),
        }
    }
}

#[async_trait]
impl Bend for Gate {
    async fn commit(&self, inner: &Arc<dyn StateStore>, commit: Commit) -> Result<()> {
        let way = {
            let mut shut = self.lock();
            let way = shut.next.filter(|(what, _)| Self::is_meant(*what, &commit));
            if way.is_some() {
                shut.next = None;
            }
            match way {
                Some((_, Way::Lose)) => {
                    shut.kept.push(commit);
                    return Err(StateError::outcome_unknown("it is on its way"));
                }
                Some((_, Way::Hold)) => shut.held += 1,
                None => {}
            }
            way
        };
        if way.is_some() {
            poll_fn(|context| {
                let mut shut = self.lock();
                if shut.holds_it {
                    shut.wakers.push(context.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
        }
        inner.commit(commit).await
    }
}
