//! The only place that reads the ambient clock or draws randomness.

use std::fmt;
use std::time::Instant;

use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

/// Where a store takes `recorded_at` from. Tests give their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now. Order never depends on it, so it may stand still or run backwards.
    fn now(&self) -> OffsetDateTime;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        #[expect(clippy::disallowed_methods, reason = "this module is the exception")]
        OffsetDateTime::now_utc()
    }
}

/// The time of a clock that only measures durations.
pub(crate) fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this module is the exception")]
    Instant::now()
}

/// A fresh UUIDv7: it grows within a process, which keeps unique indexes compact.
pub(crate) fn fresh_uuid() -> Uuid {
    #[expect(clippy::disallowed_methods, reason = "this module is the exception")]
    Uuid::now_v7()
}

/// `time` as every store keeps it: in UTC, cut (never rounded up) to the microsecond.
///
/// A time whose UTC form lies outside the years −9999 to 9999 keeps its offset; [`Capabilities::check_append`]
/// refuses it before it is stored.
///
/// [`Capabilities::check_append`]: crate::Capabilities::check_append
#[must_use]
pub fn cut_to_micros(time: OffsetDateTime) -> OffsetDateTime {
    let time = time.checked_to_offset(UtcOffset::UTC).unwrap_or(time);
    let nanos = time.nanosecond() / 1_000 * 1_000;
    time.replace_nanosecond(nanos).unwrap_or(time)
}

/// Whether every store can keep `time`: its UTC form lies in the years 1 to 9999.
pub(crate) fn is_storable(time: OffsetDateTime) -> bool {
    time.checked_to_offset(UtcOffset::UTC).is_some_and(|utc| (1..=9999).contains(&utc.year()))
}
