//! Failures of a database, classified by what the caller does next.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use annals::Error;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing was written, and the same call may succeed later: a lock, a full disk, a lost connection.
    Unavailable,
    /// The commit may have been made or not.
    OutcomeUnknown,
    /// The store holds what no append made.
    Corrupt,
    /// Anything else.
    Backend,
}

/// A failure that several appends of one transaction share.
#[derive(Debug, Clone)]
pub struct Fault {
    class: Class,
    source: Cause,
}

impl Fault {
    /// A failure of this class with its cause.
    pub fn new(class: Class, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { class, source: Cause(Arc::new(source)) }
    }

    /// The fault behind an error of the store; any other error is the adapter's own.
    #[must_use]
    pub fn of(error: Error) -> Self {
        let (class, source) = match error {
            Error::Unavailable(failure) => (Class::Unavailable, failure.source),
            Error::OutcomeUnknown(failure) => (Class::OutcomeUnknown, failure.source),
            Error::Corrupt(failure) => (Class::Corrupt, failure.source),
            Error::Backend(failure) => (Class::Backend, failure.source),
            error => (Class::Backend, error.into()),
        };
        Self { class, source: Cause(Arc::from(source)) }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The same failure where a commit was under way: whatever is not known to have refused it leaves the
    /// outcome open.
    #[must_use]
    pub fn of_commit(mut self, refused: bool) -> Self {
        if !refused {
            self.class = Class::OutcomeUnknown;
        }
        self
    }

    /// The cause, which several callers may be told.
    #[cfg(feature = "state")]
    pub(crate) fn cause(&self) -> impl StdError + Send + Sync + use<> {
        self.source.clone()
    }

    /// The error for one caller of `adapter`.
    #[must_use]
    pub fn error(&self, adapter: &'static str) -> Error {
        let source = Box::new(self.source.clone());
        let error = match self.class {
            Class::Unavailable => Error::unavailable(source),
            Class::OutcomeUnknown => Error::outcome_unknown(source),
            Class::Corrupt => Error::corrupt(source),
            Class::Backend => Error::backend(source),
        };
        error.at(adapter, "")
    }
}

/// One cause for several errors.
#[derive(Clone)]
struct Cause(Arc<dyn StdError + Send + Sync>);

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
