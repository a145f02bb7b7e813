//! The stories of typed events in memory, SQLite and PostgreSQL: the same functions, with all that they assert.

mod common;

use annals::BoxError;
use annals_domain::{Application, Env};
use annals_examples::training_school::TrainingSchool;
use annals_examples::{bank, course_enrolment, repository, store, universe};

use common::everywhere;

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
    if let Some(url) = tokio::task::spawn_blocking(common::postgres).await? {
        let schema = common::schema();
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
