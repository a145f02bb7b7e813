//! Runs workloads over contestants, their repetitions interleaved.

use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;

use crate::contestant::{Contestant, Missing, Store};
use crate::measure::{Entry, Measure, Row};
use crate::workload::Workload;

/// How thorough a run is.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Repetitions that count.
    pub repetitions: usize,
    /// How long a repetition of a timed workload takes.
    pub time: Duration,
    /// Whether logs are smaller as well.
    pub quick: bool,
    /// How many events a scan reads.
    pub scan: usize,
}

impl Plan {
    /// All repetitions within some minutes.
    pub const QUICK: Self =
        Self { repetitions: 3, time: Duration::from_millis(300), quick: true, scan: 200_000 };
    /// The same with peers, of which some take minutes to fill a log.
    pub const QUICK_WITH_PEERS: Self = Self { scan: 50_000, ..Self::QUICK };
    /// The default.
    pub const FULL: Self =
        Self { repetitions: 5, time: Duration::from_secs(2), quick: false, scan: 200_000 };

    /// The workloads, in order.
    #[must_use]
    pub fn workloads(&self, folds: bool) -> Vec<Workload> {
        let scale = if self.quick { 10 } else { 1 };
        let mut all: Vec<_> =
            [1, 8, 32, 128].map(|writers| Workload::Append { writers, events: 1 }).into();
        all.extend([1, 32].map(|writers| Workload::Append { writers, events: 10 }));
        all.push(Workload::Contended { writers: 32 });
        all.push(Workload::Scan { events: self.scan });
        all.push(Workload::Read { streams: 20_000 / scale, events: 10 });
        all.push(Workload::Read { streams: 200 / scale, events: 1_000 });
        if folds {
            all.push(Workload::Fold { events: 1_000_000 });
        }
        let largest = if self.quick && !folds { 100_000 } else { 1_000_000 };
        let sizes = [1_000, 10_000, 100_000, 1_000_000].into_iter();
        all.extend(sizes.filter(|size| *size <= largest).map(|stored| Workload::Growth { stored }));
        all
    }
}

/// One workload, with all who took part.
#[derive(Debug, Clone)]
pub struct Cell {
    /// What they did.
    pub workload: Workload,
    /// Who, in the order given; without those who do not offer it.
    pub entries: Vec<Entry>,
}

impl Cell {
    /// The lines of the results.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for entry in &self.entries {
            let figures = [
                (self.workload.metric(), entry.rate()),
                ("p50 µs", entry.latency(0.5)),
                ("p99 µs", entry.latency(0.99)),
                ("peak bytes", entry.peak()),
            ];
            rows.extend(figures.into_iter().filter_map(|(metric, spread)| {
                let spread = spread?;
                Some(Row {
                    peer: entry.about.peer,
                    version: entry.about.version.clone(),
                    backend: entry.about.backend,
                    workload: self.workload.name(),
                    concurrency: self.workload.concurrency(),
                    events_per_append: self.workload.events_per_append(),
                    metric,
                    median: spread.median,
                    min: spread.min,
                    max: spread.max,
                })
            }));
        }
        rows
    }
}

/// One workload over all `contestants`. Who fails has its reason in the result; the others go on.
pub async fn run(
    workload: Workload,
    contestants: &[Box<dyn Contestant>],
    plan: Plan,
    progress: &ProgressBar,
) -> Cell {
    let mut runners = Vec::new();
    for contestant in contestants {
        let about = contestant.about();
        progress.set_message(format!("{} · {} · prepares", workload.name(), about.peer));
        let store = prepared(workload, &**contestant).await;
        runners.push((about, store, Ok(Vec::new())));
    }
    for repetition in 0..=plan.repetitions {
        for (about, store, outcome) in &mut runners {
            progress.set_message(format!("{} · {}", workload.name(), about.peer));
            progress.inc(1);
            let (Ok(store), Ok(measures)) = (&store, &mut *outcome) else { continue };
            match workload.repeat(store, repetition, plan.time).await {
                // The first only warms up.
                Ok(_) if repetition == 0 => {}
                Ok(measure) => measures.push(measure),
                Err(missing) => *outcome = Err(missing),
            }
        }
    }
    let mut entries = Vec::new();
    for (about, store, outcome) in runners {
        let outcome: Result<Vec<Measure>, Missing> = match store {
            Ok(store) => {
                store.close().await;
                outcome
            }
            Err(missing) => Err(missing),
        };
        match outcome {
            Ok(measures) => entries.push(Entry { about, outcome: Ok(measures) }),
            Err(Missing::NotOffered) => {}
            Err(Missing::Failed(error)) => {
                entries.push(Entry { about, outcome: Err(chain(&*error)) });
            }
        }
    }
    Cell { workload, entries }
}

async fn prepared(
    workload: Workload,
    contestant: &dyn Contestant,
) -> Result<Arc<dyn Store>, Missing> {
    let store = contestant.open(workload.concurrency()).await?;
    workload.prepare(&*store).await?;
    Ok(store)
}

/// An error with all its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
