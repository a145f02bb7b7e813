//! Small random logs, queries and conditions: few names, so that they meet often.

use std::fmt;

use annals::{
    EventName, NewEvent, Payload, Position, Predicate, Query, QueryItem, SequenceNumber, Source,
    StoredEvent, StreamId, Tag, Tags, WriteCondition,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use time::OffsetDateTime;

pub(crate) static NAMES: [EventName; 3] = [
    EventName::from_static("opened"),
    EventName::from_static("changed"),
    EventName::from_static("closed"),
];

/// Categories `a` and `a.b`, each with the streams `b.c` and `c`: joined by a dot, two of them are one text.
pub(crate) static STREAMS: [StreamId; 4] = [
    StreamId::from_static("a", "b.c"),
    StreamId::from_static("a", "c"),
    StreamId::from_static("a.b", "b.c"),
    StreamId::from_static("a.b", "c"),
];

static TAGS: [Tag; 3] = [Tag::from_static("x"), Tag::from_static("y"), Tag::from_static("z")];

pub(crate) fn stream() -> impl Strategy<Value = StreamId> {
    select(STREAMS.as_slice())
}

fn tags() -> impl Strategy<Value = Tags> {
    subsequence(TAGS.as_slice(), 0..=TAGS.len()).prop_map(Tags::from_iter)
}

fn event() -> impl Strategy<Value = NewEvent> {
    (select(NAMES.as_slice()), tags(), any::<i32>()).prop_map(|(name, tags, number)| {
        let payload = Payload::json(&number).expect("a number is JSON");
        NewEvent::new(name, payload).with_tags(tags)
    })
}

/// A log as a store may hold it: positions without holes, sequence numbers with some.
pub(crate) fn log() -> impl Strategy<Value = Vec<StoredEvent>> {
    vec((event(), stream(), 1u64..4), 0..24).prop_map(|events| {
        let mut log: Vec<StoredEvent> = Vec::new();
        let mut number = 0;
        for (event, stream, step) in events {
            number += step;
            let before = log.iter().filter(|old| old.stream == stream).count() as u64;
            let at = (Position::new(before), SequenceNumber::new(number));
            let recorded_at = OffsetDateTime::UNIX_EPOCH;
            log.push(StoredEvent::new(event, stream, at.0, at.1, recorded_at));
        }
        log
    })
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Log),
        stream().prop_map(|stream| Source::Category(stream.category)),
        stream().prop_map(Source::Stream),
    ]
}

pub(crate) fn query() -> impl Strategy<Value = Query> {
    let names = prop::option::of(subsequence(NAMES.as_slice(), 0..=2));
    let item = (source(), names, tags()).prop_map(|(source, names, tags)| {
        let mut item = QueryItem::new(source).with_tags(tags);
        item.names = names;
        item
    });
    vec(item, 0..4).prop_map(Query::any_of)
}

/// Holds when the stream's last event has this name.
#[derive(Debug)]
pub(crate) struct LastIs(pub(crate) EventName);

impl Predicate for LastIs {
    fn expectation(&self) -> String {
        format!("a last event named {}", self.0)
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        last.is_some_and(|last| last.event.name == self.0)
    }
}

/// A condition as plain data, of which both the real one and a second opinion are made.
#[derive(Clone)]
pub(crate) enum Plan {
    Leaf(WriteCondition),
    LastIs(EventName),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl Plan {
    pub(crate) fn condition(&self) -> WriteCondition {
        let conditions = |parts: &[Self]| parts.iter().map(Self::condition).collect();
        match self {
            Self::Leaf(leaf) => leaf.clone(),
            Self::LastIs(name) => WriteCondition::custom(LastIs(name.clone())),
            Self::All(parts) => WriteCondition::All(conditions(parts)),
            Self::Any(parts) => WriteCondition::Any(conditions(parts)),
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition().fmt(f)
    }
}

pub(crate) fn leaf() -> impl Strategy<Value = Plan> {
    let plain = prop_oneof![
        Just(WriteCondition::Always),
        Just(WriteCondition::StreamIsEmpty),
        Just(WriteCondition::StreamExists),
        (0u64..8).prop_map(|position| WriteCondition::PositionIs(Position::new(position))),
        (query(), 0u64..50)
            .prop_map(|(query, after)| WriteCondition::no_match(query, SequenceNumber::new(after))),
    ];
    prop_oneof![
        5 => plain.prop_map(Plan::Leaf),
        1 => select(NAMES.as_slice()).prop_map(Plan::LastIs),
    ]
}

/// Conditions nested a few deep, with parts without parts.
pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    leaf().prop_recursive(4, 24, 4, |part| {
        prop_oneof![
            vec(part.clone(), 0..4).prop_map(Plan::All),
            vec(part, 0..4).prop_map(Plan::Any),
        ]
    })
}
