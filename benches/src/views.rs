//! Views: how fast they are made again, what a commit costs, how soon an event is applied, and what idle ones take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use annals::{
    BoxError, EventStore, Payload, SequenceNumber, StoredEvent, StreamId, WriteCondition,
};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_postgres::tokio_postgres::{self, Client, NoTls, Transaction};
use annals_postgres::{PostgresAdapter, PostgresOptions, SqlView, SqlViewSink};
use annals_processing::{
    Batch, Processor, Services, Sink, SinkError, SystemTimer, View, ViewSink, async_trait,
};
use annals_sqlite::SqliteAdapter;
use annals_state::{Collection, DocumentId, Documents, StateStore, Write};
use annals_testkit::StoredEventBuilder;
use hdrhistogram::Histogram;
use tempfile::TempDir;

use crate::measure::{Spread, histogram};
use crate::sample;

/// How many streams the events of a rebuild are of: one document each.
const STREAMS: usize = 1_000;
/// How many events one batch has.
const BATCH: usize = 500;

/// How thorough a run is.
#[derive(Debug, Clone, Copy)]
pub struct Thorough {
    /// How many events a rebuild reads.
    pub events: usize,
    /// How often each figure is measured.
    pub rounds: usize,
    /// How large the largest view is that is committed to.
    pub documents: usize,
    /// How many events are waited for, one after the other.
    pub waits: usize,
    /// For how long idle processors are looked at.
    pub idle: Duration,
}

impl Thorough {
    /// Some seconds in all: whether it works.
    pub const QUICK: Self = Self {
        events: 10_000,
        rounds: 1,
        documents: 10_000,
        waits: 50,
        idle: Duration::from_secs(2),
    };
    /// The default.
    pub const FULL: Self = Self {
        events: 200_000,
        rounds: 5,
        documents: 1_000_000,
        waits: 1_000,
        idle: Duration::from_secs(20),
    };
}

/// A log and a state store of one adapter.
pub struct Stores {
    pub(crate) log: EventStore,
    pub(crate) state: Arc<dyn StateStore>,
    postgres: Option<(PostgresAdapter, String, String)>,
    _folder: Option<TempDir>,
}

impl Stores {
    /// In memory.
    #[must_use]
    pub fn memory() -> Self {
        let (log, state) = (EventStore::new(MemoryAdapter::new()), Arc::new(MemoryState::new()));
        Self { log, state, postgres: None, _folder: None }
    }

    /// In a new file in this folder.
    ///
    /// # Errors
    /// The adapter's.
    pub async fn sqlite(folder: &std::path::Path) -> Result<Self, BoxError> {
        let folder = TempDir::new_in(folder)?;
        let adapter = SqliteAdapter::open(folder.path().join("views.db")).await?;
        let state = Arc::new(adapter.state());
        let log = EventStore::new(adapter);
        Ok(Self { log, state, postgres: None, _folder: Some(folder) })
    }

    /// On the server at this URL.
    ///
    /// # Errors
    /// The adapter's.
    pub async fn postgres(url: &str) -> Result<Self, BoxError> {
        let schema = format!("views_{}", annals::EventId::generate().as_uuid().simple());
        let options = PostgresOptions::new(url)?.with_schema(&schema);
        options.migrate().await?;
        let adapter = options.connect().await?;
        let state = Arc::new(adapter.state());
        let log = EventStore::new(adapter.clone());
        Ok(Self { log, state, postgres: Some((adapter, url.to_owned(), schema)), _folder: None })
    }

    pub(crate) async fn close(self) {
        self.log.close().await;
        self.state.close().await;
    }
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("state", &self.state).finish_non_exhaustive()
    }
}

/// How many events each stream has.
#[derive(Debug, Clone, Copy)]
struct Counts;

impl View for Counts {
    type State = u64;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::new(event.stream.name.as_str())?])
    }

    fn apply(
        &self,
        _: &DocumentId,
        count: &mut Option<u64>,
        _: &StoredEvent,
    ) -> Result<(), BoxError> {
        *count.get_or_insert_default() += 1;
        Ok(())
    }
}

fn counts(state: &Arc<dyn StateStore>, name: &str) -> Result<Documents<u64>, BoxError> {
    Ok(Collection::new(name)?.on(Arc::clone(state)))
}

/// The same in a table of its own, with one statement a batch.
struct Table(String);

/// What the view in a table and the hand-written loop say.
fn upsert(table: &str) -> String {
    format!(
        "INSERT INTO {table} AS t SELECT * FROM unnest($1::text[], $2::bigint[]) \
         ON CONFLICT (stream) DO UPDATE SET events = t.events + excluded.events"
    )
}

fn grouped<'a>(streams: impl Iterator<Item = &'a str>) -> (Vec<&'a str>, Vec<i64>) {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    streams.for_each(|stream| *counts.entry(stream).or_default() += 1);
    counts.into_iter().unzip()
}

#[async_trait]
impl SqlView for Table {
    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[StoredEvent],
    ) -> Result<(), BoxError> {
        let (streams, counts) = grouped(events.iter().map(|event| event.stream.name.as_str()));
        transaction.execute(&upsert(&self.0), &[&streams, &counts]).await?;
        Ok(())
    }

    async fn clear(&self, transaction: &Transaction<'_>) -> Result<(), BoxError> {
        transaction.execute(&format!("TRUNCATE {}", self.0), &[]).await?;
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no 16 digits")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn stream(nth: usize) -> Result<StreamId, BoxError> {
    Ok(StreamId::new(sample::CATEGORY, format!("o-{nth}"))?)
}

fn line(ground: &str, what: &str, unit: &str, figures: Vec<f64>) -> String {
    let Some(Spread { median, min, max }) = Spread::of(figures) else { return String::new() };
    format!("| {ground} | {what} | {unit} | {median:.3} | {min:.3}–{max:.3} |")
}

/// All figures of one ground, as lines of a table. `open` makes empty stores.
///
/// # Errors
/// Those of the stores.
///
/// # Panics
/// If a rebuild counts wrong.
pub async fn measure(
    ground: &str,
    open: impl AsyncFn() -> Result<Stores, BoxError>,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    let mut lines = rebuild(ground, open().await?, thorough).await?;
    lines.extend(growth(ground, open().await?, thorough).await?);
    lines.extend(soon(ground, open().await?, thorough).await?);
    lines.extend(idle(ground, open().await?, thorough).await?);
    Ok(lines)
}

async fn rebuild(
    ground: &str,
    stores: Stores,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    let mut left = thorough.events;
    let mut nth = 0;
    while left > 0 {
        let some = left.min(20);
        let events: Vec<_> = (0..some).map(|_| sample::event()).collect();
        let stream = stores.log.stream(stream(nth % STREAMS)?);
        stream.append(events, WriteCondition::Always).await?;
        (left, nth) = (left - some, nth + 1);
    }
    let (mut documents, mut tables, mut loops) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=thorough.rounds {
        let name = format!("counts-{round}");
        let of_round = counts(&stores.state, &name)?;
        let timer = SystemTimer::new();
        let processor = Processor::view(&*name, &stores.log, of_round.clone(), Counts, timer)?;
        let mut processor = processor.with_batch(BATCH, usize::MAX);
        let begun = Instant::now();
        processor.settle().await?;
        documents.push(rate(thorough.events, begun.elapsed()));
        let first = of_round.get("o-0").await?.map(|found| found.value);
        assert!(first.is_some_and(|count| count > 0), "the rebuild counted nothing");
        if let Some((adapter, url, schema)) = &stores.postgres {
            let client = connect(url).await?;
            let table = format!("{schema}.table_{round}");
            let made = format!("CREATE TABLE {table} (stream text PRIMARY KEY, events bigint)");
            client.batch_execute(&made).await?;
            let sink = SqlViewSink::new(adapter, Table(table.clone()));
            let processor =
                sink.processor(format!("table-{round}"), &stores.log, SystemTimer::new())?;
            let mut processor = processor.with_batch(BATCH, usize::MAX);
            let begun = Instant::now();
            processor.settle().await?;
            tables.push(rate(thorough.events, begun.elapsed()));
            let begun = Instant::now();
            by_hand(&client, schema, &format!("{schema}.hand_{round}")).await?;
            loops.push(rate(thorough.events, begun.elapsed()));
            let sum = |table: String| async move {
                let sql = format!("SELECT sum(events)::bigint FROM {table}");
                client.query_one(&sql, &[]).await?.try_get::<_, i64>(0)
            };
            let hand = format!("{schema}.hand_{round}");
            let both =
                format!("(SELECT * FROM {table} UNION ALL SELECT * FROM {hand}) both_of_them");
            assert_eq!(
                sum(both).await?,
                2 * i64::try_from(thorough.events)?,
                "each is counted once"
            );
        }
    }
    stores.close().await;
    let what = format!("rebuild of {} events, {BATCH} a commit", thorough.events);
    // The first round warms up.
    let counted = |mut figures: Vec<f64>| {
        figures.remove(0);
        figures
    };
    let mut lines =
        vec![line(ground, &format!("{what}: documents"), "events/s", counted(documents))];
    if !tables.is_empty() {
        lines.push(line(ground, &format!("{what}: a table"), "events/s", counted(tables)));
        lines.push(line(ground, &format!("{what}: by hand in SQL"), "events/s", counted(loops)));
    }
    Ok(lines)
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// A loop as a program without a library has it: a page of the log, one upsert, the place, a commit.
async fn by_hand(client: &Client, schema: &str, table: &str) -> Result<(), BoxError> {
    client
        .batch_execute(&format!(
            "CREATE TABLE {table} (stream text PRIMARY KEY, events bigint);
             CREATE TABLE {table}_place (after bigint); INSERT INTO {table}_place VALUES (0)"
        ))
        .await?;
    let page = format!(
        "SELECT e.sequence_number, s.name, n.name, e.id, e.occurred_at::text, e.payload, e.metadata \
         FROM {schema}.events e JOIN {schema}.events_streams s USING (stream_id) \
         JOIN {schema}.events_names n ON n.name_id = e.name_id \
         WHERE e.sequence_number > $1 ORDER BY e.sequence_number LIMIT {BATCH}"
    );
    let (page, upsert) = (client.prepare(&page).await?, client.prepare(&upsert(table)).await?);
    let moved = client.prepare(&format!("UPDATE {table}_place SET after = $1")).await?;
    let mut after = 0_i64;
    loop {
        let rows = client.query(&page, &[&after]).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.try_get(0)?;
        let names: Vec<&str> = rows.iter().map(|row| row.try_get(1)).collect::<Result<_, _>>()?;
        let (streams, counts) = grouped(names.into_iter());
        client.batch_execute("BEGIN").await?;
        client.execute(&upsert, &[&streams, &counts]).await?;
        client.execute(&moved, &[&after]).await?;
        client.batch_execute("COMMIT").await?;
    }
}

/// What a commit costs to a view of 10³, 10⁴, … documents, none of which is remembered: batches of 100 events.
async fn growth(ground: &str, stores: Stores, thorough: Thorough) -> Result<Vec<String>, BoxError> {
    const EVENTS: usize = 100;
    const COMMITS: usize = 20;
    let sizes: Vec<usize> = [1_000, 10_000, 100_000, 1_000_000]
        .into_iter()
        .filter(|size| *size <= thorough.documents)
        .collect();
    let mut sinks = Vec::new();
    for size in &sizes {
        let documents = counts(&stores.state, &format!("size-{size}"))?;
        for first in (0..*size).step_by(1_000) {
            let put = |nth| documents.write(format!("o-{nth}"), &1, annals_state::Expected::Absent);
            let writes: Vec<Write> = (first..first + 1_000).map(put).collect::<Result<_, _>>()?;
            documents.commit(writes).await?;
        }
        sinks.push((*size, ViewSink::new(Counts, documents).with_cache(0), Vec::new()));
    }
    let mut drawn = 1_u64;
    for _ in 0..=thorough.rounds * 3 {
        for (size, sink, figures) in &mut sinks {
            let mut took = Duration::ZERO;
            for nth in 0..COMMITS {
                let mut events = Vec::new();
                for _ in 0..EVENTS {
                    drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let number = u64::try_from(events.len())? + 1;
                    let nth = usize::try_from(drawn >> 33)? % *size;
                    let event = StoredEventBuilder::new()
                        .with_stream(stream(nth)?)
                        .with_sequence_number(number);
                    events.push(event.build());
                }
                let key = annals_state::DocumentKey::new("bench", format!("place-{size}"))?;
                let body = Payload::json(&nth)?;
                let place = Write::put(key, body, annals_state::Expected::Any);
                let batch = Batch::of(&events, vec![place]);
                let begun = Instant::now();
                sink.take(&batch).await?;
                took += begun.elapsed();
            }
            figures.push(took.as_secs_f64() * 1_000.0 / f64::from(u32::try_from(COMMITS)?));
        }
    }
    stores.close().await;
    let mut lines = Vec::new();
    let first =
        sinks.first().and_then(|(_, _, figures)| Spread::of(figures.iter().skip(1).copied()));
    for (size, _, figures) in sinks {
        let figures: Vec<f64> = figures.into_iter().skip(1).collect();
        let median = Spread::of(figures.iter().copied()).map_or(0.0, |spread| spread.median);
        let ratio = first.map_or(1.0, |first| median / first.median);
        let what = format!("commit of {EVENTS} events at {size} documents (ratio {ratio:.2})");
        lines.push(line(ground, &what, "ms", figures));
    }
    Ok(lines)
}

/// Says when it has taken an event.
struct Heard(tokio::sync::mpsc::UnboundedSender<(SequenceNumber, Instant)>, Arc<dyn StateStore>);

#[async_trait]
impl Sink for Heard {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let now = Instant::now();
        for event in batch.events() {
            let _gone = self.0.send((event.sequence_number, now));
        }
        Ok(self.1.commit(batch.commit([])).await?)
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}

/// How soon an event is with its handler, from before its append and from after it.
async fn soon(ground: &str, stores: Stores, thorough: Thorough) -> Result<Vec<String>, BoxError> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let sink = Heard(sender, Arc::clone(&stores.state));
    let state = Arc::clone(&stores.state);
    let processor = Processor::sink("soon", &stores.log, state, sink, SystemTimer::new())?;
    let handle = processor.handle();
    let running = tokio::spawn(processor.run());
    let (mut whole, mut after) = (histogram(), histogram());
    for nth in 0..thorough.waits + 10 {
        let begun = Instant::now();
        let stream = stores.log.stream(stream(nth % STREAMS)?);
        let appends = stream.append([sample::event()], WriteCondition::Always).await?;
        let appended = Instant::now();
        let wanted = appends.first().ok_or("an event")?.sequence_number;
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), receiver.recv()).await?;
            let (number, at) = next.ok_or("the processor has ended")?;
            if number == wanted {
                // The first ones warm up.
                if nth >= 10 {
                    note(&mut whole, at.saturating_duration_since(begun));
                    note(&mut after, at.saturating_duration_since(appended));
                }
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    handle.stop();
    running.await??;
    stores.close().await;
    let of = |calls: &Histogram<u64>, quantile| {
        Duration::from_nanos(calls.value_at_quantile(quantile)).as_secs_f64() * 1_000.0
    };
    let mut lines = Vec::new();
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let what = format!("append to handler, {name}");
        lines.push(line(ground, &what, "ms", vec![of(&whole, quantile)]));
        let what = format!("end of append to handler, {name}");
        lines.push(line(ground, &what, "ms", vec![of(&after, quantile)]));
    }
    Ok(lines)
}

fn note(calls: &mut Histogram<u64>, time: Duration) {
    calls.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// How much of one core of this process 1,000 processors take that have nothing to do: half of them ask for all, half for
/// a stream of their own.
async fn idle(ground: &str, stores: Stores, thorough: Thorough) -> Result<Vec<String>, BoxError> {
    const PROCESSORS: usize = 1_000;
    let mut services = Services::new(SystemTimer::new());
    let mut handles = Vec::new();
    for nth in 0..PROCESSORS {
        let documents = counts(&stores.state, &format!("idle-{nth}"))?;
        let name = format!("idle-{nth}");
        let mut processor =
            Processor::view(name, &stores.log, documents, Counts, SystemTimer::new())?;
        if nth % 2 == 0 {
            processor = processor.with_query(stream(nth)?)?;
        }
        handles.push(processor.handle());
        services = services.processor(processor)?;
    }
    let all = services.handle();
    let running = tokio::spawn(services.run());
    let is_live = |handle: &annals_processing::Handle| {
        handle.status().phase == annals_processing::Phase::Live
    };
    while !handles.iter().all(is_live) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What they have done to become idle is written.
    tokio::time::sleep(thorough.idle / 2).await;
    let (begun, before) = (Instant::now(), cpu()?);
    tokio::time::sleep(thorough.idle).await;
    let used = cpu()?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    all.stop();
    running.await??;
    stores.close().await;
    let what = format!("{PROCESSORS} idle processors");
    Ok(vec![line(ground, &what, "% of a core", vec![used * 100.0])])
}

/// What this process has used of the processors.
fn cpu() -> Result<Duration, BoxError> {
    static SYSTEM: Mutex<Option<sysinfo::System>> = Mutex::new(None);
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    let system = system.get_or_insert_with(sysinfo::System::new);
    let pid = sysinfo::get_current_pid()?;
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[pid]), false);
    let process = system.process(pid).ok_or("this process")?;
    Ok(Duration::from_millis(process.accumulated_cpu_time()))
}
