//! A store as the environment of an application describes it: where it is, and what lies around it.

use std::sync::Arc;

use annals::adapter::StorageAdapter;
use annals::{BoxError, EventStore};
use annals_domain::{Adapters, Env};
use annals_layers::{Codec, Encoded};
use annals_memory::MemoryAdapter;
use annals_postgres::PostgresOptions;
use annals_sqlite::SqliteAdapter;

type Store = Arc<dyn StorageAdapter>;
/// What is put around a store, as the environment says.
type Around = fn(Store, &Env) -> Result<Store, BoxError>;

/// The adapters that `PERSISTENCE` may name, with what else they take:
///
/// | `PERSISTENCE` | takes |
/// |---|---|
/// | `memory` | |
/// | `sqlite` | `SQLITE_FILE` |
/// | `postgres` | `POSTGRES_URL`, `POSTGRES_SCHEMA` |
///
/// Around each lies what [`Codec::from_lookup`] takes, such as `COMPRESSOR` and `CIPHER_KEY`.
#[must_use]
pub fn adapters() -> Adapters {
    with(|store, env| Ok(Arc::new(Encoded::new(store, Codec::from_lookup(|key| env.get(key))?)?)))
}

fn with(around: Around) -> Adapters {
    Adapters::default()
        .with("memory", move |env| async move { around(Arc::new(MemoryAdapter::new()), &env) })
        .with("sqlite", move |env| async move {
            let file = SqliteAdapter::open(env.require("SQLITE_FILE")?).await?;
            around(Arc::new(file), &env)
        })
        .with("postgres", move |env| async move {
            let mut options = PostgresOptions::new(&env.require("POSTGRES_URL")?)?;
            if let Some(schema) = env.get("POSTGRES_SCHEMA") {
                options = options.with_schema(schema);
            }
            options.migrate().await?;
            around(Arc::new(options.connect().await?), &env)
        })
}

/// The store that `env` describes, and the same as the database has it, without what lies around it.
///
/// # Errors
/// What the environment lacks, or says wrong, by its name; those of the adapter.
///
/// # Cancel safety
/// If it is dropped before it is done, nothing stays open.
pub async fn open(env: &Env) -> Result<(EventStore, EventStore), BoxError> {
    let bare = with(|store, _| Ok(store));
    Ok((adapters().open(env).await?, bare.open(env).await?))
}
