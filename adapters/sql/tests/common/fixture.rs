//! The log that is stored in `tests/fixtures` of each SQL adapter, as its release wrote it: every later release reads
//! the same from it, and appends to it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use annals::{
    Append, Encoding, Error, EventId, EventName, EventStore, Metadata, NewEvent, Payload, Position,
    Query, QueryItem, ReadOptions, SequenceNumber, StorageAdapter, StoredEvent, StreamId, Tags,
    WriteCondition,
};
use time::OffsetDateTime;
use time::macros::datetime;

/// The sequence numbers of a store that gives them without holes.
pub(crate) const NUMBERS: [u64; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// The time of the store that wrote it.
pub(crate) const RECORDED_AT: OffsetDateTime = datetime!(2026-11-28 08:00:00.123456 UTC);

fn event(nth: u128, name: &str, payload: Payload) -> NewEvent {
    let id =
        EventId::from_uuid(uuid::Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + nth));
    NewEvent::new(EventName::new(name).unwrap(), payload)
        .with_id(id)
        .with_occurred_at(datetime!(2026-11-28 07:59:59.999999 UTC))
}

fn json(text: &'static str) -> Payload {
    Payload::json_bytes(text).unwrap()
}

fn metadata(text: &'static str) -> Metadata {
    Metadata::json_bytes(text).unwrap()
}

fn tags(tags: &[&str]) -> Tags {
    Tags::parse(tags.iter().copied()).unwrap()
}

/// The appends that wrote it, one call each: events of every shape in several streams and categories.
pub(crate) fn appends() -> Vec<Vec<Append>> {
    let longest = "\u{e9}".repeat(127);
    let stream = |category: &str, name: &str| StreamId::new(category, name).unwrap();
    let append = |stream: StreamId, events: Vec<NewEvent>| {
        Append::new(stream, events, WriteCondition::StreamIsEmpty)
    };
    let largest_id = EventId::from_uuid(uuid::Uuid::from_u128(u128::MAX));
    vec![
        vec![append(
            stream("orders", "o-1"),
            vec![
                event(1, "order-placed", json(r#"{"total": 12}"#)),
                // Bytes of JSON stay as they are: spaces, order and repetition of keys, how numbers are spelt.
                event(
                    2,
                    "order-changed",
                    json(r#" {"b":1.50, "a":-0, "b":18446744073709551615, "c":1E+400} "#),
                )
                .with_metadata(metadata(r#"{"actor": "Ann",  "$correlationId":"c-1"}"#)),
                event(3, "order-changed", json(r#""\u0000 caf\u00e9 日志 \ud83d\ude00""#)),
            ],
        )],
        // Two streams in one append, one of them in another category with the same name.
        vec![
            append(
                stream("orders", "o-2"),
                vec![
                    event(4, "order-placed", json("null"))
                        .with_tags(tags(&["customer:7", "shop:a"])),
                ],
            ),
            append(
                stream("invoices", "o-1"),
                vec![
                    event(5, "scanned", Payload::bytes(&[0xff, 0, 0x80, b'\\'][..]))
                        .with_tags(tags(&["customer:7"]))
                        .with_metadata(metadata("{}")),
                    event(6, "emptied", Payload::bytes(Vec::new())),
                ],
            ),
        ],
        // The ends of what can be kept.
        vec![append(
            stream(&longest, "a.b/c d"),
            vec![
                event(7, &longest, json("[]"))
                    .with_occurred_at(datetime!(0001-01-01 0:00 UTC))
                    .with_tags(tags(&[&longest])),
                event(8, "x", json("{}"))
                    .with_occurred_at(datetime!(9999-12-31 23:59:59.999999 UTC)),
                event(0, "x", json("9007199254740993")).with_id(largest_id),
                event(
                    9,
                    "sealed",
                    Payload::new(Encoding::new("json+zstd").unwrap(), vec![0x28, 0xb5, 0x2f, 0xfd])
                        .unwrap(),
                )
                .with_occurred_at(datetime!(1969-12-31 23:59:59.999999 UTC)),
            ],
        )],
        // A stream in more than one append.
        vec![Append::new(
            stream("orders", "o-1"),
            [event(10, "order-shipped", json("\"by sea\"")).with_tags(tags(&["shop:a"]))],
            WriteCondition::PositionIs(Position::new(2)),
        )],
    ]
}

/// What a store returns that made these appends, with the sequence numbers that it gave.
fn expected(numbers: &[u64]) -> Vec<StoredEvent> {
    let mut stored: Vec<StoredEvent> = Vec::new();
    for write in appends().into_iter().flatten() {
        for event in write.events {
            let position = stored.iter().filter(|other| other.stream == write.stream).count();
            let number = SequenceNumber::new(numbers[stored.len()]);
            let position = Position::new(position as u64);
            stored.push(StoredEvent::new(
                event,
                write.stream.clone(),
                position,
                number,
                RECORDED_AT,
            ));
        }
    }
    stored
}

async fn read(store: &EventStore, query: Query) -> Vec<StoredEvent> {
    store.read(query, ReadOptions::default()).into_vec().await.unwrap()
}

fn streams(events: &[StoredEvent]) -> Vec<StreamId> {
    let mut streams: Vec<StreamId> = events.iter().map(|event| event.stream.clone()).collect();
    streams.sort();
    streams.dedup();
    streams
}

/// Makes the stored log in an empty store whose clock says [`RECORDED_AT`].
pub(crate) async fn write(adapter: &impl StorageAdapter) {
    for writes in appends() {
        adapter.append(writes).await.unwrap();
    }
}

/// Reads everything from a store that holds the stored log, whose events have the sequence numbers `numbers`, and goes
/// on with it. Changes it.
pub(crate) async fn assert_goes_on(adapter: impl StorageAdapter, numbers: &[u64]) {
    let store = EventStore::new(adapter);
    let expected = expected(numbers);
    assert_eq!(expected.len(), numbers.len());
    // Of each source on its own: the weaker orders read no other.
    for stream in streams(&expected) {
        let of_stream = |event: &&StoredEvent| event.stream == stream;
        let wanted: Vec<StoredEvent> = expected.iter().filter(of_stream).cloned().collect();
        assert_eq!(read(&store, stream.clone().into()).await, wanted);
        let of_category = |event: &&StoredEvent| event.stream.category == stream.category;
        let wanted: Vec<StoredEvent> = expected.iter().filter(of_category).cloned().collect();
        assert_eq!(read(&store, stream.category.clone().into()).await, wanted);
    }
    let item = QueryItem::new(expected[3].stream.category.clone()).with_tags(tags(&["shop:a"]));
    let tagged = read(&store, Query::any_of([item.clone()])).await;
    assert_eq!(tagged, [expected[3].clone(), expected[10].clone()]);

    // Known ids are still known, and every stream goes on behind its last event.
    for stored in &expected {
        let again =
            Append::new(stored.stream.clone(), [stored.event.clone()], WriteCondition::Always);
        let error = store.append(vec![again]).await.unwrap_err();
        assert!(matches!(error, Error::DuplicateEvent(id) if id == stored.event.id), "{error:?}");
    }
    let last = expected.last().unwrap().sequence_number.value();
    for (stream, number) in streams(&expected).into_iter().zip(last + 1..) {
        let known = expected.iter().filter(|event| event.stream == stream).count() as u64;
        let next = event(1_000 + u128::from(number), "order-closed", json("1"))
            .with_tags(tags(&["shop:a", "new"]));
        let behind = WriteCondition::PositionIs(Position::new(known));
        let early = Append::new(stream.clone(), [next.clone()], behind);
        assert!(matches!(store.append(vec![early]).await, Err(Error::ConditionFailed(_))));
        let condition = WriteCondition::PositionIs(Position::new(known - 1));
        let write = Append::new(stream.clone(), [next], condition);
        let stored = store.append(vec![write]).await.unwrap();
        assert_eq!(stored[0].position.value(), known);
        assert!(
            stored[0].sequence_number.value() >= number,
            "numbers go on behind the stored ones"
        );
        assert_eq!(read(&store, stream.into()).await.last(), stored.last());
    }
    assert_eq!(read(&store, Query::any_of([item])).await.len(), 4);
}
