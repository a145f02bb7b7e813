//! `Recording` and `Faulty`: they change nothing but what they are told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::{
    Append, Error, EventStore, Query, ReadOptions, Result, SequenceNumber, StorageAdapter,
    StreamId, WriteCondition,
};
use annals_memory::MemoryAdapter;
use annals_testkit::{
    Fault, Faulty, Harness, NewEventBuilder, Opened, Point, Recording, Request, Rewriting, Suite,
    async_trait, polls,
};
use futures_util::{FutureExt, StreamExt};
use std::num::NonZeroUsize;

const ORDER: StreamId = StreamId::from_static("orders", "o-1");

type Wrapped = Faulty<Recording<MemoryAdapter>>;

fn wrapped() -> Wrapped {
    let pages_of_two = MemoryAdapter::new().with_page_size(NonZeroUsize::new(2).expect("two"));
    Faulty::new(Recording::new(pages_of_two))
}

async fn append(store: &Wrapped, count: usize) -> Result<usize> {
    let events = (0..count).map(|_| NewEventBuilder::new().build());
    let write = Append::new(ORDER, events, WriteCondition::Always);
    store.append(vec![write]).await.map(|events| events.len())
}

async fn stored(store: &Wrapped) -> usize {
    let log = EventStore::new(store.inner().inner().clone()).log();
    log.read(ReadOptions::default()).into_vec().await.expect("a read").len()
}

/// A store of this kind for each namespace.
struct Each<S> {
    make: fn() -> S,
    stores: Mutex<HashMap<String, S>>,
}

impl<S> Each<S> {
    fn new(make: fn() -> S) -> Self {
        Self { make, stores: Mutex::default() }
    }
}

#[async_trait]
impl<S: StorageAdapter + Clone> Harness for Each<S> {
    async fn open(&self, namespace: &str) -> Opened {
        let mut stores = self.stores.lock().expect("no panic while it is locked");
        Ok(Arc::new(stores.entry(namespace.to_owned()).or_insert_with(self.make).clone()))
    }
}

/// A layer that maps pages, and does nothing else for reads and follows, keeps the contract.
#[test]
fn a_layer_that_rewrites_payloads_passes_the_suite() {
    let layers = Each::new(|| Rewriting::new(MemoryAdapter::new()));
    let report = Suite::new("rewriting", layers).run();
    assert!(report.is_pass(), "{}", report.to_markdown());
}

#[tokio::test]
async fn a_layer_stores_another_form_and_rejects_what_it_did_not_store() {
    let memory = MemoryAdapter::new();
    let layer = EventStore::new(Rewriting::new(memory.clone()));
    let event = NewEventBuilder::new().build();
    let stream = StreamId::from_static("orders", "o-1");
    layer
        .stream(stream.clone())
        .append([event.clone()], WriteCondition::Always)
        .await
        .expect("stores");
    let plain = EventStore::new(memory).stream(stream.clone());
    let inside = plain.latest().await.expect("reads").expect("one event");
    assert_ne!(inside.payload(), &event.payload);
    let back = layer.stream(stream.clone()).latest().await.expect("reads").expect("one event");
    assert_eq!(back.event, event);
    plain.append([NewEventBuilder::new().build()], WriteCondition::Always).await.expect("stores");
    let all: Vec<_> = layer.stream(stream).pages(ReadOptions::default()).collect().await;
    assert!(matches!(all.as_slice(), [Err(Error::Corrupt(_))]), "{all:?}");
}

#[test]
fn without_faults_they_pass_the_suite() {
    let wrappers = Each::new(|| Faulty::new(Recording::new(MemoryAdapter::new())));
    let report = Suite::new("wrapped", wrappers).run();
    assert!(report.is_pass(), "{}", report.to_markdown());
}

#[tokio::test]
async fn an_error_before_an_append_keeps_it_out_once() {
    let store = wrapped();
    store.inject(Point::BeforeAppend, Fault::error(Error::unavailable("busy")));
    assert!(matches!(append(&store, 1).await, Err(Error::Unavailable(_))));
    assert_eq!((stored(&store).await, store.left()), (0, 0));
    assert!(store.inner().calls().is_empty(), "the adapter inside was called");
    assert!(matches!(append(&store, 1).await, Ok(1)));
}

#[tokio::test]
async fn an_error_after_an_append_loses_the_answer_only() {
    let store = wrapped();
    store.inject(Point::AfterAppend, Fault::error(Error::outcome_unknown("lost")));
    assert!(matches!(append(&store, 2).await, Err(Error::OutcomeUnknown(_))));
    assert_eq!(stored(&store).await, 2);
}

#[tokio::test]
async fn faults_of_a_point_are_met_in_their_order() {
    let store = wrapped();
    store.inject(Point::BeforeAppend, Fault::error(Error::unavailable("first")));
    store.inject(Point::BeforeAppend, Fault::delay(polls(3)));
    store.inject(Point::BeforeAppend, Fault::error(Error::invalid("third")).after(polls(1)));
    assert!(matches!(append(&store, 1).await, Err(Error::Unavailable(_))));
    assert!(matches!(append(&store, 1).await, Ok(1)));
    assert!(matches!(append(&store, 1).await, Err(Error::Invalid(_))));
    assert_eq!((stored(&store).await, store.left()), (1, 0));
}

#[tokio::test]
async fn an_error_at_a_page_ends_the_read_there() {
    for broken in 0..=3 {
        let store = wrapped();
        append(&store, 6).await.expect("an append");
        store.inject(Point::Page(broken), Fault::error(Error::unavailable("cut")));
        let pages: Vec<_> = store.read(Query::all(), ReadOptions::default()).collect().await;
        assert_eq!(pages.len(), broken + 1);
        assert!(
            pages[..broken]
                .iter()
                .all(|page| page.as_ref().is_ok_and(|page| page.events.len() == 2))
        );
        assert!(matches!(pages[broken], Err(Error::Unavailable(_))));
        let again: Vec<_> = store.read(Query::all(), ReadOptions::default()).collect().await;
        assert_eq!(again.len(), 3, "the next read meets no fault");
    }
}

#[tokio::test]
async fn a_delay_waits_for_the_future_of_the_caller() {
    let store = wrapped();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    store.inject(Point::AfterAppend, Fault::delay(wait.map(drop)));
    let mut appending = Box::pin(append(&store, 1));
    assert!(appending.as_mut().now_or_never().is_none(), "it did not wait");
    assert_eq!(stored(&store).await, 1, "the append comes before its delay");
    go.send(()).expect("it waits");
    assert!(matches!(appending.await, Ok(1)));
}

#[tokio::test]
async fn polls_are_ready_after_as_many() {
    for times in 0..5 {
        let mut delay = std::pin::pin!(polls(times));
        for _ in 0..times {
            assert!(delay.as_mut().now_or_never().is_none());
        }
        assert!(delay.now_or_never().is_some());
    }
    let woken = tokio::time::timeout(Duration::from_secs(30), polls(1_000)).await;
    assert!(woken.is_ok(), "it wakes its task itself");
}

#[tokio::test]
async fn calls_are_recorded_with_what_became_of_them() {
    let store = wrapped();
    append(&store, 3).await.expect("an append");
    let refused = Append::new(ORDER, [], WriteCondition::StreamIsEmpty);
    store.append(vec![refused]).await.expect_err("the stream has events");
    let options = ReadOptions::default().after(SequenceNumber::new(1));
    assert_eq!(store.read(ORDER.into(), options).count().await, 1);
    let mut half = store.read(Query::all(), ReadOptions::default());
    half.next().await.expect("a page").expect("a page");
    drop(half);

    let calls = store.inner().take();
    let [first, second, third, fourth] = calls.as_slice() else { panic!("{calls:?}") };
    assert!(matches!(&first.request, Request::Append(writes) if writes[0].events.len() == 3));
    assert_eq!((first.events.len(), first.pages, &first.ended), (3, 0, &Some(Ok(()))));
    let message = second.ended.as_ref().and_then(|ended| ended.as_ref().err());
    let expected = "stream orders/o-1 is at position 2, expected an empty stream";
    assert_eq!(message.map(String::as_str), Some(expected));
    assert!(matches!(&third.request, Request::Read(_, asked) if *asked == options));
    assert_eq!((third.events.len(), third.pages, &third.ended), (2, 1, &Some(Ok(()))));
    assert_eq!((fourth.events.len(), fourth.pages, &fourth.ended), (2, 1, &None));
    assert!(store.inner().calls().is_empty());
}

#[tokio::test]
async fn only_the_last_calls_are_kept_and_each_gets_its_own_answer() {
    let recording = Recording::new(MemoryAdapter::new());
    let mut early = recording.read(Query::all(), ReadOptions::default());
    for _ in 0..10_005 {
        recording.append(Vec::new()).await.expect("nothing to do");
    }
    let page = early.next().await.expect("a page").expect("a read");
    assert!(page.events.is_empty() && page.at_head, "the log is empty");
    let calls = recording.calls();
    assert_eq!(calls.len(), 10_000);
    assert!(calls.iter().all(|call| matches!(call.request, Request::Append(_))));
}
