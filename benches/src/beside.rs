//! Appends beside followers: what idle and reading followers cost the writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::{BoxError, EventPages, EventStore, SequenceNumber, StreamId, StreamName};
use futures_util::StreamExt;
use tokio::task::JoinSet;

use crate::annals_store::Annals;
use crate::contestant::{Missing, Store};
use crate::measure::{Spread, warmed};
use crate::place::Place;
use crate::report::short;
use crate::sample;
use crate::workload::Workload;

/// How long followers may take to reach the head: only a follow that hangs takes so long.
const BOUND: Duration = Duration::from_secs(60);

/// Who follows while others append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// So many, each on a stream of its own that nobody writes to.
    Idle(usize),
    /// So many that read all.
    Reading(usize),
}

impl Audience {
    /// All, the one without followers first: it is what the others are compared with.
    pub const ALL: [Self; 5] =
        [Self::Idle(0), Self::Idle(1), Self::Idle(200), Self::Reading(1), Self::Reading(8)];

    fn name(self) -> String {
        match self {
            Self::Idle(count) => format!("{count} idle"),
            Self::Reading(count) => format!("{count} reading all"),
        }
    }
}

/// Followers at work. They end when it is dropped.
#[derive(Debug)]
pub struct Followers {
    /// How many events each returned.
    counts: Vec<Arc<AtomicU64>>,
    tasks: JoinSet<Result<(), annals::Error>>,
}

impl Followers {
    /// Starts them, and returns once each has read up to the head.
    ///
    /// # Errors
    /// That of a follow; one that does not reach the head.
    pub async fn start(store: &EventStore, audience: Audience) -> Result<Self, BoxError> {
        let mut followers = Self { counts: Vec::new(), tasks: JoinSet::new() };
        let (ready, mut at_head) = tokio::sync::mpsc::unbounded_channel();
        let (Audience::Idle(count) | Audience::Reading(count)) = audience;
        for nth in 0..count {
            let pages = match audience {
                Audience::Reading(_) => store.log().follow(SequenceNumber::START),
                Audience::Idle(_) => {
                    let name = StreamName::new(format!("idle-{nth}"))?;
                    let stream = StreamId { category: sample::CATEGORY, name };
                    store.stream(stream).follow(SequenceNumber::START)
                }
            };
            let read = Arc::new(AtomicU64::new(0));
            followers.counts.push(Arc::clone(&read));
            followers.tasks.spawn(follow(pages, read, ready.clone()));
        }
        for _ in 0..count {
            tokio::time::timeout(BOUND, at_head.recv())
                .await
                .map_err(|_| "a follow did not reach the head")?;
        }
        Ok(followers)
    }

    /// Returns once each that reads all has returned `stored` events, and checks that idle ones returned none.
    async fn finish(self, audience: Audience, stored: u64) -> Result<(), BoxError> {
        let expected = if matches!(audience, Audience::Reading(_)) { stored } else { 0 };
        let begin = Instant::now();
        for read in &self.counts {
            while read.load(Ordering::Acquire) < expected {
                if begin.elapsed() > BOUND {
                    return Err("a follower does not catch up".into());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let read = read.load(Ordering::Acquire);
            if read != expected {
                return Err(format!("a follower returned {read} events of {expected}").into());
            }
        }
        Ok(())
    }
}

async fn follow(
    mut pages: EventPages,
    read: Arc<AtomicU64>,
    ready: tokio::sync::mpsc::UnboundedSender<()>,
) -> Result<(), annals::Error> {
    let mut ready = Some(ready);
    while let Some(page) = pages.next().await {
        let page = page?;
        read.fetch_add(page.events.len() as u64, Ordering::AcqRel);
        if page.at_head
            && let Some(ready) = ready.take()
        {
            // Who waits for it may be gone.
            let _ = ready.send(());
        }
    }
    Ok(())
}

/// The lines of the report: each audience in turn on a new store, `rounds` times after one that is not counted.
/// A ratio is that to the store without followers in the same round.
///
/// # Errors
/// The store's; a follower that returned other events than were appended.
pub async fn measure(
    mut place: impl AsyncFnMut() -> Result<Place, BoxError>,
    name: &str,
    rounds: usize,
    time: Duration,
) -> Result<Vec<String>, BoxError> {
    let mut lines = Vec::new();
    for writers in [32, 128] {
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); Audience::ALL.len()];
        for round in 0..=rounds {
            for turn in 0..Audience::ALL.len() {
                // Another one begins in each round.
                let nth = (turn + round) % Audience::ALL.len();
                let (Some(audience), Some(rates)) = (Audience::ALL.get(nth), rates.get_mut(nth))
                else {
                    continue;
                };
                let place = place().await?;
                let store = place.open().await?;
                let rate = once(&store, *audience, writers, time, place.settles()).await?;
                if round > 0 {
                    rates.push(rate);
                }
            }
        }
        let alone = rates.first().cloned().unwrap_or_default();
        for (audience, rates) in Audience::ALL.iter().zip(rates) {
            let ratios = rates.iter().zip(&alone).map(|(rate, alone)| rate / alone);
            let (Some(ratio), Some(rate)) = (Spread::of(ratios), Spread::of(rates.iter().copied()))
            else {
                continue;
            };
            lines.push(format!(
                "| {name} | {writers} | {} | {} | {:.3} | {:.3}–{:.3} |",
                audience.name(),
                short(rate.median),
                ratio.median,
                ratio.min,
                ratio.max
            ));
        }
    }
    Ok(lines)
}

async fn once(
    store: &EventStore,
    audience: Audience,
    writers: usize,
    time: Duration,
    settle: Duration,
) -> Result<f64, BoxError> {
    let followers = Followers::start(store, audience).await?;
    let appended: Arc<dyn Store> = Arc::new(Annals::new(store.clone(), false));
    let load = Workload::Append { writers, events: 1 };
    let append = async |repetition, time| {
        load.repeat(&appended, repetition, time).await.map_err(|missing| match missing {
            Missing::NotOffered => BoxError::from("appends are not offered"),
            Missing::Failed(error) => error,
        })
    };
    let [warm, measure] = warmed(settle.max(time / 2), time, append).await?;
    followers.finish(audience, warm.done + measure.done).await?;
    store.close().await;
    Ok(measure.rate())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn followers_return_all_that_is_appended_or_nothing() {
        for audience in [Audience::Idle(3), Audience::Reading(2)] {
            // On a busy machine nothing may be appended in a time that is short.
            let times = (0..4).map(|tens| Duration::from_millis(5 * 10_u64.pow(tens)));
            let mut rate = 0.0;
            for time in times {
                let store = Place::memory().open().await.expect("memory opens");
                rate = once(&store, audience, 2, time, Duration::ZERO).await.expect("all returned");
                if rate > 0.0 {
                    break;
                }
            }
            assert!(rate > 0.0);
        }
    }

    #[tokio::test]
    async fn a_follower_that_returned_too_much_is_an_error() {
        let store = Place::memory().open().await.expect("memory opens");
        let followers = Followers::start(&store, Audience::Idle(1)).await.expect("starts");
        for count in &followers.counts {
            count.store(1, Ordering::Release);
        }
        assert!(followers.finish(Audience::Idle(1), 5).await.is_err());
    }
}
