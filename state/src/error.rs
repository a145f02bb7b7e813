//! Errors, classified by what the caller does next.

use std::borrow::Cow;
use std::fmt;

use annals::{BoxError, InvalidName, InvalidPayload};

use crate::document::{CollectionName, DocumentKey};
use crate::write::Conflict;

/// What an operation returns, or why it failed.
pub type Result<T, E = StateError> = std::result::Result<T, E>;

/// An error, classified by what the caller should do next.
///
/// After every variant but [`OutcomeUnknown`](Self::OutcomeUnknown) nothing of the commit was made. Messages hold no
/// body and no secret; only the source of [`Undecodable`](Self::Undecodable) may quote what it could not decode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// An expectation does not hold: get again, decide again, commit again.
    #[error(transparent)]
    Conflict(Box<Conflict>),
    /// The collection's stored definition is not the one of this program: run `reindex` if this program is the newer
    /// one, else stop it.
    #[error("collection {collection} is defined differently in the store: {difference}")]
    DefinitionChanged {
        /// The collection.
        collection: Box<CollectionName>,
        /// What differs.
        difference: Box<str>,
    },
    /// More than one document matches where one was asked for: narrow the filter.
    #[error("several documents of {0} match, at most one was expected")]
    Several(Box<CollectionName>),
    /// A body cannot be read as the type that was asked for: add an upcast, or delete the document.
    #[error("document {key} cannot be decoded")]
    Undecodable {
        /// The document.
        key: Box<DocumentKey>,
        /// Why it cannot.
        #[source]
        source: BoxError,
    },
    /// The store does not declare this ability: do without it, or choose another store.
    #[error("{store} does not support {what}")]
    Unsupported {
        /// The store that rejects the call.
        store: Box<str>,
        /// What it cannot do.
        what: &'static str,
    },
    /// The call makes no sense or goes beyond a declared limit: fix the call.
    #[error("invalid call: {0}")]
    Invalid(BoxError),
    /// The store is temporarily unavailable, and nothing was made: try again later.
    #[error("{} is unavailable", .0.at())]
    Unavailable(#[source] Box<StateFailure>),
    /// The commit may have been made or not: get its documents, and see whether they have its revision.
    #[error("it is unknown whether {} made the commit", .0.at())]
    OutcomeUnknown(#[source] Box<StateFailure>),
    /// The store holds something that no commit made: stop and look.
    #[error("{} is corrupt", .0.at())]
    Corrupt(#[source] Box<StateFailure>),
    /// The database failed in a way that none of the others covers; see the source.
    #[error("{} failed", .0.at())]
    Backend(#[source] Box<StateFailure>),
    /// The store was closed: open it again.
    #[error("{store} is closed")]
    Closed {
        /// The store that was closed.
        store: Cow<'static, str>,
    },
}

const _: () = assert!(size_of::<StateError>() <= 40, "results travel by value through every layer");

/// What a store-side error knows: which store failed, in which operation, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct StateFailure {
    /// The store's name; empty until [`StateError::at`] names it.
    pub store: Cow<'static, str>,
    /// What it was doing, such as `commit`; empty until [`StateError::at`] names it.
    pub operation: &'static str,
    /// Why it failed.
    pub source: BoxError,
}

impl StateFailure {
    fn boxed(source: impl Into<BoxError>) -> Box<Self> {
        Box::new(Self { store: Cow::Borrowed(""), operation: "", source: source.into() })
    }

    fn at(&self) -> &str {
        if self.store.is_empty() { "the store" } else { &self.store }
    }
}

impl fmt::Display for StateFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.operation.is_empty() {
            fmt::Display::fmt(&self.source, f)
        } else {
            write!(f, "{}: {}", self.operation, self.source)
        }
    }
}

impl std::error::Error for StateFailure {
    // The message is already that of the source: the chain goes on below it.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

impl StateError {
    /// The call makes no sense, for this reason.
    pub fn invalid(reason: impl Into<BoxError>) -> Self {
        Self::Invalid(reason.into())
    }

    /// The store is temporarily unavailable, for this reason.
    pub fn unavailable(reason: impl Into<BoxError>) -> Self {
        Self::Unavailable(StateFailure::boxed(reason))
    }

    /// It is unknown whether the commit was made, for this reason.
    pub fn outcome_unknown(reason: impl Into<BoxError>) -> Self {
        Self::OutcomeUnknown(StateFailure::boxed(reason))
    }

    /// The store is corrupt, for this reason.
    pub fn corrupt(reason: impl Into<BoxError>) -> Self {
        Self::Corrupt(StateFailure::boxed(reason))
    }

    /// The database failed, for this reason.
    pub fn backend(reason: impl Into<BoxError>) -> Self {
        Self::Backend(StateFailure::boxed(reason))
    }

    /// The store of this name was closed.
    pub fn closed(store: impl Into<Cow<'static, str>>) -> Self {
        Self::Closed { store: store.into() }
    }

    /// The store of this name does not support this.
    #[must_use]
    pub fn unsupported(store: &str, what: &'static str) -> Self {
        Self::Unsupported { store: store.into(), what }
    }

    /// The body of this document cannot be decoded, for this reason.
    pub fn undecodable(key: DocumentKey, reason: impl Into<BoxError>) -> Self {
        Self::Undecodable { key: Box::new(key), source: reason.into() }
    }

    pub(crate) fn definition_changed(
        collection: &CollectionName,
        difference: impl Into<Box<str>>,
    ) -> Self {
        let collection = Box::new(collection.clone());
        Self::DefinitionChanged { collection, difference: difference.into() }
    }

    /// For implementors: names the store and the operation in a store-side error that does not name them yet. A store
    /// calls it once, where the error leaves it.
    #[must_use]
    pub fn at(mut self, store: &str, operation: &'static str) -> Self {
        if let Self::Unavailable(failure)
        | Self::OutcomeUnknown(failure)
        | Self::Corrupt(failure)
        | Self::Backend(failure) = &mut self
        {
            if failure.store.is_empty() {
                failure.store = Cow::Owned(store.to_owned());
            }
            if failure.operation.is_empty() {
                failure.operation = operation;
            }
        }
        self
    }

    /// Whether the same call may succeed if it is made again unchanged, without a risk of doing it twice. True of
    /// [`Unavailable`](Self::Unavailable) only.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether an expectation did not hold.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// The expectation that did not hold, if that is the error.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }
}

impl From<Conflict> for StateError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(Box::new(conflict))
    }
}

impl From<InvalidName> for StateError {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error)
    }
}

impl From<InvalidPayload> for StateError {
    fn from(error: InvalidPayload) -> Self {
        Self::invalid(error)
    }
}

impl From<std::convert::Infallible> for StateError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
