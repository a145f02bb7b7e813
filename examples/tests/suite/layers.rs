//! Stories over layers: in memory, SQLite and PostgreSQL, configured by the environment alone where they say so.

use std::collections::HashMap;

use annals::BoxError;
use annals_domain::Env;
use annals_examples::{configured, erasure, integrity, universe};

use crate::common::{everywhere, schema};

/// The environment of an application: nothing but these variables.
fn environment(variables: &[(&str, &str)]) -> Env {
    let own = |(name, value): &(&str, &str)| (format!("UNIVERSE_{name}"), (*value).to_owned());
    let variables: HashMap<String, String> = variables.iter().map(own).collect();
    Env::from_lookup("Universe", move |name| variables.get(name).cloned())
}

/// Runs the test of the universe, plainly and with cache and snapshots, each on an empty store.
async fn universe(environments: [Env; 2]) -> Result<(), BoxError> {
    for (env, fast) in environments.iter().zip([false, true]) {
        universe::test_configured(env, fast).await?;
    }
    Ok(())
}

const SEALED: [(&str, &str); 2] =
    [("COMPRESSOR", "zlib"), ("CIPHER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];

#[tokio::test]
async fn universe_plain_in_memory() -> Result<(), BoxError> {
    let env = || environment(&[("PERSISTENCE", "memory")]);
    universe([env(), env()]).await
}

#[tokio::test]
async fn universe_with_zlib_and_aes_in_sqlite_by_the_environment_alone() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name).to_str().map(str::to_owned).ok_or("a text");
    let (first, second) = (file("a.db")?, file("b.db")?);
    let env = |file: &str| {
        environment(&[&[("PERSISTENCE", "sqlite"), ("SQLITE_FILE", file)], &SEALED[..]].concat())
    };
    universe([env(&first), env(&second)]).await?;
    for name in std::fs::read_dir(folder.path())? {
        let bytes = std::fs::read(name?.path())?;
        let shows = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        for word in [&b"dinosaurs"[..], b"trucks", b"internet", b"Earth", b"mammals"] {
            assert!(!shows(word), "a word is in a file");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn universe_with_zlib_and_aes_in_postgres_by_the_environment_alone() -> Result<(), BoxError> {
    let Some(url) = tokio::task::spawn_blocking(crate::common::postgres).await? else {
        return Ok(());
    };
    let env = |schema: &str| {
        let place =
            [("PERSISTENCE", "postgres"), ("POSTGRES_URL", &url), ("POSTGRES_SCHEMA", schema)];
        environment(&[&place, &SEALED[..]].concat())
    };
    universe([env(&schema()), env(&schema())]).await
}

#[tokio::test]
async fn an_environment_that_lacks_something_is_named() {
    for (variables, expected) in [
        (&[][..], "PERSISTENCE"),
        (&[("PERSISTENCE", "paper")], "paper"),
        (&[("PERSISTENCE", "sqlite")], "SQLITE_FILE"),
        (&[("PERSISTENCE", "memory"), ("CIPHER_KEY", "short")], "CIPHER_KEY"),
        (&[("PERSISTENCE", "memory"), ("COMPRESSOR", "lz4")], "COMPRESSOR"),
    ] {
        let error = configured::open(&environment(variables)).await.expect_err("it is wrong");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integrity_everywhere() -> Result<(), BoxError> {
    everywhere(10, integrity::story).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasure_everywhere() -> Result<(), BoxError> {
    everywhere(4, erasure::story).await
}
