//! Logs that an environment describes, and their passwords.

use std::collections::HashMap;
use std::time::Duration;

use annals::{BoxError, Error};
use annals_postgres::{PostgresAdapter, PostgresOptions};

fn options(names: &[(&str, &str)]) -> annals::Result<PostgresOptions> {
    let names: HashMap<&str, &str> = names.iter().copied().collect();
    PostgresOptions::from_lookup(|key| names.get(key).map(|value| (*value).to_owned()))
}

#[test]
fn a_host_with_its_parts_is_as_good_as_a_url() -> Result<(), BoxError> {
    let parts = options(&[
        ("POSTGRES_HOST", "db.example"),
        ("POSTGRES_PORT", "5433"),
        ("POSTGRES_DBNAME", "it's a \\ name"),
        ("POSTGRES_USER", "ann"),
        ("POSTGRES_PASSWORD", " s3cret "),
        ("POSTGRES_SSLMODE", "require"),
        ("POSTGRES_SCHEMA", "orders"),
        ("POSTGRES_TABLE", "log"),
        ("POSTGRES_ORDER", "category"),
        ("POSTGRES_POOL_SIZE", "3"),
        ("POSTGRES_LOCK_TIMEOUT", "1.5"),
    ])?;
    let shown = format!("{parts:?}");
    for part in [
        "db.example",
        "5433",
        "it's a \\\\ name",
        "ann",
        "Require",
        "orders",
        "log",
        "Category",
        "3",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(parts.lock_timeout(), Duration::from_millis(1_500));
    options(&[("POSTGRES_URL", "postgres://ann@db.example/shop"), ("POSTGRES_PASSWORD", "x")])?;
    Ok(())
}

#[test]
fn what_is_wrong_is_named_and_no_secret_shown() {
    let url = ("POSTGRES_URL", "postgres://ann:s3cret@db.example/shop");
    for (names, expected) in [
        (vec![], "neither POSTGRES_URL nor POSTGRES_HOST is set"),
        (vec![url, ("POSTGRES_HOST", "x")], "POSTGRES_URL and POSTGRES_HOST are both set"),
        (vec![url, ("POSTGRES_PORT", "1")], "POSTGRES_URL and POSTGRES_PORT are both set"),
        (
            vec![url, ("POSTGRES_PASSWORD", "s3cret"), ("POSTGRES_PASSWORD_FILE", "x")],
            "POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set",
        ),
        (vec![url, ("POSTGRES_ORDER", "none")], "POSTGRES_ORDER is \"none\""),
        (vec![url, ("POSTGRES_THREADS", "0")], "POSTGRES_THREADS is \"0\""),
        (vec![("POSTGRES_URL", "postgres://ann:s3cret@db.example/shop?nonsense=1")], "nonsense"),
        (vec![("POSTGRES_HOST", "x"), ("POSTGRES_PORT", "s3")], "port"),
    ] {
        let Err(Error::Invalid(reason)) = options(&names) else { panic!("{expected}") };
        let reason = reason.to_string();
        assert!(reason.contains(expected) && !reason.contains("s3cret"), "{reason}");
    }
}

/// The file is read for each connection: its password of today counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_file_is_asked_and_tables_are_made_on_request() -> Result<(), BoxError> {
    let Some(url) = crate::common::server().await else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("password");
    let schema = crate::common::fresh();
    let lookup = |creates: &'static str| {
        let (url, schema, file) = (url.clone(), schema.clone(), file.display().to_string());
        move |key: &str| match key {
            "POSTGRES_URL" => Some(url.clone()),
            "POSTGRES_SCHEMA" => Some(schema.clone()),
            "POSTGRES_PASSWORD_FILE" => Some(file.clone()),
            "POSTGRES_CREATE_TABLES" => Some(creates.to_owned()),
            _ => None,
        }
    };
    let error = PostgresAdapter::from_lookup(lookup("yes")).await.err().ok_or("no file")?;
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    std::fs::write(&file, "s3cret\nsecond line\n")?;
    assert!(PostgresAdapter::from_lookup(lookup("no")).await.is_err(), "no tables");
    let adapter = PostgresAdapter::from_lookup(lookup("yes")).await?;
    let stored =
        annals::StorageAdapter::append(&adapter, crate::common::append_to("o-1", 2)).await?;
    assert_eq!(crate::common::all(&adapter).await, stored);
    annals::StorageAdapter::close(&adapter).await;
    Ok(())
}
