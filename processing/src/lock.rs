//! Locks: one holder of a name at a time, over any state store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use annals::EventId;
use annals_state::{
    Commit, DocumentId, DocumentKey, Expected, Revision, StateError, StateStore, Write,
};
use event_listener::Event;
use futures_util::future::select;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::claim::{LOCK_HOLDERS, LOCKS, checked};
use crate::error::{ProcessingError, Result, chain};
use crate::group::{Members, Times};
use crate::stopping::Stopping;
use crate::timer::Timer;
use crate::tracking::{commit, get_one, put};

const FIRST_POLL: Duration = Duration::from_millis(1);
/// For how many beats the release of a lock is tried whose document does not have it: a commit that was dropped may be made
/// a little later.
const RELEASE_BEATS: u32 = 3;

/// Takes locks for one program. Clones take locks for the same program.
///
/// A lock is a document that names its holder; the program of the holder beats for all of them, as a node of a
/// [`Group`](crate::Group) does, and without a coordinator or a clock. A lock is free once it is released or dropped, and
/// after a crash once the beat did not change for `dead_after`, by the timer of who waits for it.
///
/// A holder that was stopped for that long does not know that it has lost the lock. What must not happen twice is
/// committed with [`Lock::fence`].
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use annals::BoxError;
/// # use annals_memory::MemoryState;
/// # use annals_processing::{Locks, SystemTimer};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let state = Arc::new(MemoryState::new());
/// let (locks, keeper) = Locks::start(state, SystemTimer::new()).await?;
/// let kept = tokio::spawn(keeper.run());
/// let lock = locks.try_lock("import").await?.expect("nobody has it");
/// assert!(locks.wait_for("import", Duration::from_millis(10)).await?.is_none());
/// lock.release().await?;
/// locks.stop();
/// kept.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Locks(Arc<Inner>);

/// Beats for the holder of locks. Its future must run as long as locks are held.
#[must_use = "locks are held only as long as their keeper runs"]
pub struct Keeper {
    inner: Arc<Inner>,
    members: Members,
}

struct Inner {
    state: Arc<dyn StateStore>,
    timer: Arc<dyn Timer>,
    node: Uuid,
    times: Times,
    stopping: Stopping,
    /// Something is to be released.
    wake: Event,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The holders that are dead, each with the revision of its last beat.
    dead: HashMap<DocumentKey, Revision>,
    /// What this program holds or tries to hold.
    held: Vec<Revision>,
    dropped: Vec<Dropped>,
    has_ended: bool,
}

/// A lock to release.
#[derive(Debug, Clone)]
struct Dropped {
    key: DocumentKey,
    revision: Revision,
    beats: u32,
}

/// The document `annals.locks` / name.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    holder: Uuid,
}

impl Locks {
    /// Begins to take locks in `state`, with a first beat.
    ///
    /// # Errors
    /// Those of the state store.
    ///
    /// # Cancel safety
    /// If it is dropped, a document of a program that never was may be left; others remove it.
    pub async fn start(state: Arc<dyn StateStore>, timer: impl Timer) -> Result<(Self, Keeper)> {
        let Times { beat, dead_after } = Times::DEFAULT;
        Self::start_with(state, timer, beat, dead_after).await
    }

    /// Begins to take locks in `state`, with a beat of `every` (1 second by default), where others are dead after
    /// `dead_after` without a beat (5 seconds by default, at least two beats).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_with(
        state: Arc<dyn StateStore>,
        timer: impl Timer,
        every: Duration,
        dead_after: Duration,
    ) -> Result<(Self, Keeper)> {
        let timer: Arc<dyn Timer> = Arc::new(timer);
        let node = EventId::generate().as_uuid();
        let place = (LOCK_HOLDERS, String::new());
        let mut members = Members::new(Arc::clone(&state), Arc::clone(&timer), place, node);
        members.times = Times::new(every, dead_after);
        let inner = Arc::new(Inner {
            state,
            timer,
            node,
            times: members.times,
            stopping: Stopping::default(),
            wake: Event::new(),
            known: Mutex::default(),
        });
        let mut keeper = Keeper { inner: Arc::clone(&inner), members };
        keeper.beat().await?;
        Ok((Self(inner), keeper))
    }

    /// Ends the keeper: what is held is not kept any more.
    pub fn stop(&self) {
        self.0.stopping.ask();
    }

    /// Takes the lock of this name, or returns `None` if somebody has it.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if the name is none (1 to 80 bytes, no `/`, no control character),
    /// [`Ended`](ProcessingError::Ended) if the keeper does not run any more, and those of the state store.
    ///
    /// # Cancel safety
    /// If it is dropped, the lock is not taken, or is released by the keeper.
    pub async fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        let name = checked("lock", name.into())?;
        let id = DocumentId::new(&*name).map_err(StateError::from)?;
        let key = DocumentKey { collection: LOCKS, id };
        if self.0.lock().has_ended {
            return Err(ProcessingError::Ended);
        }
        let found = get_one::<Holder>(&*self.0.state, key.clone()).await?;
        let mut guards = Vec::new();
        if let Some(found) = &found {
            guards = match self.free_if(found.value.holder, found.revision).await? {
                Some(guards) => guards,
                None => return Ok(None),
            };
        }
        let body = Holder { holder: self.0.node };
        let write = put(key.clone(), &body, found.and_then(|held| held.revision))?;
        let commit = Commit::new([write].into_iter().chain(guards));
        // Known to be held before it can be: it is released if this future is dropped.
        let lock = Lock { inner: Arc::clone(&self.0), key, revision: commit.revision };
        self.0.lock().held.push(lock.revision);
        match self.0.state.commit(commit).await {
            Ok(()) => Ok(Some(lock)),
            Err(StateError::Conflict(_)) => {
                lock.forget();
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a lock with this holder is free, and what must hold for that in a commit.
    async fn free_if(
        &self,
        holder: Uuid,
        revision: Option<Revision>,
    ) -> Result<Option<Vec<Write>>> {
        if holder == self.0.node {
            let is_held = self.0.lock().held.iter().any(|held| Some(*held) == revision);
            // Else it is left from a commit whose outcome was unknown.
            return Ok((!is_held).then(Vec::new));
        }
        let id = DocumentId::new(holder.to_string()).map_err(StateError::from)?;
        let key = DocumentKey { collection: LOCK_HOLDERS, id };
        let beat = get_one::<serde::de::IgnoredAny>(&*self.0.state, key.clone()).await?;
        let Some(beat) = beat.and_then(|held| held.revision) else {
            return Ok(Some(vec![Write::guard(key, Expected::Absent)]));
        };
        let is_dead = self.0.lock().dead.get(&key) == Some(&beat);
        Ok(is_dead.then(|| vec![Write::guard(key, Expected::Is(beat))]))
    }

    /// Takes the lock of this name, and waits for it if somebody has it; `None` once this much time has passed. The lock of
    /// who has it is untouched then.
    ///
    /// It asks the store after 1 ms, and then less and less often, up to each beat.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock).
    ///
    /// # Cancel safety
    /// As [`try_lock`](Self::try_lock).
    pub async fn wait_for(&self, name: &str, timeout: Duration) -> Result<Option<Lock>> {
        let begun = self.0.timer.elapsed();
        let mut pause = FIRST_POLL;
        loop {
            if let Some(lock) = self.try_lock(name).await? {
                return Ok(Some(lock));
            }
            let left = timeout.saturating_sub(self.0.timer.elapsed().saturating_sub(begun));
            if left.is_zero() {
                return Ok(None);
            }
            self.0.timer.sleep(pause.min(left)).await;
            pause = pause.saturating_mul(2).min(self.0.times.beat);
        }
    }
}

impl Keeper {
    /// Beats until [`Locks::stop`] is called. A store that is away does not end it.
    ///
    /// # Cancel safety
    /// If it is dropped, what is held is free once its holder is dead to others.
    pub async fn run(mut self) {
        let inner = Arc::clone(&self.inner);
        while !inner.stopping.is_asked() {
            if let Err(error) = self.beat().await {
                tracing::warn!(name: "annals.lock_beat_failed", error = %chain(&error));
            }
            let mut over = inner.timer.sleep(inner.times.beat);
            loop {
                let woken = inner.wake.listen();
                self.release_dropped(false).await;
                let stopped = inner.stopping.wait();
                futures_util::pin_mut!(stopped);
                match select(select(woken, stopped), &mut over).await {
                    futures_util::future::Either::Left(_) if !inner.stopping.is_asked() => {}
                    _ => break,
                }
            }
        }
        self.release_dropped(true).await;
        self.members.leave().await;
    }

    async fn beat(&mut self) -> Result<(), StateError> {
        let seen = self.members.beat(true).await?;
        self.members.observe(seen.iter().map(|one| (one.key.clone(), one.revision)));
        let dead: HashMap<DocumentKey, Revision> = seen
            .into_iter()
            .filter(|one| one.member.node != self.inner.node)
            .filter_map(|one| Some((one.key.clone(), self.members.dead(&one.key)?)))
            .collect();
        self.inner.lock().dead.clone_from(&dead);
        // A holder without a beat has no lock: what it held is free as before.
        for (key, revision) in dead {
            self.members.bury(key, revision).await;
        }
        self.release_dropped(true).await;
        Ok(())
    }

    /// Releases what was dropped; at a beat also what could not be released before.
    async fn release_dropped(&self, is_beat: bool) {
        let dropped = self.inner.lock().dropped.clone();
        for one in dropped.into_iter().filter(|one| is_beat || one.beats == 0) {
            let write = Write::delete(one.key.clone(), Expected::Is(one.revision));
            let outcome = commit(&*self.inner.state, [write]).await;
            let mut known = self.inner.lock();
            let is_over = match outcome {
                Ok(_) => true,
                Err(StateError::Conflict(_)) => one.beats >= RELEASE_BEATS,
                Err(_) => false,
            };
            if is_over {
                known.dropped.retain(|other| other.revision != one.revision);
            } else if let Some(kept) =
                known.dropped.iter_mut().find(|other| other.revision == one.revision)
            {
                kept.beats += 1;
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.inner.lock().has_ended = true;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock that is held. It is released when it is dropped, at the keeper's next turn.
#[must_use = "a lock that is dropped is released"]
pub struct Lock {
    inner: Arc<Inner>,
    key: DocumentKey,
    revision: Revision,
}

impl Lock {
    /// That the lock is still held, as a guard for a commit: it fails with a conflict if the lock was lost.
    #[must_use]
    pub fn fence(&self) -> Write {
        Write::guard(self.key.clone(), Expected::Is(self.revision))
    }

    /// Releases it, and waits until it is free.
    ///
    /// # Errors
    /// [`Fenced`](ProcessingError::Fenced) if it was lost before: somebody else may have held it meanwhile. Those of the state
    /// store; the keeper tries it again then.
    ///
    /// # Cancel safety
    /// If it is dropped, the keeper releases the lock.
    pub async fn release(self) -> Result<()> {
        let write = Write::delete(self.key.clone(), Expected::Is(self.revision));
        match commit(&*self.inner.state, [write]).await {
            Ok(_) => {
                self.forget();
                Ok(())
            }
            Err(StateError::Conflict(_)) => {
                let what = format!("lock {}", self.key.id).into();
                self.forget();
                Err(ProcessingError::Fenced { what })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// There is nothing to release.
    fn forget(self) {
        self.inner.lock().held.retain(|held| *held != self.revision);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut known = self.inner.lock();
        let before = known.held.len();
        known.held.retain(|held| *held != self.revision);
        if known.held.len() < before {
            let (key, revision) = (self.key.clone(), self.revision);
            known.dropped.push(Dropped { key, revision, beats: 0 });
            drop(known);
            self.inner.wake.notify(usize::MAX);
        }
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks").field("node", &self.0.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("name", &self.key.id).finish_non_exhaustive()
    }
}
