//! Stores from the environment of an application.

#[cfg(doc)]
use annals::Error;
use annals::Result;
use annals_sql::lookup::{Named, set};

use crate::{SqliteAdapter, SqliteOptions, Synchronous};

impl SqliteOptions {
    /// The options that a lookup of names describes, such as that of the environment behind an application's prefix.
    /// Names that are not set, or empty, leave the defaults. They are checked when a store is opened.
    ///
    /// | name | value |
    /// |---|---|
    /// | `SQLITE_SYNCHRONOUS` | `full` or `normal`: see [`Synchronous`] |
    /// | `SQLITE_READERS` | how many threads read |
    /// | `SQLITE_WATCH_INTERVAL` | how often a follow looks for appends of other processes, in seconds |
    /// | `SQLITE_LOCK_TIMEOUT` | how long an append waits for others, in seconds, such as `0.5` |
    /// | `SQLITE_PAGE_SIZE`, `SQLITE_QUEUE_BOUND`, `SQLITE_CACHE_BOUND` | numbers |
    /// | `SQLITE_IMMUTABLE_LOG` | `yes` or `no` |
    ///
    /// # Errors
    /// [`Error::Invalid`] shows the name and the value that cannot be read.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let named = Named::new("SQLITE", lookup);
        let mut options = Self::new();
        let synchronous = named.read("SYNCHRONOUS", "full or normal", |value| match value {
            "full" => Some(Synchronous::Full),
            "normal" => Some(Synchronous::Normal),
            _ => None,
        })?;
        set(&mut options.synchronous, synchronous);
        set(&mut options.readers, named.number("READERS")?);
        set(&mut options.watch_interval, named.seconds("WATCH_INTERVAL")?);
        named.common(&mut options.common)?;
        Ok(options)
    }
}

impl SqliteAdapter {
    /// Opens the store in the file that `SQLITE_PATH` names (`:memory:` is one in memory), with the options of
    /// [`SqliteOptions::from_lookup`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> annals::Result<()> {
    /// let lookup = |name: &str| (name == "SQLITE_PATH").then(|| ":memory:".to_owned());
    /// let adapter = annals_sqlite::SqliteAdapter::from_lookup(lookup).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if `SQLITE_PATH` is not set; as [`SqliteOptions::from_lookup`] and [`SqliteOptions::open`].
    ///
    /// # Cancel safety
    /// As [`SqliteOptions::open`].
    pub async fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let path = Named::new("SQLITE", &lookup).require("PATH");
        let opened = path.and_then(|path| Ok((SqliteOptions::from_lookup(lookup)?, path)));
        let (options, path): (SqliteOptions, String) = opened?;
        options.open(path).await
    }
}
