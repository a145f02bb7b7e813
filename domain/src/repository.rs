//! Aggregates by id: loading, saving, and commands.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use annals::{
    Context, EventId, EventStore, Position, ReadOptions, StoredEvent, StreamId, WriteCondition,
};
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::decide::{Commands, Decided, Target};
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

/// The aggregates of one type. Clones share cache and turns.
pub struct Repository<A> {
    commands: Commands,
    unknown: Unknown,
    cache: Option<Arc<Cache<A>>>,
    snapshots: Option<Arc<Snapshots<A>>>,
    turns: Option<Turns>,
}

/// A command that was carried out.
#[non_exhaustive]
pub struct Done<A> {
    /// The events of the command, as stored; none if it decided that nothing happens.
    pub events: Vec<StoredEvent>,
    /// How many decisions were made.
    pub attempts: u32,
    /// Whether the command had been carried out before: [`events`](Self::events) are then those of the first time.
    pub repeated: bool,
    loaded: Arc<Loaded<A>>,
}

impl<A> Done<A> {
    /// The state after the command.
    #[must_use]
    pub fn state(&self) -> &A {
        &self.loaded.state
    }

    /// How many events the aggregate has.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.loaded.version
    }
}

impl<A> Clone for Done<A> {
    fn clone(&self) -> Self {
        Self {
            events: self.events.clone(),
            attempts: self.attempts,
            repeated: self.repeated,
            loaded: Arc::clone(&self.loaded),
        }
    }
}

impl<A> fmt::Debug for Done<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done")
            .field("events", &self.events)
            .field("attempts", &self.attempts)
            .field("repeated", &self.repeated)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
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

    async fn run<O: Outcome<A::Event>>(
        &self,
        id: &A::Id,
        existence: Existence,
        mut decide: impl FnMut(&A) -> O,
    ) -> Result<Done<A>, ExecuteError<O::Error>> {
        let stream = A::stream(id)?;
        let turn = self.turn(&stream).await;
        let mut one = One { repository: self, stream: &stream, existence, loaded: None };
        let decided: Decided<A::Event> =
            self.commands.run(&stream, &mut one, |one| decide(one.state())).await?;
        let Decided { events, stored, attempts, repeated } = decided;
        let base = one.loaded.take();
        let loaded = match base {
            Some(base) if !repeated => self.after(&stream, base, events, &stored).await?,
            base => self.load(&stream, base).await?,
        };
        drop(turn);
        Ok(Done { events: stored, attempts, repeated, loaded })
    }

    /// The state after the events that were just appended; nothing is copied if nobody else holds it.
    async fn after(
        &self,
        stream: &StreamId,
        base: Arc<Loaded<A>>,
        events: Vec<A::Event>,
        stored: &[StoredEvent],
    ) -> Result<Arc<Loaded<A>>> {
        if stored.is_empty() {
            return Ok(base);
        }
        if let Some(cache) = &self.cache {
            cache.remove(stream, &base);
        }
        let mut loaded = Arc::unwrap_or_clone(base);
        let before = loaded.version;
        let mut pairs = stored.iter().zip(events);
        if pairs.try_for_each(|(stored, event)| loaded.follow(stored, Some(event))).is_err() {
            // A layer placed them elsewhere: the log says what the state is.
            return self.load(stream, None).await;
        }
        let loaded = Arc::new(loaded);
        self.keep(stream, &loaded);
        if let Some(snapshots) = &self.snapshots
            && snapshots.policy.is_due(before, loaded.version)
        {
            snapshots.save(stream, &loaded).await;
        }
        Ok(loaded)
    }

    async fn turn(&self, stream: &StreamId) -> Option<crate::queue::Turn> {
        match &self.turns {
            Some(turns) => Some(turns.take(stream).await),
            None => None,
        }
    }

    fn cached_entry(&self, stream: &StreamId) -> Option<Arc<Loaded<A>>> {
        self.cache.as_ref().and_then(|cache| cache.get(stream))
    }

    fn keep(&self, stream: &StreamId, loaded: &Arc<Loaded<A>>) {
        if let Some(cache) = &self.cache
            && loaded.version > 0
        {
            cache.put(stream, loaded);
        }
    }

    /// The current state: from `base`, from the cache, from a snapshot, or from the first event.
    async fn load(
        &self,
        stream: &StreamId,
        base: Option<Arc<Loaded<A>>>,
    ) -> Result<Arc<Loaded<A>>> {
        let base = base.or_else(|| self.cached_entry(stream));
        self.load_until(stream, base, None).await
    }

    async fn load_until(
        &self,
        stream: &StreamId,
        base: Option<Arc<Loaded<A>>>,
        until: Option<Position>,
    ) -> Result<Arc<Loaded<A>>> {
        if let Some(base) = base
            && let Some(loaded) = self.forward(stream, base, until).await?
        {
            return Ok(loaded);
        }
        let at_most = until.map_or(u64::MAX, |until| until.value().saturating_add(1));
        if let Some(snapshots) = &self.snapshots
            && let Some(base) = snapshots.load(stream, at_most).await
        {
            let version = base.version;
            if let Some(loaded) = self.forward(stream, Arc::new(base), until).await? {
                return Ok(loaded);
            }
            tracing::warn!(%stream, version, "annals.snapshot_of_another_log");
        }
        let fresh = self.forward(stream, Arc::new(Loaded::new()), until).await?;
        fresh.ok_or_else(|| Error::not_found(stream))
    }

    /// Folds what the log has after `base`. The read begins at the last event of `base`; `None` if the log has another
    /// one there: `base` belongs to another history.
    async fn forward(
        &self,
        stream: &StreamId,
        base: Arc<Loaded<A>>,
        until: Option<Position>,
    ) -> Result<Option<Arc<Loaded<A>>>> {
        let mut options = ReadOptions::default();
        // A number, not the position: the index of a stream is sorted by it in SQLite.
        if let Some(before) = base.last.and_then(|last| last.sequence_number.prev()) {
            options = options.after(before);
        }
        if let Some(until) = until {
            options = options.until_position(until);
        }
        let mut pages = self.commands.store.pages(stream.clone(), options);
        let mut proven = base.last.is_none();
        let mut base = Some(base);
        let mut loaded = None;
        let mut at_head = false;
        while !at_head && let Some(page) = pages.next().await {
            let page = page?;
            at_head = page.at_head;
            let mut events = page.events.as_slice();
            if !proven && let Some((first, rest)) = events.split_first() {
                if !base.as_ref().is_some_and(|base| base.ends_with(first)) {
                    break;
                }
                (proven, events) = (true, rest);
            }
            if events.is_empty() {
                continue;
            }
            if let Some(base) = base.take() {
                if let Some(cache) = &self.cache {
                    cache.remove(stream, &base);
                }
                loaded = Some(Arc::unwrap_or_clone(base));
            }
            if let Some(loaded) = &mut loaded {
                events.iter().try_for_each(|event| loaded.apply(event, self.unknown))?;
            }
        }
        if !proven {
            if let (Some(cache), Some(base)) = (&self.cache, &base) {
                cache.remove(stream, base);
            }
            return Ok(None);
        }
        let Some(loaded) = loaded.map(Arc::new).or(base) else { return Ok(None) };
        self.keep(stream, &loaded);
        Ok(Some(loaded))
    }
}

/// The aggregate for the caller, if it exists.
fn existing<A: Aggregate>(id: &A::Id, stream: StreamId, loaded: Arc<Loaded<A>>) -> Result<Root<A>> {
    if !loaded.exists() {
        return Err(Error::not_found(&stream));
    }
    Ok(Root::of(id.clone(), stream, Arc::unwrap_or_clone(loaded)))
}

/// What a command expects of its aggregate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existence {
    Missing,
    Needed,
    Any,
}

/// The aggregate that a command decides on.
struct One<'r, A: Aggregate> {
    repository: &'r Repository<A>,
    stream: &'r StreamId,
    existence: Existence,
    loaded: Option<Arc<Loaded<A>>>,
}

impl<A: Aggregate> One<'_, A> {
    fn loaded(&self) -> &Loaded<A> {
        self.loaded.as_deref().expect("a decision is made after a recall or a refresh")
    }

    fn state(&self) -> &A {
        &self.loaded().state
    }

    /// Whether the command finds what it expects.
    fn check(&self, loaded: &Loaded<A>) -> Result<()> {
        match self.existence {
            Existence::Missing if loaded.version > 0 => {
                Err(Error::AlreadyExists(Box::new(self.stream.clone())))
            }
            Existence::Needed if !loaded.exists() => Err(Error::not_found(self.stream)),
            Existence::Any if loaded.is_discarded => Err(Error::not_found(self.stream)),
            _ => Ok(()),
        }
    }
}

impl<A: Aggregate> Target for One<'_, A> {
    fn recall(&mut self) -> bool {
        self.loaded = self.repository.cached_entry(self.stream);
        self.loaded.is_some() && self.check(self.loaded()).is_ok()
    }

    async fn refresh(&mut self) -> Result<bool> {
        let known = self.loaded.take();
        let before = known.as_ref().and_then(|known| known.last);
        let loaded = self.repository.load(self.stream, known).await?;
        let has_changed = loaded.last != before;
        let outcome = self.check(&loaded);
        self.loaded = Some(loaded);
        outcome.map(|()| has_changed)
    }

    fn condition(&self) -> WriteCondition {
        self.loaded().is_current()
    }
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
