//! Versions of a schema.

use std::fmt;

use annals::Error;

/// One step: from the version before it to `version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The version that it leads to; the first is 1.
    pub version: u32,
    /// Its statements.
    pub sql: &'static str,
}

/// Which version a store has, and which one this release works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaStatus {
    /// The store's version; 0: it has no schema yet.
    pub found: u32,
    /// The version that this release creates and needs.
    pub known: u32,
}

impl SchemaStatus {
    /// The status of a store at version `found`.
    #[must_use]
    pub fn new(migrations: &[Migration], found: u32) -> Self {
        Self { found, known: migrations.last().map_or(0, |last| last.version) }
    }
}

impl fmt::Display for SchemaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema version {}, this release needs {}", self.found, self.known)
    }
}

/// Why a store cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A later release made it; nothing was changed.
    #[error("the schema has version {found}, this release knows versions up to {known}")]
    Newer {
        /// The store's version.
        found: u32,
        /// The last version that this release knows.
        known: u32,
    },
    /// An earlier release made it, or nothing is there yet; it waits for its migration.
    #[error("the schema has version {found}, this release needs {known}: migrate it")]
    Outdated {
        /// The store's version; 0: there is none yet.
        found: u32,
        /// The version that this release needs.
        known: u32,
    },
    /// A name that a log needs is that of something else; nothing was changed.
    #[error("the {kind} {name} is in the way: a log needs its name, and it is not of Annals")]
    Taken {
        /// What has the name: a table, view, index, sequence, type or function.
        kind: String,
        /// The name.
        name: String,
    },
    /// The documents of a log are there and the log is not; nothing was changed. What follows a log would not notice that
    /// it is another one.
    #[error(
        "the table {name} has the documents of a log that is gone: restore the log, or drop its documents"
    )]
    WithoutLog {
        /// The table that has the version of the documents.
        name: String,
    },
    /// It holds something that is not of Annals, or not all of a log; nothing was changed.
    #[error("the database holds something that is not a log of Annals, or not all of one")]
    Foreign,
}

impl From<SchemaError> for Error {
    fn from(error: SchemaError) -> Self {
        Self::invalid(error)
    }
}

/// The steps that a store at version `found` needs, in order.
///
/// # Errors
/// [`SchemaError::Newer`] when the store is ahead.
pub fn pending(migrations: &[Migration], found: u32) -> Result<&[Migration], SchemaError> {
    let known = SchemaStatus::new(migrations, found).known;
    if found > known {
        return Err(SchemaError::Newer { found, known });
    }
    let done = migrations.partition_point(|step| step.version <= found);
    Ok(migrations.get(done..).unwrap_or_default())
}
