//! How a store is opened.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use annals::Result;
use annals_sql::{CommonOptions, check_at_most, check_timeout, common_options};

use crate::SqliteAdapter;
use crate::migration::Schema;
use crate::place::Place;

/// Each reader is a thread with a connection.
const MOST_READERS: usize = 1_024;

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Synchronous {
    /// After it was synced to the disk: it survives power loss.
    #[default]
    Full,
    /// After it was handed to the operating system: it survives the end and the kill of the process, but the
    /// last appends before a power loss may be gone. What is left is whole and in order.
    Normal,
}

/// How a store is opened, and the bounds of what it holds.
///
/// ```
/// # use annals_sqlite::{SqliteOptions, Synchronous};
/// # use std::time::Duration;
/// let options = SqliteOptions::new()
///     .with_synchronous(Synchronous::Normal)
///     .with_lock_timeout(Duration::from_secs(1));
/// ```
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    pub(crate) synchronous: Synchronous,
    pub(crate) readers: NonZeroUsize,
    pub(crate) common: CommonOptions,
    pub(crate) watch_interval: Duration,
}

impl SqliteOptions {
    /// The defaults, as each method documents them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            synchronous: Synchronous::Full,
            readers: NonZeroUsize::MIN.saturating_add(3),
            common: CommonOptions::default(),
            watch_interval: Duration::from_millis(5),
        }
    }

    /// When an append is acknowledged ([`Synchronous::Full`]).
    #[must_use]
    pub fn with_synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How often a follow looks for appends of other processes (5 ms; from a millisecond to a day). Those of this
    /// process arrive at once. While nothing follows, nothing looks.
    #[must_use]
    pub fn with_watch_interval(mut self, interval: Duration) -> Self {
        self.watch_interval = interval;
        self
    }

    /// How many threads read, each with a connection of its own (4; at most 1,024). A store in memory has none: its one
    /// connection serves reads as well.
    #[must_use]
    pub fn with_readers(mut self, readers: NonZeroUsize) -> Self {
        self.readers = readers;
        self
    }

    /// When an append is acknowledged.
    #[must_use]
    pub fn synchronous(&self) -> Synchronous {
        self.synchronous
    }

    /// How many threads read.
    #[must_use]
    pub fn readers(&self) -> NonZeroUsize {
        self.readers
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.common.check()?;
        check_timeout("watch interval", self.watch_interval)?;
        check_at_most("number of readers", self.readers.get(), MOST_READERS)
    }

    /// Opens the store in the file `path`, and makes or migrates it where needed. `:memory:` opens a store of its
    /// own in memory.
    ///
    /// # Errors
    /// - [`Invalid`](annals::Error::Invalid): the file holds something else, or a later release made it (a
    ///   [`SchemaError`](crate::SchemaError) is the cause); the path is empty, or something that is no regular file; an option is out of its bounds.
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

common_options!(SqliteOptions);

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}
