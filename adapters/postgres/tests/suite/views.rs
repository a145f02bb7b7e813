//! Views in tables of the user's own, and views inside appends: exactly once under kills, rivals and resets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../sql/tests/common/views.rs"]
mod shared;

use std::sync::Arc;

use annals::{Append, BoxError, EventStore, StorageAdapter, StoredEvent};
use annals_postgres::tokio_postgres::Transaction;
use annals_postgres::{InlineView, PostgresAdapter, SqlView, SqlViewSink};
use annals_processing::{InlineError, Processor, Sink, Timer, TokioTimer, async_trait};
use annals_state::StateStore;
use shared::{AsDocuments, Maker, Place, Prepare, Rows, manual};
use tokio::runtime::Runtime;

fn table(schema: &str) -> String {
    format!("{schema}.rows_of_streams")
}

/// In the table of this schema.
#[derive(Debug, Clone)]
struct InRows(String);

#[async_trait]
impl SqlView for InRows {
    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[StoredEvent],
    ) -> Result<(), BoxError> {
        let sql = format!(
            "INSERT INTO {} AS t VALUES ($1, 1, $2) \
             ON CONFLICT (stream) DO UPDATE SET events = t.events + 1, last = excluded.last",
            table(&self.0)
        );
        for event in events {
            let stream = event.stream.name.as_str();
            transaction.execute(&sql, &[&stream, &shared::last(event)]).await?;
        }
        Ok(())
    }

    async fn clear(&self, transaction: &Transaction<'_>) -> Result<(), BoxError> {
        transaction.execute(&format!("DELETE FROM {}", table(&self.0)), &[]).await?;
        Ok(())
    }
}

/// Schemas on a server.
struct Schemas(String);

impl Schemas {
    async fn open(&self, schema: &str) -> PostgresAdapter {
        let adapter = crate::common::open(crate::common::options(&self.0, schema).unwrap()).await;
        let sql = format!(
            "CREATE TABLE {} (stream text PRIMARY KEY, events bigint NOT NULL, \
             last bigint NOT NULL CHECK (last < 1000))",
            table(schema)
        );
        crate::common::admin(&self.0).await.unwrap().batch_execute(&sql).await.unwrap();
        adapter
    }

    async fn rows(&self, schema: &str) -> Rows {
        let client = crate::common::admin(&self.0).await.unwrap();
        let sql = format!("SELECT stream, events, last FROM {}", table(schema));
        let rows = client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
    }
}

/// The suite of sinks runs outside of a runtime.
struct Blocking {
    schemas: Arc<Schemas>,
    runtime: Runtime,
}

#[async_trait]
impl Maker for Blocking {
    type Adapter = PostgresAdapter;

    fn make(&self, name: &str) -> PostgresAdapter {
        self.runtime.block_on(self.schemas.open(name))
    }

    fn state(&self, adapter: &PostgresAdapter) -> Arc<dyn StateStore> {
        Arc::new(adapter.state())
    }

    fn sink(&self, adapter: &PostgresAdapter, name: &str) -> Box<dyn Sink> {
        Box::new(SqlViewSink::new(adapter, InRows(name.to_owned())))
    }

    async fn read(&self, name: &str) -> Result<Rows, BoxError> {
        let (schemas, name) = (Arc::clone(&self.schemas), name.to_owned());
        Ok(self.runtime.spawn(async move { schemas.rows(&name).await }).await?)
    }
}

struct World {
    schemas: Schemas,
    schema: String,
    adapter: PostgresAdapter,
}

impl World {
    async fn new() -> Option<Self> {
        let (schemas, schema) = (Schemas(crate::common::server().await?), crate::common::fresh());
        let adapter = schemas.open(&schema).await;
        Some(Self { schemas, schema, adapter })
    }

    fn processor(&self, timer: impl Timer) -> Processor {
        let store = EventStore::new(self.adapter.clone());
        let sink = SqlViewSink::new(&self.adapter, InRows(self.schema.clone()));
        sink.processor("rows", &store, timer).unwrap()
    }
}

#[async_trait]
impl shared::Table for World {
    async fn read(&self) -> Rows {
        self.schemas.rows(&self.schema).await
    }

    async fn intrude(&self) {
        let sql = format!("INSERT INTO {} VALUES ('nobody', 1, 1)", table(&self.schema));
        crate::common::admin(&self.schemas.0).await.unwrap().batch_execute(&sql).await.unwrap();
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
        let (rows, timer) = (InRows(self.0.schema.clone()), TokioTimer::default());
        Ok(Arc::new(InlineView::new("rows", &self.0.adapter, rows, timer, prepare)?))
    }

    async fn read(&self) -> Rows {
        shared::Table::read(&self.0).await
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
    let runtime = Runtime::new().unwrap();
    let Some(url) = runtime.block_on(crate::common::server()) else { return };
    let schemas = Arc::new(Schemas(url));
    shared::assert_passes_the_suite_of_sinks(Blocking { schemas, runtime }, 1);
}

#[tokio::test]
async fn the_event_that_cannot_be_applied_is_found_and_parked() {
    let Some(world) = World::new().await else { return };
    let (log, processor) = (Arc::new(world.adapter.clone()), || world.processor(manual()));
    shared::assert_finds_and_parks_what_cannot_be_applied(&world, log, processor, "db error").await;
}

#[tokio::test]
async fn a_reset_empties_the_tables_and_fills_them_again() {
    let Some(world) = World::new().await else { return };
    let (log, processor) =
        (Arc::new(world.adapter.clone()), world.processor(TokioTimer::default()));
    shared::assert_a_reset_fills_the_tables_again(&world, log, processor).await;
}

#[tokio::test]
async fn j10_an_inline_view_is_made_with_the_append_or_not_at_all() {
    let Some(world) = World::new().await else { return };
    shared::assert_made_with_the_append_or_not_at_all(InTables(world)).await;
    let Some(world) = World::new().await else { return };
    shared::assert_made_with_the_append_or_not_at_all(InDocuments(world)).await;
}

#[tokio::test]
async fn j10_with_a_query_the_view_gets_what_it_asks_for() {
    let Some(world) = World::new().await else { return };
    shared::assert_gets_what_its_query_asks_for(InTables(world)).await;
    let Some(world) = World::new().await else { return };
    shared::assert_gets_what_its_query_asks_for(InDocuments(world)).await;
}

#[tokio::test]
async fn j10_an_inline_view_decides_nothing_and_takes_all_streams() {
    let Some(world) = World::new().await else { return };
    let tables = InTables(world);
    shared::assert_decides_nothing_and_takes_all_streams(&tables);
    shared::assert_decides_nothing_and_takes_all_streams(&InDocuments(tables.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j10_appends_that_race_are_dropped_and_go_past_the_view_are_applied_once() {
    let Some(world) = World::new().await else { return };
    shared::assert_exact_in_races(InTables(world)).await;
    let Some(world) = World::new().await else { return };
    shared::assert_exact_in_races(InDocuments(world)).await;
}
