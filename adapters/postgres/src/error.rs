//! Failures of PostgreSQL as errors of the contract.

use std::time::Duration;

use annals::Error;
use annals_sql::fault::{Class, Fault};
use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::NAME;

/// What stops a statement or what follows from it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The driver or the server said so.
    Postgres(tokio_postgres::Error),
    /// No connection was to be had.
    Pool(PoolError),
    /// The server did not answer in time.
    Timeout,
    /// What was read or asked for makes no sense.
    Error(Error),
}

pub(crate) type Outcome<T> = Result<T, Failure>;

/// The server did not answer in the time that the options give it.
#[derive(Debug, thiserror::Error)]
#[error("the server did not answer in time")]
struct NoAnswer;

/// The work, or that it took longer than it may.
pub(crate) async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Failure::Timeout))
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    fn db(&self) -> Option<&DbError> {
        match self {
            Self::Postgres(error) => error.as_db_error(),
            _ => None,
        }
    }

    /// Whether a unique index refused a row; the constraint.
    pub(crate) fn broken_constraint(&self) -> Option<&str> {
        let error = self.db().filter(|error| *error.code() == SqlState::UNIQUE_VIOLATION)?;
        Some(error.constraint().unwrap_or_default())
    }

    /// Whether the connection is of no use any more, so that it is open how far the server came.
    pub(crate) fn lost_connection(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Pool(_) | Self::Error(_) => false,
            Self::Postgres(error) => match error.as_db_error() {
                // A value that cannot be sent leaves the connection as it was.
                None => error.is_closed() || has_io_source(error),
                Some(db) => is_fatal(db),
            },
        }
    }

    /// Whether no connection was to be had, so that nothing was asked of the server.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Pool(_))
    }

    /// Whether the lock of the log was not to be had in time.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        self.db().is_some_and(|error| *error.code() == SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether a table or column is not there.
    pub(crate) fn is_undefined(&self) -> bool {
        let undefined = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN];
        self.db().is_some_and(|error| undefined.contains(error.code()))
    }

    /// The failure in a form that several callers can be told.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Error(error @ Error::Corrupt(_)) => Fault::new(Class::Corrupt, error),
            Self::Error(error @ Error::Unavailable(_)) => Fault::new(Class::Unavailable, error),
            Self::Error(error) => Fault::new(Class::Backend, error),
            Self::Timeout => Fault::new(Class::Unavailable, NoAnswer),
            Self::Pool(PoolError::Backend(error)) => Fault::new(class_of_connect(&error), error),
            Self::Pool(error) => Fault::new(Class::Unavailable, error),
            Self::Postgres(error) => Fault::new(class(&error), error),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Error(error) => error,
            failure => failure.into_fault().error(NAME),
        }
    }
}

fn is_fatal(error: &DbError) -> bool {
    matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || matches!(error.severity(), "FATAL" | "PANIC")
}

fn has_io_source(error: &tokio_postgres::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// A server that cannot be reached is unavailable; one that refuses this client is not.
fn class_of_connect(error: &tokio_postgres::Error) -> Class {
    match error.as_db_error() {
        None => Class::Unavailable,
        Some(_) => class(error),
    }
}

fn class(error: &tokio_postgres::Error) -> Class {
    let Some(db) = error.as_db_error() else {
        let is_lost = error.is_closed() || has_io_source(error);
        return if is_lost { Class::Unavailable } else { Class::Backend };
    };
    match db.code().code() {
        // Connections, resources, the operator, a lock, a statement that was cancelled, a serialization failure or
        // deadlock, and a server that only reads because another one took over.
        code if code.starts_with("08")
            || code.starts_with("53")
            || code.starts_with("57")
            || code.starts_with("58")
            || matches!(code, "55P03" | "40001" | "40P01" | "25006") =>
        {
            Class::Unavailable
        }
        code if code.starts_with("XX00") && code != "XX000" => Class::Corrupt,
        _ => Class::Backend,
    }
}
