//! How fast the machine and the store are now: what limits are measured by.

use std::cell::Cell;
use std::hint::black_box;
use std::pin::pin;
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

/// How often a limit begins anew at most, where the machine is too busy to tell what is late from what hangs.
const TURNS: u32 = 8;

/// How limits are taken by the check on a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How many times longer they are than they are written.
    pub(crate) factor: u32,
    /// What is late has failed, however busy the machine is.
    pub(crate) strict: bool,
}

thread_local! {
    static LIMITS: Cell<Limits> = const { Cell::new(Limits { factor: 1, strict: false }) };
}

/// The limit, as long as the store of the check on this thread needs.
pub(crate) fn scaled(limit: Duration) -> Duration {
    limit * LIMITS.get().factor
}

pub(crate) fn limits() -> Limits {
    LIMITS.get()
}

pub(crate) fn set(limits: Limits) {
    LIMITS.set(Limits { factor: limits.factor.clamp(1, MOST), ..limits });
}

/// What `wait` waits for, one limit long at each call: anew if nothing came in time and the machine `is_busy`.
pub(crate) fn by_turns<T>(
    mut wait: impl FnMut() -> Option<T>,
    is_busy: impl Fn() -> bool,
) -> Option<T> {
    for _ in 1..TURNS {
        let done = wait();
        if done.is_some() || !is_busy() {
            return done;
        }
    }
    wait()
}

/// The same for a future.
pub(crate) async fn in_turns<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 1..TURNS {
        if let Ok(done) = tokio::time::timeout(limit, work.as_mut()).await {
            return Some(done);
        }
        // It takes a moment to see how busy the machine is.
        if LIMITS.get().strict || !tokio::task::spawn_blocking(is_busy).await.unwrap_or(false) {
            return None;
        }
    }
    tokio::time::timeout(limit, work).await.ok()
}

/// Whether the machine is too busy for a verdict on time.
pub(crate) fn is_busy() -> bool {
    slowdown() >= BUSY
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
            set(Limits { factor: 3, strict: true });
            assert_eq!((scaled(limit), limits().strict), (limit * 3, true));
        })
        .join()
        .unwrap();
        assert_eq!(scaled(limit), limit);
    }

    #[test]
    fn a_limit_begins_anew_only_on_a_busy_machine_and_not_without_end() {
        let turns_until = |done: u32, busy: u32| {
            let turns = Cell::new(0);
            let wait = || {
                turns.set(turns.get() + 1);
                (turns.get() >= done).then_some(())
            };
            let ended = by_turns(wait, || turns.get() < busy).is_some();
            (ended, turns.get())
        };
        assert_eq!(turns_until(1, 0), (true, 1));
        assert_eq!(turns_until(2, 0), (false, 1));
        assert_eq!(turns_until(5, u32::MAX), (true, 5));
        assert_eq!(turns_until(5, 3), (false, 3));
        assert_eq!(turns_until(TURNS, u32::MAX), (true, TURNS));
        assert_eq!(turns_until(TURNS + 1, u32::MAX), (false, TURNS));
    }

    #[tokio::test]
    async fn a_future_in_time_is_done_and_one_that_hangs_is_not_waited_for_without_end() {
        let limit = Duration::from_millis(1);
        assert_eq!(in_turns(limit, std::future::ready(1)).await, Some(1));
        assert_eq!(in_turns(limit, std::future::pending::<()>()).await, None);
    }

    #[test]
    fn a_slow_call_is_an_excuse_whatever_the_machine_does() {
        let text = excuse(Some(SLOW)).unwrap();
        assert!(text.contains("an ordinary call takes 400ms"), "{text}");
        assert!(slowdown() >= 1.0);
    }
}
