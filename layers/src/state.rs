//! State stores below layers.

use annals::Error;
use annals_state::{StateError, StateFailure};

/// The error of a state store, by what a caller does next who may make the call again.
pub(crate) fn of_state(error: StateError) -> Error {
    let named = |error: Error, failure: &StateFailure| error.at(&failure.store, failure.operation);
    match error {
        // No event was appended, and the call finds what it made if it is made again.
        StateError::Unavailable(failure) | StateError::OutcomeUnknown(failure) => {
            named(Error::unavailable(failure.to_string()), &failure)
        }
        StateError::Corrupt(failure) => named(Error::corrupt(failure.to_string()), &failure),
        StateError::Backend(failure) => named(Error::backend(failure.to_string()), &failure),
        StateError::Closed { store } => Error::closed(store),
        StateError::Invalid(reason) => Error::Invalid(reason),
        other => Error::backend(other.to_string()),
    }
}
