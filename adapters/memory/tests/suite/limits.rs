//! Sequence numbers up to the last one.

use annals::{
    Append, Error, EventName, EventStore, NewEvent, Payload, ReadOptions, SequenceNumber, Source,
    StoredEvent, StreamId, WriteCondition,
};
use annals_memory::MemoryAdapter;

const STREAM: StreamId = StreamId::from_static("a", "b");
const MAX: u64 = SequenceNumber::MAX.value();

fn events(count: usize) -> Vec<NewEvent> {
    let name = EventName::from_static("counted");
    (0..count).map(|_| NewEvent::new(name.clone(), Payload::bytes("x"))).collect()
}

fn store(last: u64) -> EventStore {
    EventStore::new(MemoryAdapter::starting_after(SequenceNumber::new(last)))
}

async fn append(store: &EventStore, count: usize) -> annals::Result<Vec<u64>> {
    let stored = store.stream(STREAM).append(events(count), WriteCondition::Always).await?;
    Ok(numbers(&stored))
}

async fn read(store: &EventStore, options: ReadOptions) -> Vec<u64> {
    numbers(&store.log().read(options).into_vec().await.expect("reads"))
}

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence_number.value()).collect()
}

#[tokio::test]
async fn the_last_number_is_given_and_none_after_it() {
    let store = store(MAX - 4);
    assert_eq!(append(&store, 2).await.expect("two of four"), [MAX - 3, MAX - 2]);
    let why = append(&store, 3).await.expect_err("two are left");
    assert!(matches!(why, Error::Invalid(_)), "{why:?}");
    assert_eq!(why.to_string(), "invalid call: the log has no sequence numbers left");
    assert_eq!(append(&store, 2).await.expect("the last two"), [MAX - 1, MAX]);
    assert!(append(&store, 1).await.is_err());
    assert!(append(&store, 0).await.expect("a guard needs no number").is_empty());
    assert_eq!(read(&store, ReadOptions::default()).await, [MAX - 3, MAX - 2, MAX - 1, MAX]);
    let last = store.stream(STREAM).latest().await.expect("reads").expect("there are four");
    assert_eq!((last.position.value(), last.sequence_number), (3, SequenceNumber::MAX));
}

#[tokio::test]
async fn a_call_over_several_streams_runs_out_as_a_whole() {
    let store = store(MAX - 3);
    let write = |name| {
        let stream = StreamId::new("a", name).expect("valid");
        Append::new(stream, events(2), WriteCondition::Always)
    };
    assert!(store.append(vec![write("x"), write("y")]).await.is_err());
    assert!(read(&store, ReadOptions::default()).await.is_empty());
    assert_eq!(append(&store, 3).await.expect("all three"), [MAX - 2, MAX - 1, MAX]);
}

#[tokio::test]
async fn bounds_at_both_ends_of_all_numbers_are_right() {
    let store = store(MAX - 3);
    append(&store, 3).await.expect("appends");
    let all = [MAX - 2, MAX - 1, MAX];
    for (after, until, expected) in [
        (0, u64::MAX, &all[..]),
        (MAX - 3, MAX, &all),
        (MAX - 2, MAX, &all[1..]),
        (MAX - 1, MAX - 1, &[]),
        (MAX - 2, MAX - 1, &all[1..2]),
        (MAX, u64::MAX, &[]),
        (u64::MAX, u64::MAX, &[]),
        (u64::MAX, 0, &[]),
        (0, MAX - 3, &[]),
        (0, 0, &[]),
    ] {
        let options = ReadOptions::default()
            .after(SequenceNumber::new(after))
            .until(SequenceNumber::new(until));
        assert_eq!(read(&store, options).await, expected, "{after}..={until}");
        let backward: Vec<_> = expected.iter().rev().copied().collect();
        assert_eq!(read(&store, options.backward().limit(u64::MAX)).await, backward);
    }
}

#[tokio::test]
async fn conditions_at_both_ends_of_all_numbers_are_right() {
    let store = store(MAX - 2);
    append(&store, 2).await.expect("appends");
    for (after, holds) in
        [(0, false), (MAX - 2, false), (MAX - 1, false), (MAX, true), (u64::MAX, true)]
    {
        let condition = WriteCondition::no_match(Source::Log, SequenceNumber::new(after));
        let guard = store.append(vec![Append::guard(STREAM, condition)]).await;
        assert_eq!(guard.is_ok(), holds, "after {after}: {guard:?}");
    }
    for (position, holds) in [(0, false), (1, true), (2, false), (u64::MAX, false)] {
        let condition = WriteCondition::PositionIs(annals::Position::new(position));
        let guard = store.append(vec![Append::guard(STREAM, condition)]).await;
        assert_eq!(guard.is_ok(), holds, "at {position}: {guard:?}");
    }
}

#[tokio::test]
async fn a_store_that_begins_beyond_the_last_number_is_full() {
    for last in [MAX, MAX + 1, u64::MAX] {
        let store = store(last);
        let why = append(&store, 1).await.expect_err("full");
        assert!(matches!(why, Error::Invalid(_)), "{why:?}");
        assert!(append(&store, 0).await.expect("a guard").is_empty());
        assert!(read(&store, ReadOptions::default()).await.is_empty());
    }
}
