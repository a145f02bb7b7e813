//! Helpers of the tests.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "no test file needs all of them"
)]

use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use annals::{
    Append, BoxError, EventId, EventName, NewEvent, Payload, Query, ReadOptions, Result,
    StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use annals_postgres::tokio_postgres::{Client, Config, NoTls};
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_testkit::{NotRun, PostgresServer};
use futures_util::TryStreamExt;

/// Options for the log of `schema` in the database `url`; its connections bear the name of the schema.
pub(crate) fn options(url: &str, schema: &str) -> Result<PostgresOptions, BoxError> {
    let mut config: Config = url.parse()?;
    config.application_name(schema);
    Ok(PostgresOptions::from_config(config).with_schema(schema))
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
    let url = tokio::task::spawn_blocking(PostgresServer::shared_url).await.unwrap();
    match url {
        Ok(url) => Some(url),
        Err(error) if error.is::<NotRun>() => {
            let _ = writeln!(std::io::stderr(), "NOT RUN: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The name of a schema that nobody has.
pub(crate) fn fresh() -> String {
    format!("t{}", EventId::generate().as_uuid().simple())
}

pub(crate) async fn open(options: PostgresOptions) -> PostgresAdapter {
    options.migrate().await.unwrap();
    options.connect().await.unwrap()
}

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new("orders", name).unwrap()
}

pub(crate) fn events(count: usize) -> Vec<NewEvent> {
    let payload = || Payload::json(&"x".repeat(200)).unwrap();
    (0..count).map(|_| NewEvent::new(EventName::from_static("made"), payload())).collect()
}

pub(crate) fn append_to(name: &str, count: usize) -> Vec<Append> {
    vec![Append::new(stream(name), events(count), WriteCondition::Always)]
}

pub(crate) async fn try_read(adapter: &PostgresAdapter, query: Query) -> Result<Vec<StoredEvent>> {
    let pages: Vec<Vec<_>> = adapter.read(query, ReadOptions::default()).try_collect().await?;
    Ok(pages.concat())
}

pub(crate) async fn all(adapter: &PostgresAdapter) -> Vec<StoredEvent> {
    try_read(adapter, Query::all()).await.unwrap()
}

/// Sequence numbers run from 1 without a hole, positions of each stream from 0, and no id comes twice.
pub(crate) fn assert_whole(events: &[StoredEvent]) {
    let mut positions = HashMap::new();
    let mut ids = HashSet::new();
    for (event, number) in events.iter().zip(1..) {
        assert_eq!(event.sequence_number.value(), number, "sequence numbers have no hole");
        let next = positions.entry(&event.stream).or_insert(0);
        assert_eq!(event.position.value(), *next, "positions have no hole");
        *next += 1;
        assert!(ids.insert(event.event.id), "no event is there twice");
    }
}
