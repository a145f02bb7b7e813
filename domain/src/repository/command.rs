//! A command on one aggregate: its turn, its decisions, and the state after it.

use std::sync::Arc;

use annals::{StoredEvent, StreamId, WriteCondition};

use super::Repository;
use super::done::Done;
use crate::decide::{Decided, Target};
use crate::error::{Error, ExecuteError, Result};
use crate::loaded::Loaded;
use crate::outcome::Outcome;
use crate::queue::Turn;
use crate::state::Aggregate;

impl<A: Aggregate> Repository<A> {
    pub(super) async fn run<O: Outcome<A::Event>>(
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

    pub(super) async fn turn(&self, stream: &StreamId) -> Option<Turn> {
        match &self.turns {
            Some(turns) => Some(turns.take(stream).await),
            None => None,
        }
    }
}

/// What a command expects of its aggregate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existence {
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
