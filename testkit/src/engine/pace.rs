//! How fast the machine and the store are now: what limits are measured by.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What an ordinary call takes at most where limits are as they are written.
const ORDINARY: Duration = Duration::from_millis(20);
/// The most that limits grow by.
const MOST: u32 = 8;
/// A machine that takes so many times longer than at its best is too busy for a verdict on time.
const BUSY: f64 = 3.0;
/// A store whose ordinary call takes so long is, too.
const SLOW: Duration = Duration::from_millis(400);

thread_local! {
    /// How many times longer limits are on this thread.
    static FACTOR: Cell<u32> = const { Cell::new(1) };
}

/// The limit, as long as the store of the check on this thread needs.
pub(crate) fn scaled(limit: Duration) -> Duration {
    limit * FACTOR.get()
}

pub(crate) fn factor() -> u32 {
    FACTOR.get()
}

pub(crate) fn set(factor: u32) {
    FACTOR.set(factor.clamp(1, MOST));
}

/// How many times longer limits are for a store whose ordinary call takes so long.
pub(crate) fn factor_of(call: Duration) -> u32 {
    u32::try_from(call.as_millis().div_ceil(ORDINARY.as_millis())).unwrap_or(MOST).clamp(1, MOST)
}

/// Why what is late says nothing of the store, if it does not: the machine is too busy, or an ordinary call takes long.
pub(crate) fn excuse(call: Option<Duration>) -> Option<String> {
    let slowdown = slowdown();
    let is_slow = call.is_some_and(|call| call >= SLOW);
    if slowdown < BUSY && !is_slow {
        return None;
    }
    let call = call.map_or_else(String::new, |call| format!(", an ordinary call takes {call:?}"));
    Some(format!("the machine takes {slowdown:.1} times as long as at its best{call}"))
}

/// How many times longer the same work takes on this thread now than in the best moment of the process.
fn slowdown() -> f64 {
    static BEST: AtomicU64 = AtomicU64::new(u64::MAX);
    const ROUNDS: u32 = 150;
    let work = || {
        let began = Instant::now();
        let sum =
            (0..40_000_u64).fold(1_u64, |sum, n| black_box(sum.wrapping_mul(31).wrapping_add(n)));
        black_box(sum);
        began.elapsed()
    };
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let took = u64::try_from(work().as_nanos()).unwrap_or(u64::MAX).max(1);
        BEST.fetch_min(took, Ordering::Relaxed);
    }
    let best = Duration::from_nanos(BEST.load(Ordering::Relaxed)) * ROUNDS;
    began.elapsed().as_secs_f64() / best.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_with_the_time_of_a_call_and_no_further_than_they_may() {
        let of = |millis| factor_of(Duration::from_millis(millis));
        assert_eq!([of(0), of(20), of(21), of(90), of(100_000)], [1, 1, 2, 5, 8]);
        let limit = Duration::from_secs(2);
        std::thread::spawn(move || {
            assert_eq!(scaled(limit), limit);
            set(3);
            assert_eq!((scaled(limit), factor()), (limit * 3, 3));
        })
        .join()
        .unwrap();
        assert_eq!(scaled(limit), limit);
    }

    #[test]
    fn a_slow_call_is_an_excuse_whatever_the_machine_does() {
        let text = excuse(Some(SLOW)).unwrap();
        assert!(text.contains("an ordinary call takes 400ms"), "{text}");
        assert!(slowdown() >= 1.0);
    }
}
