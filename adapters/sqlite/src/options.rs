//! How a store is opened.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals::{Clock, Result, SystemClock};
use annals_sql::queue::QUEUE_BOUND;
use annals_sql::schema::SchemaStatus;
use annals_sql::{CACHE_BOUND, PAGE_SIZE};

use crate::SqliteAdapter;
use crate::place::Place;

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
    pub(crate) lock_timeout: Duration,
    pub(crate) page_size: NonZeroUsize,
    pub(crate) readers: NonZeroUsize,
    pub(crate) queue_bound: NonZeroU32,
    pub(crate) cache_bound: NonZeroUsize,
    pub(crate) immutable_log: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SqliteOptions {
    /// The defaults, as each method tells them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            synchronous: Synchronous::Full,
            lock_timeout: Duration::from_secs(5),
            page_size: PAGE_SIZE,
            readers: NonZeroUsize::MIN.saturating_add(3),
            queue_bound: QUEUE_BOUND,
            cache_bound: CACHE_BOUND,
            immutable_log: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// When an append is acknowledged ([`Synchronous::Full`]).
    #[must_use]
    pub fn with_synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long an append waits for another process that writes to the same file (5 s; from a millisecond to an
    /// hour). Then it is `Unavailable`, and so is all that was queued behind it.
    #[must_use]
    pub fn with_lock_timeout(mut self, lock_timeout: Duration) -> Self {
        self.lock_timeout =
            lock_timeout.clamp(Duration::from_millis(1), Duration::from_secs(3_600));
        self
    }

    /// How many events a page of a read has at most (2,048). Pages are smaller at the beginning of a read, and
    /// where events are large. No result depends on it.
    #[must_use]
    pub fn with_page_size(mut self, events: NonZeroUsize) -> Self {
        self.page_size = events;
        self
    }

    /// How many threads read, each with a connection of its own (4). A store in memory has none: its one
    /// connection serves reads as well.
    #[must_use]
    pub fn with_readers(mut self, readers: NonZeroUsize) -> Self {
        self.readers = readers;
        self
    }

    /// How many events may be queued or in the making at a time, where an append counts as one more than it has
    /// (262,144). Beyond that an append is `Unavailable`.
    #[must_use]
    pub fn with_queue_bound(mut self, events: NonZeroU32) -> Self {
        self.queue_bound = events;
        self
    }

    /// How many streams, and as many names, each connection remembers (65,536).
    #[must_use]
    pub fn with_cache_bound(mut self, streams: NonZeroUsize) -> Self {
        self.cache_bound = streams;
        self
    }

    /// Lets the database itself refuse every change and removal of what was appended, by any program (off). It
    /// stays in the file: opening it without this option does not undo it.
    #[must_use]
    pub fn with_immutable_log(mut self, immutable_log: bool) -> Self {
        self.immutable_log = immutable_log;
        self
    }

    /// Takes `recorded_at` from `clock` (the machine's).
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens the store in the file `path`, and makes or migrates it where needed. `:memory:` opens a store of its
    /// own in memory.
    ///
    /// # Errors
    /// - [`Invalid`](annals::Error::Invalid): the file holds something else, or a later release made it (a
    ///   [`SchemaError`](crate::SchemaError) is the cause); the path is empty.
    /// - [`Corrupt`](annals::Error::Corrupt): it is no database at all.
    /// - [`Unavailable`](annals::Error::Unavailable): another process held its lock for too long; the disk is full.
    /// - [`Backend`](annals::Error::Backend): it cannot be opened or written to.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves a file that is empty or whole.
    pub async fn open(self, path: impl AsRef<Path>) -> Result<SqliteAdapter> {
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
        SqliteAdapter::start(Place::Memory, self).await
    }

    /// The version of the schema in the file `path`, which is not changed; version 0 when there is no such file.
    ///
    /// # Errors
    /// As [`open`](Self::open), except that a later version is told, not refused.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn schema_status(self, path: impl AsRef<Path>) -> Result<SchemaStatus> {
        crate::threads::status(Place::new(path.as_ref())?, self).await
    }
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}
