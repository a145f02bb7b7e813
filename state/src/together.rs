//! An append and a commit that a database makes in one transaction.

use crate::error::StateError;

/// Why neither an append nor the commit that goes with it was made, as the contract says that refused it.
///
/// Adapters that keep a log and documents in one database return it from `append_and_commit`. After every error but
/// an unknown outcome nothing of both was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TogetherError {
    /// The append was rejected, or the database failed while both were under way.
    #[error(transparent)]
    Append(#[from] annals::Error),
    /// The commit was rejected.
    #[error(transparent)]
    Commit(#[from] StateError),
}

impl TogetherError {
    /// Whether both may have been made or not.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::Append(annals::Error::OutcomeUnknown(_))
                | Self::Commit(StateError::OutcomeUnknown(_))
        )
    }

    /// Whether the same call may succeed if it is made again unchanged, without a risk of doing it twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Append(error) => error.is_retryable(),
            Self::Commit(error) => error.is_retryable(),
        }
    }
}
