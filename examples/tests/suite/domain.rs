//! The stories of typed events in memory, SQLite and PostgreSQL: the same functions, with all that they assert.

use std::sync::Arc;

use annals::{BoxError, EventStore};
use annals_domain::{Application, Env, StateSnapshots};
use annals_examples::training_school::TrainingSchool;
use annals_examples::{bank, course_enrolment, repository, store, universe};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_postgres::PostgresOptions;
use annals_sqlite::SqliteAdapter;
use annals_state::{CollectionName, Scan, StateStore};
use futures_util::TryStreamExt;

use crate::common::everywhere;

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

/// Snapshots are documents in the same database as the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn universe_with_cache_and_snapshots_everywhere() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let file = SqliteAdapter::open(folder.path().join("universe.db")).await?;
    let state = file.state();
    let mut places: Vec<(EventStore, Arc<dyn StateStore>)> = vec![
        (EventStore::new(MemoryAdapter::new()), Arc::new(MemoryState::new())),
        (EventStore::new(file), Arc::new(state)),
    ];
    if let Some(url) = tokio::task::spawn_blocking(crate::common::postgres).await? {
        let options = PostgresOptions::new(&url)?.with_schema(crate::common::schema());
        options.migrate().await?;
        let adapter = options.connect().await?;
        let state = adapter.state();
        places.push((EventStore::new(adapter), Arc::new(state)));
    }
    for (store, state) in places {
        let snapshots = Arc::new(StateSnapshots::new(Arc::clone(&state)));
        universe::test(&store, &store, true, Some(snapshots)).await?;
        let kept = state.scan(Scan::along_ids(CollectionName::from_static("annals.snapshots")));
        // Three worlds of four events: those at 2 and 4.
        assert_eq!(kept.try_concat().await?.len(), 6, "{}", state.name());
        store.close().await;
    }
    Ok(())
}

/// The school is the same program on each adapter: the environment says where its dogs are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_opens_the_adapter_that_its_environment_names() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("school.db").display().to_string();
    let of = |name: &str| {
        Env::new("School").with("PERSISTENCE", "nowhere").with("SCHOOL_PERSISTENCE", name)
    };
    let mut environments = vec![
        of("memory").with("SCHOOL_MEMORY_PAGE_SIZE", "2"),
        // The key of the application wins.
        of("sqlite").with("SQLITE_PATH", "/").with("SCHOOL_SQLITE_PATH", path),
    ];
    if let Some(url) = tokio::task::spawn_blocking(crate::common::postgres).await? {
        let schema = crate::common::schema();
        let env = of("postgres").with("SCHOOL_POSTGRES_URL", url);
        environments
            .push(env.with("POSTGRES_SCHEMA", schema).with("SCHOOL_POSTGRES_CREATE_TABLES", "yes"));
    }
    for env in environments {
        let application = Application::open("School", &store::adapters(), &env).await?;
        let school = TrainingSchool::new(&application);
        school.register("Fido").await?;
        school.add_trick("Fido", "roll over").await?;
        assert!(school.register("Fido").await.is_err(), "{env:?}");
        application.close().await;
    }
    for (env, expected) in [
        (of("sqlite"), "SQLITE_PATH is not set"),
        (of("memory").with("MEMORY_PAGE_SIZE", "many"), "MEMORY_PAGE_SIZE is \"many\""),
        (of("postgres"), "neither POSTGRES_URL nor POSTGRES_HOST is set"),
    ] {
        let error = Application::open("School", &store::adapters(), &env).await;
        let error = format!("{:?}", error.err().ok_or("it opens")?);
        assert!(
            error.contains(&expected.replace('"', "\\\"")) || error.contains(expected),
            "{error}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repository_everywhere() -> Result<(), BoxError> {
    everywhere(2, repository::story).await
}
