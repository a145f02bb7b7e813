//! Views in tables of the user's own: exactly once under kills, rivals and resets, and inside appends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::{
    Append, BoxError, Error, EventStore, NewEvent, Payload, ReadOptions, StorageAdapter,
    StoredEvent, StreamId, WriteCondition,
};
use annals_processing::{
    Answer, Ask, Decision, InlineError, ProcessingError, Processor, Sink, async_trait,
};
use annals_sqlite::{InlineView, SqlView, SqlViewSink, SqliteAdapter};
use annals_state::{Commit, DocumentKey, Expected, StateStore, Write, get_all};
use annals_testkit::processing::{ManualTimer, SinkHarness, sink_checks};
use futures_executor::block_on;
use rusqlite::Connection;
use tempfile::TempDir;

/// How many events each stream has, and the position of the last one. One named `poison` breaks a constraint.
#[derive(Debug, Clone, Copy)]
struct Rows;

fn make(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE rows_of_streams (stream TEXT PRIMARY KEY, events INTEGER NOT NULL, \
             last INTEGER NOT NULL CHECK (last < 1000))",
        )
        .unwrap();
}

fn read(path: &Path) -> BTreeMap<String, (i64, i64)> {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    let sql = "SELECT stream, events, last FROM rows_of_streams";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
    rows.unwrap().map(Result::unwrap).collect()
}

impl SqlView for Rows {
    fn apply(&self, transaction: &Connection, events: &[StoredEvent]) -> Result<(), BoxError> {
        let sql = "INSERT INTO rows_of_streams VALUES (?1, 1, ?2) \
                   ON CONFLICT (stream) DO UPDATE SET events = events + 1, last = excluded.last";
        let mut counted = transaction.prepare_cached(sql)?;
        for event in events {
            let position = i64::try_from(event.position.value())?;
            let last = if *event.name() == "poison" { 1_000 } else { position };
            counted.execute((event.stream.name.as_str(), last))?;
        }
        Ok(())
    }

    fn clear(&self, transaction: &Connection) -> Result<(), BoxError> {
        transaction.execute("DELETE FROM rows_of_streams", [])?;
        Ok(())
    }
}

struct World {
    path: PathBuf,
    adapter: SqliteAdapter,
    store: EventStore,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("views.db");
        let adapter = SqliteAdapter::open(&path).await.unwrap();
        make(&path);
        Self { path, store: EventStore::new(adapter.clone()), adapter, _folder: folder }
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
        assert_eq!(read(&self.path), self.expected().await);
    }

    fn processor(&self) -> Processor {
        let sink = SqlViewSink::new(&self.adapter, Rows);
        sink.processor("rows", &self.store, ManualTimer::new()).unwrap()
    }

    fn inline(&self) -> InlineView<Rows> {
        let timer = annals_processing::TokioTimer::default();
        // Two of them catch up in turn.
        let prepare = |processor: Processor| Ok(processor.with_beat(Duration::from_millis(20)));
        InlineView::new("rows", &self.adapter, Rows, timer, prepare).unwrap()
    }
}

fn events(stream: &str, names: &[&'static str]) -> Vec<Append> {
    let events = names.iter().map(|name| NewEvent::json(*name, &7).unwrap());
    let stream = StreamId::new("orders", stream).unwrap();
    vec![Append::new(stream, events, WriteCondition::Always)]
}

/// The suite knows worlds by their state stores: each says in a document which file it is.
struct Tables {
    folder: TempDir,
    worlds: Mutex<HashMap<String, SqliteAdapter>>,
    last: Mutex<String>,
}

fn home() -> DocumentKey {
    DocumentKey::new("suite", "home").unwrap()
}

impl Tables {
    async fn home_of(state: &dyn StateStore) -> String {
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
        let name = annals::EventId::generate().as_uuid().to_string();
        let path = self.folder.path().join(&name);
        let adapter = block_on(SqliteAdapter::open(&path)).unwrap();
        make(&path);
        let write = Write::put(home(), Payload::json(&name).unwrap(), Expected::Absent);
        block_on(adapter.state().commit(Commit::new([write]))).unwrap();
        self.worlds.lock().unwrap().insert(name.clone(), adapter.clone());
        *self.last.lock().unwrap() = name;
        Arc::new(adapter)
    }

    fn state(&self) -> Arc<dyn StateStore> {
        let last = self.last.lock().unwrap().clone();
        Arc::new(self.worlds.lock().unwrap()[&last].state())
    }

    fn sink(&self, state: Arc<dyn StateStore>) -> Box<dyn Sink> {
        let name = block_on(Self::home_of(&state));
        Box::new(SqlViewSink::new(&self.worlds.lock().unwrap()[&name], Rows))
    }

    fn event(&self, nth: u64) -> (StreamId, NewEvent) {
        let stream = StreamId::new("orders", format!("s-{}", nth % 4)).unwrap();
        (stream, NewEvent::json("counted", &nth).unwrap())
    }

    async fn effect(&self, state: &dyn StateStore) -> Result<String, BoxError> {
        let path = self.folder.path().join(Self::home_of(state).await);
        Ok(format!("{:?}", read(&path)))
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(1)
    }
}

#[test]
fn tables_pass_the_suite_of_sinks() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables { folder, worlds: Mutex::default(), last: Mutex::default() };
    // Its commits are its own: no store of the suite can lose their answers.
    for check in sink_checks().iter().filter(|check| check.name != "sink.errors") {
        check.run(&tables, 0..2).unwrap();
        tables.worlds.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn the_event_that_cannot_be_applied_is_found_and_parked() {
    let world = World::new().await;
    for nth in 0..40 {
        let name = if nth == 23 { "poison" } else { "counted" };
        world.adapter.append(events(&format!("s-{}", nth % 5), &[name])).await.unwrap();
    }
    let error = world.processor().settle().await.unwrap_err();
    let ProcessingError::Handler(failed) = &error else { panic!("{error}") };
    assert_eq!(failed.sequence_number.value(), 24);
    assert!(failed.source.to_string().contains("CHECK"), "{:?}", failed.source);
    let before: i64 = read(&world.path).values().map(|row| row.0).sum();
    assert_eq!(before, 23, "what comes before it was applied");

    let mut parking = world.processor().with_errors(|_| Decision::Park);
    parking.settle().await.unwrap();
    assert_eq!(parking.handle().status().parked, 1);
    let mut expected = world.expected().await;
    // Its sequence waits: positions 0 to 3 were applied.
    expected.insert("s-3".to_owned(), (4, 3));
    assert_eq!(read(&world.path), expected);
}

#[tokio::test]
async fn a_reset_empties_the_tables_and_fills_them_again() {
    let world = World::new().await;
    world.adapter.append(events("s-0", &["counted"; 5])).await.unwrap();
    let sink = SqlViewSink::new(&world.adapter, Rows);
    let timer = annals_processing::TokioTimer::default();
    let processor = sink.processor("rows", &world.store, timer).unwrap();
    let handle = processor.handle();
    let running = tokio::spawn(processor.run());
    let last = world.adapter.append(events("s-1", &["counted"; 5])).await.unwrap();
    let until = last.last().map(|event| event.sequence_number);
    handle.wait(until, Duration::from_secs(30)).await.unwrap();
    world.check().await;
    // A row that no event makes.
    let other = Connection::open(&world.path).unwrap();
    other.busy_timeout(Duration::from_secs(30)).unwrap();
    other.execute("INSERT INTO rows_of_streams VALUES ('nobody', 1, 1)", []).unwrap();
    assert_eq!(handle.ask(Ask::Reset).await.unwrap(), Answer::Done);
    let settled = async {
        while read(&world.path) != world.expected().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.unwrap();
    handle.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn j10_an_inline_view_is_made_with_the_append_or_not_at_all() {
    let world = World::new().await;
    // Before there was the view.
    world.adapter.append(events("s-0", &["counted"; 3])).await.unwrap();
    let view = world.inline();
    view.append(events("s-1", &["counted", "counted"])).await.unwrap();
    world.check().await;
    // Others append without it.
    world.adapter.append(events("s-0", &["counted"; 3])).await.unwrap();
    view.append(events("s-1", &["counted"])).await.unwrap();
    world.check().await;
    // What the view cannot apply is not appended, nor remembered by the writer.
    for stream in ["s-1", "s-7"] {
        let error = view.append(events(stream, &["counted", "poison"])).await.unwrap_err();
        assert!(matches!(error, InlineError::View(_)), "{error}");
    }
    // Nor is what the log rejects.
    let stream = StreamId::from_static("orders", "s-1");
    let event = NewEvent::json("counted", &7).unwrap();
    let refused = vec![Append::new(stream, [event], WriteCondition::StreamIsEmpty)];
    let error = view.append(refused).await.unwrap_err();
    assert!(matches!(error, InlineError::Append(Error::ConditionFailed { .. })), "{error}");
    world.check().await;
    // Without an event there is nothing to apply.
    assert_eq!(view.append(events("s-1", &[])).await.unwrap(), []);
    // A known event is reported as one.
    let again = events("s-7", &["counted"]);
    view.append(again.clone()).await.unwrap();
    let error = view.append(again).await.unwrap_err();
    assert!(matches!(error, InlineError::Append(Error::DuplicateEvent(_))), "{error}");
    // Another handle, as after a start, goes on.
    world.inline().append(events("s-2", &["counted"])).await.unwrap();
    world.check().await;
}

#[tokio::test]
async fn j10_with_a_query_the_view_gets_what_it_asks_for() {
    let world = World::new().await;
    let one = StreamId::from_static("orders", "s-1");
    let query = move |processor: Processor| processor.with_query(one);
    let view = InlineView::new("rows", &world.adapter, Rows, ManualTimer::new(), query).unwrap();
    view.append(events("s-0", &["counted"])).await.unwrap();
    view.append(events("s-1", &["counted"])).await.unwrap();
    assert_eq!(read(&world.path), BTreeMap::from([("s-1".to_owned(), (1, 0))]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j10_appends_that_race_are_dropped_and_go_past_the_view_are_applied_once() {
    let world = World::new().await;
    let (view, other) = (Arc::new(world.inline()), Arc::new(world.inline()));
    let writers = (0..4_u64).map(|writer| {
        let view = Arc::clone(if writer % 2 == 0 { &view } else { &other });
        let plain = world.adapter.clone();
        tokio::spawn(async move {
            for nth in 0..25_u64 {
                let writes = events(&format!("s-{writer}"), &["counted"]);
                if nth % 8 == 7 {
                    plain.append(writes).await.unwrap();
                    continue;
                }
                // One beside it is refused in the same transaction.
                if nth % 6 == 1 {
                    let poison = events(&format!("s-{writer}"), &["counted", "poison"]);
                    let error = view.append(poison).await.unwrap_err();
                    assert!(!error.is_outcome_unknown(), "{error}");
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
    assert!(world.expected().await.values().map(|row| row.0).sum::<i64>() >= 60);
}

/// A view that ends the transaction gets nothing, and the writer goes on.
#[tokio::test]
async fn a_view_that_ends_the_transaction_is_an_error() {
    struct Ends;
    impl SqlView for Ends {
        fn apply(&self, transaction: &Connection, _: &[StoredEvent]) -> Result<(), BoxError> {
            Ok(transaction.execute_batch("ROLLBACK")?)
        }
        fn clear(&self, _: &Connection) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let world = World::new().await;
    world.adapter.append(events("s-0", &["counted"])).await.unwrap();
    let sink = SqlViewSink::new(&world.adapter, Ends);
    let mut ending = sink.processor("ends", &world.store, ManualTimer::new()).unwrap();
    let error = ending.settle().await.unwrap_err();
    assert!(matches!(error, ProcessingError::State(_)), "{error}");
    world.adapter.append(events("s-0", &["counted"])).await.unwrap();
    world.processor().settle().await.unwrap();
    world.check().await;
}
