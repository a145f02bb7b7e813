//! Clocks that tests set.

use std::sync::{Arc, Mutex, PoisonError};

use annals::Clock;
use time::{Duration, OffsetDateTime};

/// A clock that always shows the same time.
///
/// ```
/// use annals_memory::MemoryAdapter;
/// use annals_testkit::FixedClock;
/// use time::macros::datetime;
/// let adapter = MemoryAdapter::new().with_clock(FixedClock(datetime!(2026-11-21 08:00 UTC)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedClock(pub OffsetDateTime);

impl Clock for FixedClock {
    fn now(&self) -> OffsetDateTime {
        self.0
    }
}

/// A clock that stays until it is moved. Clones are hands of the same clock.
///
/// ```
/// use annals::Clock;
/// use annals_testkit::ManualClock;
/// use time::{Duration, macros::datetime};
/// let clock = ManualClock::new(datetime!(2026-11-21 08:00 UTC));
/// let same = clock.clone();
/// clock.advance(Duration::minutes(5));
/// assert_eq!(same.now(), datetime!(2026-11-21 08:05 UTC));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<OffsetDateTime>>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: OffsetDateTime) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Sets it to `now`, earlier or later.
    pub fn set(&self, now: OffsetDateTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves it by `time`, which may be negative; at the ends of what a time can be it stops.
    pub fn advance(&self, time: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(time);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
