//! Helpers of the tests.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "no test file needs all of them"
)]

#[path = "../../../sql/tests/common/mod.rs"]
mod shared;

use std::time::Duration;

use annals::{BoxError, EventId, Result};
use annals_postgres::tokio_postgres::{Client, Config, NoTls};
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_servers::PostgresServer;
#[allow(unused_imports, reason = "no test file needs all of them")]
pub(crate) use shared::*;

/// The tables of a log, behind the name `events`.
pub(crate) const TABLES: [&str; 4] = ["", "_names", "_streams", "_event_tags"];

/// Empties all tables of the log of `schema` at once.
pub(crate) fn truncate(schema: &str) -> String {
    format!("TRUNCATE {}", TABLES.map(|table| format!("{schema}.events{table}")).join(", "))
}

/// Options for the log of `schema` in the database `url`; its connections bear the name of the schema.
pub(crate) fn options(url: &str, schema: &str) -> Result<PostgresOptions, BoxError> {
    options_of(url, schema, schema)
}

/// The same with another name on its connections.
pub(crate) fn options_of(
    url: &str,
    schema: &str,
    application: &str,
) -> Result<PostgresOptions, BoxError> {
    let mut config: Config = url.parse()?;
    config.application_name(application);
    // The machine may be busy with other tests.
    let patient = Duration::from_secs(20);
    Ok(PostgresOptions::from_config(config).with_schema(schema).with_pool_timeout(patient))
}

/// A connection beside the adapter's.
pub(crate) async fn admin(url: &str) -> Result<Client, BoxError> {
    let mut config: Config = url.parse()?;
    config.application_name("annals-tests");
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// The server of the tests. `None`: there is none, which is said aloud.
pub(crate) async fn server() -> Option<String> {
    tokio::task::spawn_blocking(PostgresServer::shared_or_not_run).await.unwrap()
}

/// The name of a schema that nobody has.
pub(crate) fn fresh() -> String {
    format!("t{}", EventId::generate().as_uuid().simple())
}

pub(crate) async fn open(options: PostgresOptions) -> PostgresAdapter {
    options.migrate().await.unwrap();
    options.connect().await.unwrap()
}
