//! What an adapter returns about the streams and categories that it holds.

use std::num::NonZeroUsize;

use time::OffsetDateTime;

use crate::error::{Error, Result};
use crate::name::{CategoryName, StreamId};

/// The longest list that an adapter returns at once.
const LONGEST_LIST: usize = 65_536;

/// A stream that has events, as an adapter's `streams` returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamSummary {
    /// The stream.
    pub stream: StreamId,
    /// How many events it has.
    pub events: u64,
    /// When its first event was recorded.
    pub first_recorded_at: OffsetDateTime,
    /// When its last event was recorded.
    pub last_recorded_at: OffsetDateTime,
}

/// A category that has events, as an adapter's `categories` returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CategorySummary {
    /// The category.
    pub category: CategoryName,
    /// How many streams it has.
    pub streams: u64,
    /// How many events these have together.
    pub events: u64,
    /// When its first event was recorded.
    pub first_recorded_at: OffsetDateTime,
    /// When its last event was recorded.
    pub last_recorded_at: OffsetDateTime,
}

impl StreamSummary {
    /// For adapters. `recorded_at`: of the first and of the last event.
    #[must_use]
    pub fn new(stream: StreamId, events: u64, recorded_at: [OffsetDateTime; 2]) -> Self {
        let [first_recorded_at, last_recorded_at] = recorded_at;
        Self { stream, events, first_recorded_at, last_recorded_at }
    }
}

impl CategorySummary {
    /// For adapters. `recorded_at`: of the first and of the last event.
    #[must_use]
    pub fn new(
        category: CategoryName,
        streams: u64,
        events: u64,
        recorded_at: [OffsetDateTime; 2],
    ) -> Self {
        let [first_recorded_at, last_recorded_at] = recorded_at;
        Self { category, streams, events, first_recorded_at, last_recorded_at }
    }
}

/// For adapters: the first line of `streams` and `categories`.
///
/// # Errors
/// [`Error::Invalid`] if a list of `limit` is longer than any adapter returns at once (65,536).
pub fn check_list(limit: NonZeroUsize) -> Result<()> {
    if limit.get() > LONGEST_LIST {
        let text =
            format!("a list has at most {LONGEST_LIST} names at once, got a limit of {limit}");
        return Err(Error::invalid(text));
    }
    Ok(())
}
