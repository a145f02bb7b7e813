//! Views in tables of the user's own, and views inside appends: exactly once under kills, rivals and resets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../sql/tests/common/views.rs"]
mod shared;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals::{Append, BoxError, EventStore, StorageAdapter, StoredEvent};
use annals_processing::{
    InlineError, ProcessingError, Processor, Sink, Timer, TokioTimer, async_trait,
};
use annals_sqlite::{InlineView, SqlView, SqlViewSink, SqliteAdapter};
use annals_state::StateStore;
use futures_executor::block_on;
use rusqlite::Connection;
use shared::{AsDocuments, Maker, Place, Prepare, Rows, events, manual};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy)]
struct InRows;

impl SqlView for InRows {
    fn apply(&self, transaction: &Connection, events: &[StoredEvent]) -> Result<(), BoxError> {
        let sql = "INSERT INTO rows_of_streams VALUES (?1, 1, ?2) \
                   ON CONFLICT (stream) DO UPDATE SET events = events + 1, last = excluded.last";
        let mut counted = transaction.prepare_cached(sql)?;
        for event in events {
            counted.execute((event.stream.name.as_str(), shared::last(event)))?;
        }
        Ok(())
    }

    fn clear(&self, transaction: &Connection) -> Result<(), BoxError> {
        transaction.execute("DELETE FROM rows_of_streams", [])?;
        Ok(())
    }
}

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(120)).unwrap();
    connection
}

fn read(path: &Path) -> Rows {
    let connection = connect(path);
    let sql = "SELECT stream, events, last FROM rows_of_streams";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Files in a folder.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[async_trait]
impl Maker for Files {
    type Adapter = SqliteAdapter;

    fn make(&self, name: &str) -> SqliteAdapter {
        let path = self.path(name);
        let adapter = block_on(SqliteAdapter::open(&path)).unwrap();
        connect(&path)
            .execute_batch(
                "CREATE TABLE rows_of_streams (stream TEXT PRIMARY KEY, events INTEGER NOT NULL, \
                 last INTEGER NOT NULL CHECK (last < 1000))",
            )
            .unwrap();
        adapter
    }

    fn state(&self, adapter: &SqliteAdapter) -> Arc<dyn StateStore> {
        Arc::new(adapter.state())
    }

    fn sink(&self, adapter: &SqliteAdapter, _: &str) -> Box<dyn Sink> {
        Box::new(SqlViewSink::new(adapter, InRows))
    }

    async fn read(&self, name: &str) -> Result<Rows, BoxError> {
        Ok(read(&self.path(name)))
    }
}

struct World {
    files: Files,
    adapter: SqliteAdapter,
}

impl World {
    fn new() -> Self {
        let files = Files::new();
        Self { adapter: files.make("world"), files }
    }

    fn processor(&self, timer: impl Timer) -> Processor {
        let store = EventStore::new(self.adapter.clone());
        SqlViewSink::new(&self.adapter, InRows).processor("rows", &store, timer).unwrap()
    }
}

#[async_trait]
impl shared::Table for World {
    async fn read(&self) -> Rows {
        read(&self.files.path("world"))
    }

    async fn intrude(&self) {
        let sql = "INSERT INTO rows_of_streams VALUES ('nobody', 1, 1)";
        connect(&self.files.path("world")).execute(sql, []).unwrap();
    }
}

#[async_trait]
impl shared::Appends for InlineView {
    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>, InlineError> {
        Self::append(self, writes).await
    }
}

struct InTables(World);

#[async_trait]
impl Place for InTables {
    fn log(&self) -> Arc<dyn StorageAdapter> {
        Arc::new(self.0.adapter.clone())
    }

    fn inline(&self, prepare: Prepare) -> annals_processing::Result<Arc<dyn shared::Appends>> {
        let timer = TokioTimer::default();
        Ok(Arc::new(InlineView::new("rows", &self.0.adapter, InRows, timer, prepare)?))
    }

    async fn read(&self) -> Rows {
        read(&self.0.files.path("world"))
    }
}

struct InDocuments(World);

#[async_trait]
impl Place for InDocuments {
    fn log(&self) -> Arc<dyn StorageAdapter> {
        Arc::new(self.0.adapter.clone())
    }

    fn inline(&self, prepare: Prepare) -> annals_processing::Result<Arc<dyn shared::Appends>> {
        let (adapter, timer) = (&self.0.adapter, TokioTimer::default());
        let view =
            InlineView::documents("rows", adapter, shared::rows(), AsDocuments, timer, prepare)?;
        Ok(Arc::new(view))
    }

    async fn read(&self) -> Rows {
        shared::documents(Arc::new(self.0.adapter.state())).await
    }
}

#[test]
fn tables_pass_the_suite_of_sinks() {
    shared::assert_passes_the_suite_of_sinks(Files::new(), 2);
}

#[tokio::test]
async fn the_event_that_cannot_be_applied_is_found_and_parked() {
    let world = World::new();
    let (log, processor) = (Arc::new(world.adapter.clone()), || world.processor(manual()));
    shared::assert_finds_and_parks_what_cannot_be_applied(&world, log, processor, "CHECK").await;
}

#[tokio::test]
async fn a_reset_empties_the_tables_and_fills_them_again() {
    let world = World::new();
    let (log, processor) =
        (Arc::new(world.adapter.clone()), world.processor(TokioTimer::default()));
    shared::assert_a_reset_fills_the_tables_again(&world, log, processor).await;
}

#[tokio::test]
async fn j10_an_inline_view_is_made_with_the_append_or_not_at_all() {
    shared::assert_made_with_the_append_or_not_at_all(InTables(World::new())).await;
    shared::assert_made_with_the_append_or_not_at_all(InDocuments(World::new())).await;
}

#[tokio::test]
async fn j10_with_a_query_the_view_gets_what_it_asks_for() {
    shared::assert_gets_what_its_query_asks_for(InTables(World::new())).await;
    shared::assert_gets_what_its_query_asks_for(InDocuments(World::new())).await;
}

#[test]
fn j10_an_inline_view_decides_nothing_and_takes_all_streams() {
    shared::assert_decides_nothing_and_takes_all_streams(&InTables(World::new()));
    shared::assert_decides_nothing_and_takes_all_streams(&InDocuments(World::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j10_appends_that_race_are_dropped_and_go_past_the_view_are_applied_once() {
    shared::assert_exact_in_races(InTables(World::new())).await;
    shared::assert_exact_in_races(InDocuments(World::new())).await;
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
    let world = World::new();
    world.adapter.append(events("s-0", &["counted"])).await.unwrap();
    let store = EventStore::new(world.adapter.clone());
    let sink = SqlViewSink::new(&world.adapter, Ends);
    let mut ending = sink.processor("ends", &store, manual()).unwrap();
    let error = ending.settle().await.unwrap_err();
    assert!(matches!(error, ProcessingError::State(_)), "{error}");
    world.adapter.append(events("s-0", &["counted"])).await.unwrap();
    world.processor(manual()).settle().await.unwrap();
    let log: Arc<dyn StorageAdapter> = Arc::new(world.adapter.clone());
    assert_eq!(read(&world.files.path("world")), shared::expected(&log).await);
}
