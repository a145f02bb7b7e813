//! What is appended.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::clock::{self, Clock};
use crate::condition::{LAYER_CONDITION_DEPTH, MAX_CONDITION_DEPTH, WriteCondition};
use crate::error::{Error, Result};
use crate::event::NewEvent;
use crate::name::{EventName, InvalidName, StreamId};
use crate::payload::Payload;

/// What one call appends to one stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Append {
    /// The stream to append to; it need not exist.
    pub stream: StreamId,
    /// The events, in order. Without events it is a guard: only the condition is judged.
    pub events: Vec<NewEvent>,
    /// What must hold for the whole call to succeed.
    pub condition: WriteCondition,
}

impl Append {
    /// Appends `events` to `stream` if `condition` holds.
    pub fn new(
        stream: StreamId,
        events: impl IntoIterator<Item = NewEvent>,
        condition: WriteCondition,
    ) -> Self {
        Self { stream, events: events.into_iter().collect(), condition }
    }

    /// A guard: appends nothing, and fails the call unless `condition` holds for `stream`.
    #[must_use]
    pub fn guard(stream: StreamId, condition: WriteCondition) -> Self {
        Self::new(stream, [], condition)
    }
}

impl Append {
    /// For crates of Annals that use [`append_reserved`](crate::EventStore::append_reserved) for an application: rejects
    /// what [`EventStore::append`](crate::EventStore::append) rejects.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is reserved, and for conditions nested so deep that nothing is left for layers.
    pub fn check_reserved(&self) -> Result<()> {
        let category = &self.stream.category;
        if !self.events.is_empty() && category.as_str().starts_with("annals.") {
            let text =
                format!("category {category} is reserved: names that begin with `annals.` are");
            return Err(Error::invalid(text));
        }
        for event in &self.events {
            let encoding = event.payload.encoding();
            if encoding.as_str().starts_with("annals-") {
                let text =
                    format!("encoding {encoding} is reserved: those that begin with `annals-` are");
                return Err(Error::invalid(text));
            }
            if event.name == "discarded" {
                return Err(Error::invalid("the event name `discarded` is reserved"));
            }
        }
        self.condition.check_depth(MAX_CONDITION_DEPTH - LAYER_CONDITION_DEPTH)
    }
}

impl NewEvent {
    /// An event as [`new`](Self::new) makes it, with a JSON payload.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is invalid or the payload does not serialize.
    pub fn json(
        name: impl TryInto<EventName, Error: Into<InvalidName>>,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Self> {
        let name = name.try_into().map_err(|error| Error::from(error.into()))?;
        Ok(Self::new(name, Payload::json(payload)?))
    }
}

/// For adapters: the time of the clock `of` as `recorded_at` of what is appended now.
///
/// # Errors
/// [`Error::Invalid`] if it lies outside the years 1 to 9999 of UTC: an event of such a time could not be read back.
pub fn recording_time(of: &dyn Clock) -> Result<OffsetDateTime> {
    let now = of.now();
    if clock::is_storable(now) {
        Ok(clock::cut_to_micros(now))
    } else {
        Err(Error::invalid("the clock of the store is not in the years 1 to 9999 of UTC"))
    }
}
