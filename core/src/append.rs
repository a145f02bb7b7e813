//! What is appended.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::clock::{self, Clock};
use crate::condition::WriteCondition;
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
