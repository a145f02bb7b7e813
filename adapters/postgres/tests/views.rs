//! Views in tables of the user's own: exactly once under kills, rivals and resets, and inside appends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::{
    Append, BoxError, Error, EventStore, NewEvent, Payload, ReadOptions, StorageAdapter,
    StoredEvent, StreamId, WriteCondition,
};
use annals_postgres::tokio_postgres::Transaction;
use annals_postgres::{InlineView, PostgresAdapter, SqlView, SqlViewSink};
use annals_processing::{Answer, Ask, Decision, InlineError, ProcessingError, Sink, async_trait};
use annals_state::{Commit, DocumentKey, Expected, StateStore, Write, get_all};
use annals_testkit::processing::{ManualTimer, SinkHarness, sink_checks};
use futures_executor::block_on;
use tokio::runtime::Runtime;

/// The events of each stream in a row, with the last position: an event that comes twice or out of order fails.
#[derive(Debug, Clone)]
struct Rows {
    schema: String,
}

impl Rows {
    fn table(&self) -> String {
        format!("{}.rows_of_streams", self.schema)
    }

    async fn make(&self, url: &str) {
        let sql = format!(
            "CREATE TABLE {} (stream text PRIMARY KEY, events bigint NOT NULL, \
             last bigint NOT NULL CHECK (last < 1000))",
            self.table()
        );
        common::admin(url).await.unwrap().batch_execute(&sql).await.unwrap();
    }

    async fn read(&self, url: &str) -> BTreeMap<String, (i64, i64)> {
        let client = common::admin(url).await.unwrap();
        let sql = format!("SELECT stream, events, last FROM {}", self.table());
        let rows = client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
    }
}

#[async_trait]
impl SqlView for Rows {
    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[StoredEvent],
    ) -> Result<(), BoxError> {
        let sql = format!(
            "INSERT INTO {table} AS t VALUES ($1, 1, $2) \
             ON CONFLICT (stream) DO UPDATE SET events = t.events + 1, last = excluded.last",
            table = self.table()
        );
        for event in events {
            let stream = event.stream.name.as_str();
            let position = i64::try_from(event.position.value()).unwrap();
            let last = if *event.name() == "poison" { 1_000 } else { position };
            transaction.execute(&sql, &[&stream, &last]).await?;
        }
        Ok(())
    }

    async fn clear(&self, transaction: &Transaction<'_>) -> Result<(), BoxError> {
        transaction.execute(&format!("DELETE FROM {}", self.table()), &[]).await?;
        Ok(())
    }
}

struct World {
    url: String,
    adapter: PostgresAdapter,
    store: EventStore,
    rows: Rows,
}

impl World {
    async fn new() -> Option<Self> {
        let url = common::server().await?;
        let schema = common::fresh();
        let adapter = common::open(common::options(&url, &schema).unwrap()).await;
        let rows = Rows { schema };
        rows.make(&url).await;
        let store = EventStore::new(adapter.clone());
        Some(Self { url, adapter, store, rows })
    }

    /// What the log makes.
    async fn expected(&self) -> BTreeMap<String, (i64, i64)> {
        let events = self.store.log().read(ReadOptions::default()).into_vec().await.unwrap();
        let mut rows: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for event in events.iter().filter(|event| *event.name() != "poison") {
            let row = rows.entry(event.stream.name.as_str().to_owned()).or_default();
            *row = (row.0 + 1, i64::try_from(event.position.value()).unwrap());
        }
        rows
    }

    async fn check(&self) {
        assert_eq!(self.rows.read(&self.url).await, self.expected().await);
    }
}

fn events(stream: &str, names: &[&'static str]) -> Vec<Append> {
    let events = names.iter().map(|name| NewEvent::json(*name, &7).unwrap());
    let stream = StreamId::new("orders", stream).unwrap();
    vec![Append::new(stream, events, WriteCondition::Always)]
}

/// The suite knows worlds by their state stores: each says in a document which world it is of.
struct Tables {
    runtime: Runtime,
    url: String,
    worlds: Mutex<HashMap<String, PostgresAdapter>>,
    last: Mutex<String>,
}

fn home() -> DocumentKey {
    DocumentKey::new("suite", "home").unwrap()
}

impl Tables {
    /// The schema that this store is of.
    async fn schema_of(state: &dyn StateStore) -> String {
        loop {
            // It may be one that fails at times.
            if let Ok(mut found) = get_all(state, vec![home()]).await {
                return found.pop().flatten().unwrap().body.to_json().unwrap();
            }
        }
    }
}

#[async_trait]
impl SinkHarness for Tables {
    fn log(&self) -> Arc<dyn StorageAdapter> {
        let schema = common::fresh();
        let adapter = self.runtime.block_on(async {
            let adapter = common::open(common::options(&self.url, &schema).unwrap()).await;
            Rows { schema: schema.clone() }.make(&self.url).await;
            let body = Payload::json(&schema).unwrap();
            let write = Write::put(home(), body, Expected::Absent);
            adapter.state().commit(Commit::new([write])).await.unwrap();
            adapter
        });
        self.worlds.lock().unwrap().insert(schema.clone(), adapter.clone());
        *self.last.lock().unwrap() = schema;
        Arc::new(adapter)
    }

    fn state(&self) -> Arc<dyn StateStore> {
        let last = self.last.lock().unwrap().clone();
        Arc::new(self.worlds.lock().unwrap()[&last].state())
    }

    fn sink(&self, state: Arc<dyn StateStore>) -> Box<dyn Sink> {
        let schema = block_on(Self::schema_of(&state));
        let adapter = self.worlds.lock().unwrap()[&schema].clone();
        Box::new(SqlViewSink::new(&adapter, Rows { schema }))
    }

    fn event(&self, nth: u64) -> (StreamId, NewEvent) {
        let stream = StreamId::new("orders", format!("s-{}", nth % 4)).unwrap();
        (stream, NewEvent::json("counted", &nth).unwrap())
    }

    async fn effect(&self, state: &dyn StateStore) -> Result<String, BoxError> {
        let rows = Rows { schema: Self::schema_of(state).await };
        let url = self.url.clone();
        let rows = self.runtime.spawn(async move { rows.read(&url).await }).await?;
        Ok(format!("{rows:?}"))
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(1)
    }
}

#[test]
fn tables_pass_the_suite_of_sinks() {
    let runtime = Runtime::new().unwrap();
    let Some(url) = runtime.block_on(common::server()) else { return };
    let (worlds, last) = (Mutex::default(), Mutex::default());
    let tables = Tables { runtime, url, worlds, last };
    // Its commits are its own: no store of the suite can lose their answers.
    for check in sink_checks().iter().filter(|check| check.name != "sink.errors") {
        check.run(&tables, 0..1).unwrap();
        tables.worlds.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn the_event_that_cannot_be_applied_is_found_and_parked() {
    let Some(world) = World::new().await else { return };
    for nth in 0..40 {
        let name = if nth == 23 { "poison" } else { "counted" };
        world.adapter.append(events(&format!("s-{}", nth % 5), &[name])).await.unwrap();
    }
    let processor = || {
        let sink = SqlViewSink::new(&world.adapter, world.rows.clone());
        sink.processor("rows", &world.store, ManualTimer::new()).unwrap()
    };
    let error = processor().settle().await.unwrap_err();
    let ProcessingError::Handler(failed) = &error else { panic!("{error}") };
    assert_eq!(failed.sequence_number.value(), 24);
    assert!(failed.source.to_string().contains("db error"), "{:?}", failed.source);
    let before: i64 = world.rows.read(&world.url).await.values().map(|row| row.0).sum();
    assert_eq!(before, 23, "what comes before it was applied");

    let mut parking = processor().with_errors(|_| Decision::Park);
    parking.settle().await.unwrap();
    assert_eq!(parking.handle().status().parked, 1);
    let mut expected = world.expected().await;
    // Its sequence waits: positions 0 to 3 were applied.
    expected.insert("s-3".to_owned(), (4, 3));
    assert_eq!(world.rows.read(&world.url).await, expected);
}

#[tokio::test]
async fn a_reset_empties_the_tables_and_fills_them_again() {
    let Some(world) = World::new().await else { return };
    world.adapter.append(events("s-0", &["counted"; 5])).await.unwrap();
    let sink = SqlViewSink::new(&world.adapter, world.rows.clone());
    let timer = annals_processing::TokioTimer::default();
    let processor = sink.processor("rows", &world.store, timer).unwrap();
    let handle = processor.handle();
    let running = tokio::spawn(processor.run());
    let last = world.adapter.append(events("s-1", &["counted"; 5])).await.unwrap();
    let until = last.last().map(|event| event.sequence_number);
    handle.wait(until, Duration::from_secs(30)).await.unwrap();
    world.check().await;
    // A row that no event makes.
    let sql = format!("INSERT INTO {} VALUES ('nobody', 1, 1)", world.rows.table());
    common::admin(&world.url).await.unwrap().batch_execute(&sql).await.unwrap();
    assert_eq!(handle.ask(Ask::Reset).await.unwrap(), Answer::Done);
    handle.wait(until, Duration::from_secs(30)).await.unwrap();
    let settled = async {
        while world.rows.read(&world.url).await != world.expected().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.unwrap();
    handle.stop();
    running.await.unwrap().unwrap();
}

fn inline(world: &World) -> InlineView<Rows> {
    let timer = annals_processing::TokioTimer::default();
    // Two of them catch up in turn.
    let prepare = |processor: annals_processing::Processor| {
        Ok(processor.with_beat(Duration::from_millis(20)))
    };
    InlineView::new("rows", &world.adapter, world.rows.clone(), timer, prepare).unwrap()
}

#[tokio::test]
async fn j10_an_inline_view_is_made_with_the_append_or_not_at_all() {
    let Some(world) = World::new().await else { return };
    // Before there was the view.
    world.adapter.append(events("s-0", &["counted"; 3])).await.unwrap();
    let view = inline(&world);
    view.append(events("s-1", &["counted", "counted"])).await.unwrap();
    world.check().await;
    // Others append without it.
    world.adapter.append(events("s-0", &["counted"; 3])).await.unwrap();
    view.append(events("s-1", &["counted"])).await.unwrap();
    world.check().await;
    // What the view cannot apply is not appended.
    let error = view.append(events("s-1", &["counted", "poison"])).await.unwrap_err();
    assert!(matches!(error, InlineError::View(_)), "{error}");
    // Nor is what the log rejects.
    let stream = StreamId::from_static("orders", "s-1");
    let event = NewEvent::json("counted", &7).unwrap();
    let refused = vec![Append::new(stream, [event], WriteCondition::StreamIsEmpty)];
    let error = view.append(refused).await.unwrap_err();
    assert!(matches!(error, InlineError::Append(Error::ConditionFailed { .. })), "{error}");
    world.check().await;
    // Without an event there is nothing to apply.
    assert_eq!(view.append(events("s-1", &[])).await.unwrap(), []);
    // Another handle, as after a start, goes on.
    inline(&world).append(events("s-2", &["counted"])).await.unwrap();
    world.check().await;
}

#[tokio::test]
async fn j10_with_a_query_the_view_gets_what_it_asks_for() {
    let Some(world) = World::new().await else { return };
    let one = StreamId::from_static("orders", "s-1");
    let query = move |processor: annals_processing::Processor| processor.with_query(one);
    let (timer, rows) = (ManualTimer::new(), world.rows.clone());
    let view = InlineView::new("rows", &world.adapter, rows, timer, query).unwrap();
    view.append(events("s-0", &["counted"])).await.unwrap();
    view.append(events("s-1", &["counted"])).await.unwrap();
    let rows = world.rows.read(&world.url).await;
    assert_eq!(rows, BTreeMap::from([("s-1".to_owned(), (1, 0))]));
}

#[tokio::test]
async fn j10_an_inline_view_decides_nothing_and_takes_all_streams() {
    let Some(world) = World::new().await else { return };
    let made = |prepare: fn(annals_processing::Processor) -> annals_processing::Result<_>| {
        let timer = ManualTimer::new();
        InlineView::new("rows", &world.adapter, world.rows.clone(), timer, prepare).unwrap_err()
    };
    let parks = made(|processor| Ok(processor.with_errors(|_| Decision::Park)));
    assert!(matches!(parks, ProcessingError::Misuse(_)), "{parks}");
    let part = made(|processor| {
        let part = annals_processing::Partitions::hash(2)?.nth(0)?;
        Ok(processor.with_partition(part))
    });
    assert!(matches!(part, ProcessingError::Misuse(_)), "{part}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j10_appends_that_race_are_dropped_and_go_past_the_view_are_applied_once() {
    let Some(world) = World::new().await else { return };
    let view = Arc::new(inline(&world));
    let other = Arc::new(inline(&world));
    let writers = (0..4_u64).map(|writer| {
        let view = Arc::clone(if writer % 2 == 0 { &view } else { &other });
        let plain = world.adapter.clone();
        tokio::spawn(async move {
            for nth in 0..16_u64 {
                let writes = events(&format!("s-{writer}"), &["counted"]);
                if nth % 8 == 7 {
                    plain.append(writes).await.unwrap();
                    continue;
                }
                // Some are dropped somewhere.
                let limit = if nth % 5 == 4 { (nth * 7 + writer * 3) % 12 } else { 60_000 };
                match tokio::time::timeout(Duration::from_millis(limit), view.append(writes)).await
                {
                    Ok(Err(InlineError::Append(Error::Unavailable(_)))) | Err(_) => {}
                    Ok(appended) => drop(appended.unwrap()),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    view.append(events("s-9", &["counted"])).await.unwrap();
    world.check().await;
    assert!(world.expected().await.values().map(|row| row.0).sum::<i64>() >= 30);
}
