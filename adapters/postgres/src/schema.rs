//! The schema of a log: which version it has, and how it is made.

pub(crate) mod statements;
pub(crate) mod steps;
pub(crate) mod tables;

use annals::Result;
use annals_sql::schema::SchemaStatus;

use crate::connection::pool::once;
use crate::options::PostgresOptions;

/// The schema of the log that options describe, as [`PostgresOptions::schema`] returns it.
///
/// ```no_run
/// # async fn example() -> annals::Result<()> {
/// use annals_postgres::PostgresOptions;
/// let options = PostgresOptions::new("postgres://owner@db.example/shop?sslmode=require")?;
/// let schema = options.schema();
/// if schema.status().await?.found == 0 {
///     schema.migrate().await?;
/// }
/// println!("{}", schema.grants("shop")?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Schema<'a> {
    options: &'a PostgresOptions,
}

impl Schema<'_> {
    /// The version of the log's schema, which is not changed.
    ///
    /// # Errors
    /// As [`PostgresOptions::connect`], except that any version is returned, not rejected.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn status(&self) -> Result<SchemaStatus> {
        once(self.options, async |session, store| steps::status(session, store).await).await
    }

    /// Makes the log or brings it up to date, in one transaction. Of several that do it at once one does the work. The
    /// schema is made if it is not there; a schema that is there needs the right to create in it only.
    ///
    /// # Errors
    /// [`Invalid`](annals::Error::Invalid) if a later release made it, if a name that it needs is that of something
    /// else ([`SchemaError::Taken`](crate::SchemaError::Taken)), or if it has another order; otherwise as
    /// [`PostgresOptions::connect`].
    ///
    /// # Cancel safety
    /// A future that is dropped leaves the schema as it was, or up to date.
    pub async fn migrate(&self) -> Result<()> {
        once(self.options, async |session, store| steps::migrate(session, store).await).await
    }

    /// All statements that [`migrate`](Self::migrate) runs for a log at version `found` (0: there is none), to be read
    /// or run by somebody else. Run them in one transaction.
    ///
    /// # Errors
    /// [`Invalid`](annals::Error::Invalid) for names that are none, or a version that this release does not know.
    pub fn sql(&self, found: u32) -> Result<String> {
        steps::sql(self.options, found)
    }

    /// The statements that give `role` the rights to append and read: to insert into the tables and to select from
    /// them, and no other.
    ///
    /// # Errors
    /// [`Invalid`](annals::Error::Invalid) for names that are none.
    pub fn grants(&self, role: &str) -> Result<String> {
        steps::grants(self.options, role)
    }
}

impl PostgresOptions {
    /// The schema of the log: its version, and how it is made.
    #[must_use]
    pub fn schema(&self) -> Schema<'_> {
        Schema { options: self }
    }

    /// Makes the log or brings it up to date: [`Schema::migrate`].
    ///
    /// # Errors
    /// As [`Schema::migrate`].
    ///
    /// # Cancel safety
    /// As [`Schema::migrate`].
    pub async fn migrate(&self) -> Result<()> {
        self.schema().migrate().await
    }
}
