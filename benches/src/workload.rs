//! What is measured, and how one repetition of it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::contestant::{Appended, Load, Missing, Store};
use crate::machine::Peak;
use crate::measure::{Measure, histogram};

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// W1 and W2: appends under a position condition, each writer on a stream of its own.
    Append {
        /// Clients at once.
        writers: usize,
        /// Events of an append.
        events: usize,
    },
    /// W3: all writers on one stream.
    Contended {
        /// Clients at once.
        writers: usize,
    },
    /// W4: one reader of all.
    Scan {
        /// Events in the log, in streams of 10.
        events: usize,
    },
    /// W5: one reader of whole streams.
    Read {
        /// Streams in the log.
        streams: usize,
        /// Events of a stream.
        events: usize,
    },
    /// W6: a fold of what lies in memory.
    Fold {
        /// Events in the log, in streams of 1,000.
        events: usize,
    },
    /// W7: appends by one writer at a log of some size.
    Growth {
        /// Events in the log, in streams of 1,000.
        stored: usize,
    },
}

impl Workload {
    /// How it is called.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Append { events: 1, .. } => "W1 append 1".into(),
            Self::Append { events, .. } => format!("W2 append {events}"),
            Self::Contended { .. } => "W3 one stream, with retry".into(),
            Self::Scan { .. } => "W4 scan".into(),
            Self::Read { events, .. } => format!("W5 read streams of {events}"),
            Self::Fold { .. } => "W6 fold in memory".into(),
            Self::Growth { stored } => format!("W7 append 1 at {stored} events"),
        }
    }

    /// What its rate counts.
    #[must_use]
    pub fn metric(&self) -> &'static str {
        match self {
            Self::Append { events: 1, .. } | Self::Contended { .. } | Self::Growth { .. } => {
                "appends/s"
            }
            Self::Append { .. } | Self::Scan { .. } | Self::Fold { .. } => "events/s",
            Self::Read { .. } => "streams/s",
        }
    }

    /// Clients at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        match self {
            Self::Append { writers, .. } | Self::Contended { writers } => *writers,
            _ => 1,
        }
    }

    /// Events of an append; 0 for reads.
    #[must_use]
    pub fn events_per_append(&self) -> usize {
        match self {
            Self::Append { events, .. } => *events,
            Self::Contended { .. } | Self::Growth { .. } => 1,
            _ => 0,
        }
    }

    /// Puts into a new store what the workload finds there.
    ///
    /// # Errors
    /// The store's.
    pub async fn prepare(&self, store: &dyn Store) -> Result<(), Missing> {
        match *self {
            Self::Append { .. } | Self::Contended { .. } => Ok(()),
            Self::Scan { events } => store.fill(events / 10, 10).await,
            Self::Read { streams, events } => store.fill(streams, events).await,
            Self::Fold { events } | Self::Growth { stored: events } => {
                store.fill(events / 1_000, 1_000).await
            }
        }
    }

    /// One repetition.
    ///
    /// # Errors
    /// The store's; that it gave another number of events than it holds.
    pub async fn repeat(
        &self,
        store: &Arc<dyn Store>,
        repetition: usize,
        time: Duration,
    ) -> Result<Measure, Missing> {
        let load =
            |writers, events, contended| Load { writers, events, contended, repetition, time };
        match *self {
            Self::Append { writers, events } => append(store, load(writers, events, false)).await,
            Self::Contended { writers } => append(store, load(writers, 1, true)).await,
            Self::Growth { .. } => append(store, load(1, 1, false)).await,
            Self::Scan { events } => {
                let peak = Peak::start();
                let begin = Instant::now();
                let read = store.scan().await?;
                let mut measure = counted(read, events, begin)?;
                measure.peak = peak.growth();
                Ok(measure)
            }
            Self::Fold { events } => {
                let begin = Instant::now();
                counted(store.fold().await?, events, begin)
            }
            Self::Read { streams, events } => {
                let mut calls = histogram();
                let begin = Instant::now();
                let mut reads = 0;
                while begin.elapsed() < time {
                    // Each stream in turn, far from the one before.
                    let stream = (reads * 7_919 + repetition) % streams.max(1);
                    let called = Instant::now();
                    let read = store.read(&stream.to_string()).await?;
                    calls.saturating_record(nanos(called.elapsed()));
                    counted(read, events, called)?;
                    reads += 1;
                }
                let calls = Some(calls);
                Ok(Measure { calls, ..Measure::new(reads as u64, begin.elapsed()) })
            }
        }
    }
}

fn counted(read: u64, expected: usize, begin: Instant) -> Result<Measure, Missing> {
    let time = begin.elapsed();
    if read != expected as u64 {
        return Err(format!("{read} events came back of {expected}").into());
    }
    Ok(Measure::new(read, time))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

async fn append(store: &Arc<dyn Store>, load: Load) -> Result<Measure, Missing> {
    if let Some(outcome) = store.bare_load(load).await {
        return outcome;
    }
    let begin = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..load.writers {
        let stream = if load.contended {
            format!("r{}", load.repetition)
        } else {
            format!("r{}-w{writer}", load.repetition)
        };
        let store = Arc::clone(store);
        writers.spawn(async move { write(&*store, &stream, load, begin + load.time).await });
    }
    let (mut stored, mut calls) = (0, histogram());
    while let Some(joined) = writers.join_next().await {
        let (appends, times) = joined??;
        stored += appends;
        calls.add(times)?;
    }
    let unit = if load.events == 1 { 1 } else { load.events as u64 };
    Ok(Measure { calls: Some(calls), ..Measure::new(stored * unit, begin.elapsed()) })
}

type Written = (u64, hdrhistogram::Histogram<u64>);

async fn write(
    store: &dyn Store,
    stream: &str,
    load: Load,
    until: Instant,
) -> Result<Written, Missing> {
    let (mut stored, mut calls) = (0, histogram());
    let mut last: Option<u64> = None;
    while Instant::now() < until {
        let called = Instant::now();
        let outcome = store.append(stream, last, load.events).await?;
        calls.saturating_record(nanos(called.elapsed()));
        match outcome {
            Appended::Stored(number) => {
                stored += 1;
                last = Some(number);
            }
            Appended::Refused(Some(actual)) => last = Some(actual),
            // What the refusal does not tell has to be read.
            Appended::Refused(None) => last = store.last(stream).await?,
        }
    }
    Ok((stored, calls))
}
