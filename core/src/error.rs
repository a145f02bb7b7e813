//! Errors, classified by what the caller does next.

use std::borrow::Cow;
use std::fmt;

use crate::condition::Unmet;
use crate::event::{EventId, StoredEvent};
use crate::name::{EventName, InvalidName, StreamId};
use crate::payload::InvalidPayload;
use crate::position::{Position, SequenceNumber};

/// What an operation returns, or why it failed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error, classified by what the caller should do next.
///
/// After every variant but [`OutcomeUnknown`](Self::OutcomeUnknown) nothing of the append was written.
/// Messages hold no payload, metadata or secret; only the source of [`Projection`](Self::Projection) is the projector's
/// own error, and says what that says.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A write condition does not hold: read again, decide again, append again.
    ConditionFailed(Box<Unmet>),
    /// The log has an event with this id. If it is your own retry, the first attempt succeeded.
    DuplicateEvent(EventId),
    /// The adapter does not declare this ability: do without it, or choose another adapter.
    Unsupported {
        /// The adapter that rejects the call.
        adapter: Cow<'static, str>,
        /// What it cannot do.
        what: &'static str,
    },
    /// The call makes no sense or goes beyond a declared limit: fix the call.
    Invalid(BoxError),
    /// The store is temporarily unavailable, and nothing was written: try again later.
    Unavailable(Box<Failure>),
    /// The append may have been written or not: look its event ids up with
    /// [`EventStore::event`](crate::EventStore::event), or repeat it with the same ids.
    OutcomeUnknown(Box<Failure>),
    /// The store holds something that no append made: stop and look.
    Corrupt(Box<Failure>),
    /// The database failed in a way that none of the others covers; see the source.
    Backend(Box<Failure>),
    /// The adapter was closed: open the store again.
    Closed {
        /// The adapter that was closed.
        adapter: Cow<'static, str>,
    },
    /// The store went back behind what the caller has read (a restore, or a fail-over that lost commits): forget what
    /// was built from the events after [`head`](Self::AheadOfLog::head), and read again from there.
    AheadOfLog {
        /// The last sequence number that the caller knew.
        after: SequenceNumber,
        /// The last sequence number that the store has in the scope of the read.
        head: SequenceNumber,
    },
    /// A projector rejected an event: fix the projector and resume; the projection is as it was before that event.
    Projection(Box<ProjectionError>),
}

/// What a store-side error knows: which adapter failed, in which operation, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The adapter's name; empty until [`Error::at`] names it.
    pub adapter: Cow<'static, str>,
    /// What it was doing, such as `append`; empty until [`Error::at`] names it.
    pub operation: &'static str,
    /// Why it failed.
    pub source: BoxError,
}

impl Failure {
    fn boxed(source: impl Into<BoxError>) -> Box<Self> {
        Box::new(Self { adapter: Cow::Borrowed(""), operation: "", source: source.into() })
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        let adapter = if self.adapter.is_empty() { "the store" } else { &self.adapter };
        write!(f, "{adapter} {what}")?;
        if self.operation.is_empty() { Ok(()) } else { write!(f, " ({})", self.operation) }
    }
}

const _: () = assert!(size_of::<Error>() <= 40, "results travel by value through every layer");

impl Error {
    /// The call makes no sense, for this reason.
    pub fn invalid(reason: impl Into<BoxError>) -> Self {
        Self::Invalid(reason.into())
    }

    /// The store is temporarily unavailable, for this reason.
    pub fn unavailable(reason: impl Into<BoxError>) -> Self {
        Self::Unavailable(Failure::boxed(reason))
    }

    /// It is unknown whether the append was written, for this reason.
    pub fn outcome_unknown(reason: impl Into<BoxError>) -> Self {
        Self::OutcomeUnknown(Failure::boxed(reason))
    }

    /// The store is corrupt, for this reason.
    pub fn corrupt(reason: impl Into<BoxError>) -> Self {
        Self::Corrupt(Failure::boxed(reason))
    }

    /// The database failed, for this reason.
    pub fn backend(reason: impl Into<BoxError>) -> Self {
        Self::Backend(Failure::boxed(reason))
    }

    /// The adapter of this name was closed.
    pub fn closed(adapter: impl Into<Cow<'static, str>>) -> Self {
        Self::Closed { adapter: adapter.into() }
    }

    /// The adapter of this name does not support this.
    #[must_use]
    pub fn unsupported(adapter: &str, what: &'static str) -> Self {
        Self::Unsupported { adapter: Cow::Owned(adapter.to_owned()), what }
    }

    /// For adapters: names the adapter and the operation in a store-side error that does not name them yet. An adapter
    /// calls it once, where the error leaves it.
    #[must_use]
    pub fn at(mut self, adapter: &str, operation: &'static str) -> Self {
        if let Some(failure) = self.failure_mut() {
            if failure.adapter.is_empty() {
                failure.adapter = Cow::Owned(adapter.to_owned());
            }
            if failure.operation.is_empty() {
                failure.operation = operation;
            }
        }
        self
    }

    /// What a store-side error knows: `Some` of `Unavailable`, `OutcomeUnknown`, `Corrupt` and `Backend`.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Unavailable(failure)
            | Self::OutcomeUnknown(failure)
            | Self::Corrupt(failure)
            | Self::Backend(failure) => Some(failure),
            _ => None,
        }
    }

    fn failure_mut(&mut self) -> Option<&mut Failure> {
        match self {
            Self::Unavailable(failure)
            | Self::OutcomeUnknown(failure)
            | Self::Corrupt(failure)
            | Self::Backend(failure) => Some(failure),
            _ => None,
        }
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

    /// Whether the log already has an event of the append.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::DuplicateEvent(_))
    }

    /// Whether the append may have been written or not.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConditionFailed(unmet) => write!(f, "{unmet}"),
            Self::DuplicateEvent(id) => write!(f, "event {id} is already in the log"),
            Self::Unsupported { adapter, what } => write!(f, "{adapter} does not support {what}"),
            Self::Invalid(reason) => write!(f, "invalid call: {reason}"),
            Self::Unavailable(failure) => failure.write(f, "is temporarily unavailable"),
            Self::OutcomeUnknown(failure) => failure.write(f, "may have written the append or not"),
            Self::Corrupt(failure) => failure.write(f, "is corrupt"),
            Self::Backend(failure) => failure.write(f, "failed"),
            Self::Closed { adapter } => write!(f, "{adapter} is closed"),
            Self::AheadOfLog { after, head } => {
                write!(f, "the store went back to event {head}, behind event {after}")
            }
            Self::Projection(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Projection(error) => error.source(),
            // `Invalid` shows its reason itself: a chain never prints a cause twice.
            _ => self.failure().map(|failure| &*failure.source as _),
        }
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
            event: at.name().clone(),
            stream: at.stream.clone(),
            position: at.position,
            sequence_number: at.sequence_number,
            source,
        }
    }
}
