//! Budgets of allocations: of an append, and of every event that is read or folded.

use std::sync::Mutex;

use allocation_counter::{AllocationInfo, measure};
use annals::{
    Append, BoxError, EventName, EventPages, EventSource, EventStore, NewEvent, Page, Payload,
    Position, Projection, Projector, ReadOptions, Result, SequenceNumber, Source, StoredEvent,
    StreamId, WriteCondition,
};
use annals_memory::MemoryAdapter;
use futures_util::{FutureExt, StreamExt, stream};

const NAME: EventName = EventName::from_static("deposited");
const STREAM: StreamId = StreamId::from_static("accounts", "a-1");

/// Adds up the bytes of all payloads: it reads each, and allocates nothing.
struct Bytes;

impl Projector for Bytes {
    type State = usize;

    fn initial(&self) -> usize {
        0
    }

    fn apply(&self, sum: &mut usize, event: &StoredEvent) -> Result<(), BoxError> {
        *sum += event.event.payload.as_bytes().len();
        Ok(())
    }
}

fn events(count: usize) -> Vec<NewEvent> {
    let payload = Payload::bytes(vec![b'x'; 100]);
    (0..count).map(|_| NewEvent::new(NAME, payload.clone())).collect()
}

/// A store with one stream of `count` events.
fn store(count: usize) -> EventStore {
    let store = EventStore::new(MemoryAdapter::new());
    for _ in 0..count / 10 {
        now(store.stream(STREAM).append(events(10), WriteCondition::Always)).expect("appends");
    }
    store
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory never waits")
}

/// How often `work` allocates, the first time that it runs in this program left aside.
fn allocations(mut work: impl FnMut()) -> u64 {
    let AllocationInfo { count_total, .. } = measure(&mut work);
    count_total
}

/// Pages that are read once, and were made before.
struct Once(Mutex<Option<EventPages>>);

impl EventSource for Once {
    fn source(&self) -> Source {
        Source::Log
    }

    fn pages(&self, _: ReadOptions) -> EventPages {
        self.0.lock().expect("not poisoned").take().expect("folds once")
    }
}

#[test]
fn a_fold_of_events_in_memory_allocates_nothing_per_event() {
    let log = now(store(10_000).log().read(ReadOptions::default()).into_vec()).expect("reads");
    let fold = |count: usize| {
        let page = Page::new(log[..count].to_vec(), SequenceNumber::new(count as u64)).at_head();
        let pages = Once(Mutex::new(Some(stream::iter([Ok(page)]).boxed())));
        allocations(|| {
            let mut projection = Projection::new(&Bytes, Source::Log);
            now(projection.fold(&Bytes, &pages, ReadOptions::default())).expect("folds");
            assert_eq!(projection.state, count * 100);
        })
    };
    let few = fold(10);
    assert!(few > 0, "the counter counts");
    assert_eq!(fold(10_000), few);
}

#[test]
fn a_fold_through_the_facade_allocates_per_page_only() {
    const PAGE: u64 = 256;
    let fold = |store: &EventStore, events: usize| {
        allocations(|| {
            let projection = now(store.stream(STREAM).project(&Bytes)).expect("folds");
            assert_eq!(projection.state, events * 100);
        })
    };
    let one_page = fold(&store(200), 200);
    let many_pages = fold(&store(25_600), 25_600);
    assert!(one_page <= 16, "{one_page} allocations for one page");
    let per_page = (many_pages - one_page).div_ceil(25_600 / PAGE);
    assert!(per_page <= 4, "{per_page} allocations for each page");
}

#[test]
fn a_read_event_by_event_allocates_per_page_only() {
    let store = store(25_600);
    let read = allocations(|| {
        let mut events = store.log().read(ReadOptions::default());
        let mut count = 0;
        while let Some(event) = now(events.next()) {
            event.expect("reads");
            count += 1;
        }
        assert_eq!(count, 25_600);
    });
    assert!(read <= 25_600 / 20, "{read} allocations for 25600 events");
}

/// The call, its answer, and one record for each event. Tables and lists grow by doubling, seldom.
#[test]
fn an_append_allocates_once_for_each_event_and_little_beside() {
    const APPENDS: usize = 1_000;
    const GROWTH: u64 = 100;
    for batch in [1, 10, 100] {
        let store = store(0);
        let at = |nth: usize| match nth {
            0 => WriteCondition::StreamIsEmpty,
            nth => WriteCondition::PositionIs(Position::new((nth * batch) as u64 - 1)),
        };
        let calls: Vec<_> =
            (0..APPENDS).map(|nth| vec![Append::new(STREAM, events(batch), at(nth))]).collect();
        let mut calls = Some(calls);
        let count = allocations(|| {
            for call in calls.take().expect("appends once") {
                now(store.append(call)).expect("appends");
            }
        });
        let budget = ((batch + 2) * APPENDS) as u64 + GROWTH;
        assert!(
            count <= budget,
            "{count} allocations for {APPENDS} appends of {batch}, {budget} allowed"
        );
    }
}

#[test]
fn a_refused_append_costs_little() {
    let store = store(1_000);
    let mut call = Some(vec![Append::new(STREAM, events(100), WriteCondition::StreamIsEmpty)]);
    let count = allocations(|| {
        let refused = now(store.append(call.take().expect("appends once")));
        assert!(refused.expect_err("exists").is_condition_failed());
    });
    assert!(count <= 8, "{count} allocations for a refusal");
}

#[test]
fn names_from_literals_and_clones_allocate_nothing() {
    let shared = StreamId::new("accounts", "a-2").expect("valid");
    let event = NewEvent::new(NAME, Payload::bytes(vec![0; 1_000]));
    // The first copy of bytes that came in a `Vec` makes them shared.
    drop(event.clone());
    let stored = now(store(10).log().latest()).expect("reads").expect("there are ten");
    let count = allocations(|| {
        let copies =
            (EventName::from_static("closed"), shared.clone(), event.clone(), stored.clone());
        assert_eq!(copies.1, shared);
    });
    assert_eq!(count, 0);
}
