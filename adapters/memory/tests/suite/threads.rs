//! The memory adapter under many tasks and many threads, and after a predicate that panics.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use annals::{
    Append, Error, EventId, EventName, EventStore, NewEvent, Payload, Position, Predicate, Query,
    QueryItem, ReadOptions, Result, SequenceNumber, Source, StorageAdapter, StoredEvent, StreamId,
    WriteCondition, retry_on_condition_failed,
};
use annals_memory::MemoryAdapter;
use futures_executor::block_on;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};

const NAME: EventName = EventName::from_static("counted");

fn events(count: usize) -> Vec<NewEvent> {
    (0..count).map(|nth| NewEvent::new(NAME, Payload::bytes(nth.to_string()))).collect()
}

fn stream(nth: usize) -> StreamId {
    let category = if nth.is_multiple_of(2) { "even" } else { "odd" };
    StreamId::new(category, format!("s{nth}")).expect("valid")
}

/// Appends a batch where the stream ends now; reads, decides and appends again when another was faster.
async fn append(store: &EventStore, nth: usize, size: usize) -> Vec<StoredEvent> {
    let stream = store.stream(stream(nth));
    let batch = events(size);
    let attempts = NonZeroUsize::new(10_000).expect("not 0");
    let stored = retry_on_condition_failed(attempts, async || {
        let expected = match stream.latest().await? {
            Some(last) => WriteCondition::PositionIs(last.position),
            None => WriteCondition::StreamIsEmpty,
        };
        stream.append(batch.clone(), expected).await
    });
    stored.await.expect("somebody wins every round, so nobody loses so often").into_vec()
}

async fn all(store: &EventStore) -> Vec<StoredEvent> {
    store.log().read(ReadOptions::default()).into_vec().await.expect("reads")
}

/// Numbers and positions without a hole, every batch whole, in order and stored once.
fn is_whole(log: &[StoredEvent], batches: &[Vec<StoredEvent>]) {
    for (place, event) in log.iter().enumerate() {
        assert_eq!(event.sequence_number.value(), place as u64 + 1);
        let before = log.iter().take(place).filter(|old| old.stream == event.stream).count();
        assert_eq!(event.position.value(), before as u64);
    }
    let ids: HashSet<EventId> = log.iter().map(|event| event.event.id).collect();
    assert_eq!(ids.len(), log.len());
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), log.len());
    for batch in batches {
        let first = batch.first().expect("no batch is empty").sequence_number.value();
        let start = usize::try_from(first).expect("few") - 1;
        assert!(log.iter().skip(start).take(batch.len()).eq(batch));
    }
}

#[test]
fn threads_append_whole_batches_without_holes() {
    let store = EventStore::new(MemoryAdapter::new());
    let writer = |thread: usize| {
        let store = store.clone();
        move || {
            (0..50).map(|nth| block_on(append(&store, nth % 3, 1 + (thread + nth) % 4))).collect()
        }
    };
    let threads: Vec<_> = (0..8).map(|nth| thread::spawn(writer(nth))).collect();
    let batches: Vec<Vec<Vec<StoredEvent>>> =
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    is_whole(&block_on(all(&store)), &batches.concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_append_whole_batches_without_holes() {
    let store = EventStore::new(MemoryAdapter::new());
    let task = |nth: usize| {
        let store = store.clone();
        tokio::spawn(async move { append(&store, nth % 5, 1 + nth % 7).await })
    };
    let batches: Vec<_> = join_all((0..300).map(task))
        .await
        .into_iter()
        .map(|done| done.expect("no panic"))
        .collect();
    is_whole(&all(&store).await, &batches);
}

/// All writers decide on the same head, or on the same query: one of them wins each round.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_round_has_one_winner() {
    let store = EventStore::new(MemoryAdapter::new());
    for round in 0..50u64 {
        let condition = |writer: u64| match (writer % 2, round.checked_sub(1)) {
            (0, None) => WriteCondition::StreamIsEmpty,
            (0, Some(last)) => WriteCondition::PositionIs(Position::new(last)),
            _ => WriteCondition::no_match(stream(0), SequenceNumber::new(round)),
        };
        let writers = (0..16).map(|writer| {
            let (stream, condition) = (store.stream(stream(0)), condition(writer));
            tokio::spawn(async move { stream.append(events(1), condition).await })
        });
        let outcomes: Vec<_> = join_all(writers).await;
        let mut winners = 0;
        for outcome in outcomes {
            match outcome.expect("no panic") {
                Ok(_) => winners += 1,
                Err(why) => assert!(why.is_condition_failed(), "{why}"),
            }
        }
        assert_eq!(winners, 1, "round {round}");
    }
    assert_eq!(all(&store).await.len(), 50);
}

/// Appends of several streams in opposite orders: whole in the log, and no deadlock.
#[test]
fn appends_to_several_streams_cross_without_harm() {
    let store = EventStore::new(MemoryAdapter::new());
    let writer = |backward: bool| {
        let store = store.clone();
        move || {
            let append = |_| {
                let mut writes: Vec<_> = (0..4)
                    .map(|nth| Append::new(stream(nth), events(2), WriteCondition::Always))
                    .collect();
                if backward {
                    writes.reverse();
                }
                block_on(store.append(writes)).expect("appends").into_vec()
            };
            (0..100).map(append).collect::<Vec<_>>()
        }
    };
    let threads = [false, true, false, true].map(|backward| thread::spawn(writer(backward)));
    let batches = threads.map(|thread| thread.join().expect("no panic"));
    is_whole(&block_on(all(&store)), &batches.concat());
}

/// Each reader resumes after the last event that it saw, while writers append: in the end it has seen all.
#[test]
fn readers_never_skip_under_writers() {
    let store = EventStore::new(MemoryAdapter::new().with_page_size(3.try_into().expect("not 0")));
    let writing = AtomicUsize::new(4);
    let named = QueryItem::new(Source::Log).with_names([NAME.as_str()]).expect("valid");
    let queries: [Query; 5] = [
        Query::all(),
        Source::Category(stream(0).category).into(),
        stream(1).into(),
        named.into(),
        Query::any_of([QueryItem::new(stream(0)), QueryItem::new(stream(3))]),
    ];
    thread::scope(|scope| {
        for writer in 0..4 {
            let (store, writing) = (&store, &writing);
            scope.spawn(move || {
                for nth in 0..150 {
                    let target = store.stream(stream((writer + nth) % 4));
                    let batch = events(1 + nth % 5);
                    block_on(target.append(batch, WriteCondition::Always)).expect("appends");
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for query in &queries {
            let (store, writing) = (&store, &writing);
            scope.spawn(move || {
                let mut seen: Vec<StoredEvent> = Vec::new();
                loop {
                    let last_round = writing.load(Ordering::SeqCst) == 0;
                    let after =
                        seen.last().map_or(SequenceNumber::START, |last| last.sequence_number);
                    let options = ReadOptions::default().after(after);
                    let read = block_on(store.read(query.clone(), options).into_vec());
                    seen.extend(read.expect("reads"));
                    if last_round {
                        break;
                    }
                }
                let mut log = block_on(all(store));
                log.retain(|event| query.matches(event));
                assert!(!log.is_empty());
                assert_eq!(seen, log, "{query}");
            });
        }
    });
}

/// A read that found nothing in many events lets other tasks run, and still ends with the right answer.
#[test]
fn a_long_fruitless_scan_pauses() {
    let store = EventStore::new(MemoryAdapter::new());
    let rare = NewEvent::new(EventName::from_static("rare"), Payload::bytes("x"));
    let batch = events(50_000).into_iter().chain([rare]);
    block_on(store.stream(stream(0)).append(batch, WriteCondition::Always)).expect("appends");
    let query = || QueryItem::new(Source::Log).with_names(["rare"]).expect("valid");
    let mut events = store.read(query(), ReadOptions::default());
    let mut pauses = 0;
    let found = loop {
        match events.next().now_or_never() {
            Some(found) => break found.expect("one is rare").expect("reads"),
            None => pauses += 1,
        }
    };
    assert!(pauses > 1, "the executor had no turn");
    assert_eq!(found.sequence_number.value(), 50_001);
    assert!(block_on(events.next()).is_none());
    assert_eq!(block_on(store.latest(query())).expect("reads"), Some(found));
}

/// A read that has begun ends at the head that it began with, however fast others append.
#[test]
fn a_read_ends_under_a_writer_that_never_rests() {
    let store = EventStore::new(MemoryAdapter::new().with_page_size(1.try_into().expect("not 0")));
    let target = store.stream(stream(0));
    let append = || block_on(target.append(events(2), WriteCondition::Always)).expect("appends");
    append();
    let mut pages = store.log().pages(ReadOptions::default());
    let mut read = Vec::new();
    while let Some(page) = block_on(pages.next()) {
        read.extend(page.expect("reads").events);
        append();
    }
    assert_eq!(read.len(), 2);
}

#[derive(Debug)]
struct Panics;

impl Predicate for Panics {
    fn expectation(&self) -> String {
        "a predicate that works".to_owned()
    }

    fn holds(&self, _: Option<&StoredEvent>) -> bool {
        panic!("a predicate of the caller's")
    }
}

#[derive(Debug)]
struct PanicsWhenDropped;

impl Predicate for PanicsWhenDropped {
    fn expectation(&self) -> String {
        "anything".to_owned()
    }

    fn holds(&self, _: Option<&StoredEvent>) -> bool {
        true
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a predicate of the caller's")
    }
}

fn panics<T: std::fmt::Debug>(work: impl FnOnce() -> Result<T>) {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("the predicate panics");
    assert_eq!(panic.downcast_ref(), Some(&"a predicate of the caller's"));
}

#[test]
fn a_panicking_predicate_stores_nothing_and_poisons_nothing() {
    let adapter = MemoryAdapter::new();
    let store = EventStore::new(adapter.clone());
    let write = |nth, condition| Append::new(stream(nth), events(2), condition);
    block_on(store.append(vec![write(0, WriteCondition::Always)])).expect("appends");
    for first in [0, 1] {
        let condition = WriteCondition::Always | WriteCondition::custom(Panics);
        let calls = vec![write(first, WriteCondition::Always), write(first + 1, condition)];
        panics(|| block_on(adapter.append(calls)));
    }
    assert_eq!(block_on(all(&store)).len(), 2);
    let stored = block_on(store.append(vec![write(1, WriteCondition::StreamIsEmpty)]));
    assert_eq!(stored.expect("appends")[0].sequence_number.value(), 3);
    assert_eq!(format!("{adapter:?}"), "MemoryAdapter { events: 4, .. }");
}

/// The caller's code that runs when a condition is dropped cannot tear a call in two.
#[test]
fn a_predicate_that_panics_when_dropped_tears_nothing() {
    let store = EventStore::new(MemoryAdapter::new());
    let writes = vec![
        Append::new(stream(0), events(2), WriteCondition::custom(PanicsWhenDropped)),
        Append::new(stream(1), events(2), WriteCondition::Always),
    ];
    panics(|| block_on(store.append(writes)));
    let stored = block_on(all(&store)).len();
    assert!(stored == 0 || stored == 4, "{stored} of 4 events");
    block_on(store.stream(stream(2)).append(events(1), WriteCondition::StreamIsEmpty))
        .expect("appends");
}

#[test]
fn the_same_ids_at_once_are_stored_once() {
    let store = EventStore::new(MemoryAdapter::new());
    let batch = events(3);
    let append = |nth: usize| {
        let (store, batch) = (store.clone(), batch.clone());
        move || block_on(store.stream(stream(nth)).append(batch, WriteCondition::Always))
    };
    let threads: Vec<_> = (0..8).map(|nth| thread::spawn(append(nth))).collect();
    let outcomes: Vec<_> =
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let first = batch[0].id;
    for why in outcomes.into_iter().filter_map(Result::err) {
        assert!(matches!(why, Error::DuplicateEvent(id) if id == first), "{why}");
    }
    assert_eq!(block_on(all(&store)).len(), 3);
}
