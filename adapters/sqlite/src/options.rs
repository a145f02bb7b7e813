//! How a store is opened.

use std::num::NonZeroUsize;
use std::time::Duration;

use annals::Result;
use annals_sql::{CommonOptions, check_at_most, check_timeout, common_options};

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

    /// How often a follow looks for appends of other processes.
    #[must_use]
    pub fn watch_interval(&self) -> Duration {
        self.watch_interval
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
}

common_options!(SqliteOptions);

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}
