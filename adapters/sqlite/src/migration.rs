//! The schema of a store: which version it has, and how it is made.

use std::path::{Path, PathBuf};

use annals::Result;
use annals_sql::schema::SchemaStatus;

use crate::options::SqliteOptions;
use crate::place::Place;
use crate::{schema, threads};

/// The schema of the store in one file, as [`SqliteOptions::schema`] returns it. Opening the store makes or
/// migrates it; this shows it, or does it beforehand.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> annals::Result<()> {
/// # let directory = tempfile::tempdir().map_err(annals::Error::invalid)?;
/// # let path = directory.path().join("orders.db");
/// use annals_sqlite::SqliteOptions;
/// let options = SqliteOptions::new();
/// let schema = options.schema(&path);
/// assert_eq!(schema.status().await?.found, 0);
/// schema.migrate().await?;
/// assert_eq!(schema.status().await?.found, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Schema<'a> {
    options: &'a SqliteOptions,
    path: PathBuf,
}

impl<'a> Schema<'a> {
    pub(crate) fn of(options: &'a SqliteOptions, path: &Path) -> Self {
        Self { options, path: path.to_owned() }
    }

    /// The version of the schema in the file, which is not changed; version 0 if there is no such file.
    ///
    /// # Errors
    /// As [`SqliteOptions::open`], except that a later version is returned, not rejected.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn status(&self) -> Result<SchemaStatus> {
        self.options.check()?;
        threads::status(Place::new(&self.path)?, self.options.clone()).await
    }

    /// Makes the store or brings it up to date, in one transaction, as opening it does. Of several that do it at once
    /// one does the work.
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    ///
    /// # Cancel safety
    /// A future that is dropped leaves the schema as it was, or up to date.
    pub async fn migrate(&self) -> Result<()> {
        self.options.check()?;
        threads::migrate(Place::new(&self.path)?, self.options.clone()).await
    }

    /// All statements that [`migrate`](Self::migrate) runs for a store at version `found` (0: there is none), to be
    /// read or run by somebody else. Run them in one transaction.
    ///
    /// # Errors
    /// [`Invalid`](annals::Error::Invalid) for a version that this release does not know.
    pub fn sql(&self, found: u32) -> Result<String> {
        schema::sql(found, self.options.common.immutable_log)
    }
}
