//! Builders, generators, clocks and ids: the same seed gives the same, and everything is valid.

use std::collections::BTreeSet;

use annals::{
    Clock, EventId, EventStore, Handlers, Metadata, NewEvent, Payload, Position, SequenceNumber,
    StreamId, Tags, WriteCondition,
};
use annals_memory::MemoryAdapter;
use annals_testkit::generate::Generator;
use annals_testkit::{
    FixedClock, ManualClock, NewEventBuilder, ProjectionBuilder, SeededIds, SequentialIds,
    StoredEventBuilder,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

const ORDER: StreamId = StreamId::from_static("orders", "o-1");

#[tokio::test]
async fn random_events_are_valid_and_differ() {
    let mut generator = Generator::new(1);
    let events: Vec<NewEvent> =
        (0..300).map(|_| NewEventBuilder::drawn(&mut generator).build()).collect();
    assert_eq!(events.iter().map(|event| event.id).collect::<BTreeSet<_>>().len(), 300);
    assert!(events.iter().any(|event| event.metadata.is_none()));
    assert!(events.iter().any(|event| event.metadata.is_some()));
    assert!(events.iter().any(|event| event.tags.is_empty()));
    assert!(events.iter().any(|event| event.tags.len() == 3));
    assert!(events.iter().map(|event| &event.name).collect::<BTreeSet<_>>().len() > 10);

    let stream = EventStore::new(MemoryAdapter::new()).stream(ORDER);
    let stored = stream.append(events.clone(), WriteCondition::Always).await.expect("valid events");
    assert!(stored.iter().map(|stored| &stored.event).eq(&events));
}

#[test]
fn a_seed_gives_the_same_event() {
    for seed in 0..50 {
        let event = || NewEventBuilder::seeded(seed).build();
        assert_eq!(event(), event());
        assert_eq!(
            StoredEventBuilder::seeded(seed).build(),
            StoredEventBuilder::seeded(seed).build()
        );
    }
    assert_ne!(NewEventBuilder::new().build(), NewEventBuilder::new().build());
    assert_ne!(NewEventBuilder::seeded(1).build().id, NewEventBuilder::seeded(2).build().id);
}

/// A test resumes from it as from one that was folded.
#[tokio::test]
async fn a_projection_that_was_built_can_be_resumed() {
    let stream = EventStore::new(MemoryAdapter::new()).stream(ORDER);
    let two = [NewEventBuilder::new().build(), NewEventBuilder::new().build()];
    let stored = stream.append(two, WriteCondition::Always).await.expect("valid events");
    let counter = Handlers::new("counter", 0).on_missing(|count, _| {
        *count += 1;
        Ok(())
    });
    let built = || ProjectionBuilder::new(41).with_name("counter").with_id("c").with_source(ORDER);
    let mut begun = built().with_last(&stored[0]).build();
    assert_eq!((begun.id.as_str(), begun.name.as_str(), begun.state), ("c", "counter", 41));
    stream.resume(&counter, &mut begun).await.expect("handled");
    assert_eq!((begun.state, begun.last), (42, Some((&stored[1]).into())));
    let mut unread = built().with_last(None).build();
    stream.resume(&counter, &mut unread).await.expect("handled");
    assert_eq!(unread.state, 43);
    assert_eq!(ProjectionBuilder::seeded(7, 1).build(), ProjectionBuilder::seeded(7, 1).build());
    assert_ne!(ProjectionBuilder::new(1).build(), ProjectionBuilder::new(1).build());
}

#[test]
fn every_field_can_be_given() {
    let id = EventId::from_uuid(Uuid::from_u128(7));
    let payload = Payload::bytes(&b"\xFF"[..]);
    let metadata = Metadata::json_bytes("{ }").expect("an object");
    let tags = Tags::parse(["customer:1"]).expect("tags");
    let occurred_at = datetime!(2026-11-21 08:00:00.123_456_789 UTC);
    let recorded_at = datetime!(2020-01-01 00:00 +02:00);
    let expected = NewEvent::new("order-placed".parse().expect("a name"), payload.clone())
        .with_id(id)
        .with_metadata(metadata.clone())
        .with_tags(tags.clone())
        .with_occurred_at(occurred_at);
    let new = NewEventBuilder::new()
        .with_id(id)
        .with_name("order-placed")
        .with_payload(payload.clone())
        .with_metadata(metadata.clone())
        .with_tags(tags.clone())
        .with_occurred_at(occurred_at)
        .build();
    assert_eq!(new, expected);
    let stored = StoredEventBuilder::new()
        .with_id(id)
        .with_name("order-placed")
        .with_payload(payload)
        .with_metadata(metadata)
        .with_tags(tags)
        .with_occurred_at(occurred_at)
        .with_stream(ORDER)
        .with_position(4)
        .with_sequence_number(9)
        .with_recorded_at(recorded_at)
        .build();
    assert_eq!(stored.event, expected);
    assert_eq!(stored.stream, ORDER);
    assert_eq!(stored.position, Position::new(4));
    assert_eq!(stored.sequence_number, SequenceNumber::new(9));
    assert_eq!(stored.recorded_at, recorded_at);
    assert_eq!(StoredEventBuilder::new().with_event(new).build().event, expected);
    assert_eq!(NewEventBuilder::new().with_metadata(None).build().metadata, None);
    assert_eq!(NewEventBuilder::new().with_json(&[1]).build().payload.as_bytes().as_ref(), b"[1]");
}

#[test]
fn a_place_that_is_not_given_is_one_that_can_be() {
    for position in [0, 1, 1_000, i64::MAX as u64] {
        let stored = StoredEventBuilder::seeded(position).with_position(position).build();
        assert!(
            stored.sequence_number > SequenceNumber::new(position) || position == i64::MAX as u64
        );
        assert!(stored.sequence_number <= SequenceNumber::MAX);
    }
    let ordered = |seed| {
        let stored = StoredEventBuilder::seeded(seed).build();
        stored.recorded_at >= stored.event.occurred_at
    };
    assert!((0..50).all(ordered));
}

#[test]
#[should_panic(expected = "a name must not be empty")]
fn a_name_that_is_none_is_refused_at_once() {
    let _ = NewEventBuilder::new().with_name("");
}

#[test]
fn ids_count_or_follow_from_a_seed() {
    let ids: Vec<EventId> = SequentialIds::default().take(3).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(SequentialIds::after(ids[1]).next(), Some(ids[2]));
    let last = EventId::from_uuid(Uuid::from_u128(u128::MAX));
    assert_eq!(SequentialIds::after(last).next(), None);
    let seeded: BTreeSet<EventId> = SeededIds::new(3).take(1_000).collect();
    assert_eq!(seeded.len(), 1_000);
    assert!(seeded.iter().all(|id| id.as_uuid().get_version_num() == 4));
    assert!(SeededIds::new(3).take(1_000).all(|id| seeded.contains(&id)));
}

#[tokio::test]
async fn a_store_takes_its_times_from_the_clock_that_it_is_given() {
    let start = datetime!(2026-11-21 08:00 UTC);
    let clock = ManualClock::new(start);
    let store = EventStore::new(MemoryAdapter::new().with_clock(clock.clone()));
    let mut recorded = Vec::new();
    for step in [Duration::ZERO, Duration::days(1), Duration::hours(-5)] {
        clock.advance(step);
        let event = NewEventBuilder::new().build();
        let stored = store.stream(ORDER).append([event], WriteCondition::Always).await;
        recorded.push(stored.expect("an append")[0].recorded_at);
    }
    let day = start + Duration::days(1);
    assert_eq!(recorded, [start, day, day - Duration::hours(5)]);
    clock.set(OffsetDateTime::UNIX_EPOCH);
    assert_eq!(clock.now(), OffsetDateTime::UNIX_EPOCH);
    clock.advance(Duration::MAX);
    assert!(clock.now() > day, "it stops at the end of time");
    assert_eq!(FixedClock(start).now(), FixedClock(start).now());
}

#[test]
fn hostile_data_is_valid_data() {
    let mut generator = Generator::new(5);
    for _ in 0..500 {
        let (name, json) = (generator.hostile_name(), generator.hostile_json());
        assert!(annals::StreamName::new(name).is_ok());
        assert!(Payload::json_bytes(json).is_ok());
        assert!(annals::StreamName::new(generator.name()).is_ok());
        assert!(Payload::json_bytes(generator.json(4)).is_ok());
        assert!((2000..2030).contains(&generator.time().year()));
    }
    for name in annals_testkit::generate::invalid_names() {
        assert!(annals::StreamName::new(name).is_err());
    }
}
