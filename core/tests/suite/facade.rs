//! The facade over the memory adapter, and over adapters that answer what a test tells them to.

use std::sync::Arc;
use std::task::Poll;

use annals::{
    Append, Capabilities, CategoryName, Error, EventPages, EventStore, Handlers, NewEvent, Page,
    Position, Query, QueryItem, ReadOptions, Result, SequenceNumber, Source, StorageAdapter,
    StoredEvent, StreamId, Tags, WriteCondition,
};
use annals_memory::MemoryAdapter;
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

const JOE: StreamId = StreamId::from_static("profiles", "joe");
const ANN: StreamId = StreamId::from_static("profiles", "ann");
const ORDER: StreamId = StreamId::from_static("orders", "o-1");

fn event(name: &'static str, payload: i32) -> NewEvent {
    NewEvent::json(name, &payload).expect("a number is JSON")
}

/// Joe created and renamed, Ann created, an order placed, Joe renamed again: numbers 1 to 5.
async fn store() -> (EventStore, Vec<StoredEvent>) {
    let store = EventStore::new(MemoryAdapter::new());
    let mut log = Vec::new();
    for (stream, names) in [
        (JOE, &["created", "renamed"][..]),
        (ANN, &["created"]),
        (ORDER, &["placed"]),
        (JOE, &["renamed"]),
    ] {
        let events = names.iter().map(|name| event(name, 1));
        let condition = WriteCondition::Always;
        log.extend(store.stream(stream).append(events, condition).await.expect("appends"));
    }
    (store, log)
}

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence_number.value()).collect()
}

#[tokio::test]
async fn what_append_gives_is_what_every_handle_reads() {
    let (store, log) = store().await;
    assert_eq!(numbers(&log), [1, 2, 3, 4, 5]);
    let all = ReadOptions::default();
    assert_eq!(store.log().read(all).into_vec().await.expect("reads"), log);
    let of = |stream: &StreamId| -> Vec<_> {
        log.iter().filter(|event| event.stream == *stream).cloned().collect()
    };
    for stream in [JOE, ANN, ORDER] {
        let handle = store.stream(stream.clone());
        assert_eq!(handle.id(), &stream);
        assert_eq!(handle.source(), Source::Stream(stream.clone()));
        assert_eq!(handle.read(all).into_vec().await.expect("reads"), of(&stream));
        assert_eq!(handle.latest().await.expect("reads").as_ref(), of(&stream).last());
    }
    let profiles = store.category(CategoryName::from_static("profiles"));
    assert_eq!(profiles.name().as_str(), "profiles");
    assert_eq!(profiles.source(), Source::Category(JOE.category));
    assert_eq!(numbers(&profiles.read(all).into_vec().await.expect("reads")), [1, 2, 3, 5]);
    assert_eq!(profiles.latest().await.expect("reads").as_ref(), log.last());
    assert_eq!(store.log().latest().await.expect("reads").as_ref(), log.last());
    assert_eq!(store.capabilities(), MemoryAdapter::new().capabilities());
}

#[tokio::test]
async fn nothing_is_read_of_what_does_not_exist() {
    let (store, _) = store().await;
    let nobody = store.stream(StreamId::from_static("profiles", "nobody"));
    assert!(nobody.latest().await.expect("reads").is_none());
    assert!(nobody.read(ReadOptions::default()).into_vec().await.expect("reads").is_empty());
    let pages: Vec<_> = nobody.pages(ReadOptions::default()).try_collect().await.expect("reads");
    assert_eq!(pages, [Page::new(Vec::new(), SequenceNumber::new(5)).at_head()]);
}

#[tokio::test]
async fn options_bound_every_kind_of_read() {
    let (store, _) = store().await;
    let bounds =
        || ReadOptions::default().after(SequenceNumber::new(1)).until(SequenceNumber::new(4));
    for (options, expected) in [
        (bounds(), &[2, 3, 4][..]),
        (bounds().limit(2), &[2, 3]),
        (bounds().backward().limit(2), &[4, 3]),
        (bounds().limit(0), &[]),
    ] {
        assert_eq!(numbers(&store.log().read(options).into_vec().await.expect("reads")), expected);
        let pages: Vec<_> = store.log().pages(options).try_collect().await.expect("reads");
        let events: Vec<_> = pages.into_iter().flat_map(|page: Page| page.events).collect();
        assert_eq!(numbers(&events), expected);
    }
    let renamed = QueryItem::new(JOE).with_names(["renamed"]).expect("valid");
    let query = Query::any_of([renamed, QueryItem::new(ORDER)]);
    let read = store.read(query.clone(), ReadOptions::default()).into_vec().await.expect("reads");
    assert_eq!(numbers(&read), [2, 4, 5]);
    let latest = store.latest(query).await.expect("reads").expect("there are some");
    assert_eq!(latest.sequence_number.value(), 5);
}

#[tokio::test]
async fn pages_hold_no_more_than_the_adapter_was_told_to() {
    let adapter = MemoryAdapter::new().with_page_size(2.try_into().expect("not 0"));
    let stream = EventStore::new(adapter).stream(JOE);
    let events = (0..5).map(|nth| event("counted", nth));
    stream.append(events, WriteCondition::StreamIsEmpty).await.expect("appends");
    let pages: Vec<_> = stream.pages(ReadOptions::default()).try_collect().await.expect("reads");
    assert_eq!(pages.iter().map(|page: &Page| page.events.len()).collect::<Vec<_>>(), [2, 2, 1]);
    let mut events = stream.read(ReadOptions::default());
    for position in 0..5 {
        let event = events.next().await.expect("five events").expect("reads");
        assert_eq!(event.position, Position::new(position));
    }
    assert!(events.next().await.is_none());
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn several_streams_are_written_together_or_not_at_all() {
    let (store, log) = store().await;
    let write = |stream, condition| Append::new(stream, [event("noted", 1)], condition);
    let at = |position| WriteCondition::PositionIs(Position::new(position));
    let refused = store.append(vec![write(JOE, at(2)), write(ANN, at(1))]).await;
    let why = refused.expect_err("Ann is at 0");
    assert!(why.is_condition_failed());
    assert_eq!(why.to_string(), "stream profiles/ann is at position 0, expected 1");
    assert_eq!(store.log().latest().await.expect("reads").as_ref(), log.last());

    let guard = Append::guard(ORDER, WriteCondition::StreamExists);
    let stored =
        store.append(vec![write(JOE, at(2)), guard, write(ANN, at(0))]).await.expect("appends");
    let places = stored.iter().map(|event| (event.stream.clone(), event.position.value()));
    assert_eq!(places.collect::<Vec<_>>(), [(JOE, 3), (ANN, 1)]);
    assert_eq!(numbers(&stored), [6, 7]);
    assert!(store.append(Vec::new()).await.expect("does nothing").is_empty());
}

#[tokio::test]
async fn an_append_repeated_is_known_and_a_guard_stores_nothing() {
    let (store, _) = store().await;
    let again = event("created", 1);
    let stream = store.stream(StreamId::from_static("profiles", "eve"));
    stream.append([again.clone()], WriteCondition::StreamIsEmpty).await.expect("appends");
    let repeated = stream.append([again.clone()], WriteCondition::StreamIsEmpty).await;
    assert!(matches!(repeated, Err(Error::DuplicateEvent(id)) if id == again.id));
    assert!(stream.append([], WriteCondition::StreamExists).await.expect("holds").is_empty());
    assert!(stream.append([], WriteCondition::StreamIsEmpty).await.is_err());
    assert_eq!(stream.read(ReadOptions::default()).into_vec().await.expect("reads").len(), 1);
}

#[tokio::test]
async fn a_projection_resumes_where_it_stands() {
    let (store, _) = store().await;
    let counts = Handlers::new("count", 0).on_missing(|count, _| {
        *count += 1;
        Ok(())
    });
    let profiles = store.category(JOE.category);
    let mut projection = profiles.project(&counts).await.expect("folds");
    assert_eq!((projection.state, projection.id.as_str()), (4, "profiles"));
    assert_eq!(projection.sequence_number(), SequenceNumber::new(5));
    store.stream(ORDER).append([event("paid", 1)], WriteCondition::Always).await.expect("appends");
    store.stream(ANN).append([event("renamed", 1)], WriteCondition::Always).await.expect("appends");
    profiles.resume(&counts, &mut projection).await.expect("folds");
    assert_eq!((projection.state, projection.sequence_number().value()), (5, 7));
    assert_eq!(profiles.project(&counts).await.expect("folds"), projection);
    let stream = store.stream(ORDER).project(&counts).await.expect("folds");
    assert_eq!(
        (stream.state, stream.id.as_str(), stream.source),
        (2, "o-1", Source::Stream(ORDER))
    );
    let log = store.log().project(&counts).await.expect("folds");
    assert_eq!((log.state, log.id.as_str(), log.name.as_str()), (7, "log", "count"));
}

#[tokio::test]
async fn a_refused_event_stops_a_projection_and_says_which() {
    let (store, _) = store().await;
    let strict = Handlers::new("strict", 0).on("created", |count, _| {
        *count += 1;
        Ok(())
    });
    let why = store.stream(JOE).project(&strict).await.expect_err("renamed has no handler");
    assert_eq!(why.to_string(), "projection strict stopped at event #2 profiles/joe@1 renamed");
}

#[tokio::test]
async fn a_handle_outlives_the_store_that_made_it() {
    let adapter: Arc<dyn StorageAdapter> = Arc::new(MemoryAdapter::new());
    let stream = EventStore::new(Arc::clone(&adapter)).stream(JOE);
    stream.append([event("created", 1)], WriteCondition::StreamIsEmpty).await.expect("appends");
    let other = EventStore::new(adapter).stream(JOE);
    let tags = Tags::parse(["x"]).expect("valid");
    let tagged = event("renamed", 2).with_tags(tags);
    other.append([tagged], WriteCondition::StreamExists).await.expect("one store");
    assert_eq!(stream.read(ReadOptions::default()).into_vec().await.expect("reads").len(), 2);
}

/// Reads pages from a list; `None` is a page that has to be waited for once.
#[derive(Debug)]
struct Scripted(Vec<Option<Result<Vec<StoredEvent>, &'static str>>>);

#[async_trait]
impl StorageAdapter for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn append(&self, _: Vec<Append>) -> Result<Vec<StoredEvent>> {
        Err(Error::unavailable("only reads"))
    }

    fn read(&self, _: Query, _: ReadOptions) -> EventPages {
        let mut script = self.0.clone().into_iter();
        stream::poll_fn(move |context| match script.next() {
            None => Poll::Ready(None),
            Some(Some(page)) => {
                let page = page.map(|events| Page::new(events, SequenceNumber::START));
                Poll::Ready(Some(page.map_err(Error::unavailable)))
            }
            Some(None) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .boxed()
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_read_ends_with_its_first_error() {
    let (_, log) = store().await;
    let script = vec![Some(Ok(log[..2].to_vec())), Some(Err("gone")), Some(Ok(log[2..].to_vec()))];
    let store = EventStore::new(Scripted(script));
    let mut events = store.log().read(ReadOptions::default());
    for expected in &log[..2] {
        assert_eq!(&events.next().await.expect("a page").expect("reads"), expected);
    }
    assert!(matches!(events.next().await, Some(Err(Error::Unavailable(_)))));
    assert!(events.next().await.is_none());
    assert!(matches!(
        store.log().read(ReadOptions::default()).into_vec().await,
        Err(Error::Unavailable(_))
    ));
}

/// A `next` that is dropped while it waits loses no event.
#[tokio::test]
async fn a_dropped_next_loses_nothing() {
    let (_, log) = store().await;
    let waits =
        [vec![None], log.iter().map(|event| Some(Ok(vec![event.clone()]))).collect()].concat();
    let waits = waits.into_iter().flat_map(|page| [None, page]).collect();
    let mut events = EventStore::new(Scripted(waits)).log().read(ReadOptions::default());
    let mut read = Vec::new();
    loop {
        match events.next().now_or_never() {
            None => {}
            Some(None) => break,
            Some(Some(event)) => read.push(event.expect("reads")),
        }
    }
    assert_eq!(read, log);
}

#[tokio::test]
async fn a_read_is_a_stream() {
    let (store, log) = store().await;
    let mut events = store.log().read(ReadOptions::default());
    let first = StreamExt::next(&mut events).await;
    assert!(matches!(first, Some(Ok(event)) if event == log[0]));
    let rest: Vec<_> = TryStreamExt::try_collect(events).await.expect("reads");
    assert_eq!(rest, log[1..]);
}

#[tokio::test]
async fn a_reader_cannot_change_what_is_stored() {
    let (store, log) = store().await;
    let mine = store.log().latest().await.expect("reads").expect("there are some");
    let mut record = mine.into_record();
    record.event.tags = Tags::parse(["mine"]).expect("valid");
    record.position = Position::new(99);
    assert_ne!(StoredEvent::from(record), log[4]);
    assert_eq!(store.log().latest().await.expect("reads").as_ref(), log.last());
    let mut record = log[0].clone().into_record();
    record.stream = ORDER;
    assert_eq!(log[0].stream, JOE);
}
