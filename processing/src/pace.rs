//! Work that rests, so that it takes only a share of the time.

use std::time::Duration;

use crate::timer::Timer;

/// Measures how long something works, and rests for as long as that earns.
pub(crate) struct Pace<'a> {
    timer: &'a dyn Timer,
    /// How long it rests for each unit of work.
    earned: f64,
    worked_since: Duration,
}

impl<'a> Pace<'a> {
    /// Work begins now. Without a share it never rests.
    pub(crate) fn new(timer: &'a dyn Timer, share: Option<f64>) -> Self {
        let earned = share.map_or(0.0, |share| (1.0 - share) / share);
        Self { timer, earned, worked_since: timer.elapsed() }
    }

    /// Rests for the work since the last rest.
    pub(crate) async fn rest(&mut self) {
        if self.earned > 0.0 {
            let worked = self.timer.elapsed().saturating_sub(self.worked_since);
            self.timer.sleep(worked.mul_f64(self.earned)).await;
            self.worked_since = self.timer.elapsed();
        }
    }
}
