//! How long limits are: as the store and the machine are fast.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use crate::engine::machine;

/// What an ordinary call takes at most where limits are as they are written.
const ORDINARY: Duration = Duration::from_millis(20);
/// The most that limits grow by.
const MOST: u32 = 8;
/// A store whose ordinary call takes so long is too slow for a verdict on time.
const SLOW: Duration = Duration::from_millis(400);

/// How often a limit begins anew at most, where the machine is too busy to tell what is late from what hangs.
const TURNS: u32 = 8;
/// How often the machine is looked at while a check runs.
const LOOK: Duration = Duration::from_secs(3);

/// How limits are taken by the check on a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How many times longer they are than they are written.
    pub(crate) factor: u32,
    /// How many times shorter.
    pub(crate) haste: u32,
    /// What is late has failed, however busy the machine is.
    pub(crate) strict: bool,
}

thread_local! {
    static LIMITS: Cell<Limits> = const { Cell::new(Limits { factor: 1, haste: 1, strict: false }) };
}

/// The limit, as long as the store of the check on this thread needs.
pub(crate) fn scaled(limit: Duration) -> Duration {
    let Limits { factor, haste, .. } = LIMITS.get();
    limit * factor / haste
}

pub(crate) fn limits() -> Limits {
    LIMITS.get()
}

pub(crate) fn set(limits: Limits) {
    LIMITS.set(Limits {
        factor: limits.factor.clamp(1, MOST),
        haste: limits.haste.max(1),
        ..limits
    });
}

/// What `wait` waits for: anew if nothing came within the limit and the machine `is_busy`. `wait` is called for a piece
/// of the limit each time, and the machine is looked at behind each, so that it is known what the whole time was like.
pub(crate) fn by_turns<T>(
    limit: Duration,
    mut wait: impl FnMut(Duration) -> Option<T>,
    mut is_busy: impl FnMut() -> bool,
) -> Option<T> {
    let pieces = u32::try_from(limit.as_nanos() / LOOK.as_nanos()).unwrap_or(u32::MAX).max(1);
    for _ in 0..TURNS {
        let mut busy = false;
        for _ in 0..pieces {
            if let Some(done) = wait(limit / pieces) {
                return Some(done);
            }
            busy = is_busy();
        }
        if !busy {
            return None;
        }
    }
    None
}

/// The same for a future.
pub(crate) async fn in_turns<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 1..TURNS {
        if let Ok(done) = tokio::time::timeout(limit, work.as_mut()).await {
            return Some(done);
        }
        // It takes a moment to see how busy the machine is.
        let look = || tokio::task::spawn_blocking(machine::is_busy);
        if LIMITS.get().strict || !look().await.unwrap_or(false) {
            return None;
        }
    }
    tokio::time::timeout(limit, work).await.ok()
}

/// How many times longer limits are for a store whose ordinary call takes so long.
pub(crate) fn factor_of(call: Duration) -> u32 {
    u32::try_from(call.as_millis().div_ceil(ORDINARY.as_millis())).unwrap_or(MOST).clamp(1, MOST)
}

/// Why what is late by limits that were scaled by `factor` says nothing of the store, if it does not: the machine is too
/// busy, or an ordinary call takes long, or so much longer by now that the limits were too short for it.
pub(crate) fn excuse(call: Option<Duration>, factor: u32) -> Option<String> {
    let slowdown = machine::slowdown();
    let is_slow = call.is_some_and(|call| call >= SLOW || factor_of(call) > 2 * factor);
    if slowdown < machine::BUSY && !is_slow {
        return None;
    }
    let call = call.map_or_else(String::new, |call| format!(", an ordinary call takes {call:?}"));
    Some(format!("the machine takes {slowdown:.1} times as long as at its best{call}"))
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
            set(Limits { factor: 3, haste: 2, strict: true });
            assert_eq!((scaled(limit), limits().strict), (limit * 3 / 2, true));
        })
        .join()
        .unwrap();
        assert_eq!(scaled(limit), limit);
    }

    #[test]
    fn a_limit_begins_anew_only_on_a_busy_machine_and_not_without_end() {
        let turns_until = |done: u32, busy: u32| {
            let turns = Cell::new(0);
            let wait = |piece| {
                assert_eq!(piece, LOOK / 2);
                turns.set(turns.get() + 1);
                (turns.get() >= done).then_some(())
            };
            let ended = by_turns(LOOK / 2, wait, || turns.get() < busy).is_some();
            (ended, turns.get())
        };
        assert_eq!(turns_until(1, 0), (true, 1));
        assert_eq!(turns_until(2, 0), (false, 1));
        assert_eq!(turns_until(5, u32::MAX), (true, 5));
        assert_eq!(turns_until(5, 3), (false, 3));
        assert_eq!(turns_until(TURNS, u32::MAX), (true, TURNS));
        assert_eq!(turns_until(TURNS + 1, u32::MAX), (false, TURNS));
    }

    #[test]
    fn a_long_limit_ends_when_its_last_look_finds_time() {
        let pieces_until = |busy: u32| {
            let pieces = Cell::new(0);
            let wait = |piece| {
                assert_eq!(piece, LOOK + LOOK / 20);
                pieces.set(pieces.get() + 1);
                None::<()>
            };
            assert_eq!(by_turns(LOOK * 21 / 2, wait, || pieces.get() < busy), None);
            pieces.get()
        };
        assert_eq!([pieces_until(0), pieces_until(10), pieces_until(11)], [10, 10, 20]);
    }

    #[tokio::test]
    async fn a_future_in_time_is_done_and_one_that_hangs_is_not_waited_for_without_end() {
        let limit = Duration::from_millis(1);
        assert_eq!(in_turns(limit, std::future::ready(1)).await, Some(1));
        assert_eq!(in_turns(limit, std::future::pending::<()>()).await, None);
    }

    #[test]
    fn a_call_slower_than_limits_are_made_for_is_an_excuse_whatever_the_machine_does() {
        for (call, factor) in [(SLOW, MOST), (ORDINARY * 3, 1)] {
            let text = excuse(Some(call), factor).unwrap();
            assert!(text.contains(&format!("an ordinary call takes {call:?}")), "{text}");
        }
    }
}
