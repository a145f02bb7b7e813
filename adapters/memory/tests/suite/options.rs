//! The adapter's own options: a clock, a page size; and what a clone is.

use std::sync::atomic::{AtomicI64, Ordering};

use annals::{
    CategoryName, Clock, Direction, EventName, EventStore, NewEvent, Page, Payload, Query,
    QueryItem, ReadOptions, SequenceNumber, Source, StoredEvent, StreamId, WriteCondition,
};
use annals_memory::MemoryAdapter;
use futures_util::TryStreamExt;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

fn events(name: &'static str, count: usize) -> Vec<NewEvent> {
    let name = EventName::from_static(name);
    (0..count).map(|_| NewEvent::new(name.clone(), Payload::bytes("x"))).collect()
}

fn stream(name: &str) -> StreamId {
    StreamId::new("a", name).expect("valid")
}

/// Tells the hour before the one that it told last.
#[derive(Debug, Default)]
struct Backwards(AtomicI64);

impl Clock for Backwards {
    fn now(&self) -> OffsetDateTime {
        let told = self.0.fetch_add(1, Ordering::SeqCst);
        datetime!(2026-01-01 12:00:00.123_456_789 +2) - Duration::hours(told)
    }
}

#[tokio::test]
async fn recorded_at_is_of_the_clock_and_orders_nothing() {
    let store = EventStore::new(MemoryAdapter::new().with_clock(Backwards::default()));
    for name in ["x", "y"] {
        let target = store.stream(stream(name));
        target.append(events("opened", 2), WriteCondition::Always).await.expect("appends");
    }
    let log = store.log().read(ReadOptions::default()).into_vec().await.expect("reads");
    let told: Vec<_> = log.iter().map(|event| event.recorded_at).collect();
    let first = datetime!(2026-01-01 10:00:00.123_456 UTC);
    let second = first - Duration::hours(1);
    assert_eq!(told, [first, first, second, second]);
    let last = store.log().latest().await.expect("reads").expect("there are four");
    assert_eq!((last.sequence_number.value(), last.recorded_at), (4, second));
}

#[derive(Debug)]
struct Stopped(OffsetDateTime);

impl Clock for Stopped {
    fn now(&self) -> OffsetDateTime {
        self.0
    }
}

/// As of `occurred_at`, so that an application that moves to a database finds the same rule there.
#[tokio::test]
async fn a_clock_beyond_what_stores_keep_is_invalid() {
    for time in [datetime!(-0001-06-01 12:00 UTC), datetime!(9999-12-31 23:30 -1)] {
        let store = EventStore::new(MemoryAdapter::new().with_clock(Stopped(time)));
        let target = store.stream(stream("x"));
        let error = target.append(events("opened", 1), WriteCondition::Always).await;
        assert!(matches!(error, Err(annals::Error::Invalid(_))), "{error:?}");
        assert!(store.log().latest().await.expect("reads").is_none());
    }
}

/// What a read gives, found by looking at every event of the log.
fn part_of(log: &[StoredEvent], query: &Query, options: &ReadOptions) -> Vec<StoredEvent> {
    let inside = |event: &&StoredEvent| {
        let number = event.sequence_number;
        number > options.after && options.until.is_none_or(|until| number <= until)
    };
    let asked = log.iter().filter(inside).filter(|event| query.matches(event));
    let mut part: Vec<_> = asked.cloned().collect();
    if options.direction == Direction::Backward {
        part.reverse();
    }
    let limit = options.limit.and_then(|limit| usize::try_from(limit).ok());
    part.truncate(limit.unwrap_or(usize::MAX));
    part
}

#[tokio::test]
async fn no_result_depends_on_the_page_size() {
    const EVENTS: usize = 20;
    let adapter = MemoryAdapter::new();
    let store = EventStore::new(adapter.clone());
    for nth in 0..EVENTS {
        let name = ["opened", "changed", "closed"][nth % 3];
        let target = store.stream(stream(["x", "y"][nth / 2 % 2]));
        target.append(events(name, 1), WriteCondition::Always).await.expect("appends");
    }
    let named = QueryItem::new(Source::Log).with_names(["changed", "closed"]).expect("valid");
    let queries: [Query; 4] = [
        Query::all(),
        Source::Category(CategoryName::from_static("a")).into(),
        stream("y").into(),
        Query::any_of([named, QueryItem::new(stream("x"))]),
    ];
    let log = store.log().read(ReadOptions::default()).into_vec().await.expect("reads");
    assert_eq!(log.len(), EVENTS);
    let part = ReadOptions::default().after(SequenceNumber::new(3)).until(SequenceNumber::new(18));
    let options = [ReadOptions::default(), part, part.limit(7)];
    for query in &queries {
        for options in options.into_iter().flat_map(|options| [options, options.backward()]) {
            let expected = part_of(&log, query, &options);
            assert!(!expected.is_empty());
            for size in [1, 2, 3, EVENTS - 1, EVENTS, EVENTS + 1, usize::MAX] {
                let small = adapter.clone().with_page_size(size.try_into().expect("not 0"));
                let pages = EventStore::new(small).pages(query.clone(), options);
                let pages: Vec<_> = pages.try_collect().await.expect("reads");
                assert!(pages.iter().all(|page: &Page| page.events.len() <= size));
                let events: Vec<_> = pages.into_iter().flat_map(|page| page.events).collect();
                assert_eq!(events, expected, "{query}, pages of {size}");
            }
        }
    }
}

#[tokio::test]
async fn clones_are_one_store_and_new_ones_are_not() {
    let adapter = MemoryAdapter::default();
    let (one, other) = (EventStore::new(adapter.clone()), EventStore::new(adapter.clone()));
    let target = one.stream(stream("x"));
    let appended = target.append(events("opened", 3), WriteCondition::Always).await;
    let stored = appended.expect("appends");
    assert_eq!(other.log().read(ReadOptions::default()).into_vec().await.expect("reads"), *stored);
    assert!(EventStore::new(MemoryAdapter::new()).log().latest().await.expect("reads").is_none());
    assert_eq!(format!("{adapter:?}"), "MemoryAdapter { events: 3, .. }");
}
