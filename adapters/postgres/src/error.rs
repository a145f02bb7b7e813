//! Failures of PostgreSQL as errors of the contract.

use std::io;
use std::time::Duration;

use annals::{BoxError, Error};
use annals_sql::fault::{Class, Fault};
use deadpool_postgres::PoolError;
use tokio::time::Instant;
use tokio_postgres::error::{DbError, Severity, SqlState};

/// The name of the adapter in errors.
pub(crate) const NAME: &str = "postgres";

/// What stops a statement or what follows from it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The driver or the server said so.
    Postgres(tokio_postgres::Error),
    /// No connection was to be had.
    Pool(PoolError),
    /// There was no password for a new connection.
    NoPassword(BoxError),
    /// The server did not answer in time.
    Timeout,
    /// Others hold these locks.
    Held(Vec<i64>),
    /// What was remembered is not true of this store: it went back, or is another one.
    Outdated,
    /// What was read or asked for makes no sense.
    Error(Error),
}

pub(crate) type Outcome<T> = Result<T, Failure>;

/// The server did not answer in the time that the options give it.
#[derive(Debug, thiserror::Error)]
#[error("the server did not answer in time")]
struct NoAnswer;

/// Another process holds a lock.
#[derive(Debug, thiserror::Error)]
#[error("others held the lock of its category or stream for as long as the options let it wait")]
struct Held;

/// The store changed under the adapter, again and again.
#[derive(Debug, thiserror::Error)]
#[error("the store was replaced or put back while it was used")]
struct Changed;

/// The provider of passwords had none.
#[derive(Debug, thiserror::Error)]
#[error("there is no password for a new connection")]
struct NoPassword(#[source] BoxError);

/// How long something took, as records name it.
pub(crate) fn micros_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

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
            Self::Pool(_)
            | Self::NoPassword(_)
            | Self::Error(_)
            | Self::Held(_)
            | Self::Outdated => false,
            Self::Postgres(error) => match error.as_db_error() {
                // A value that cannot be sent leaves the connection as it was.
                None => error.is_closed() || has_io_source(error),
                Some(db) => is_fatal(db),
            },
        }
    }

    /// Whether no connection was to be had, so that nothing was asked of the server.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Pool(_) | Self::NoPassword(_))
    }

    /// Whether the server has no connection left for this program.
    pub(crate) fn is_crowded(&self) -> bool {
        match self {
            Self::Pool(PoolError::Backend(error)) => {
                error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
            }
            _ => false,
        }
    }

    /// Whether the lock of the log was not to be had in time.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        self.db().is_some_and(|error| *error.code() == SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether a statement refers to tables or types that are not there any more, though others may have taken their
    /// names.
    pub(crate) fn is_outdated(&self) -> bool {
        // An undefined type, a type or relation that only its number tells, and a plan for other columns.
        let codes = ["42704", "XX000", "0A000"];
        matches!(self, Self::Outdated)
            || self.db().is_some_and(|error| codes.contains(&error.code().code()))
    }

    /// Whether another transaction was in the way, so that nothing was made and the same may go well now.
    pub(crate) fn met_another(&self) -> bool {
        let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        self.db().is_some_and(|error| codes.contains(error.code()))
    }

    /// Whether what only reads may go well at once: on another connection, with nothing remembered, or alone.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        self.lost_connection() || self.is_outdated() || self.met_another()
    }

    /// Whether a table, column or function is not there.
    pub(crate) fn is_undefined(&self) -> bool {
        let undefined =
            [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_FUNCTION];
        self.db().is_some_and(|error| undefined.contains(error.code()))
    }

    /// The failure in a form that several callers can be told.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Error(error) => Fault::of(error),
            Self::Timeout => Fault::new(Class::Unavailable, NoAnswer),
            Self::Held(_) => Fault::new(Class::Unavailable, Held),
            Self::Outdated => Fault::new(Class::Unavailable, Changed),
            Self::NoPassword(reason) => Fault::new(Class::Unavailable, NoPassword(reason)),
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
            // A read that was under way when the store was closed.
            Failure::Pool(PoolError::Closed) => Self::closed(NAME),
            Failure::Pool(PoolError::Backend(error)) if is_pooler(&error) => needs_pooler_option(),
            failure => failure.into_fault().error(NAME),
        }
    }
}

pub(crate) fn needs_pooler_option() -> Error {
    Error::invalid(
        "the settings of the connection do not reach the server: a pooler before it needs with_transaction_pooler(true)",
    )
}

fn is_fatal(error: &DbError) -> bool {
    matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || matches!(error.severity(), "FATAL" | "PANIC")
}

fn has_io_source(error: &tokio_postgres::Error) -> bool {
    let source = std::error::Error::source(error);
    source.is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// Whether a pooler does not know a setting that sessions of the adapter's own have.
fn is_pooler(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        *db.code() == SqlState::PROTOCOL_VIOLATION
            && db.message().starts_with("unsupported startup parameter")
    })
}

/// A server that cannot be reached is unavailable. One that refuses this client, that this client refuses, or that
/// is no PostgreSQL, will not change its mind.
fn class_of_connect(error: &tokio_postgres::Error) -> Class {
    if error.as_db_error().is_some() || error.is_closed() {
        return class(error);
    }
    let source = std::error::Error::source(error);
    let Some(io) = source.and_then(|source| source.downcast_ref::<io::Error>()) else {
        return Class::Backend;
    };
    let refused =
        io.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
    match io.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Class::Backend,
        _ if refused => Class::Backend,
        _ => Class::Unavailable,
    }
}

fn class(error: &tokio_postgres::Error) -> Class {
    match error.as_db_error() {
        Some(db) => class_of_code(db.code().code()),
        None if error.is_closed() || has_io_source(error) => Class::Unavailable,
        None => Class::Backend,
    }
}

/// The class of an error inside a transaction that is not to be committed, if it is no fault of what was asked in it: the
/// server, the way to it, or another transaction is to blame.
#[cfg(feature = "views")]
pub(crate) fn class_of_server(error: &tokio_postgres::Error) -> Option<Class> {
    let code = error.as_db_error().map(|db| db.code().code());
    faulty_server(class(error), code.unwrap_or_default())
}

#[cfg(feature = "views")]
fn faulty_server(class: Class, code: &str) -> Option<Class> {
    match class {
        // What is not committed has no outcome.
        Class::Unavailable | Class::OutcomeUnknown => Some(Class::Unavailable),
        Class::Corrupt => Some(class),
        // Of what does not pass by itself only the operator and the machine; the rest may be the statement's.
        Class::Backend => matches!(code.get(..2), Some("57" | "58")).then_some(class),
    }
}

/// The table of SQLSTATEs: what passes by itself, what leaves the outcome open, what is broken, and the rest.
fn class_of_code(code: &str) -> Class {
    match code {
        // The database was dropped; files of the server are missing or there twice; a mistake of the server's.
        "57P04" | "58P01" | "58P02" | "58P03" | "XX000" => Class::Backend,
        // A proxy that commits for the server does not know what became of it.
        "08007" | "40003" => Class::OutcomeUnknown,
        // A transaction that was rolled back, serialization failures and deadlocks; a lock; a server that only reads
        // because another one took over; a transaction that took too long, at work or not; a snapshot too old.
        "40000" | "40001" | "40P01" | "55P03" | "25006" | "25P03" | "25P04" | "72000" => {
            Class::Unavailable
        }
        // Connections, resources, the operator, the machine.
        _ => match code.get(..2) {
            Some("08" | "53" | "57" | "58") => Class::Unavailable,
            Some("XX") => Class::Corrupt,
            _ => Class::Backend,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sqlstate_has_its_class() {
        for (class, codes) in [
            (
                Class::Unavailable,
                "08000 08001 08003 08004 08006 08P01 25006 25P03 25P04 40000 40001 40P01 53000 53100 53200 \
                 53300 53400 55P03 57000 57014 57P01 57P02 57P03 57P05 58000 58030 72000",
            ),
            (Class::OutcomeUnknown, "08007 40003"),
            (Class::Corrupt, "XX001 XX002"),
            (
                Class::Backend,
                "0A000 22021 23505 25001 25P01 25P02 28000 28P01 3D000 40002 42501 42P01 42P05 26000 54000 55000 \
                 55006 57P04 58P01 58P02 58P03 F0000 P0001 XX000",
            ),
        ] {
            for code in codes.split_whitespace() {
                assert_eq!(class_of_code(code), class, "{code}");
            }
        }
    }

    #[cfg(feature = "views")]
    #[test]
    fn what_is_the_servers_is_no_fault_of_an_event() {
        let fault = |code: &str| faulty_server(class_of_code(code), code);
        for code in "08006 08007 25006 40001 40003 40P01 53300 55P03 57014 57P01 58030".split(' ') {
            assert_eq!(fault(code), Some(Class::Unavailable), "{code}");
        }
        for code in ["57P04", "58P01"] {
            assert_eq!(fault(code), Some(Class::Backend), "{code}");
        }
        assert_eq!(fault("XX001"), Some(Class::Corrupt));
        for code in "22012 22P02 23505 23514 40002 42501 42P01 54000 P0001 XX000".split(' ') {
            assert_eq!(fault(code), None, "{code}");
        }
    }
}
