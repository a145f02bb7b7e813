//! Errors, classified by what the caller does next.

use std::sync::Arc;
use std::time::Duration;

use annals::{BoxError, EventId, EventName, Position, SequenceNumber, StoredEvent, StreamId};
use annals_state::StateError;

/// What an operation returns, or why it failed.
pub type Result<T, E = ProcessingError> = std::result::Result<T, E>;

/// An error, classified by what the caller should do next. Messages hold no payload, metadata or secret; only the source
/// of a [`HandlerError`] is the handler's own, and says what that says.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessingError {
    /// A handler failed, and the processor was to stop: fix the handler and run again. The processor is before that
    /// event.
    #[error(transparent)]
    Handler(Arc<HandlerError>),
    /// The log is not the one that the processor has read: another one, or one restored from an older backup. Stop and
    /// look; reset the processor if the log is meant.
    #[error(
        "processor {processor} has read up to event {tracked}, the log does not have what it read (head {head})"
    )]
    AheadOfLog {
        /// The processor, with its source and partition.
        processor: Box<str>,
        /// The number up to which it has read.
        tracked: SequenceNumber,
        /// The last number of the log, as far as it is known.
        head: SequenceNumber,
    },
    /// The processor is stored with another definition: deploy the old one again, reset the processor to take the new
    /// one, or run the new one under a new name beside the old.
    #[error("processor {processor} is defined differently in the store: {difference}")]
    DefinitionChanged {
        /// The processor.
        processor: Box<str>,
        /// What differs.
        difference: Box<str>,
    },
    /// More sequences are parked than the limit: fix what fails, then retry or discard them.
    #[error("processor {processor} has {limit} parked sequences, and another one failed")]
    TooManyParked {
        /// The processor, with its source and partition.
        processor: Box<str>,
        /// The most that may be parked.
        limit: usize,
    },
    /// Somebody else works on it now: nothing is wrong, and nothing is to do. A processor of a group that has lost its part
    /// ends with it, and so does the release of a lock that was taken away.
    #[error("{what} belongs to somebody else now")]
    Fenced {
        /// The processor, with its source and partition, or the lock.
        what: Box<str>,
    },
    /// It was not reached in time: wait again, or answer with what there is.
    #[error("event {wanted} was not reached within {within:?}, only {reached}")]
    Timeout {
        /// The number that was waited for.
        wanted: SequenceNumber,
        /// The number that was reached.
        reached: SequenceNumber,
        /// How long it waited.
        within: Duration,
    },
    /// Nobody took a request up in time, and it was withdrawn: see whether the processor runs, and ask again.
    #[error("no processor has carried out the request within {within:?}")]
    Unanswered {
        /// How long it waited.
        within: Duration,
    },
    /// The processor does not run any more: run it again. Its own error says why it ended.
    #[error("the processor has ended")]
    Ended,
    /// The program asks for what makes no sense: fix the program.
    #[error("misuse: {0}")]
    Misuse(Box<str>),
    /// The log failed, and trying again does not help: see the source.
    #[error("the log of events failed")]
    Log(#[source] Arc<annals::Error>),
    /// The state store failed, and trying again does not help: see the source.
    #[error("the state store failed")]
    State(#[source] Arc<StateError>),
}

impl ProcessingError {
    /// The program asks for what makes no sense, for this reason.
    pub(crate) fn misuse(reason: impl Into<Box<str>>) -> Self {
        Self::Misuse(reason.into())
    }

    /// Whether a store was away, which passes.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Log(error) => {
                matches!(**error, annals::Error::Unavailable(_) | annals::Error::OutcomeUnknown(_))
            }
            Self::State(error) => {
                matches!(**error, StateError::Unavailable(_) | StateError::OutcomeUnknown(_))
            }
            _ => false,
        }
    }
}

impl From<annals::Error> for ProcessingError {
    fn from(error: annals::Error) -> Self {
        Self::Log(Arc::new(error))
    }
}

impl From<StateError> for ProcessingError {
    fn from(error: StateError) -> Self {
        Self::State(Arc::new(error))
    }
}

/// Which event a handler failed at, and why.
#[derive(Debug, thiserror::Error)]
#[error(
    "processor {processor} failed at event #{sequence_number} {stream}@{position} {event} (try {tries})"
)]
#[non_exhaustive]
pub struct HandlerError {
    /// The processor, with its source and partition.
    pub processor: Box<str>,
    /// The name of the event.
    pub event: EventName,
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub position: Position,
    /// Its place in the log.
    pub sequence_number: SequenceNumber,
    /// How often the handler was tried with it, this time included.
    pub tries: u32,
    /// Whether the handler did not return at all: the process ended while it had the event, so often as `tries` says.
    pub is_poison: bool,
    /// What the handler said.
    #[source]
    pub source: BoxError,
}

impl HandlerError {
    pub(crate) fn new(
        processor: &str,
        at: &StoredEvent,
        tries: u32,
        source: impl Into<BoxError>,
    ) -> Self {
        Self {
            processor: processor.into(),
            event: at.name().clone(),
            id: at.id(),
            stream: at.stream.clone(),
            position: at.position,
            sequence_number: at.sequence_number,
            tries,
            is_poison: false,
            source: source.into(),
        }
    }

    pub(crate) fn poison(processor: &str, at: &StoredEvent, tries: u32) -> Self {
        let source = "the process ended each time while it handled this event";
        Self { is_poison: true, ..Self::new(processor, at, tries, source) }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
