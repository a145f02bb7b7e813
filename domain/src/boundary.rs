//! Decisions over queries: dynamic consistency boundaries.

use annals::{
    Context, EventId, EventStore, ReadOptions, SequenceNumber, StoredEvent, StreamId,
    WriteCondition,
};
use futures_util::StreamExt;

use crate::decide::{Commands, Target};
use crate::error::{ExecuteError, Result};
use crate::event::Event;
use crate::outcome::Outcome;
use crate::retry::Retry;
use crate::slice::{Slices, query};

/// Decisions whose state is not that of one stream. What a decision looks at is also what its append is conditional on: the
/// query of the read is that of the condition.
///
/// Events need a stream: those of a boundary go to the one that it names.
#[derive(Debug, Clone)]
pub struct Boundary {
    commands: Commands,
    stream: StreamId,
}

impl Boundary {
    /// Decisions whose events go to `stream`.
    #[must_use]
    pub fn new(store: EventStore, stream: StreamId) -> Self {
        Self { commands: Commands::new(store), stream }
    }

    /// How often decisions are tried.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.commands.retry = retry;
        self
    }

    /// The same boundary, whose events say what caused them.
    #[must_use]
    pub fn with(&self, context: Context) -> Self {
        let mut with = self.clone();
        with.commands.context = context;
        with
    }

    /// The same boundary for one command: see [`Repository::command`](crate::Repository::command).
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) (`Unsupported`) if the store does not recognise the ids of all events.
    pub fn command(&self, id: EventId) -> Result<Self> {
        Ok(Self { commands: self.commands.command(id)?, stream: self.stream.clone() })
    }

    /// Folds what the slices ask for.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) if an event cannot be read; [`Error::Store`](crate::Error::Store) with those
    /// of the read, such as `Unsupported` if the store has no tags.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn read<S: Slices>(&self, slices: S) -> Result<S> {
        let mut look = Look::new(&self.commands.store, slices);
        look.refresh().await?;
        Ok(look.slices)
    }

    /// Decides on the slices, and appends the events under the condition that nothing that they ask for happened
    /// meanwhile; if it did, it folds what is new and decides again. Returns the events as stored; of a command that was
    /// carried out before, those of the first time. A decision that looks at nothing is a plain append.
    ///
    /// # Errors
    /// `Rejected` with what the decision says. `Failed` as [`read`](Self::read), and with
    /// [`Error::Conflict`](crate::Error::Conflict) after all attempts; see [`Repository::execute`](crate::Repository::execute).
    ///
    /// # Cancel safety
    /// All or nothing is stored if it is dropped; a command id says which.
    pub async fn execute<S: Slices, E: Event, O: Outcome<E>>(
        &self,
        slices: S,
        mut decide: impl for<'a> FnMut(S::View<'a>) -> O,
    ) -> Result<Vec<StoredEvent>, ExecuteError<O::Error>> {
        let mut look = Look::new(&self.commands.store, slices);
        let decided = self
            .commands
            .run::<_, E, O>(&self.stream, &mut look, |look| decide(look.slices.view()));
        Ok(decided.await?.stored)
    }
}

/// What a decision sees, and how far it has looked.
struct Look<'s, S> {
    store: &'s EventStore,
    slices: S,
    /// No event up to here is unseen.
    through: SequenceNumber,
}

impl<'s, S: Slices> Look<'s, S> {
    fn new(store: &'s EventStore, slices: S) -> Self {
        Self { store, slices, through: SequenceNumber::START }
    }
}

impl<S: Slices> Target for Look<'_, S> {
    async fn refresh(&mut self) -> Result<bool> {
        let query = query(&self.slices);
        if query.items().is_empty() {
            return Ok(false);
        }
        let mut has_changed = false;
        let mut pages = self.store.pages(query, ReadOptions::default().after(self.through));
        while let Some(page) = pages.next().await {
            let page = page?;
            page.events.iter().try_for_each(|event| self.slices.apply(event))?;
            has_changed |= !page.events.is_empty();
            self.through = page.through;
        }
        Ok(has_changed)
    }

    fn condition(&self) -> WriteCondition {
        let query = query(&self.slices);
        if query.items().is_empty() {
            return WriteCondition::Always;
        }
        WriteCondition::no_match(query, self.through)
    }
}
