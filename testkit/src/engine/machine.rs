//! How busy the machine is: a verdict on time needs one that has time.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A machine that takes so many times longer than at its best is too busy for a verdict on time.
pub(crate) const BUSY: f64 = 3.0;
/// So many tasks for each processor are no more than checks and a server beside each other make of themselves.
const USUAL: f64 = 2.0;
/// Looks that are older say nothing of what is late now: no ordinary limit is longer.
const RECENT: Duration = Duration::from_secs(30);
/// How many looks are kept.
const KEPT: usize = 64;

static LOOKS: Mutex<Looks> = Mutex::new(Looks(VecDeque::new()));

/// What the looks of the process found, the last one last.
#[derive(Debug)]
struct Looks(VecDeque<(Instant, f64)>);

impl Looks {
    /// Takes in what is found at `now`, and returns how slow the machine was lately: a quarter of the looks found it slower.
    fn add(&mut self, now: Instant, found: f64) -> f64 {
        self.0.push_back((now, found));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
        self.0.retain(|(at, _)| now.duration_since(*at) <= RECENT);
        let mut lately: Vec<_> = self.0.iter().map(|(_, found)| *found).collect();
        lately.sort_by(|one, other| other.total_cmp(one));
        lately.get(lately.len() / 4).copied().unwrap_or(found).max(found)
    }
}

/// Whether the machine is too busy for a verdict on time, or was lately.
pub(crate) fn is_busy() -> bool {
    slowdown() >= BUSY
}

/// How many times longer work takes now than in the best moment of the process, or took lately: a moment in which the
/// machine has time says nothing of the time before.
pub(crate) fn slowdown() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let found = look().max(crowd(&stat).unwrap_or(1.0) / USUAL);
    LOOKS.lock().unwrap_or_else(PoisonError::into_inner).add(Instant::now(), found)
}

/// How many tasks there are for each processor that want one, as Linux says: a look may be lucky, and find a processor
/// that others wait for elsewhere.
fn crowd(stat: &str) -> Option<f64> {
    let is_processor = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    let processors = u32::try_from(stat.lines().filter(is_processor).count()).ok()?;
    let want = stat.lines().find_map(|line| line.strip_prefix("procs_running "))?;
    let want: u32 = want.trim().parse().ok()?;
    Some(f64::from(want) / f64::from(processors.max(1)))
}

/// How many times longer the same work takes on this thread now than in the best moment of the process.
fn look() -> f64 {
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
    fn a_quarter_of_the_recent_looks_make_a_machine_busy() {
        let mut looks = Looks(VecDeque::new());
        let began = Instant::now();
        let mut at = |seconds, found| looks.add(began + Duration::from_secs(seconds), found);
        assert!((at(0, 9.0) - 9.0).abs() < 0.1, "now");
        assert!((at(3, 1.0) - 9.0).abs() < 0.1, "one of two");
        assert!((at(6, 1.0) - 9.0).abs() < 0.1, "one of three");
        assert!((at(9, 1.0) - 1.0).abs() < 0.1, "one of four");
        assert!((at(12, 8.0) - 8.0).abs() < 0.1, "now again");
        assert!((at(15, 1.0) - 8.0).abs() < 0.1, "two of six");
        assert!((at(46, 1.0) - 1.0).abs() < 0.1, "none of the recent ones");
        for _ in 0..KEPT * 2 {
            at(47, 1.0);
        }
        assert_eq!(looks.0.len(), KEPT);
    }

    #[test]
    fn tasks_are_counted_for_each_processor() {
        let stat = "cpu  9 9\ncpu0 4 4\ncpu1 5 5\nctxt 7\nprocs_running 35\nprocs_blocked 1\n";
        assert_eq!(crowd(stat), Some(17.5));
        assert_eq!([crowd(""), crowd("procs_running many")], [None, None]);
    }

    #[test]
    fn no_machine_is_faster_than_at_its_best() {
        assert!(look() >= 1.0);
        assert!(slowdown() >= 1.0);
    }
}
