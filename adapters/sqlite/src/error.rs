//! Failures of SQLite as errors of the contract.

use annals::Error;
use annals_sql::fault::{Class, Fault};
use rusqlite::ErrorCode;

/// What errors call the adapter.
pub(crate) const NAME: &str = "sqlite";

/// What stops a statement or what follows from it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SQLite said so.
    Sqlite(rusqlite::Error),
    /// What was read or asked for makes no sense.
    Error(Error),
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// Whether a unique index refused a row: of all of them, only an event's id comes from outside.
    pub(crate) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Sqlite(error) if code(error) == Some(ErrorCode::ConstraintViolation))
    }

    /// The failure in a form that several callers can be told.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Sqlite(error) => Fault::new(class(&error), error),
            Self::Error(error) => Fault::of(error),
        }
    }

    /// What a failed `COMMIT` means. The commit mark is the last thing that is written, so without space for it
    /// or without the lock nothing was committed; after any other failure it may be in the file.
    pub(crate) fn into_commit_fault(self) -> Fault {
        let refused = match &self {
            Self::Sqlite(error) => is_busy(error) || code(error) == Some(ErrorCode::DiskFull),
            Self::Error(_) => false,
        };
        self.into_fault().of_commit(refused)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Error(error) => error,
            failure @ Failure::Sqlite(_) => failure.into_fault().error(NAME),
        }
    }
}

/// Whether the file is locked by another connection.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(code(error), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

fn class(error: &rusqlite::Error) -> Class {
    match code(error) {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::DiskFull
            | ErrorCode::OutOfMemory
            | ErrorCode::SystemIoFailure
            | ErrorCode::OperationInterrupted,
        ) => Class::Unavailable,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Class::Corrupt,
        _ => Class::Backend,
    }
}
