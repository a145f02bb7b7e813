//! Errors, by what the caller does next.

use std::fmt;

use annals::{
    BoxError, EventName, InvalidName, InvalidPayload, Position, SequenceNumber, StoredEvent,
    StreamId, Unmet,
};

/// What an operation returns, or why it failed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No aggregate was created under this id, or it was discarded: create it, or say so.
    #[error("{0} does not exist")]
    NotFound(Box<StreamId>),
    /// The stream of this id has events, perhaps those of a discarded aggregate: load it, or say so.
    #[error("{0} exists already")]
    AlreadyExists(Box<StreamId>),
    /// The aggregate has fewer events: ask for less.
    #[error("{stream} has version {current}, and not yet {wanted}")]
    VersionNotReached {
        /// The aggregate's stream.
        stream: Box<StreamId>,
        /// How many events it has.
        current: u64,
        /// How many were asked for.
        wanted: u64,
    },
    /// Others wrote meanwhile, in each of so many attempts: load, decide and save again.
    #[error("conflict after {attempts} attempts: {unmet}")]
    Conflict {
        /// What was expected, and what was found at last.
        unmet: Box<Unmet>,
        /// How many attempts were made.
        attempts: u32,
    },
    /// A stored event cannot be read: run a newer program, or add an alias or an upcast.
    #[error(transparent)]
    Decode(Box<Undecodable>),
    /// Events were replayed that do not follow: fix the call.
    #[error("{stream} goes on at position {expected}, and event {event} is another")]
    Replay {
        /// The stream that is replayed.
        stream: Box<StreamId>,
        /// The position that comes next.
        expected: Position,
        /// The event that was given, as text.
        event: Box<str>,
    },
    /// The store failed or rejected the call: its documentation says what to do. After `OutcomeUnknown` the same save,
    /// or the same command id, may be tried again.
    #[error(transparent)]
    Store(#[from] annals::Error),
}

const _: () = assert!(size_of::<Error>() <= 48, "results travel by value");

/// Which stored event cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("event {name} at {stream}@{position} (#{sequence_number}) cannot be read")]
#[non_exhaustive]
pub struct Undecodable {
    /// Its name.
    pub name: EventName,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub position: Position,
    /// Its place in the log.
    pub sequence_number: SequenceNumber,
    /// Why it cannot be read.
    pub source: BoxError,
}

impl Undecodable {
    pub(crate) fn error(event: &StoredEvent, source: BoxError) -> Error {
        Error::Decode(Box::new(Self {
            name: event.name().clone(),
            stream: event.stream.clone(),
            position: event.position,
            sequence_number: event.sequence_number,
            source,
        }))
    }
}

impl Error {
    pub(crate) fn not_found(stream: &StreamId) -> Self {
        Self::NotFound(Box::new(stream.clone()))
    }

    pub(crate) fn conflict(unmet: Unmet, attempts: u32) -> Self {
        Self::Conflict { unmet: Box::new(unmet), attempts }
    }

    /// An error of the store, with a condition that did not hold as [`Conflict`](Self::Conflict).
    pub(crate) fn of_attempt(error: annals::Error, attempts: u32) -> Self {
        match error {
            annals::Error::ConditionFailed(unmet) => Self::conflict(*unmet, attempts),
            error => Self::Store(error),
        }
    }

    /// Whether the aggregate does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether the log has an event of this id already, with something else in it.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_duplicate())
    }

    /// Whether others wrote meanwhile.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}

impl From<InvalidPayload> for Error {
    fn from(error: InvalidPayload) -> Self {
        Self::Store(error.into())
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
pub enum ExecuteError<X> {
    /// The decision rejected it: tell who asked. Nothing was appended.
    Rejected(X),
    /// It could not be carried out.
    Failed(Error),
}

impl<X> ExecuteError<X> {
    /// What the decision said, if it rejected the command.
    #[must_use]
    pub fn rejection(&self) -> Option<&X> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Failed(_) => None,
        }
    }

    /// The error, if the command could not be carried out.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        match self {
            Self::Rejected(_) => None,
            Self::Failed(error) => Some(error),
        }
    }
}

impl<X: fmt::Display> fmt::Display for ExecuteError<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<X: std::error::Error + 'static> std::error::Error for ExecuteError<X> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(rejection) => rejection.source(),
            Self::Failed(error) => error.source(),
        }
    }
}

impl<X, E: Into<Error>> From<E> for ExecuteError<X> {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
