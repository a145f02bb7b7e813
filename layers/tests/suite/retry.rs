//! Rule L20, and what traces and copies promise.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::common::sealed;
use annals::{
    Append, Error, EventId, EventStore, NewEvent, Query, ReadOptions, SequenceNumber,
    StorageAdapter, StreamId, WriteCondition,
};
use annals_layers::{Backoff, Chained, Encoded, Retrying, Traced, copy};
use annals_memory::MemoryAdapter;
use annals_testkit::{Fault, Faulty, Point, Recording};
use futures_util::{FutureExt, StreamExt};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const EARTH: StreamId = StreamId::from_static("worlds", "earth");

fn event(text: &str) -> NewEvent {
    NewEvent::json("said", &text).unwrap()
}

fn always(event: &NewEvent) -> Vec<Append> {
    vec![Append::new(EARTH, [event.clone()], WriteCondition::Always)]
}

type Inside = Faulty<Recording<MemoryAdapter>>;

fn retrying(attempts: u32) -> (Inside, Retrying<Inside>) {
    let faulty = Faulty::new(Recording::new(MemoryAdapter::new()));
    let no_sleep = |_: Duration| std::future::ready(()).boxed();
    let layer =
        Retrying::new(faulty.clone(), no_sleep, Backoff::new(NonZeroU32::new(attempts).unwrap()));
    (faulty, layer.unwrap())
}

fn unavailable() -> Fault {
    Fault::error(Error::unavailable("busy"))
}

fn unknown() -> Fault {
    Fault::error(Error::outcome_unknown("the line is dead"))
}

async fn count(of: &Inside) -> usize {
    EventStore::new(of.inner().inner().clone())
        .log()
        .read(ReadOptions::default())
        .into_vec()
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn l20_unavailable_is_repeated_at_most_as_told() -> Outcome {
    let (faulty, layer) = retrying(3);
    for _ in 0..2 {
        faulty.inject(Point::BeforeAppend, unavailable());
    }
    layer.append(always(&event("a"))).await?;
    for _ in 0..3 {
        faulty.inject(Point::BeforeAppend, unavailable());
    }
    assert!(matches!(layer.append(always(&event("b"))).await, Err(Error::Unavailable(_))));
    assert_eq!((faulty.left(), count(&faulty).await), (0, 1));
    Ok(())
}

#[tokio::test]
async fn l20_an_unknown_outcome_is_resolved() -> Outcome {
    let (faulty, layer) = retrying(3);
    // It was written: what was stored is returned.
    faulty.inject(Point::AfterAppend, unknown());
    let first = event("a").with_occurred_at(time::OffsetDateTime::UNIX_EPOCH);
    let stored = layer.append(always(&first)).await?;
    assert_eq!(
        (&stored[0].event, stored[0].position.value(), count(&faulty).await),
        (&first, 0, 1)
    );
    // It was not: it is written once.
    faulty.inject(Point::BeforeAppend, unknown());
    layer.append(always(&event("b"))).await?;
    assert_eq!(count(&faulty).await, 2);
    // A condition that its own events break does not hide that it was written.
    faulty.inject(Point::AfterAppend, unknown());
    let write = Append::new(
        StreamId::from_static("worlds", "mars"),
        [event("c")],
        WriteCondition::StreamIsEmpty,
    );
    layer.append(vec![write]).await?;
    assert_eq!(count(&faulty).await, 3);
    Ok(())
}

#[tokio::test]
async fn l20_a_duplicate_of_somebody_else_stays_an_error() -> Outcome {
    let (faulty, layer) = retrying(3);
    let taken = event("a");
    layer.append(always(&taken)).await?;
    let other = event("b").with_id(taken.id);
    assert!(
        matches!(layer.append(always(&other)).await, Err(Error::DuplicateEvent(id)) if id == taken.id)
    );
    faulty.inject(Point::BeforeAppend, unknown());
    assert!(matches!(layer.append(always(&other)).await, Err(Error::DuplicateEvent(_))));
    assert_eq!(count(&faulty).await, 1);
    Ok(())
}

#[tokio::test]
async fn l20_out_of_attempts_after_an_unknown_outcome_it_stays_unknown() -> Outcome {
    let (faulty, layer) = retrying(3);
    faulty.inject(Point::AfterAppend, unknown());
    // The attempts after it do not reach the store.
    faulty.inject(Point::BeforeAppend, Fault::delay(std::future::ready(())));
    for _ in 0..2 {
        faulty.inject(Point::BeforeAppend, unavailable());
    }
    assert!(matches!(layer.append(always(&event("a"))).await, Err(Error::OutcomeUnknown(_))));
    assert_eq!((faulty.left(), count(&faulty).await), (0, 1));
    Ok(())
}

#[tokio::test]
async fn reads_and_follows_go_on_behind_what_they_returned() -> Outcome {
    let memory = MemoryAdapter::new().with_page_size(std::num::NonZeroUsize::new(2).unwrap());
    for n in 0..7 {
        memory.append(always(&event(&n.to_string()))).await?;
    }
    let faulty = Faulty::new(memory);
    let no_sleep = |_: Duration| std::future::ready(()).boxed();
    let layer = Retrying::new(faulty.clone(), no_sleep, Backoff::new(NonZeroU32::new(3).unwrap()))?;
    let numbers = |options: ReadOptions, most: usize| {
        for page in [0, 1, 1, 2] {
            faulty.inject(Point::Page(page), unavailable());
        }
        let events = layer.read(Query::all(), options).flat_map(|page| {
            let page = page.unwrap();
            futures_util::stream::iter(
                page.events.into_iter().map(|event| event.sequence_number.value()),
            )
        });
        events.take(most).collect::<Vec<_>>()
    };
    assert_eq!(numbers(ReadOptions::default(), 99).await, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(numbers(ReadOptions::default().limit(5), 99).await, [1, 2, 3, 4, 5]);
    assert_eq!(numbers(ReadOptions::last(5), 99).await, [7, 6, 5, 4, 3]);
    assert_eq!(numbers(ReadOptions::default().follow(), 7).await, [1, 2, 3, 4, 5, 6, 7]);
    // Other errors end it, also one of many.
    while faulty.left() > 0 {
        let _ = layer.read(Query::all(), ReadOptions::default()).collect::<Vec<_>>().await;
    }
    faulty.inject(Point::Page(1), Fault::error(Error::closed("memory")));
    let pages = layer.read(Query::all(), ReadOptions::default()).collect::<Vec<_>>().await;
    assert!(matches!(pages.as_slice(), [Ok(_), Err(Error::Closed { .. })]));
    Ok(())
}

/// A store that another one takes the place of.
#[derive(Debug, Clone)]
struct Restored(Arc<std::sync::Mutex<MemoryAdapter>>);

#[annals::adapter::async_trait]
impl StorageAdapter for Restored {
    fn name(&self) -> &'static str {
        "restored"
    }

    fn capabilities(&self) -> annals::Capabilities {
        MemoryAdapter::new().capabilities()
    }

    async fn append(&self, _: Vec<Append>) -> annals::Result<Vec<annals::StoredEvent>> {
        Err(Error::unavailable("it is only read"))
    }

    fn read(&self, query: Query, options: ReadOptions) -> annals::EventPages {
        self.0.lock().unwrap().read(query, options)
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_read_that_goes_on_over_another_log_is_ahead_of_it() -> Outcome {
    let fill = async |count: usize| {
        let memory = MemoryAdapter::new().with_page_size(std::num::NonZeroUsize::new(2).unwrap());
        for _ in 0..count {
            memory.append(always(&event("x"))).await.unwrap();
        }
        memory
    };
    for replaced_by in [1, 6] {
        let store = Restored(Arc::new(std::sync::Mutex::new(fill(6).await)));
        let faulty = Faulty::new(store.clone());
        let no_sleep = |_: Duration| std::future::ready(()).boxed();
        let layer =
            Retrying::new(faulty.clone(), no_sleep, Backoff::new(NonZeroU32::new(3).unwrap()))?;
        let mut pages = layer.read(Query::all(), ReadOptions::default());
        assert!(pages.next().await.unwrap().is_ok());
        faulty.inject(Point::Page(1), unavailable());
        *store.0.lock().unwrap() = fill(replaced_by).await;
        assert!(matches!(pages.next().await, Some(Err(Error::AheadOfLog { .. }))), "{replaced_by}");
        assert!(pages.next().await.is_none());
    }
    Ok(())
}

#[tokio::test]
async fn traces_count_what_passes() -> Outcome {
    let layer = Traced::new(MemoryAdapter::new());
    let store = EventStore::new(layer.clone());
    let known = event("a");
    store.stream(EARTH).append([known.clone(), event("b")], WriteCondition::Always).await?;
    assert!(store.stream(EARTH).append([event("c")], WriteCondition::StreamIsEmpty).await.is_err());
    assert!(store.stream(EARTH).append([known], WriteCondition::Always).await.is_err());
    store.log().read(ReadOptions::default()).into_vec().await?;
    store.close().await;
    assert!(store.stream(EARTH).append([event("d")], WriteCondition::Always).await.is_err());
    let it = layer.metrics();
    assert_eq!((it.appends, it.appended, it.refused, it.failed), (4, 2, 2, 1));
    assert_eq!((it.reads, it.pages, it.read), (1, 1, 2));
    Ok(())
}

#[tokio::test]
async fn a_copy_through_layers_keeps_all_but_the_time_of_recording_and_goes_on() -> Outcome {
    let from = Encoded::new(MemoryAdapter::starting_after(SequenceNumber::new(40)), sealed())?;
    let streams = ["a", "b", "c"].map(|name| StreamId::new("worlds", name).unwrap());
    for n in 0..60_usize {
        let write = Append::new(
            streams[n * n % 3].clone(),
            [event(&n.to_string())],
            WriteCondition::Always,
        );
        from.append(vec![write]).await?;
    }
    let faulty = Faulty::new(Chained::new(MemoryAdapter::new())?);
    let to = Encoded::new(faulty.clone(), annals_layers::Codec::new())?;
    for _ in 0..9 {
        faulty.inject(Point::BeforeAppend, Fault::delay(std::future::ready(())));
    }
    faulty.inject(Point::BeforeAppend, unavailable());
    let mut seen = Vec::new();
    assert!(copy(&from, &to, |at| seen.push(at)).await.is_err());
    // The answer is lost, the events are not.
    faulty.inject(Point::AfterAppend, unknown());
    assert!(copy(&from, &to, |at| seen.push(at)).await.is_err());
    copy(&from, &to, |at| seen.push(at)).await?;
    assert!(
        seen.is_sorted_by_key(|at| at.through)
            && seen.last().unwrap().through == SequenceNumber::new(100)
    );
    let all = async |of: &dyn StorageAdapter| {
        let pages: Vec<_> = of.read(Query::all(), ReadOptions::default()).collect().await;
        pages.into_iter().flat_map(|page| page.unwrap().events).collect::<Vec<_>>()
    };
    let (source, copied) = (all(&from).await, all(&to).await);
    assert_eq!(source.len(), copied.len());
    for (source, copied) in source.iter().zip(&copied) {
        assert_eq!(
            (&source.event, &source.stream, source.position),
            (&copied.event, &copied.stream, copied.position)
        );
    }
    for stream in &streams {
        assert_eq!(faulty.inner().verify(stream, None).await?.findings, []);
    }
    assert_eq!(copy(&from, &to, |_| ()).await?.events, 0);
    // Into a store that has something else, nothing is copied.
    let other = MemoryAdapter::new();
    other.append(always(&event("x").with_id(EventId::generate()))).await?;
    assert!(matches!(copy(&from, &other, |_| ()).await, Err(Error::Invalid(_))));
    Ok(())
}
