//! An aggregate in memory, with the events that are not saved yet.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;

use annals::{EventId, EventName, NewEvent, Payload, StoredEvent, StreamId, WriteCondition};
use time::OffsetDateTime;

use crate::error::{Error, ExecuteError, Result};
use crate::event::{Unknown, new_event};
use crate::kind::DISCARDED;
use crate::loaded::{Last, Loaded, replay};
use crate::outcome::Outcome;
use crate::state::Aggregate;

/// An aggregate, with the events that are not saved yet. It derefs to the state, which only events change.
///
/// Events are written when they are triggered: one that does not serialize changes nothing, and its id is fixed from then
/// on, so every save of it can be repeated. They stay pending until a save has succeeded.
#[must_use = "pending events are lost if it is not saved"]
pub struct Root<A: Aggregate> {
    id: A::Id,
    stream: StreamId,
    state: A,
    /// With the pending events.
    version: u64,
    last: Option<Last>,
    created_at: Option<OffsetDateTime>,
    modified_at: Option<OffsetDateTime>,
    is_discarded: bool,
    pending: Vec<NewEvent>,
}

impl<A: Aggregate> Root<A> {
    /// An aggregate before its first event.
    ///
    /// # Errors
    /// [`Error::Store`] (`Invalid`) if the id's text is no name of a stream.
    pub fn new(id: A::Id) -> Result<Self> {
        let stream = A::stream(&id)?;
        Ok(Self::of(id, stream, Loaded::new()))
    }

    /// An aggregate with its first events, pending.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`trigger`](Self::trigger).
    pub fn create(id: A::Id, outcome: impl Outcome<A::Event, Error = Infallible>) -> Result<Self> {
        let mut root = Self::new(id)?;
        let events = outcome.into_events().unwrap_or_else(|never| match never {});
        root.trigger_all(events)?;
        Ok(root)
    }

    /// The aggregate after `events`, all of its stream from the first on.
    ///
    /// # Errors
    /// [`Error::Replay`] if one is of another stream or not the next; [`Error::Decode`] if one cannot be read. As
    /// [`new`](Self::new).
    pub fn replay<'a>(
        id: A::Id,
        events: impl IntoIterator<Item = &'a StoredEvent>,
    ) -> Result<Self> {
        let stream = A::stream(&id)?;
        let mut loaded = Loaded::<A>::new();
        for event in events {
            if event.stream != stream {
                return Err(replay(&stream, loaded.next(), event));
            }
            loaded.apply(event, Unknown::Error)?;
        }
        Ok(Self::of(id, stream, loaded))
    }

    pub(crate) fn of(id: A::Id, stream: StreamId, loaded: Loaded<A>) -> Self {
        let Loaded { state, version, last, created_at, modified_at, is_discarded } = loaded;
        let pending = Vec::new();
        Self { id, stream, state, version, last, created_at, modified_at, is_discarded, pending }
    }

    /// Applies an event, and keeps it for the next save.
    ///
    /// # Errors
    /// [`Error::NotFound`] after a discard; [`Error::Store`] (`Invalid`) if it does not serialize. Nothing is changed.
    pub fn trigger(&mut self, event: A::Event) -> Result<()> {
        self.trigger_all([event])
    }

    fn trigger_all(&mut self, events: impl IntoIterator<Item = A::Event>) -> Result<()> {
        // All are written before one is applied: of a decision everything happens or nothing.
        let written = events.into_iter().map(new_event).collect::<Result<Vec<_>>>()?;
        if self.is_discarded && !written.is_empty() {
            return Err(Error::not_found(&self.stream));
        }
        for (event, new) in written {
            self.state.apply(event);
            self.push(new);
        }
        Ok(())
    }

    fn push(&mut self, new: NewEvent) {
        self.version += 1;
        self.created_at = self.created_at.or(Some(new.occurred_at));
        self.modified_at = Some(new.occurred_at);
        self.pending.push(new);
    }

    /// Decides on the state, and applies the events of the decision.
    ///
    /// # Errors
    /// `Rejected` with what the decision says; `Failed` as [`trigger`](Self::trigger). Nothing is changed.
    pub fn execute<O: Outcome<A::Event>>(
        &mut self,
        decide: impl FnOnce(&A) -> O,
    ) -> Result<(), ExecuteError<O::Error>> {
        if self.is_discarded {
            return Err(ExecuteError::Failed(Error::not_found(&self.stream)));
        }
        let events = decide(&self.state).into_events().map_err(ExecuteError::Rejected)?;
        Ok(self.trigger_all(events)?)
    }

    /// Ends the aggregate with the event `discarded`, pending. Its earlier versions can still be loaded.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has no events or was discarded before.
    pub fn discard(&mut self) -> Result<()> {
        if self.version == 0 || self.is_discarded {
            return Err(Error::not_found(&self.stream));
        }
        self.push(discarded()?);
        self.is_discarded = true;
        Ok(())
    }

    /// The same under the id of a command.
    pub(crate) fn discard_as(&mut self, id: Option<EventId>) -> Result<()> {
        self.discard()?;
        if let (Some(id), Some(event)) = (id, self.pending.last_mut()) {
            event.id = id;
        }
        Ok(())
    }

    /// What identifies it.
    pub const fn id(&self) -> &A::Id {
        &self.id
    }

    /// Its stream.
    pub const fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// How many events it has, with the pending ones.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// When its first event occurred.
    #[must_use]
    pub const fn created_at(&self) -> Option<OffsetDateTime> {
        self.created_at
    }

    /// When its last event occurred.
    #[must_use]
    pub const fn modified_at(&self) -> Option<OffsetDateTime> {
        self.modified_at
    }

    /// The events that are not saved yet, in order.
    #[must_use]
    pub fn pending(&self) -> &[NewEvent] {
        &self.pending
    }

    /// That the stream is still as it was loaded.
    pub(crate) fn is_current(&self) -> WriteCondition {
        self.last.map_or(WriteCondition::StreamIsEmpty, |last| WriteCondition::LastEventIs(last.id))
    }

    /// The pending events are in the log, of which `last` is the last.
    pub(crate) fn saved(&mut self, last: Option<&StoredEvent>) {
        if let Some(last) = last {
            self.last = Some(Last { id: last.id(), sequence_number: last.sequence_number });
            self.pending.clear();
        }
    }

    /// What a cache or a snapshot keeps of it; only if nothing is pending.
    pub(crate) fn loaded(&self) -> Loaded<A> {
        Loaded {
            state: self.state.clone(),
            version: self.version,
            last: self.last,
            created_at: self.created_at,
            modified_at: self.modified_at,
            is_discarded: self.is_discarded,
        }
    }
}

/// The event that ends an aggregate.
pub(crate) fn discarded() -> Result<NewEvent> {
    let payload = Payload::json(&serde_json::Map::new())?;
    Ok(NewEvent::new(EventName::from_static(DISCARDED), payload))
}

impl<A: Aggregate> Deref for Root<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.state
    }
}

impl<A: Aggregate + fmt::Debug> fmt::Debug for Root<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("stream", &self.stream)
            .field("version", &self.version)
            .field("pending", &self.pending.len())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
