//! Aggregates by id: loading, saving, and commands.

mod command;
mod done;
mod load;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use annals::{Context, EventId, EventStore, Position, StoredEvent, StreamId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::decide::Commands;
use crate::error::{Error, ExecuteError, Result};
use crate::event::Unknown;
use crate::kind::DISCARDED;
use crate::loaded::Loaded;
use crate::outcome::Outcome;
use crate::queue::Turns;
use crate::retry::Retry;
use crate::root::Root;
use crate::save::save_with;
use crate::snapshot::{SnapshotPolicy, SnapshotStore, Snapshots};
use crate::state::Aggregate;
use command::Existence;

pub use done::Done;

/// The aggregates of one type. Clones share cache and turns.
pub struct Repository<A> {
    commands: Commands,
    unknown: Unknown,
    cache: Option<Arc<Cache<A>>>,
    snapshots: Option<Arc<Snapshots<A>>>,
    turns: Option<Turns>,
}

impl<A: Aggregate> Repository<A> {
    /// The aggregates of `store`, without cache and snapshots.
    #[must_use]
    pub fn new(store: EventStore) -> Self {
        Self {
            commands: Commands::new(store),
            unknown: Unknown::default(),
            cache: None,
            snapshots: None,
            turns: Some(Turns::default()),
        }
    }

    /// Keeps the `most` aggregates that were used last, so that only newer events are read.
    #[must_use]
    pub fn cached(mut self, most: NonZeroUsize) -> Self {
        self.cache = Some(Arc::new(Cache::new(most)));
        self
    }

    /// Takes snapshots, and begins at them.
    #[must_use]
    pub fn snapshots(mut self, store: Arc<dyn SnapshotStore>, policy: SnapshotPolicy) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        self.snapshots = Some(Arc::new(Snapshots::new(store, policy)));
        self
    }

    /// How often commands are tried.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.commands.retry = retry;
        self
    }

    /// What is done about events whose name the aggregate does not have.
    #[must_use]
    pub fn unknown(mut self, unknown: Unknown) -> Self {
        self.unknown = unknown;
        self
    }

    /// Lets commands on one stream race each other in this process, too.
    #[must_use]
    pub fn unqueued(mut self) -> Self {
        self.turns = None;
        self
    }

    /// The same repository, whose events say what caused them.
    #[must_use]
    pub fn with(&self, context: Context) -> Self {
        let mut with = self.clone();
        with.commands.context = context;
        with
    }

    /// The same repository for one command: repeated under the same id, it is not carried out again but answered with the
    /// events of the first time. A command that decided that nothing happens leaves no trace, and decides again.
    ///
    /// # Errors
    /// [`Error::Store`] (`Unsupported`) if the store does not recognise the ids of all events.
    pub fn command(&self, id: EventId) -> Result<Self> {
        Ok(Self { commands: self.commands.command(id)?, ..self.clone() })
    }

    /// The aggregate, as a copy of its own.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was never created, or was discarded; [`Error::Decode`] if an event cannot be read;
    /// [`Error::Store`] with those of the read, or `Invalid` if the id's text is no name of a stream.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn get(&self, id: &A::Id) -> Result<Root<A>> {
        let stream = A::stream(id)?;
        let loaded = self.load(&stream, None).await?;
        existing(id, stream, loaded)
    }

    /// The aggregate after its first `version` events, also of one that was discarded later.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`Error::VersionNotReached`] if it has fewer events.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn get_at(&self, id: &A::Id, version: u64) -> Result<Root<A>> {
        let root = self.at_most(id, version).await?;
        let current = root.version();
        if current < version {
            let stream = Box::new(root.stream().clone());
            return Err(Error::VersionNotReached { stream, current, wanted: version });
        }
        Ok(root)
    }

    /// The aggregate after its first `version` events, or after all if it has fewer.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn at_most(&self, id: &A::Id, version: u64) -> Result<Root<A>> {
        let stream = A::stream(id)?;
        let Some(until) = Position::new(version).prev() else {
            return Err(Error::not_found(&stream));
        };
        let cached = self.cached_entry(&stream).filter(|entry| entry.version <= version);
        let loaded = self.load_until(&stream, cached, Some(until)).await?;
        existing(id, stream, loaded)
    }

    /// Whether the aggregate was created and not discarded. It reads one event.
    ///
    /// # Errors
    /// [`Error::Store`], as [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn contains(&self, id: &A::Id) -> Result<bool> {
        let last = self.commands.store.latest(A::stream(id)?).await?;
        Ok(last.is_some_and(|last| *last.name() != DISCARDED))
    }

    /// Saves what is pending: see [`save`](crate::save()).
    ///
    /// # Errors
    /// As [`save`](crate::save()).
    ///
    /// # Cancel safety
    /// As [`save`](crate::save()).
    pub async fn save(&self, root: &mut Root<A>) -> Result<Vec<StoredEvent>> {
        let Commands { store, context, retry, .. } = &self.commands;
        let stored = save_with(store, context, *retry, &mut [root]).await?;
        if let Some(snapshots) = &self.snapshots {
            let before = root.version() - stored.len() as u64;
            if stored.last().is_some_and(|last| *last.name() == DISCARDED) {
                snapshots.forget(root.stream()).await;
            } else if snapshots.policy.is_due(before, root.version()) {
                snapshots.save(root.stream(), &root.loaded()).await;
            }
        }
        Ok(stored)
    }

    /// Ends an aggregate: appends the event `discarded`, and forgets its snapshots. Its id is not used again, and its
    /// earlier versions can still be loaded.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`save`](Self::save).
    ///
    /// # Cancel safety
    /// As [`save`](Self::save); snapshots that are left are not used.
    pub async fn discard(&self, id: &A::Id) -> Result<Vec<StoredEvent>> {
        let stream = A::stream(id)?;
        let _turn = self.turn(&stream).await;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let discarded = match self.get(id).await {
                Ok(mut root) => {
                    root.discard_as(self.commands.command.map(|command| command.derived(0)))?;
                    self.save(&mut root).await
                }
                Err(error) => Err(error),
            };
            match discarded {
                Err(Error::Conflict { .. }) if attempts < self.commands.retry.most() => {
                    self.commands.retry.pause(attempts).await;
                }
                Err(Error::Conflict { unmet, .. }) => {
                    return Err(Error::Conflict { unmet, attempts });
                }
                Err(error) => {
                    let repeated = if error.is_not_found() || error.is_duplicate() {
                        self.commands.repeated::<A::Event>(&stream, attempts).await?
                    } else {
                        None
                    };
                    return repeated.map(|repeated| repeated.stored).ok_or(error);
                }
                Ok(stored) => return Ok(stored),
            }
        }
    }

    /// Creates an aggregate by a decision, and saves it.
    ///
    /// # Errors
    /// `Rejected` with what the decision says. `Failed` with [`Error::AlreadyExists`] if its stream has events, also those
    /// of a discarded aggregate; with [`Error::Conflict`] after all attempts; otherwise as [`save`](Self::save).
    ///
    /// # Cancel safety
    /// All or nothing is stored if it is dropped; a command id says which.
    pub async fn create<O: Outcome<A::Event>>(
        &self,
        id: &A::Id,
        mut decide: impl FnMut() -> O,
    ) -> Result<Done<A>, ExecuteError<O::Error>> {
        self.run(id, Existence::Missing, |_| decide()).await
    }

    /// Decides on the current state, and appends the events under the condition that the aggregate was not changed
    /// meanwhile; if it was, it decides again. The decision must depend on nothing but the state.
    ///
    /// With a [cache](Self::cached) the first decision is made on what the cache has, without a read: the append's condition
    /// finds out whether it is current. A rejection, and a decision that nothing happens, are confirmed by a read. If only
    /// one attempt is [allowed](Self::retry), it is made on what was read.
    ///
    /// # Errors
    /// `Rejected` with what the decision says; it is not asked again. `Failed` with [`Error::NotFound`] if the aggregate
    /// does not exist, with [`Error::Conflict`] after all attempts; otherwise as [`save`](Self::save).
    ///
    /// # Cancel safety
    /// All or nothing is stored if it is dropped; a command id says which.
    pub async fn execute<O: Outcome<A::Event>>(
        &self,
        id: &A::Id,
        decide: impl FnMut(&A) -> O,
    ) -> Result<Done<A>, ExecuteError<O::Error>> {
        self.run(id, Existence::Needed, decide).await
    }

    /// The same, where an aggregate that was never created is shown as `Default`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); `NotFound` only if the aggregate was discarded.
    ///
    /// # Cancel safety
    /// As [`execute`](Self::execute).
    pub async fn execute_or_create<O: Outcome<A::Event>>(
        &self,
        id: &A::Id,
        decide: impl FnMut(&A) -> O,
    ) -> Result<Done<A>, ExecuteError<O::Error>> {
        self.run(id, Existence::Any, decide).await
    }

    /// Takes a snapshot of the current state now. What goes wrong with snapshots is logged.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`Error::Store`] (`Invalid`) if the repository has no snapshots.
    ///
    /// # Cancel safety
    /// The snapshot is taken or not.
    pub async fn snapshot(&self, id: &A::Id) -> Result<()> {
        let Some(snapshots) = &self.snapshots else {
            return Err(annals::Error::invalid("the repository has no snapshots").into());
        };
        let stream = A::stream(id)?;
        let loaded = self.load(&stream, None).await?;
        if !loaded.exists() {
            return Err(Error::not_found(&stream));
        }
        snapshots.save(&stream, &loaded).await;
        Ok(())
    }
}

/// The aggregate for the caller, if it exists.
fn existing<A: Aggregate>(id: &A::Id, stream: StreamId, loaded: Arc<Loaded<A>>) -> Result<Root<A>> {
    if !loaded.exists() {
        return Err(Error::not_found(&stream));
    }
    Ok(Root::of(id.clone(), stream, Arc::unwrap_or_clone(loaded)))
}

impl<A> Clone for Repository<A> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            unknown: self.unknown,
            cache: self.cache.clone(),
            snapshots: self.snapshots.clone(),
            turns: self.turns.clone(),
        }
    }
}

impl<A> fmt::Debug for Repository<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("aggregate", &std::any::type_name::<A>())
            .field("cache", &self.cache)
            .field("snapshots", &self.snapshots.is_some())
            .finish_non_exhaustive()
    }
}
