//! How often a command is tried, and the pauses between.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_timer::Delay;

/// How often a decision is made again after a conflict, and an append is repeated whose answer was lost. The pause before
/// attempt n + 1 is random between 0 and `base * 2^(n - 1)`, at most `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    attempts: NonZeroU32,
    base: Duration,
    longest: Duration,
}

impl Retry {
    /// One attempt.
    pub const NONE: Self = Self::attempts(NonZeroU32::MIN);

    /// So many attempts in all, with pauses from 1 ms to 100 ms.
    #[must_use]
    pub const fn attempts(attempts: NonZeroU32) -> Self {
        let (base, longest) = (Duration::from_millis(1), Duration::from_millis(100));
        Self { attempts, base, longest }
    }

    /// Sets the longest first pause, and the longest of all.
    #[must_use]
    pub const fn pauses(mut self, base: Duration, longest: Duration) -> Self {
        self.base = base;
        self.longest = longest;
        self
    }

    /// How many attempts are made at most.
    pub(crate) const fn most(self) -> u32 {
        self.attempts.get()
    }

    /// Waits before the attempt that follows number `attempt`.
    pub(crate) async fn pause(self, attempt: u32) {
        let doubled = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.base.saturating_mul(doubled).min(self.longest);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        let pause = Duration::from_micros(fastrand::u64(0..=micros));
        if !pause.is_zero() {
            Delay::new(pause).await;
        }
    }
}

impl Default for Retry {
    /// Ten attempts, with pauses from 1 ms to 100 ms.
    fn default() -> Self {
        Self::attempts(NonZeroU32::MIN.saturating_add(9))
    }
}
