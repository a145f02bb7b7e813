//! Figures of one repetition, and of several.

use std::time::Duration;

use annals::BoxError;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::about::About;

/// One repetition.
#[derive(Debug, Clone)]
pub struct Measure {
    /// How much was done.
    pub done: u64,
    /// In how long.
    pub time: Duration,
    /// How long single calls took, in nanoseconds, where they were timed.
    pub calls: Option<Histogram<u64>>,
    /// By how many bytes the memory of the process grew at most.
    pub peak: Option<u64>,
}

impl Measure {
    /// So much in so long.
    #[must_use]
    pub fn new(done: u64, time: Duration) -> Self {
        Self { done, time, calls: None, peak: None }
    }

    /// Per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no 16 digits")]
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.time.as_secs_f64()
    }
}

/// What `run` does in `time`, after what it did in `warm`, which is not counted: connections are opened by then, and the
/// server's caches filled. It is called with the number of the run, from 0, and how long it takes.
///
/// # Errors
/// Those of `run`.
pub async fn warmed<T>(
    warm: Duration,
    time: Duration,
    mut run: impl AsyncFnMut(usize, Duration) -> Result<T, BoxError>,
) -> Result<[T; 2], BoxError> {
    Ok([run(0, warm).await?, run(1, time).await?])
}

/// Calls of up to a minute, to three digits.
///
/// # Panics
/// Never: the bounds are valid.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are valid")
}

/// The median of several repetitions, with the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let upper = *figures.get(figures.len() / 2)?;
        let lower = *figures.get((figures.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

/// A line of the results: one figure of one contestant in one workload.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Who.
    pub peer: &'static str,
    /// Which version.
    pub version: String,
    /// Where it keeps its events.
    pub backend: &'static str,
    /// What it did.
    pub workload: String,
    /// How many clients at once.
    pub concurrency: usize,
    /// How many events each append had; 0 for reads.
    pub events_per_append: usize,
    /// What was measured, with its unit.
    pub metric: &'static str,
    /// The median of the repetitions.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// All repetitions of one contestant in one workload.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who.
    pub about: About,
    /// The repetitions; or why there are none.
    pub outcome: Result<Vec<Measure>, String>,
}

impl Entry {
    /// The rates.
    #[must_use]
    pub fn rate(&self) -> Option<Spread> {
        Spread::of(self.outcome.as_ref().ok()?.iter().map(Measure::rate))
    }

    /// The latencies at `quantile`, in microseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³ nanoseconds")]
    pub fn latency(&self, quantile: f64) -> Option<Spread> {
        let calls = self.outcome.as_ref().ok()?.iter().filter_map(|measure| measure.calls.as_ref());
        Spread::of(calls.map(|calls| calls.value_at_quantile(quantile) as f64 / 1_000.0))
    }

    /// The growth of memory, in bytes.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³ bytes")]
    pub fn peak(&self) -> Option<Spread> {
        let peaks = self.outcome.as_ref().ok()?.iter().filter_map(|measure| measure.peak);
        Spread::of(peaks.map(|peak| peak as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }
}
