//! Helpers of the tests of every SQL adapter.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "no test file needs all of them, and a test may panic"
)]

use std::collections::{HashMap, HashSet};

use annals::{
    Append, EventName, NewEvent, Payload, Query, ReadOptions, Result, StorageAdapter, StoredEvent,
    StreamId, WriteCondition,
};
use futures_util::TryStreamExt;

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

pub(crate) async fn try_read(
    adapter: &impl StorageAdapter,
    query: Query,
) -> Result<Vec<StoredEvent>> {
    let pages: Vec<Vec<_>> = adapter.read(query, ReadOptions::default()).try_collect().await?;
    Ok(pages.concat())
}

pub(crate) async fn all(adapter: &impl StorageAdapter) -> Vec<StoredEvent> {
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
