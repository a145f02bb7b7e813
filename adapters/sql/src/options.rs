//! Options that every SQL adapter has, and bounds that every option has.

use std::fmt::Display;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use annals::{Clock, Error, Result, SystemClock};

use crate::cache::CACHE_BOUND;
use crate::queue::QUEUE_BOUND;
use crate::scan::PAGE_SIZE;

/// What a timeout may be: databases count whole milliseconds in 32 bits, and nobody waits longer than a day.
const TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
/// A page holds at most so many rows in memory, or so many numbers of rows for each item of a query.
const LARGEST_PAGE: usize = 65_536;
/// As many events, and as many names, fill some gigabytes.
const MOST_REMEMBERED: usize = 16_777_216;
/// The same for events that are queued.
const MOST_QUEUED: u32 = 16_777_216;

/// The options that all SQL adapters have; [`common_options!`](crate::common_options) makes the builder's methods.
#[derive(Debug, Clone)]
pub struct CommonOptions {
    /// How many events a page has at most.
    pub page_size: NonZeroUsize,
    /// How many events may be queued or in the making.
    pub queue_bound: NonZeroU32,
    /// How many streams, and as many names, are remembered.
    pub cache_bound: NonZeroUsize,
    /// How long an append waits for others that append.
    pub lock_timeout: Duration,
    /// Whether the database refuses every change.
    pub immutable_log: bool,
    /// Where `recorded_at` comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for CommonOptions {
    fn default() -> Self {
        Self {
            page_size: PAGE_SIZE,
            queue_bound: QUEUE_BOUND,
            cache_bound: CACHE_BOUND,
            lock_timeout: Duration::from_secs(5),
            immutable_log: false,
            clock: Arc::new(SystemClock),
        }
    }
}

impl CommonOptions {
    /// Rejects options that make no sense.
    ///
    /// # Errors
    /// [`Error::Invalid`], which names the option and its bounds.
    pub fn check(&self) -> Result<()> {
        check_at_most("page size", self.page_size.get(), LARGEST_PAGE)?;
        check_at_most("queue bound", self.queue_bound.get(), MOST_QUEUED)?;
        check_at_most("cache bound", self.cache_bound.get(), MOST_REMEMBERED)?;
        check_timeout("lock timeout", self.lock_timeout)
    }
}

/// Rejects a number above `most`; that it is not 0 its type says.
///
/// # Errors
/// [`Error::Invalid`] with the name of the option.
pub fn check_at_most<N: PartialOrd + Display + Copy>(
    option: &str,
    value: N,
    most: N,
) -> Result<()> {
    if value > most {
        return Err(Error::invalid(format!("the {option} is at most {most}, got {value}")));
    }
    Ok(())
}

/// Rejects a timeout below a millisecond or above a day.
///
/// # Errors
/// [`Error::Invalid`] with the name of the option.
pub fn check_timeout(option: &str, timeout: Duration) -> Result<()> {
    if !TIMEOUTS.contains(&timeout) {
        let text = format!("the {option} is from a millisecond to a day, got {timeout:?}");
        return Err(Error::invalid(text));
    }
    Ok(())
}

/// The methods that set and return [`CommonOptions`], for the type `$options` with a field `common`.
#[macro_export]
macro_rules! common_options {
    ($options:ident) => {
        impl $options {
            /// How long an append waits for other processes that append to the same log (5 s; from a millisecond to a
            /// day). Then it is `Unavailable`, and so is all that was queued behind it.
            #[must_use]
            pub fn with_lock_timeout(mut self, timeout: ::std::time::Duration) -> Self {
                self.common.lock_timeout = timeout;
                self
            }

            /// How many events a page of a read has at most (2,048; at most 65,536). Pages are smaller at the
            /// beginning of a read, and where events are large. No result depends on it.
            #[must_use]
            pub fn with_page_size(mut self, events: ::std::num::NonZeroUsize) -> Self {
                self.common.page_size = events;
                self
            }

            /// How many events may be queued or in the making at a time, where an append counts as one more than it
            /// has (262,144; at most 16,777,216). Beyond that an append is `Unavailable`.
            #[must_use]
            pub fn with_queue_bound(mut self, events: ::std::num::NonZeroU32) -> Self {
                self.common.queue_bound = events;
                self
            }

            /// How many streams, and as many names, are remembered in each of several places (65,536; at most
            /// 16,777,216).
            #[must_use]
            pub fn with_cache_bound(mut self, streams: ::std::num::NonZeroUsize) -> Self {
                self.common.cache_bound = streams;
                self
            }

            /// Has the database itself reject every change and removal of what was appended, by any program (off). It
            /// stays: a later migration without this option does not undo it.
            #[must_use]
            pub fn with_immutable_log(mut self, immutable_log: bool) -> Self {
                self.common.immutable_log = immutable_log;
                self
            }

            /// Takes `recorded_at` from `clock` (the machine's). An append at a time outside the years 1 to 9999 of
            /// UTC is `Invalid`.
            #[must_use]
            pub fn with_clock(mut self, clock: impl $crate::Clock) -> Self {
                self.common.clock = ::std::sync::Arc::new(clock);
                self
            }

            /// How long an append waits for other processes that append to the same log.
            #[must_use]
            pub fn lock_timeout(&self) -> ::std::time::Duration {
                self.common.lock_timeout
            }

            /// How many events a page of a read has at most.
            #[must_use]
            pub fn page_size(&self) -> ::std::num::NonZeroUsize {
                self.common.page_size
            }

            /// How many events may be queued or in the making at a time.
            #[must_use]
            pub fn queue_bound(&self) -> ::std::num::NonZeroU32 {
                self.common.queue_bound
            }

            /// How many streams, and as many names, are remembered in each of several places.
            #[must_use]
            pub fn cache_bound(&self) -> ::std::num::NonZeroUsize {
                self.common.cache_bound
            }

            /// Whether the database itself rejects every change and removal.
            #[must_use]
            pub fn immutable_log(&self) -> bool {
                self.common.immutable_log
            }
        }
    };
}
