//! Strategies of proptest for everything that an adapter is given.
//!
//! All values are valid. Names come from few most of the time, so that events, queries and conditions meet; now and
//! then one is of the kind that adapters confuse, or any at all.
//!
//! ```
//! use annals_testkit::strategy;
//! use proptest::prelude::*;
//!
//! proptest!(|(text in strategy::json())| {
//!     let payload = annals::Payload::json_bytes(text.clone()).unwrap();
//!     prop_assert_eq!(payload.as_bytes(), text.as_bytes());
//! });
//! ```

use std::collections::HashMap;

#[cfg(feature = "conformance")]
mod programs;

use annals::{
    Append, CategoryName, Encoding, EventId, EventName, MAX_NAME_BYTES, Metadata, NewEvent,
    Payload, Position, Query, QueryItem, ReadOptions, SequenceNumber, Source, StoredEvent,
    StreamId, StreamName, Tag, Tags, WriteCondition,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::generate::{self, NUMBERS, valid};

#[cfg(feature = "conformance")]
pub use programs::{ProgramTree, Programs, programs};

/// The deepest JSON that [`json`] makes.
const DEEP: usize = 1_000;

/// Texts that are valid names.
pub fn names() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        6 => select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        1 => select(generate::names()),
        1 => vec(any::<char>(), 1..60).prop_map(|letters| name_of(&letters)),
    ]
}

/// As many of the letters as a name can have, without control characters.
fn name_of(letters: &[char]) -> String {
    let mut name = String::new();
    for letter in letters {
        let letter = if letter.is_control() { '-' } else { *letter };
        if name.len() + letter.len_utf8() <= MAX_NAME_BYTES {
            name.push(letter);
        }
    }
    name
}

/// Names of events.
pub fn event_names() -> impl Strategy<Value = EventName> + Clone {
    names().prop_map(|name| valid(EventName::new(name)))
}

/// Names of categories.
pub fn category_names() -> impl Strategy<Value = CategoryName> + Clone {
    names().prop_map(|name| valid(CategoryName::new(name)))
}

/// Streams.
pub fn streams() -> impl Strategy<Value = StreamId> + Clone {
    let name = names().prop_map(|name| valid(StreamName::new(name)));
    (category_names(), name).prop_map(|(category, name)| StreamId { category, name })
}

/// Up to three tags.
pub fn tags() -> impl Strategy<Value = Tags> + Clone {
    vec(names().prop_map(|name| valid(Tag::new(name))), 0..4).prop_map(Tags::from_iter)
}

/// Any text: every character of Unicode, U+0000 among them.
pub fn texts() -> impl Strategy<Value = String> + Clone {
    let letter = prop_oneof![
        8 => any::<char>(),
        1 => select(vec!['\0', '\u{1F}', '"', '\\', '/', '\u{2028}', '\u{FEFF}', '\u{10FFFF}']),
    ];
    vec(letter, 0..20).prop_map(String::from_iter)
}

/// JSON texts of every shape: numbers at the limits and beyond, any string in any form, repeated keys, white space,
/// and nesting up to a thousand deep.
pub fn json() -> impl Strategy<Value = String> + Clone {
    let deep = (1..DEEP, any::<bool>(), scalars()).prop_map(|(depth, array, inner)| {
        let (open, close) = if array { ("[", "]") } else { ("{\"a\":", "}") };
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    });
    let shallow = scalars().prop_recursive(5, 40, 5, |inner| {
        let array = (vec(inner.clone(), 0..5), gaps())
            .prop_map(|(items, gap)| format!("[{gap}{}{gap}]", items.join(gap_comma(gap))));
        prop_oneof![array, objects_of(inner)]
    });
    prop_oneof![9 => shallow, 1 => deep]
}

fn gaps() -> impl Strategy<Value = &'static str> + Clone {
    select(vec!["", "", " ", "\n"])
}

const fn gap_comma(gap: &str) -> &'static str {
    if gap.is_empty() { "," } else { " , " }
}

/// Texts of JSON objects, with few keys that repeat.
fn objects_of(
    values: impl Strategy<Value = String> + Clone,
) -> impl Strategy<Value = String> + Clone {
    let few = select(vec!["a", "a", "b", "", "$"]).prop_map(str::to_owned);
    let key = prop_oneof![4 => few, 1 => texts()];
    let entry = (key, gaps(), values)
        .prop_map(|(key, gap, value)| format!("{}{gap}:{gap}{value}", json!(key)));
    (vec(entry, 0..5), gaps())
        .prop_map(|(entries, gap)| format!("{{{gap}{}{gap}}}", entries.join(gap_comma(gap))))
}

fn scalars() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        1 => select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        2 => select(NUMBERS).prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<u64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| {
            if number.is_finite() { format!("{number:e}") } else { "0".to_owned() }
        }),
        3 => texts().prop_map(|text| json!(text).to_string()),
        1 => texts().prop_map(|text| escaped(&text)),
    ]
}

/// The text as a JSON string of nothing but escapes.
fn escaped(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

/// Payloads: JSON mostly, opaque bytes, and bytes under the caller's own encodings.
pub fn payloads() -> impl Strategy<Value = Payload> + Clone {
    let bytes = || vec(any::<u8>(), 0..200);
    prop_oneof![
        8 => json().prop_map(|text| valid(Payload::json_bytes(text))),
        1 => bytes().prop_map(Payload::bytes),
        1 => bytes().prop_map(|bytes| valid(Payload::new(Encoding::from_static("json+zip"), bytes))),
    ]
}

/// Metadata, or none.
pub fn metadata() -> impl Strategy<Value = Option<Metadata>> + Clone {
    proptest::option::of(objects_of(json()).prop_map(|text| valid(Metadata::json_bytes(text))))
}

/// Times that stores can keep, to the microsecond: the years 1 to 9999.
pub fn times() -> impl Strategy<Value = OffsetDateTime> + Clone {
    let (first, last) = (-62_135_596_800_000_000_i64, 253_402_300_799_999_999);
    prop_oneof![
        4 => 0..=4_000_000_000_000_000_i64,
        1 => first..=last,
        1 => select(vec![first, -1, 0, 1, last]),
    ]
    .prop_map(|micros| OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(micros))
}

/// Events that are to be appended. Their ids are random: two are never equal.
pub fn new_events() -> impl Strategy<Value = NewEvent> + Clone {
    let id = any::<u128>().no_shrink().prop_map(|id| EventId::from_uuid(Uuid::from_u128(id)));
    (id, event_names(), payloads(), metadata(), tags(), times()).prop_map(
        |(id, name, payload, metadata, tags, occurred_at)| {
            NewEvent::from_parts(id, name, payload, occurred_at)
                .with_metadata(metadata)
                .with_tags(tags)
        },
    )
}

/// Sources: streams mostly, categories, and the log.
pub fn sources() -> impl Strategy<Value = Source> + Clone {
    prop_oneof![
        1 => Just(Source::Log),
        2 => category_names().prop_map(Source::Category),
        3 => streams().prop_map(Source::Stream),
    ]
}

/// Queries: of every event, or of up to three items, each with up to two names and up to three tags.
pub fn queries() -> impl Strategy<Value = Query> + Clone {
    let item = (sources(), vec(event_names(), 0..3), tags()).prop_map(|(source, names, tags)| {
        let mut item = QueryItem::new(source).with_tags(tags);
        item.names = Some(names).filter(|names| !names.is_empty());
        item
    });
    prop_oneof![1 => Just(Query::All), 6 => vec(item, 0..4).prop_map(Query::any_of)]
}

/// Sequence numbers: small ones mostly, and those at the limits.
pub fn sequence_numbers() -> impl Strategy<Value = SequenceNumber> + Clone {
    prop_oneof![
        6 => 0..30_u64,
        1 => select(vec![0, SequenceNumber::MAX.value(), u64::MAX]),
        1 => any::<u64>(),
    ]
    .prop_map(SequenceNumber::new)
}

/// Bounds, limits and directions of reads, crossed bounds and a limit of 0 among them.
pub fn read_options() -> impl Strategy<Value = ReadOptions> + Clone {
    let until = proptest::option::of(sequence_numbers());
    let limit = proptest::option::of(0..20_u64);
    (sequence_numbers(), until, limit, any::<bool>()).prop_map(|(after, until, limit, backward)| {
        let mut options = ReadOptions::default().after(after);
        options.until = until;
        options.limit = limit;
        if backward { options.backward() } else { options }
    })
}

/// Write conditions without predicates of a caller's own, nested up to four deep.
pub fn conditions() -> impl Strategy<Value = WriteCondition> + Clone {
    let position = prop_oneof![4 => 0..10_u64, 1 => any::<u64>()];
    let leaf = prop_oneof![
        2 => Just(WriteCondition::Always),
        2 => Just(WriteCondition::StreamIsEmpty),
        2 => Just(WriteCondition::StreamExists),
        3 => position.prop_map(|position| WriteCondition::PositionIs(Position::new(position))),
        3 => (queries(), sequence_numbers())
            .prop_map(|(query, after)| WriteCondition::no_match(query, after)),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        let parts = vec(inner, 0..3);
        prop_oneof![
            parts.clone().prop_map(WriteCondition::All),
            parts.prop_map(WriteCondition::Any),
        ]
    })
}

/// Calls of `append`: up to three streams, each once, with up to three events each.
pub fn appends() -> impl Strategy<Value = Vec<Append>> + Clone {
    let write = (streams(), vec(new_events(), 0..4), conditions())
        .prop_map(|(stream, events, condition)| Append::new(stream, events, condition));
    vec(write, 0..4).prop_map(|writes| {
        let mut distinct: Vec<Append> = Vec::new();
        for write in writes {
            if !distinct.iter().any(|other| other.stream == write.stream) {
                distinct.push(write);
            }
        }
        distinct
    })
}

/// Whole logs of up to `most` events, in order: positions and sequence numbers are those that a store assigns, with
/// holes in the latter now and then. For tests of what reads events, such as projectors.
///
/// ```
/// use annals::{Handlers, Projection, Source};
/// use annals_testkit::strategy;
/// use proptest::prelude::*;
///
/// let counts = Handlers::new("count", 0).on_missing(|count, _| Ok(*count += 1));
/// proptest!(ProptestConfig::with_cases(32), |(log in strategy::logs(20))| {
///     let mut projection = Projection::new(&counts, Source::Log);
///     for event in &log {
///         projection.apply(&counts, event).unwrap();
///     }
///     prop_assert_eq!(projection.state, log.len());
/// });
/// ```
pub fn logs(most: usize) -> impl Strategy<Value = Vec<StoredEvent>> + Clone {
    let hole = prop_oneof![9 => Just(0), 1 => 0..1_000_u64];
    vec((streams(), new_events(), times(), hole), 0..=most).prop_map(|events| {
        let mut heads: HashMap<StreamId, u64> = HashMap::new();
        let mut number = 0;
        let place = |(stream, event, recorded_at, hole): (StreamId, _, _, u64)| {
            let next = heads.entry(stream.clone()).or_default();
            let position = Position::new(*next);
            *next += 1;
            number += 1 + hole;
            StoredEvent::new(event, stream, position, SequenceNumber::new(number), recorded_at)
        };
        events.into_iter().map(place).collect()
    })
}
