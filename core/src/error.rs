//! Errors, named by what the caller does next.

use crate::condition::Unmet;
use crate::event::{EventId, StoredEvent};
use crate::name::{EventName, InvalidName, StreamId};
use crate::payload::InvalidPayload;
use crate::position::{Position, SequenceNumber};

/// What an operation gives, or why not.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, told by what to do about it.
///
/// After every variant but [`OutcomeUnknown`](Self::OutcomeUnknown) nothing of the append was written.
/// Messages hold no payload, metadata or secret; only the source of [`Projection`](Self::Projection) is the projector's
/// own error, and says what that says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A write condition does not hold: read again, decide again, append again.
    #[error("{0}")]
    ConditionFailed(Box<Unmet>),
    /// The log has an event with this id. If it is your own from an earlier try, that try was done.
    #[error("event {0} is already in the log")]
    DuplicateEvent(EventId),
    /// The adapter does not declare this ability: do without it, or choose another adapter.
    #[error("{adapter} does not support {what}")]
    Unsupported {
        /// The adapter that refuses.
        adapter: &'static str,
        /// What it cannot do.
        what: &'static str,
    },
    /// The call makes no sense or goes beyond a declared limit: fix the call.
    #[error("invalid call: {0}")]
    Invalid(BoxError),
    /// The store cannot be had now, and nothing was written: try again later.
    #[error("the store is unavailable")]
    Unavailable(#[source] BoxError),
    /// The append may have been written or not: look its event ids up, or repeat it with the same ids.
    #[error("it is unknown whether the append was written")]
    OutcomeUnknown(#[source] BoxError),
    /// The store holds something that no append made: stop and look.
    #[error("the store is corrupt")]
    Corrupt(#[source] BoxError),
    /// The database failed in a way that none of the others covers; see the source.
    #[error("{adapter} failed")]
    Backend {
        /// The adapter that failed.
        adapter: &'static str,
        /// How.
        #[source]
        source: BoxError,
    },
    /// A projector refused an event: fix the projector and resume, the projection stands before that event.
    #[error(transparent)]
    Projection(Box<ProjectionError>),
}

const _: () = assert!(size_of::<Error>() <= 40, "results travel by value through every layer");

impl Error {
    /// The call makes no sense, for this reason.
    pub fn invalid(reason: impl Into<BoxError>) -> Self {
        Self::Invalid(reason.into())
    }

    /// The store cannot be had now, for this reason.
    pub fn unavailable(reason: impl Into<BoxError>) -> Self {
        Self::Unavailable(reason.into())
    }

    /// Whether the same call may succeed if it is made again unchanged, without a risk of doing it twice.
    ///
    /// True of [`Unavailable`](Self::Unavailable) only: after [`ConditionFailed`](Self::ConditionFailed) the
    /// decision must be made again, after [`OutcomeUnknown`](Self::OutcomeUnknown) the ids be looked up.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether a write condition did not hold.
    #[must_use]
    pub fn is_condition_failed(&self) -> bool {
        matches!(self, Self::ConditionFailed(_))
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error)
    }
}

impl From<InvalidPayload> for Error {
    fn from(error: InvalidPayload) -> Self {
        Self::invalid(error)
    }
}

/// At which event a projection stopped, and why.
#[derive(Debug, thiserror::Error)]
#[error("projection {projection} stopped at event #{sequence_number} {stream}@{position} {event}")]
#[non_exhaustive]
pub struct ProjectionError {
    /// The projection's name.
    pub projection: String,
    /// The name of the event that it could not apply.
    pub event: EventName,
    /// The stream of that event.
    pub stream: StreamId,
    /// Its place in the stream.
    pub position: Position,
    /// Its place in the log.
    pub sequence_number: SequenceNumber,
    /// What the projector said.
    #[source]
    pub source: BoxError,
}

impl ProjectionError {
    pub(crate) fn new(projection: String, at: &StoredEvent, source: BoxError) -> Self {
        Self {
            projection,
            event: at.event.name.clone(),
            stream: at.stream.clone(),
            position: at.position,
            sequence_number: at.sequence_number,
            source,
        }
    }
}
