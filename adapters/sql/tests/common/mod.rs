//! Helpers of the tests of every SQL adapter.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "no test file needs all of them, and a test may panic"
)]

use std::collections::{HashMap, HashSet};

use annals::{
    Append, Clock, Error, EventName, EventPages, Metadata, NewEvent, Page, Payload, Query,
    ReadOptions, Result, StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use futures_util::TryStreamExt;
use time::OffsetDateTime;
use time::macros::datetime;

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
    events_of(adapter.read(query, ReadOptions::default())).await
}

/// The events of pages.
pub(crate) async fn events_of(pages: EventPages) -> Result<Vec<StoredEvent>> {
    let pages: Vec<Page> = pages.try_collect().await?;
    Ok(pages.into_iter().flat_map(|page| page.events).collect())
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

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopped(pub(crate) OffsetDateTime);

impl Clock for Stopped {
    fn now(&self) -> OffsetDateTime {
        self.0
    }
}

/// Times that no store keeps: in UTC they lie before the year 1, or after 9999.
pub(crate) const UNSTORABLE: [OffsetDateTime; 3] = [
    datetime!(-0001-06-01 12:00 UTC),
    datetime!(0001-01-01 00:30 +1),
    datetime!(9999-12-31 23:30 -1),
];

/// `recorded_at` is of the clock, and what could not be read back is not stored. `open`: another handle of one store.
pub(crate) async fn assert_clock_counts<A: StorageAdapter>(open: impl AsyncFn(Stopped) -> A) {
    let adapter = open(Stopped(datetime!(2026-01-01 12:00:00.123_456_789 +2))).await;
    let stored = adapter.append(append_to("o-1", 2)).await.unwrap();
    let time = datetime!(2026-01-01 10:00:00.123_456 UTC);
    assert!(stored.iter().all(|event| event.recorded_at == time), "{stored:?}");
    assert_eq!(all(&adapter).await, stored);
    for time in UNSTORABLE {
        let adapter = open(Stopped(time)).await;
        let error = adapter.append(append_to("o-1", 1)).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{time}: {error:?}");
        assert_eq!(all(&adapter).await, stored, "nothing was stored at {time}");
    }
    // The ends of what stores keep.
    for time in [datetime!(0001-01-01 0:00 UTC), datetime!(9999-12-31 23:59:59.999_999_9 UTC)] {
        let adapter = open(Stopped(time)).await;
        let last = adapter.append(append_to("o-2", 1)).await.unwrap();
        assert_eq!(all(&adapter).await.last(), last.first());
    }
}

/// The largest metadata is stored, larger metadata is not.
pub(crate) async fn assert_metadata_is_bounded(adapter: &impl StorageAdapter) {
    const MOST: usize = 16 << 20;
    let metadata = |size: usize| {
        let text = format!("{{\"x\":\"{}\"}}", "y".repeat(size - 8));
        assert_eq!(text.len(), size);
        Metadata::json_bytes(text).unwrap()
    };
    let append = |size| {
        let event = events(1).remove(0).with_metadata(metadata(size));
        vec![Append::new(stream("o-1"), [event], WriteCondition::Always)]
    };
    let stored = adapter.append(append(MOST)).await.unwrap();
    let error = adapter.append(append(MOST + 1)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert!(all(adapter).await == stored, "metadata of 16 MiB is read back");
}
