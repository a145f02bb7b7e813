//! A small log of two events a stream, and how it shows.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "no test file needs all of it, and a test may panic"
)]

use annals::{CategoryName, EventStore, NewEvent, Query, ReadOptions, StreamId, WriteCondition};
use annals_postgres::PostgresOptions;

pub(crate) const CATEGORY: CategoryName = CategoryName::from_static("orders");

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new(CATEGORY, name).unwrap()
}

pub(crate) fn event(name: &'static str) -> NewEvent {
    NewEvent::json(name, &1).unwrap()
}

pub(crate) async fn connect(options: &PostgresOptions) -> EventStore {
    EventStore::new(options.clone().connect().await.unwrap())
}

/// Two events in each of these streams, of a name that depends on the stream.
pub(crate) async fn fill(store: &EventStore, names: &[&'static str]) {
    for name in names {
        let events = [event("begun"), event(name)];
        store.stream(stream(name)).append(events, WriteCondition::StreamIsEmpty).await.unwrap();
    }
}

/// Everything, as it shows: numbers, streams, positions and names.
pub(crate) async fn everything(store: &EventStore) -> Vec<String> {
    let options = ReadOptions::default().allow_skips();
    let events = store.read(Query::All, options).into_vec().await.unwrap();
    events.iter().map(ToString::to_string).collect()
}
