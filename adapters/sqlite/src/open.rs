//! How a store is opened.

use std::path::Path;

use annals::Result;

use crate::adapter::SqliteAdapter;
use crate::migration::Schema;
use crate::options::SqliteOptions;
use crate::place::Place;

impl SqliteAdapter {
    /// Opens the store in the file `path` with the default options; see [`SqliteOptions::open`].
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    ///
    /// # Cancel safety
    /// As [`SqliteOptions::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        SqliteOptions::new().open(path).await
    }

    /// Opens an empty store in memory, which is gone with its last handle.
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    ///
    /// # Cancel safety
    /// A future that is dropped leaves nothing open.
    pub async fn open_in_memory() -> Result<Self> {
        SqliteOptions::new().open_in_memory().await
    }
}

impl SqliteOptions {
    /// Opens the store in the file `path`, and makes or migrates it where needed. `:memory:` opens a store of its
    /// own in memory.
    ///
    /// # Errors
    /// - [`Invalid`](annals::Error::Invalid): the file holds something else, or a later release made it (a
    ///   [`SchemaError`](crate::SchemaError) is the cause); the path is empty, or something that is no regular file; an
    ///   option is out of its bounds.
    /// - [`Corrupt`](annals::Error::Corrupt): it is no database at all.
    /// - [`Unavailable`](annals::Error::Unavailable): another process held its lock for too long; the disk is full.
    /// - [`Backend`](annals::Error::Backend): it cannot be opened or written to.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves a file that is empty or whole.
    pub async fn open(self, path: impl AsRef<Path>) -> Result<SqliteAdapter> {
        self.check()?;
        SqliteAdapter::start(Place::new(path.as_ref())?, self).await
    }

    /// Opens an empty store in memory, which is gone with its last handle.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Cancel safety
    /// A future that is dropped leaves nothing open.
    pub async fn open_in_memory(self) -> Result<SqliteAdapter> {
        self.check()?;
        SqliteAdapter::start(Place::Memory, self).await
    }

    /// The schema of the store in the file `path`: its version, and how it is made.
    #[must_use]
    pub fn schema(&self, path: impl AsRef<Path>) -> Schema<'_> {
        Schema::of(self, path.as_ref())
    }
}
