//! Random sequences of operations give the same on SQLite as on the memory adapter.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use annals::{
    Append, Direction, Error, EventId, Metadata, NewEvent, Page, Payload, Position, Query,
    QueryItem, ReadOptions, SequenceNumber, Source, StorageAdapter, StoredEvent, StreamId, Tags,
    WriteCondition,
};
use annals_memory::MemoryAdapter;
use annals_sqlite::SqliteOptions;
use futures_util::TryStreamExt;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::num::NonZeroUsize;
use uuid::Uuid;

const STREAMS: [(&str, &str); 4] = [("a", "b"), ("a", "c"), ("a.b", "c"), ("b", "b")];
const NAMES: [&str; 3] = ["made", "moved", "never"];
const TAGS: [&str; 4] = ["x:1", "x:2", "y", "a"];

#[derive(Debug, Clone)]
enum Operation {
    Append(Vec<Append>),
    Read(Query, ReadOptions),
    Reopen,
}

fn stream() -> impl Strategy<Value = StreamId> {
    (0..STREAMS.len()).prop_map(|n| StreamId::from_static(STREAMS[n].0, STREAMS[n].1))
}

fn tags() -> impl Strategy<Value = Tags> {
    vec(0..TAGS.len(), 0..3).prop_map(|some| Tags::parse(some.iter().map(|n| TAGS[*n])).unwrap())
}

/// Few ids, so that some are known already.
fn event() -> impl Strategy<Value = NewEvent> {
    let bytes = vec(any::<u8>(), 0..20);
    (0..60_u32, 0..NAMES.len() - 1, bytes, any::<bool>(), tags(), -2_000_000_000..2_000_000_000_i64)
        .prop_map(|(id, name, bytes, metadata, tags, second)| {
            NewEvent::new(annals::EventName::from_static(NAMES[name]), Payload::bytes(bytes))
                .with_id(EventId::from_uuid(Uuid::from_u128(
                    u128::from(id) * 0x1234_5678_9abc_def1,
                )))
                .with_metadata(metadata.then(|| Metadata::json_bytes("{ }").unwrap()))
                .with_tags(tags)
                .with_occurred_at(
                    time::OffsetDateTime::from_unix_timestamp(second).unwrap()
                        + time::Duration::microseconds(id.into()),
                )
        })
}

fn item() -> impl Strategy<Value = QueryItem> {
    let source = prop_oneof![
        Just(Source::Log),
        stream().prop_map(|stream| Source::Category(stream.category)),
        stream().prop_map(Source::Stream),
    ];
    (source, vec(0..NAMES.len(), 0..3), tags()).prop_map(|(source, names, tags)| {
        let names = names.iter().map(|n| NAMES[*n]);
        QueryItem::new(source).with_names(names).unwrap().with_tags(tags)
    })
}

fn query() -> impl Strategy<Value = Query> {
    vec(item(), 0..4).prop_map(Query::any_of)
}

fn number() -> impl Strategy<Value = SequenceNumber> {
    prop_oneof![9 => 0..60_u64, 1 => Just(u64::MAX)].prop_map(SequenceNumber::new)
}

fn condition() -> impl Strategy<Value = WriteCondition> {
    let leaf = prop_oneof![
        3 => Just(WriteCondition::Always),
        1 => Just(WriteCondition::StreamIsEmpty),
        1 => Just(WriteCondition::StreamExists),
        2 => (0..8_u64).prop_map(|n| WriteCondition::PositionIs(Position::new(n))),
        3 => (query(), number()).prop_map(|(query, after)| WriteCondition::no_match(query, after)),
        1 => Just(WriteCondition::custom(LastIsMade)),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(WriteCondition::All),
            vec(inner, 0..3).prop_map(WriteCondition::Any),
        ]
    })
}

#[derive(Debug)]
struct LastIsMade;

impl annals::Predicate for LastIsMade {
    fn expectation(&self) -> String {
        "a stream that was made last".into()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        last.is_none_or(|last| last.event.name.as_str() == "made")
    }
}

fn options() -> impl Strategy<Value = ReadOptions> {
    let limit = option::of(prop_oneof![0..10_u64, Just(u64::MAX)]);
    (number(), option::of(number()), limit, any::<bool>()).prop_map(
        |(after, until, limit, backward)| {
            let mut options = ReadOptions::default().after(after);
            options.until = until;
            options.limit = limit;
            options.direction = if backward { Direction::Backward } else { Direction::Forward };
            options
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let write = (stream(), vec(event(), 0..4), condition());
    let write =
        write.prop_map(|(stream, events, condition)| Append::new(stream, events, condition));
    prop_oneof![
        6 => vec(write, 0..3).prop_map(Operation::Append),
        5 => (query(), options()).prop_map(|(query, options)| Operation::Read(query, options)),
        1 => Just(Operation::Reopen),
    ]
}

/// What a caller can see of an outcome, without the times that the stores gave.
fn seen(outcome: Result<Vec<StoredEvent>, Error>) -> Result<Vec<StoredEvent>, String> {
    let events = outcome.map_err(|error| format!("{error:?}"))?;
    Ok(events
        .into_iter()
        .map(|event| {
            let mut record = event.into_record();
            record.recorded_at = time::OffsetDateTime::UNIX_EPOCH;
            record.into()
        })
        .collect())
}

async fn read(
    adapter: &impl StorageAdapter,
    query: Query,
    options: ReadOptions,
) -> Result<Vec<StoredEvent>, Error> {
    let pages: Vec<Page> = adapter.read(query, options).try_collect().await?;
    Ok(pages.into_iter().flat_map(|page| page.events).collect())
}

async fn compare(operations: Vec<Operation>, page_size: usize, in_file: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = if in_file { directory.path().join("log.db") } else { ":memory:".into() };
    let options = SqliteOptions::new()
        .with_page_size(NonZeroUsize::new(page_size).unwrap())
        .with_cache_bound(NonZeroUsize::new(page_size).unwrap())
        .with_readers(NonZeroUsize::MIN);
    let memory = MemoryAdapter::new();
    let mut sqlite = options.clone().open(&path).await.unwrap();
    for operation in operations {
        match operation {
            Operation::Append(writes) => {
                let expected = seen(memory.append(writes.clone()).await);
                assert_eq!(seen(sqlite.append(writes).await), expected);
            }
            Operation::Read(query, options) => {
                let expected = seen(read(&memory, query.clone(), options).await);
                assert_eq!(seen(read(&sqlite, query, options).await), expected);
            }
            Operation::Reopen if in_file => sqlite = options.clone().open(&path).await.unwrap(),
            Operation::Reopen => {}
        }
    }
    let expected = seen(read(&memory, Query::all(), ReadOptions::default()).await);
    assert_eq!(seen(read(&sqlite, Query::all(), ReadOptions::default()).await), expected);
    sqlite.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn the_same_as_in_memory(
        operations in vec(operation(), 1..40),
        page_size in 1..6_usize,
        in_file in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare(operations, page_size, in_file));
    }
}
