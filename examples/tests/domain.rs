//! The stories of typed events in memory, SQLite and PostgreSQL: the same functions, with all that they assert.

mod common;

use annals::{BoxError, EventId, EventStore};
use annals_examples::story::Say;
use annals_examples::{bank, course_enrolment, repository, universe};
use annals_memory::MemoryAdapter;
use annals_postgres::PostgresOptions;
use annals_sqlite::SqliteAdapter;

/// Plays a story on each store, a fresh one each time.
async fn everywhere(
    lines: usize,
    story: impl AsyncFn(&EventStore, Say<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let sqlite = SqliteAdapter::open(folder.path().join("story.db")).await?;
    let mut stores = vec![EventStore::new(MemoryAdapter::new()), EventStore::new(sqlite)];
    if let Some(url) = tokio::task::spawn_blocking(common::postgres).await? {
        let schema = format!("t{}", EventId::generate().as_uuid().simple());
        let options = PostgresOptions::new(&url)?.with_schema(&schema);
        options.migrate().await?;
        stores.push(EventStore::new(options.connect().await?));
    }
    for store in stores {
        let mut said = Vec::new();
        story(&store, &mut |line| said.push(line)).await?;
        assert_eq!(said.len(), lines, "{said:?}");
        store.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bank_everywhere() -> Result<(), BoxError> {
    everywhere(6, bank::story).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn course_enrolment_everywhere() -> Result<(), BoxError> {
    everywhere(3, course_enrolment::story).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn universe_everywhere() -> Result<(), BoxError> {
    everywhere(2, universe::story).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn universe_with_cache_and_snapshots_everywhere() -> Result<(), BoxError> {
    everywhere(0, async |store, _| universe::test(store, store, true, true).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repository_everywhere() -> Result<(), BoxError> {
    everywhere(2, repository::story).await
}
