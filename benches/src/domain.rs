//! Aggregates beside bare calls of the same store: what the domain layer adds, by turns in one run.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::{
    BoxError, EventStore, EventStream, NewEvent, Position, ReadOptions, SequenceNumber, StreamId,
    WriteCondition,
};
use annals_domain::{Aggregate, Event, MemorySnapshots, Repository, Retry, SnapshotPolicy};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::measure::{Spread, warmed};
use crate::place::Place;
use crate::report::short;

/// Events of the aggregate that is loaded.
const LONG: u64 = 1_000;

/// What happens to a counter.
#[derive(Event, Debug, Clone)]
#[event(name = "counted")]
struct Counted {
    amount: u64,
    what: String,
}

/// State that costs little to copy, so that what is measured is the library.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    events: u64,
    sum: u64,
    last: String,
}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counters";
    type Id = String;
    type Event = Counted;

    fn apply(&mut self, event: Counted) {
        self.events += 1;
        self.sum += event.amount;
        self.last = event.what;
    }
}

fn counted(nth: u64) -> Counted {
    Counted { amount: nth, what: format!("something number {nth}") }
}

/// The same event by hand.
#[derive(Serialize, Deserialize)]
struct ByHand {
    amount: u64,
    what: String,
}

fn by_hand(nth: u64) -> Result<NewEvent, BoxError> {
    let Counted { amount, what } = counted(nth);
    Ok(NewEvent::json("counted", &ByHand { amount, what })?)
}

/// What is measured: bare calls, and what is compared with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    ReplayByHand,
    Replay,
    ReadOne,
    ReadFrom,
    Cached,
    Snapshot,
    Append { writers: usize },
    Execute { writers: usize },
    HotWithoutTurns,
    HotWithTurns,
}

impl Work {
    /// Each bare call is before what is compared with it.
    const ALL: [Self; 12] = [
        Self::ReplayByHand,
        Self::Replay,
        Self::ReadOne,
        Self::ReadFrom,
        Self::Cached,
        Self::Snapshot,
        Self::Append { writers: 1 },
        Self::Execute { writers: 1 },
        Self::Append { writers: 32 },
        Self::Execute { writers: 32 },
        Self::HotWithoutTurns,
        Self::HotWithTurns,
    ];

    /// What it is compared with.
    const fn base(self) -> Self {
        match self {
            Self::ReplayByHand | Self::Replay => Self::ReplayByHand,
            Self::ReadOne | Self::ReadFrom | Self::Cached | Self::Snapshot => Self::ReadOne,
            Self::Append { writers } | Self::Execute { writers } => Self::Append { writers },
            Self::HotWithoutTurns | Self::HotWithTurns => Self::HotWithoutTurns,
        }
    }

    fn name(self) -> String {
        match self {
            Self::ReplayByHand => format!("read and fold {LONG} events by hand"),
            Self::Replay => format!("get of {LONG} events by replay"),
            Self::ReadOne => "read of the last event".to_owned(),
            // What a load from the cache or a snapshot asks the store for.
            Self::ReadFrom => "read of what begins at the last event".to_owned(),
            Self::Cached => format!("get of {LONG} events from the cache"),
            Self::Snapshot => format!("get of {LONG} events from a snapshot"),
            Self::Append { writers } => format!("append under a position, {writers} writers"),
            Self::Execute { writers } => format!("execute, cached, {writers} writers"),
            Self::HotWithoutTurns => "execute on one stream, 32 tasks, without turns".to_owned(),
            Self::HotWithTurns => "execute on one stream, 32 tasks, with turns".to_owned(),
        }
    }
}

/// How often something was done in a second, and attempts for each time.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: f64,
    attempts: f64,
}

/// A store with the long aggregate, and all that holds something between two calls.
struct Bench {
    store: EventStore,
    plain: Repository<Counter>,
    cached: Repository<Counter>,
    snapshots: Repository<Counter>,
    long: String,
    stream: StreamId,
    last: SequenceNumber,
}

/// A task that writes to an aggregate of its own.
struct Writer {
    counters: Repository<Counter>,
    stream: EventStream,
    id: String,
    events: u64,
}

impl Bench {
    async fn new(store: EventStore) -> Result<Self, BoxError> {
        let long = "long".to_owned();
        let stream = Counter::stream(&long)?;
        let events = (0..LONG).map(by_hand).collect::<Result<Vec<_>, _>>()?;
        let stored =
            store.stream(stream.clone()).append(events, WriteCondition::StreamIsEmpty).await?;
        let last = stored.last().ok_or("events")?.sequence_number;
        let many = NonZeroUsize::new(1_000).ok_or("not 0")?;
        let manual = SnapshotPolicy::every(NonZeroU64::MAX);
        let plain = Repository::new(store.clone());
        let cached = Repository::new(store.clone()).cached(many);
        let kept = Arc::new(MemorySnapshots::new());
        let snapshots = Repository::<Counter>::new(store.clone()).snapshots(kept, manual);
        snapshots.snapshot(&long).await?;
        Ok(Self { store, plain, cached, snapshots, long, stream, last })
    }

    /// How often `work` is done in `time`, after it was done for `warm`.
    async fn once(&self, work: Work, warm: Duration, time: Duration) -> Result<Rate, BoxError> {
        match work {
            Work::ReplayByHand => repeat(warm, time, || Box::pin(self.replay_by_hand())).await,
            Work::Replay => repeat(warm, time, || Box::pin(self.get(&self.plain))).await,
            Work::ReadOne => repeat(warm, time, || Box::pin(self.read_one())).await,
            Work::ReadFrom => repeat(warm, time, || Box::pin(self.read_from())).await,
            Work::Cached => repeat(warm, time, || Box::pin(self.get(&self.cached))).await,
            Work::Snapshot => repeat(warm, time, || Box::pin(self.get(&self.snapshots))).await,
            Work::Append { writers } => self.writers(writers, warm, time, Writer::appends).await,
            Work::Execute { writers } => self.writers(writers, warm, time, Writer::executes).await,
            Work::HotWithoutTurns => self.hot(self.cached().unqueued(), warm, time).await,
            Work::HotWithTurns => self.hot(self.cached(), warm, time).await,
        }
    }

    fn cached(&self) -> Repository<Counter> {
        Repository::new(self.store.clone()).cached(NonZeroUsize::MIN)
    }

    /// What a user without this library writes.
    async fn replay_by_hand(&self) -> Result<(), BoxError> {
        let mut counter = Counter::default();
        let mut events = self.store.stream(self.stream.clone()).read(ReadOptions::default());
        while let Some(event) = events.next().await {
            let event = event?;
            match event.name().as_str() {
                "counted" => {
                    let ByHand { amount, what } = event.payload().to_json()?;
                    Aggregate::apply(&mut counter, Counted { amount, what });
                }
                other => return Err(format!("an event called {other}").into()),
            }
        }
        complete(&counter)
    }

    async fn get(&self, repository: &Repository<Counter>) -> Result<(), BoxError> {
        complete(&*repository.get(&self.long).await?)
    }

    async fn read_one(&self) -> Result<(), BoxError> {
        let last = self.store.stream(self.stream.clone()).latest().await?;
        std::hint::black_box(last.ok_or("no event")?);
        Ok(())
    }

    async fn read_from(&self) -> Result<(), BoxError> {
        let before = self.last.prev().ok_or("a number before it")?;
        let options = ReadOptions::default().after(before).from_position(Position::new(LONG - 1));
        let mut pages = self.store.pages(self.stream.clone(), options);
        let page = pages.next().await.ok_or("a page")??;
        std::hint::black_box(page.events.first().ok_or("no event")?);
        if page.at_head { Ok(()) } else { Err("one page".into()) }
    }

    async fn writers(
        &self,
        writers: usize,
        warm: Duration,
        time: Duration,
        each: fn(Writer, Instant) -> BoxFuture<'static, Result<Writer, BoxError>>,
    ) -> Result<Rate, BoxError> {
        let own = (0..writers).map(|_| Writer::new(&self.store));
        let mut own = own.collect::<Result<Vec<_>, _>>()?;
        let written = |own: &[Writer]| own.iter().map(|writer| writer.events).sum::<u64>();
        let run = async |_, time| {
            let (begin, before) = (Instant::now(), written(&own));
            let mut tasks = JoinSet::new();
            for writer in own.drain(..) {
                tasks.spawn(each(writer, begin + time));
            }
            while let Some(joined) = tasks.join_next().await {
                own.push(joined??);
            }
            let done = written(&own) - before;
            Ok(rate(done, done, begin.elapsed()))
        };
        let [_, rate] = warmed(warm, time, run).await?;
        Ok(rate)
    }

    async fn hot(
        &self,
        counters: Repository<Counter>,
        warm: Duration,
        time: Duration,
    ) -> Result<Rate, BoxError> {
        let most = NonZeroU32::new(100_000).ok_or("not 0")?;
        let counters = counters.retry(Retry::attempts(most));
        let id = annals::EventId::generate().to_string();
        counters.create(&id, || counted(0)).await?;
        let mut all = 1;
        let run = async |_, time| {
            let attempts = Arc::new(AtomicU64::new(0));
            let begin = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..32 {
                let (counters, id) = (counters.clone(), id.clone());
                let attempts = Arc::clone(&attempts);
                tasks.spawn(async move {
                    let mut done = 0_u64;
                    while begin.elapsed() < time {
                        let count = |counter: &Counter| counted(counter.events);
                        let executed = counters.execute(&id, count).await;
                        let executed = executed.map_err(|error| error.to_string())?;
                        attempts.fetch_add(executed.attempts.into(), Ordering::Relaxed);
                        done += 1;
                    }
                    Ok::<_, BoxError>(done)
                });
            }
            let mut done = 0;
            while let Some(joined) = tasks.join_next().await {
                done += joined??;
            }
            all += done;
            Ok(rate(done, attempts.load(Ordering::Relaxed), begin.elapsed()))
        };
        let [_, rate] = warmed(warm, time, run).await?;
        let counter = counters.get(&id).await?;
        // Each decision saw the state of its append.
        if counter.events != all || counter.sum != all * (all - 1) / 2 {
            return Err(format!("{all} commands made {:?}", *counter).into());
        }
        Ok(rate)
    }
}

impl Writer {
    fn new(store: &EventStore) -> Result<Self, BoxError> {
        let id = annals::EventId::generate().to_string();
        let counters = Repository::new(store.clone()).cached(NonZeroUsize::MIN);
        let stream = store.stream(Counter::stream(&id)?);
        Ok(Self { counters, stream, id, events: 0 })
    }

    fn appends(mut self, end: Instant) -> BoxFuture<'static, Result<Self, BoxError>> {
        Box::pin(async move {
            while Instant::now() < end {
                let last = Position::new(self.events).prev();
                let condition =
                    last.map_or(WriteCondition::StreamIsEmpty, WriteCondition::PositionIs);
                self.stream.append([by_hand(self.events)?], condition).await?;
                self.events += 1;
            }
            Ok(self)
        })
    }

    fn executes(mut self, end: Instant) -> BoxFuture<'static, Result<Self, BoxError>> {
        Box::pin(async move {
            while Instant::now() < end {
                let count = |counter: &Counter| counted(counter.events);
                self.counters.execute_or_create(&self.id, count).await?;
                self.events += 1;
            }
            Ok(self)
        })
    }
}

fn complete(counter: &Counter) -> Result<(), BoxError> {
    if counter.events == LONG && counter.sum == LONG * (LONG - 1) / 2 {
        return Ok(());
    }
    Err(format!("{LONG} events made {counter:?}").into())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are small")]
fn rate(done: u64, attempts: u64, elapsed: Duration) -> Rate {
    let done = done.max(1) as f64;
    Rate { per_second: done / elapsed.as_secs_f64(), attempts: attempts as f64 / done }
}

async fn repeat<'b>(
    warm: Duration,
    time: Duration,
    call: impl Fn() -> BoxFuture<'b, Result<(), BoxError>>,
) -> Result<Rate, BoxError> {
    let run = async |_, time| {
        let begin = Instant::now();
        let mut done = 0;
        while done == 0 || begin.elapsed() < time {
            call().await?;
            done += 1;
        }
        Ok(rate(done, done, begin.elapsed()))
    };
    let [_, rate] = warmed(warm, time, run).await?;
    Ok(rate)
}

/// The lines of the report: each work in turn on one store, `rounds` times, each time after some that is not counted. A
/// ratio is that to the bare calls in the same round.
///
/// # Errors
/// The store's; a state that is not what the events make.
pub async fn measure(
    place: &Place,
    name: &str,
    rounds: usize,
    time: Duration,
) -> Result<Vec<String>, BoxError> {
    let bench = Bench::new(place.open().await?).await?;
    let mut rates: Vec<Vec<Rate>> = vec![Vec::new(); Work::ALL.len()];
    for round in 0..rounds {
        let warm = if round == 0 { place.settles().max(time) } else { time / 2 };
        for (work, rates) in Work::ALL.iter().zip(&mut rates) {
            rates.push(bench.once(*work, warm, time).await?);
        }
    }
    bench.store.close().await;
    let of = |work: Work| {
        Work::ALL.iter().zip(&rates).find(|(one, _)| **one == work).map(|(_, rates)| rates)
    };
    let mut lines = Vec::new();
    for work in Work::ALL {
        let (Some(own), Some(base)) = (of(work), of(work.base())) else { continue };
        let ratios = own.iter().zip(base).map(|(own, base)| own.per_second / base.per_second);
        let rate = Spread::of(own.iter().map(|rate| rate.per_second));
        let attempts = Spread::of(own.iter().map(|rate| rate.attempts));
        if let (Some(ratio), Some(rate), Some(attempts)) = (Spread::of(ratios), rate, attempts) {
            lines.push(format!(
                "| {name} | {} | {} | {:.3} | {:.3}–{:.3} | {:.2} |",
                work.name(),
                short(rate.median),
                ratio.median,
                ratio.min,
                ratio.max,
                attempts.median
            ));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_work_is_done_and_checked() {
        let lines = measure(&Place::memory(), "memory", 1, Duration::from_millis(2)).await;
        assert_eq!(lines.expect("it is measured").len(), Work::ALL.len());
    }

    #[test]
    fn what_is_compared_with_comes_first() {
        for (nth, work) in Work::ALL.iter().enumerate() {
            let base = Work::ALL.iter().position(|base| *base == work.base());
            assert!(base.is_some_and(|base| base <= nth), "{work:?}");
        }
    }
}
