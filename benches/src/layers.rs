//! What layers cost: by turns with and without them, in one run.

mod events;
mod sizes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::adapter::StorageAdapter;
use annals::{
    Append, BoxError, Error, EventName, NewEvent, Payload, Position, Query, ReadOptions,
    SequenceNumber, StreamId, StreamName, WriteCondition,
};
use annals_layers::{Chained, Codec, Compression, Encoded, Fork, Key, KeyId, KeyRing, Notary};
use annals_memory::{MemoryAdapter, MemoryState};
use futures_util::StreamExt;
use tokio::task::JoinSet;

use crate::measure::Spread;
use crate::place::Place;
use crate::report::short;
use crate::sample::CATEGORY;
pub use events::Kind;
pub use sizes::{HEADING, sizes};

/// Any adapter, with layers or without.
type Store = Arc<dyn StorageAdapter>;

const NAME: EventName = EventName::from_static("order-placed");
/// How many different events are appended in turn.
const EVENTS: usize = 1_000;
/// Clients at once.
const WRITERS: usize = 32;

/// How long it measures.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds of each pair after one that is not counted.
    pub rounds: usize,
    /// How long the appends of a round take.
    pub time: Duration,
    /// Events of the log that is forked and proved from.
    pub log: u64,
}

impl Effort {
    /// Some minutes in all.
    pub const FULL: Self = Self { rounds: 9, time: Duration::from_secs(1), log: 1_000_000 };
    /// About a minute in all.
    pub const QUICK: Self = Self { rounds: 3, time: Duration::from_millis(200), log: 100_000 };
}

/// What lies around a store.
#[derive(Debug, Clone, Copy)]
enum Stack {
    Bare,
    Sealed,
    ZstdSealed,
    Chained,
}

impl Stack {
    fn around(self, store: Store) -> Result<Store, BoxError> {
        let keys = || Ok::<_, Error>(KeyRing::new(KeyId(1), &Key::generate()?));
        Ok(match self {
            Self::Bare => store,
            Self::Sealed => Arc::new(Encoded::new(store, Codec::new().with_keys(keys()?))?),
            Self::ZstdSealed => {
                let codec = Codec::new().with_compression(Compression::Zstd(3));
                Arc::new(Encoded::new(store, codec.with_keys(keys()?))?)
            }
            Self::Chained => Arc::new(Chained::new(store)?),
        })
    }
}

fn event(payloads: &[Payload], nth: usize) -> NewEvent {
    let payload = payloads.get(nth % payloads.len().max(1)).cloned();
    NewEvent::new(NAME, payload.unwrap_or_else(|| Payload::bytes(Vec::new())))
}

fn stream(name: &str) -> Result<StreamId, BoxError> {
    Ok(StreamId { category: CATEGORY, name: StreamName::new(name)? })
}

/// Which streams the writers append to, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Streams {
    /// Each to its own.
    Own,
    /// All to one.
    Hot,
    /// All to one, each in a loop at the position that a refusal shows.
    HotWithRetry,
}

/// Appends of 32 writers, per second.
async fn appends(
    store: &Store,
    payloads: &Arc<[Payload]>,
    streams: Streams,
    round: usize,
    time: Duration,
) -> Result<f64, BoxError> {
    let begin = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, payloads) = (Arc::clone(store), Arc::clone(payloads));
        writers.spawn(async move {
            let own = if streams == Streams::Own { writer } else { 0 };
            let stream = stream(&format!("r{round}-{own}"))?;
            let (mut done, mut condition) = (0_u64, WriteCondition::Always);
            while begin.elapsed() < time {
                let event = event(&payloads, writer * 97 + usize::try_from(done).unwrap_or(0));
                let write = Append::new(stream.clone(), [event], condition.clone());
                match store.append(vec![write]).await {
                    Ok(stored) => {
                        done += 1;
                        if streams == Streams::HotWithRetry {
                            condition = at(stored.last().map(|last| last.position));
                        }
                    }
                    Err(Error::ConditionFailed(unmet)) => condition = at(unmet.actual),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok::<u64, BoxError>(done)
        });
    }
    let mut done = 0;
    while let Some(joined) = writers.join_next().await {
        done += joined??;
    }
    Ok(per_second(done, begin.elapsed()))
}

fn at(last: Option<Position>) -> WriteCondition {
    last.map_or(WriteCondition::StreamIsEmpty, WriteCondition::PositionIs)
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no 16 digits")]
fn per_second(done: u64, time: Duration) -> f64 {
    done as f64 / time.as_secs_f64()
}

/// A line of the table: the rate with layers, and its ratio to the one without, round by round.
fn line(what: &str, unit: &str, pairs: &[(f64, f64)]) -> Result<String, BoxError> {
    let rate = Spread::of(pairs.iter().map(|(_, with)| *with)).ok_or("no rounds")?;
    let ratio = Spread::of(pairs.iter().map(|(bare, with)| with / bare)).ok_or("no rounds")?;
    let (median, min, max) = (ratio.median, ratio.min, ratio.max);
    Ok(format!("| {what} | {} {unit} | {median:.2} | {min:.2}–{max:.2} |", short(rate.median)))
}

/// Appends with layers beside the bare adapter, of each kind of events, in stores that `place` makes.
///
/// # Errors
/// The stores'.
pub async fn appending(
    place: impl AsyncFn() -> Result<Place, BoxError>,
    name: &str,
    kinds: &[Kind],
    effort: Effort,
) -> Result<Vec<String>, BoxError> {
    let (own, small) = (Streams::Own, Kind::Orders(200));
    let mut cases = Vec::new();
    for kind in kinds {
        cases.push((format!("zstd + AES, {}", kind.name()), Stack::ZstdSealed, kind, own, own));
    }
    cases.push(("chain, own streams".to_owned(), Stack::Chained, &small, own, own));
    let retry = Streams::HotWithRetry;
    let what = "chain, one stream, to retries".to_owned();
    cases.push((what, Stack::Chained, &small, Streams::Hot, retry));
    let mut lines = Vec::new();
    for (what, stack, kind, with, without) in cases {
        let payloads = kind.measured(EVENTS)?;
        let (bare, layered) = (place().await?, place().await?);
        let bare_store = Stack::Bare.around(Arc::clone(bare.open().await?.adapter()))?;
        let layered_store = stack.around(Arc::clone(layered.open().await?.adapter()))?;
        let mut pairs = Vec::new();
        for round in 0..=effort.rounds {
            let bare = appends(&bare_store, &payloads, without, round, effort.time).await?;
            let layered = appends(&layered_store, &payloads, with, round, effort.time).await?;
            // The first one warms up.
            pairs.extend((round > 0).then_some((bare, layered)));
        }
        bare_store.close().await;
        layered_store.close().await;
        lines.push(line(&format!("{name}: {what}"), "appends/s", &pairs)?);
    }
    Ok(lines)
}

async fn fill(store: &Store, payloads: &[Payload], events: u64) -> Result<(), BoxError> {
    let (mut nth, all) = (0, usize::try_from(events)?);
    while nth < all {
        let more = 500.min(all - nth);
        let events: Vec<_> = (nth..nth + more).map(|nth| event(payloads, nth)).collect();
        let stream = stream(&format!("s-{}", nth / 500 % 1_000))?;
        store.append(vec![Append::new(stream, events, WriteCondition::Always)]).await?;
        nth += more;
    }
    Ok(())
}

/// Events of the whole log per second, of all readers together that scan it at once, each in a task of its own.
async fn scan(store: &Store, readers: usize, expected: u64) -> Result<f64, BoxError> {
    let begin = Instant::now();
    let mut scans = JoinSet::new();
    for _ in 0..readers {
        let mut pages = store.read(Query::all(), ReadOptions::default());
        scans.spawn(async move {
            let mut seen = 0;
            while let Some(page) = pages.next().await {
                seen += std::hint::black_box(page?).events.len() as u64;
            }
            Ok::<u64, Error>(seen)
        });
    }
    let mut all = 0;
    while let Some(seen) = scans.join_next().await {
        let seen = seen??;
        if seen != expected {
            return Err(format!("{seen} events came back of {expected}").into());
        }
        all += seen;
    }
    Ok(per_second(all, begin.elapsed()))
}

/// Scans of a store with layers beside what the codec alone decodes on one core: the same layers over memory. The line says,
/// too, how fast the store is read without layers, and what two readers at once reach with them, of the store and of the codec:
/// what a second core adds. Where the server has no core of its own, it takes its part of both.
///
/// # Errors
/// The stores'.
pub async fn scanning(
    place: impl AsyncFn() -> Result<Place, BoxError>,
    name: &str,
    kinds: &[Kind],
    effort: Effort,
) -> Result<Vec<String>, BoxError> {
    let mut lines = Vec::new();
    for kind in kinds {
        let payloads = kind.measured(EVENTS)?;
        let events = (effort.log / 5).min(40_000_000 / kind.bytes().max(1) as u64);
        let (layered, bare) = (place().await?, place().await?);
        let bare = Arc::clone(bare.open().await?.adapter());
        let layered = Stack::ZstdSealed.around(Arc::clone(layered.open().await?.adapter()))?;
        let codec = Stack::ZstdSealed.around(Arc::new(MemoryAdapter::new()))?;
        fill(&layered, &payloads, events).await?;
        fill(&codec, &payloads, events).await?;
        fill(&bare, &payloads, events).await?;
        let (mut pairs, mut others) = (Vec::new(), [const { Vec::new() }; 3]);
        for round in 0..=effort.rounds {
            let other = [(&bare, 1), (&layered, 2), (&codec, 2)];
            for (rates, (store, readers)) in others.iter_mut().zip(other) {
                rates.push(scan(store, readers, events).await?);
            }
            let pair = (scan(&codec, 1, events).await?, scan(&layered, 1, events).await?);
            pairs.extend((round > 0).then_some(pair));
        }
        layered.close().await;
        bare.close().await;
        let [plain, two, two_of_codec] =
            others.map(|rates| Spread::of(rates).map_or_else(String::new, |it| short(it.median)));
        let others =
            format!("without layers {plain}; two readers {two}, of the codec {two_of_codec}");
        let what = format!("{name}: scan, {}, to the codec ({others})", kind.name());
        lines.push(line(&what, "events/s", &pairs)?);
    }
    Ok(lines)
}

/// What needs no database: encryption in MB/s, a fork, a tree and its proofs.
///
/// # Errors
/// Those of memory stores.
pub async fn alone(effort: Effort) -> Result<Vec<String>, BoxError> {
    let mut lines = vec![sealing(effort).await?];
    let log = MemoryAdapter::new();
    let store: Store = Arc::new(log.clone());
    fill(&store, &Kind::Orders(200).measured(EVENTS)?, effort.log).await?;
    let mut opened = Vec::new();
    for _ in 0..=effort.rounds {
        let begin = Instant::now();
        std::hint::black_box(Fork::open(log.clone(), MemoryAdapter::new()).await?);
        opened.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let opened = Spread::of(opened).ok_or("no rounds")?;
    let events = effort.log;
    lines.push(format!("| a fork of {events} events opens in | {:.3} ms | | |", opened.median));
    lines.extend(proofs(log, effort).await?);
    Ok(lines)
}

/// Appends and reads 10 KiB events that are encrypted and nothing else, by one caller.
async fn sealing(effort: Effort) -> Result<String, BoxError> {
    let payloads = Kind::Orders(10_240).measured(500)?;
    let bytes: usize = payloads.iter().map(|payload| payload.as_bytes().len()).sum();
    let mut rates = (Vec::new(), Vec::new());
    for _ in 0..=effort.rounds {
        let store = Stack::Sealed.around(Arc::new(MemoryAdapter::new()))?;
        let begin = Instant::now();
        fill(&store, &payloads, 500).await?;
        let appended = begin.elapsed();
        let begin = Instant::now();
        scan(&store, 1, 500).await?;
        rates.1.push(per_second(bytes as u64, begin.elapsed()) / 1e6);
        rates.0.push(per_second(bytes as u64, appended) / 1e6);
    }
    let [append, read] = [rates.0, rates.1].map(|rates| Spread::of(rates).map(|it| it.median));
    let (append, read) = (append.ok_or("no rounds")?, read.ok_or("no rounds")?);
    Ok(format!("| memory: AES alone, 10 KiB | append {append:.0} MB/s, read {read:.0} MB/s | | |"))
}

async fn proofs(log: MemoryAdapter, effort: Effort) -> Result<Vec<String>, BoxError> {
    let begin = Instant::now();
    let mut notary = Notary::open(log, Arc::new(MemoryState::new()), "bench").await?;
    notary.catch_up().await?;
    let rate = short(per_second(effort.log, begin.elapsed()));
    let (mut included, mut extended, mut bytes) = (Vec::new(), Vec::new(), 0);
    for nth in 0..1_000_u64 {
        let number = SequenceNumber::new(nth * 7_919 % effort.log + 1);
        let begin = Instant::now();
        let proof = notary.inclusion(number, effort.log).await?;
        included.push(begin.elapsed().as_secs_f64() * 1e6);
        bytes = bytes.max(proof.hashes.len() * 32);
        let begin = Instant::now();
        let proof = notary.consistency(number.value(), effort.log).await?;
        extended.push(begin.elapsed().as_secs_f64() * 1e6);
        bytes = bytes.max(proof.hashes.len() * 32);
    }
    let [included, extended] = [included, extended].map(Spread::of);
    let (included, extended) = (included.ok_or("no proofs")?, extended.ok_or("no proofs")?);
    let events = effort.log;
    Ok(vec![
        format!("| a tree over {events} events grows by | {rate} events/s | | |"),
        format!(
            "| a proof of inclusion | {:.0} µs, at most {:.0} µs, {bytes} B | | |",
            included.median, included.max
        ),
        format!(
            "| a proof of consistency | {:.0} µs, at most {:.0} µs | | |",
            extended.median, extended.max
        ),
    ])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Effort, Kind, alone, appending, scanning};
    use crate::layers::events::tests::repository;
    use crate::place::Place;

    #[tokio::test]
    async fn every_measure_makes_a_line() {
        let effort = Effort { rounds: 1, time: Duration::from_millis(5), log: 600 };
        let place = async || Ok(Place::memory());
        let folder = repository(120);
        let mut kinds = Kind::orders();
        kinds.push(Kind::history(folder.path()).await.expect("a history"));
        let appended = appending(place, "memory", &kinds, effort).await.expect("figures");
        let scanned = scanning(place, "memory", &kinds, effort).await.expect("figures");
        let others = alone(effort).await.expect("figures");
        assert_eq!((appended.len(), scanned.len(), others.len()), (6, 4, 5));
        let all = [appended, scanned, others].concat();
        assert!(all.iter().all(|line| line.matches('|').count() == 5), "{all:?}");
    }
}
