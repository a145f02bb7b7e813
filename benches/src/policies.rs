//! Policies beside bare appends, and groups: what a quiet one writes, and how soon a dead node's parts are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::{
    Append, BoxError, EventStore, QueryItem, ReadOptions, Source, StoredEvent, StreamId,
    WriteCondition,
};
use annals_processing::{
    Batch, Group, GroupHandle, LogUpTo, Out, Partitions, Policy, Processor, Sink, SinkError,
    SystemTimer, async_trait,
};
use annals_state::{
    Commit, DocumentKey, DocumentPages, Got, Scan, StateCapabilities, StateStore, Write,
};

use crate::measure::Spread;
use crate::sample;
use crate::views::Stores;

/// How many events one batch has.
const BATCH: usize = 500;
/// How many streams the inputs are of, and as many the outputs.
const STREAMS: usize = 100;
/// Only a group that hangs takes so long.
const BOUND: Duration = Duration::from_secs(120);

/// How thorough a run is.
#[derive(Debug, Clone, Copy)]
pub struct Thorough {
    /// How many inputs a policy has in one round.
    pub inputs: usize,
    /// How often each figure is measured.
    pub rounds: usize,
    /// How often a node beats.
    pub beat: Duration,
    /// For how many beats a quiet group is looked at.
    pub beats: u32,
}

impl Thorough {
    /// Some seconds in all: whether it works.
    pub const QUICK: Self =
        Self { inputs: 2_000, rounds: 2, beat: Duration::from_millis(200), beats: 20 };
    /// The default.
    pub const FULL: Self =
        Self { inputs: 50_000, rounds: 7, beat: Duration::from_secs(1), beats: 60 };
}

/// All figures of one ground, as lines of a table. `open` makes empty stores.
///
/// # Errors
/// Those of the stores; a policy that made too much or too little; a group that does not come to its shares.
pub async fn measure(
    ground: &str,
    open: impl AsyncFn() -> Result<Stores, BoxError>,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    let mut lines = policies(ground, open().await?, thorough).await?;
    lines.extend(groups(ground, open().await?, thorough).await?);
    Ok(lines)
}

fn line(ground: &str, what: &str, unit: &str, figures: &[f64]) -> String {
    let Some(Spread { median, min, max }) = Spread::of(figures.iter().copied()) else {
        return String::new();
    };
    format!("| {ground} | {what} | {unit} | {median:.3} | {min:.3}–{max:.3} |")
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no 16 digits")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// One output for each input.
struct Follow {
    category: String,
}

#[async_trait]
impl Policy for Follow {
    async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
        let stream = StreamId::new(self.category.as_str(), event.stream.name.as_str())?;
        Ok(out.append(stream, [sample::event()], WriteCondition::Always)?)
    }
}

fn category(of: &str) -> Result<QueryItem, BoxError> {
    Ok(QueryItem::new(Source::Category(annals::CategoryName::new(of)?)))
}

/// Appends so many events in batches, in turns over the streams of this category.
async fn append(log: &EventStore, category: &str, events: usize) -> Result<(), BoxError> {
    for first in (0..events).step_by(BATCH) {
        let mut appends: Vec<Append> = Vec::new();
        for nth in 0..STREAMS {
            let of_stream =
                (first..events.min(first + BATCH)).filter(|number| number % STREAMS == nth);
            let stream = StreamId::new(category, format!("o-{nth}"))?;
            let made: Vec<_> = of_stream.map(|_| sample::event()).collect();
            if !made.is_empty() {
                appends.push(Append::new(stream, made, WriteCondition::Always));
            }
        }
        log.append(appends).await?;
    }
    Ok(())
}

async fn policies(
    ground: &str,
    stores: Stores,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    let (log, state) = (&stores.log, &stores.state);
    let (mut bare, mut made, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=thorough.rounds {
        let (inputs, outputs) = (format!("inputs-{round}"), format!("outputs-{round}"));
        append(log, &inputs, thorough.inputs).await?;
        let begun = Instant::now();
        append(log, &format!("bare-{round}"), thorough.inputs).await?;
        let bare_rate = rate(thorough.inputs, begun.elapsed());
        let policy = Follow { category: outputs.clone() };
        let timer = SystemTimer::new();
        let made_of = Processor::policy(&*outputs, log, Arc::clone(state), policy, timer)?;
        let mut processor = made_of.with_query(category(&inputs)?)?.with_batch(BATCH, usize::MAX);
        let begun = Instant::now();
        processor.settle().await?;
        let policy_rate = rate(thorough.inputs, begun.elapsed());
        let found = log.query(category(&outputs)?).read(ReadOptions::default()).into_vec().await?;
        if found.len() != thorough.inputs {
            let wrong = format!("{} outputs of {} inputs", found.len(), thorough.inputs);
            return Err(wrong.into());
        }
        if round > 0 {
            bare.push(bare_rate);
            made.push(policy_rate);
            ratios.push(policy_rate / bare_rate);
        }
    }
    stores.close().await;
    let of = format!("{} events in batches of {BATCH}", thorough.inputs);
    Ok(vec![
        line(ground, &format!("bare appends of {of}"), "events/s", &bare),
        line(ground, &format!("a policy with one output an input, {of}"), "events/s", &made),
        line(ground, "policy to bare appends", "ratio", &ratios),
    ])
}

/// Counts the commits of all nodes.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn StateStore>,
    commits: AtomicU64,
}

#[async_trait]
impl StateStore for Counting {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> StateCapabilities {
        self.inner.capabilities()
    }

    async fn commit(&self, commit: Commit) -> annals_state::Result<()> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(commit).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> annals_state::Result<Got> {
        self.inner.get(keys).await
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        self.inner.scan(scan)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Only tracks.
struct Nothing(Arc<dyn StateStore>);

#[async_trait]
impl Sink for Nothing {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        Ok(self.0.commit(batch.commit([])).await?)
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}

const NODES: usize = 3;
const PARTS: u16 = 24;

/// A node that runs; dropped, it is killed.
struct Running {
    handle: GroupHandle,
    task: tokio::task::JoinHandle<annals_processing::Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start(
    log: &EventStore,
    state: &Arc<Counting>,
    beat: Duration,
    dead_after: Duration,
) -> Result<Running, BoxError> {
    let (log, state) = (log.clone(), Arc::clone(state));
    let group = Group::new(Partitions::hash(PARTS)?, move || {
        let state: Arc<dyn StateStore> = Arc::<Counting>::clone(&state);
        let sink = Nothing(Arc::clone(&state));
        Processor::sink("grouped", &log, state, sink, SystemTimer::new())
    })?;
    let group = group.with_beat(beat, dead_after);
    Ok(Running { handle: group.handle(), task: tokio::spawn(group.run()) })
}

/// Waits until the nodes have all parts in equal shares.
async fn until_shared(nodes: &[Running]) -> Result<(), BoxError> {
    let share = usize::from(PARTS) / nodes.len().max(1);
    let is_shared = || nodes.iter().all(|node| node.handle.status().parts.len() == share);
    let waiting = async {
        while !is_shared() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    Ok(tokio::time::timeout(BOUND, waiting).await?)
}

async fn groups(ground: &str, stores: Stores, thorough: Thorough) -> Result<Vec<String>, BoxError> {
    let Thorough { beat, beats, rounds, .. } = thorough;
    let dead_after = beat * 5;
    let inner = Arc::clone(&stores.state);
    let state = Arc::new(Counting { inner, commits: AtomicU64::new(0) });
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(start(&stores.log, &state, beat, dead_after)?);
    }
    until_shared(&nodes).await?;
    // What they have done to become quiet is written.
    tokio::time::sleep(beat * 5).await;
    let before = state.commits.load(Ordering::SeqCst);
    let begun = Instant::now();
    tokio::time::sleep(beat * beats).await;
    let passed = begun.elapsed().as_secs_f64() / beat.as_secs_f64();
    let commits = u32::try_from(state.commits.load(Ordering::SeqCst) - before)?;
    let writes = f64::from(commits) / (f64::from(u32::try_from(NODES)?) * passed);
    let mut takeovers = Vec::new();
    for _ in 0..rounds {
        let killed = nodes.remove(0);
        let begun = Instant::now();
        drop(killed);
        until_shared(&nodes).await?;
        let late = begun.elapsed().as_secs_f64() - dead_after.as_secs_f64();
        takeovers.push(late / beat.as_secs_f64());
        nodes.push(start(&stores.log, &state, beat, dead_after)?);
        until_shared(&nodes).await?;
    }
    for node in &nodes {
        node.handle.stop();
    }
    for node in &mut nodes {
        (&mut node.task).await??;
    }
    stores.close().await;
    let of = format!("{NODES} nodes, {PARTS} parts, a beat of {} ms", beat.as_millis());
    Ok(vec![
        line(ground, &format!("{of}: quiet"), "writes a node and beat", &[writes]),
        line(ground, &format!("{of}: takeover after dead_after"), "beats", &takeovers),
    ])
}
