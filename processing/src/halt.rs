//! Why a processor stops before its work is done, and whether it begins again.

use annals_state::StateError;

use crate::error::ProcessingError;

/// Why a session ends before its end.
pub(crate) enum Halt {
    /// An expectation did not hold: read the tracking again.
    Lost(StateError),
    /// A store is away, or what it made is unknown: read the tracking again, later.
    Again(ProcessingError),
    /// Read the tracking again, at once.
    Reload,
    /// It was asked to stop.
    Stopped,
    Fatal(ProcessingError),
}

impl From<StateError> for Halt {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Conflict(_) => Self::Lost(error),
            StateError::Unavailable(_) | StateError::OutcomeUnknown(_) => Self::Again(error.into()),
            error => Self::Fatal(error.into()),
        }
    }
}

impl From<annals::Error> for Halt {
    fn from(error: annals::Error) -> Self {
        match error {
            annals::Error::Unavailable(_) | annals::Error::OutcomeUnknown(_) => {
                Self::Again(error.into())
            }
            error => Self::Fatal(error.into()),
        }
    }
}

impl From<ProcessingError> for Halt {
    fn from(error: ProcessingError) -> Self {
        Self::Fatal(error)
    }
}
