//! What a processor does about an event that its handler cannot apply.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::HandlerError;

/// What to do about an event that a handler cannot apply. See [`HandlerError::is_poison`] for one that ends the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The processor stops before the event, with the error.
    #[default]
    Stop,
    /// The event is passed over, and counted.
    Skip,
    /// The handler is tried again, later. Of a poison event it means what comes after it.
    Retry(Retry),
    /// The event and all that follows of its sequence wait until somebody retries or discards them; the rest goes on.
    Park,
}

/// How often, and how soon, a handler is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    first: Duration,
    longest: Duration,
    times: u32,
    within: Option<Duration>,
    then: Box<Decision>,
}

impl Retry {
    /// Tries again after a random time of at most `first`, then of at most twice as much each time, and never more than
    /// `longest`: 5 times, then [`Decision::Stop`].
    #[must_use]
    pub fn exponential(first: Duration, longest: Duration) -> Self {
        Self { first, longest, times: 5, within: None, then: Box::new(Decision::Stop) }
    }

    /// Tries so many times again.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Does not try again once so much time has passed since the first try.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// What to do once it was tried often enough. A [`Decision::Retry`] here means [`Decision::Stop`].
    #[must_use]
    pub fn then(mut self, decision: Decision) -> Self {
        let ends = !matches!(decision, Decision::Retry(_));
        *self.then = if ends { decision } else { Decision::Stop };
        self
    }

    /// How long to wait before the next try; what to do instead if that was enough. `tries` have failed, the first of
    /// them `since` ago.
    pub(crate) fn next(
        &self,
        tries: u32,
        since: Duration,
        jitter: &mut Jitter,
    ) -> Result<Duration, Decision> {
        let is_late = self.within.is_some_and(|within| since >= within);
        if tries > self.times || is_late {
            return Err((*self.then).clone());
        }
        Ok(jitter.up_to(doubled(self.first, tries.saturating_sub(1), self.longest)))
    }

    /// What comes after the last try.
    pub(crate) fn after_all(&self) -> Decision {
        (*self.then).clone()
    }
}

/// `first` doubled so often, at most `longest`.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(times.min(31)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

/// Random times between nothing and a bound ("full jitter"), so that what failed together does not try again together.
/// The numbers are those of `SplitMix64`.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(bits % nanos.saturating_add(1).max(1))
    }
}

type Decide = Arc<dyn Fn(&HandlerError) -> Decision + Send + Sync>;

/// Decides by the kind of the error: to stop, unless somebody says what to do.
#[derive(Clone, Default)]
pub(crate) struct Errors(Option<Decide>);

impl Errors {
    pub(crate) fn new(decide: impl Fn(&HandlerError) -> Decision + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(decide)))
    }

    pub(crate) fn are_default(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn decide(&self, error: &HandlerError) -> Decision {
        self.0.as_ref().map_or(Decision::Stop, |decide| decide(error))
    }
}

impl fmt::Debug for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errors")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn er3_delays_double_to_a_longest_and_jitter_is_full() {
        assert_eq!(doubled(MS, 0, MS * 100), MS);
        assert_eq!(doubled(MS, 3, MS * 100), MS * 8);
        assert_eq!(doubled(MS, 40, MS * 100), MS * 100);
        let mut jitter = Jitter::new(7);
        let drawn: Vec<Duration> = (0..1_000).map(|_| jitter.up_to(MS * 10)).collect();
        assert!(drawn.iter().all(|time| *time <= MS * 10));
        assert!(drawn.iter().any(|time| *time < MS) && drawn.iter().any(|time| *time > MS * 9));
        assert_eq!(jitter.up_to(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn er3_a_retry_ends_by_times_and_by_time() {
        let mut jitter = Jitter::new(7);
        let retry = Retry::exponential(MS, MS).times(2).within(MS * 10).then(Decision::Park);
        assert!(retry.next(1, Duration::ZERO, &mut jitter).is_ok());
        assert!(retry.next(2, MS * 9, &mut jitter).is_ok());
        assert_eq!(retry.next(3, MS * 9, &mut jitter), Err(Decision::Park));
        assert_eq!(retry.next(1, MS * 10, &mut jitter), Err(Decision::Park));
        let endless = retry.clone().then(Decision::Retry(retry));
        assert_eq!(endless.after_all(), Decision::Stop);
    }
}
