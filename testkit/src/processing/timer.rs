//! Time that a test moves.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use annals_processing::Timer;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// A timer whose time stays until it is moved. Clones are hands of the same timer.
///
/// ```
/// use annals_processing::Timer;
/// use annals_testkit::processing::ManualTimer;
/// use futures_util::FutureExt;
/// use std::time::Duration;
/// let timer = ManualTimer::new();
/// let mut sleep = timer.sleep(Duration::from_secs(60));
/// assert!((&mut sleep).now_or_never().is_none());
/// timer.advance(Duration::from_secs(60));
/// assert!(sleep.now_or_never().is_some());
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualTimer(Arc<Mutex<Hands>>);

#[derive(Debug, Default)]
struct Hands {
    now: Duration,
    next: u64,
    /// Who sleeps until when.
    sleepers: BTreeMap<(Duration, u64), Option<Waker>>,
}

impl ManualTimer {
    /// A timer at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A clock of another machine: it began at another time, and of each second of this timer it counts so many
    /// thousandths.
    #[must_use]
    pub fn skewed(&self, ahead: Duration, thousandths: u32) -> SkewedTimer {
        SkewedTimer { timer: self.clone(), ahead, thousandths: thousandths.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves it on.
    pub fn advance(&self, time: Duration) {
        let now = self.lock().now.saturating_add(time);
        self.move_to(now);
    }

    /// Moves it to the next moment at which somebody's sleep ends; `false` if nobody sleeps.
    #[must_use]
    pub fn advance_to_next(&self) -> bool {
        let next = self.lock().sleepers.keys().next().copied();
        next.is_some_and(|(at, _)| {
            self.move_to(at);
            true
        })
    }

    fn move_to(&self, now: Duration) {
        let mut woken = Vec::new();
        let mut hands = self.lock();
        hands.now = hands.now.max(now);
        while let Some(first) = hands.sleepers.first_entry() {
            if first.key().0 > now {
                break;
            }
            woken.extend(first.remove());
        }
        drop(hands);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Timer for ManualTimer {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let mut hands = self.lock();
        let at = hands.now.saturating_add(time);
        let key = (at, hands.next);
        hands.next += 1;
        if at > hands.now {
            hands.sleepers.insert(key, None);
        }
        drop(hands);
        Sleep { timer: self.clone(), key }.boxed()
    }

    fn elapsed(&self) -> Duration {
        self.lock().now
    }
}

/// A clock that is wrong: see [`ManualTimer::skewed`].
#[derive(Debug, Clone)]
pub struct SkewedTimer {
    timer: ManualTimer,
    ahead: Duration,
    thousandths: u32,
}

impl Timer for SkewedTimer {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.timer.sleep(time.saturating_mul(1_000) / self.thousandths)
    }

    fn elapsed(&self) -> Duration {
        let own = self.timer.elapsed().saturating_mul(self.thousandths) / 1_000;
        self.ahead.saturating_add(own)
    }
}

struct Sleep {
    timer: ManualTimer,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut hands = self.timer.lock();
        match hands.sleepers.get_mut(&self.key) {
            None => Poll::Ready(()),
            Some(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.timer.lock().sleepers.remove(&self.key);
    }
}
