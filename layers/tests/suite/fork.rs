//! Rule L19: a fork is one log; and what distinguishes two logs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

use std::sync::Arc;

use annals::{
    Append, Error, EventId, EventStore, NewEvent, Page, Position, Predicate, Query, QueryItem,
    ReadOptions, SequenceNumber, StorageAdapter, StoredEvent, StreamId, Tags, Unmet,
    WriteCondition,
};
use annals_layers::{Difference, Fork, difference};
use annals_memory::MemoryAdapter;
use annals_testkit::{Recording, Request};
use futures_util::{StreamExt, TryStreamExt};
use proptest::prelude::*;

fn stream(nth: u8) -> StreamId {
    StreamId::new(["worlds", "moons"][usize::from(nth) / 3 % 2], format!("s{}", nth % 3)).unwrap()
}

fn event(nth: u16, tag: u8) -> NewEvent {
    let id = EventId::from_uuid(uuid::Uuid::from_u128(u128::from(nth) + 1));
    let tags = Tags::parse([format!("t{}", tag % 3)]).unwrap();
    NewEvent::json(["made", "moved"][usize::from(tag) % 2], &nth)
        .unwrap()
        .with_id(id)
        .with_tags(tags)
        .with_occurred_at(time::OffsetDateTime::UNIX_EPOCH)
}

#[derive(Debug)]
struct Even(u8);

impl Predicate for Even {
    fn expectation(&self) -> String {
        "a number like another".to_owned()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        last.map_or(0, |last| last.sequence_number.value() + 7 * last.position.value()) % 3
            == u64::from(self.0)
    }
}

fn query() -> impl Strategy<Value = Query> {
    let item = (
        0..8_u8,
        0..6_u8,
        proptest::option::of(0..3_u8),
        proptest::collection::vec(0..80_u16, 1..4),
    )
        .prop_map(|(kind, of, tag, ids)| {
            let item = match kind % 3 {
                0 => QueryItem::new(annals::Source::Log),
                1 => QueryItem::new(stream(of).category),
                _ => QueryItem::new(stream(of)),
            };
            let item = match tag {
                Some(tag) => item.with_tags(Tags::parse([format!("t{tag}")]).unwrap()),
                None => item,
            };
            if kind < 3 { item.with_ids(ids.into_iter().map(|id| event(id, 0).id)) } else { item }
        });
    proptest::collection::vec(item, 0..3).prop_map(Query::any_of)
}

fn condition() -> impl Strategy<Value = WriteCondition> {
    let leaf = prop_oneof![
        Just(WriteCondition::Always),
        Just(WriteCondition::StreamIsEmpty),
        Just(WriteCondition::StreamExists),
        (0..12_u64).prop_map(|at| WriteCondition::PositionIs(Position::new(at))),
        (0..80_u16).prop_map(|id| WriteCondition::LastEventIs(event(id, 0).id)),
        (query(), 0..60_u64)
            .prop_map(|(query, after)| WriteCondition::no_match(query, SequenceNumber::new(after))),
        (0..3_u8).prop_map(|rest| WriteCondition::custom(Even(rest))),
    ];
    leaf.prop_recursive(2, 6, 3, |part| {
        prop_oneof![
            proptest::collection::vec(part.clone(), 0..3).prop_map(WriteCondition::All),
            proptest::collection::vec(part, 0..3).prop_map(WriteCondition::Any),
        ]
    })
}

/// Which stream, which events, and under which condition.
type Drawn = (u8, Vec<(u16, u8)>, WriteCondition);

#[derive(Debug, Clone)]
enum Op {
    Append(Vec<Drawn>),
    Read(Query, ReadOptions),
}

fn op() -> impl Strategy<Value = Op> {
    let write = (0..6_u8, proptest::collection::vec((0..80_u16, 0..6_u8), 0..3), condition());
    let append = proptest::collection::vec(write, 1..3).prop_map(Op::Append);
    let bounds = (
        proptest::option::of(0..40_u64),
        proptest::option::of(0..40_u64),
        proptest::option::of(0..6_u64),
        any::<bool>(),
    );
    let read = (query(), bounds).prop_map(|(query, (after, until, limit, backward))| {
        let mut options = ReadOptions::default();
        options.after = SequenceNumber::new(after.unwrap_or(0));
        options.until = until.map(SequenceNumber::new);
        options.limit = limit;
        Op::Read(query, if backward { options.backward() } else { options })
    });
    let whole =
        (0..6_u8, proptest::option::of(0..6_u64), proptest::option::of(0..6_u64), any::<bool>());
    let of_stream = whole.prop_map(|(of, from, until, backward)| {
        let mut options = ReadOptions::default();
        options.from_position = from.map(Position::new);
        options.until_position = until.map(Position::new);
        Op::Read(stream(of).into(), if backward { options.backward() } else { options })
    });
    prop_oneof![3 => append, 1 => read, 1 => of_stream]
}

/// What can be compared of an event: all but when it was recorded.
fn shown(event: &StoredEvent) -> String {
    format!("{event} {} {:?} {:?}", event.id(), event.payload().as_bytes(), event.tags())
}

fn of_unmet(unmet: &Unmet) -> String {
    // Which event matched is the store's choice, whether one did is not.
    format!("{} {:?} {:?} {}", unmet.stream, unmet.failed, unmet.actual, unmet.matched.is_some())
}

fn of_error(error: &Error) -> String {
    match error {
        Error::ConditionFailed(unmet) => of_unmet(unmet),
        Error::DuplicateEvent(_) => "duplicate".to_owned(),
        Error::Invalid(_) => "invalid".to_owned(),
        other => format!("{other:?}"),
    }
}

async fn run(store: &dyn StorageAdapter, op: Op) -> (Vec<String>, String) {
    match op {
        Op::Append(writes) => {
            let write = |(of, events, condition): Drawn| {
                Append::new(
                    stream(of),
                    events.into_iter().map(|(nth, tag)| event(nth, tag)),
                    condition,
                )
            };
            match store.append(writes.into_iter().map(write).collect()).await {
                Ok(stored) => (stored.iter().map(shown).collect(), String::new()),
                Err(error) => (Vec::new(), of_error(&error)),
            }
        }
        Op::Read(query, options) => {
            match store.read(query, options).try_collect::<Vec<Page>>().await {
                Ok(pages) => {
                    let last = pages.last().map(|page| (page.through, page.at_head));
                    let events = pages.iter().flat_map(|page| &page.events).map(shown).collect();
                    (events, format!("{last:?}"))
                }
                Err(error) => (Vec::new(), of_error(&error)),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn l19_a_fork_answers_as_one_log_would(before in proptest::collection::vec(op(), 0..25), after in proptest::collection::vec(op(), 1..40)) {
        futures_executor::block_on(async {
            let (base, whole) = (Recording::new(MemoryAdapter::new()), MemoryAdapter::new());
            for op in before {
                run(&base, op.clone()).await;
                run(&whole, op).await;
            }
            let fork = Fork::open(base.clone(), MemoryAdapter::new()).await.unwrap();
            let _ = base.take();
            // The base goes on, which changes nothing.
            let late = NewEvent::json("late", &1).unwrap();
            base.inner().append(vec![Append::new(stream(0), [late], WriteCondition::Always)]).await.unwrap();
            for op in after {
                assert_eq!(run(&fork, op.clone()).await, run(&whole, op.clone()).await, "{op:?}");
            }
            let is_read = |call: &annals_testkit::Call| matches!(call.request, Request::Read(..));
            assert!(base.take().iter().all(is_read), "the base is never appended to");
        });
    }
}

#[tokio::test]
async fn a_follow_of_a_fork_goes_from_the_base_into_the_overlay() {
    let base = MemoryAdapter::new();
    let append = async |to: &dyn StorageAdapter, nth: u16| {
        to.append(vec![Append::new(stream(0), [event(nth, 0)], WriteCondition::Always)])
            .await
            .unwrap();
    };
    append(&base, 0).await;
    append(&base, 1).await;
    let fork = Fork::open(base.clone(), MemoryAdapter::new()).await.unwrap();
    append(&base, 2).await;
    append(&fork, 3).await;
    let mut pages = fork.read(Query::all(), ReadOptions::default().follow());
    let mut seen = Vec::new();
    while seen.len() < 4 {
        for event in pages.next().await.unwrap().unwrap().events {
            seen.push((
                event.sequence_number.value(),
                event.position.value(),
                event.payload().to_json::<u16>().unwrap(),
            ));
        }
        if seen.len() == 3 {
            append(&fork, 4).await;
        }
    }
    assert_eq!(seen, [(1, 0, 0), (2, 1, 1), (3, 2, 3), (4, 3, 4)]);
}

#[tokio::test]
async fn a_fork_is_opened_again_only_over_the_log_that_it_began_as() {
    let base = MemoryAdapter::new();
    for nth in 0..5 {
        base.append(vec![Append::new(stream(0), [event(nth, 0)], WriteCondition::Always)])
            .await
            .unwrap();
    }
    let overlay = MemoryAdapter::new();
    let open = async |base: &MemoryAdapter, at: u64, id: Option<EventId>| {
        Fork::open_at(base.clone(), overlay.clone(), SequenceNumber::new(at), id).await
    };
    let fork = open(&base, 3, None).await.unwrap();
    fork.append(vec![Append::new(
        stream(0),
        [event(9, 0)],
        WriteCondition::PositionIs(Position::new(2)),
    )])
    .await
    .unwrap();
    let id = fork.last_of_base().unwrap().id();
    let again = open(&base, 3, Some(id)).await.unwrap();
    assert_eq!(
        EventStore::new(again).stream(stream(0)).latest().await.unwrap().unwrap().position.value(),
        3
    );
    for (base, at) in [(&base, 4), (&base, 6), (&MemoryAdapter::new(), 3)] {
        assert!(matches!(open(base, at, Some(id)).await, Err(Error::AheadOfLog { .. })), "{at}");
    }
}

#[tokio::test]
async fn a_difference_names_the_events_by_which_two_logs_differ() {
    let left = MemoryAdapter::new();
    for nth in 0..4 {
        left.append(vec![Append::new(stream(0), [event(nth, 0)], WriteCondition::Always)])
            .await
            .unwrap();
    }
    let right = Fork::open_at(left.clone(), MemoryAdapter::new(), SequenceNumber::new(2), None)
        .await
        .unwrap();
    right
        .append(vec![Append::new(stream(0), [event(7, 0), event(3, 0)], WriteCondition::Always)])
        .await
        .unwrap();
    right
        .append(vec![Append::new(stream(1), [event(2, 1)], WriteCondition::Always)])
        .await
        .unwrap();
    let left: Arc<dyn StorageAdapter> = Arc::new(left);
    let right: Arc<dyn StorageAdapter> = Arc::new(right);
    let found = difference(&left, &right, SequenceNumber::START);
    let found: Vec<String> = found
        .map_ok(|found| match found {
            Difference::Left(event) => format!("left {}", event.sequence_number),
            Difference::Right(event) => format!("right {}", event.sequence_number),
            Difference::Changed { left, right } => {
                format!("{} became {}", left.sequence_number, right.sequence_number)
            }
            other => format!("{other:?}"),
        })
        .try_collect()
        .await
        .unwrap();
    assert_eq!(found, ["3 became 5", "right 3"]);
    assert_eq!(difference(&left, &left, SequenceNumber::START).count().await, 0);
}

/// Fifty changes to a log of sixty events, drawn anew each time: what a difference names is these, and nothing else.
#[tokio::test]
async fn a_difference_is_exact_on_fifty_changes() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut draw = |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    for _ in 0..20 {
        let (left, right) = (MemoryAdapter::new(), MemoryAdapter::new());
        let mut expected = Vec::new();
        // The last event of each stream only, so that nothing behind it moves.
        let mut changes = 0;
        for nth in 0..60_u16 {
            let stream = StreamId::new("worlds", format!("s-{nth}")).unwrap();
            let same = event(nth, 0);
            let (on_left, on_right) = match if changes < 50 { draw(6) } else { 5 } {
                0 => (Some(same), None),
                1 => (None, Some(same)),
                2 => (Some(same), Some(event(nth, 1))),
                3 => (Some(same.clone()), Some(same.with_tags(Tags::NONE))),
                4 => {
                    let later = same.occurred_at + time::Duration::microseconds(1);
                    (Some(same.clone()), Some(same.with_occurred_at(later)))
                }
                // As many as are needed for fifty.
                _ if 60 - u64::from(nth) > 50 - changes => (Some(same.clone()), Some(same)),
                _ => (Some(same), None),
            };
            let kind = match (&on_left, &on_right) {
                (Some(one), Some(other)) if one == other => None,
                (Some(_), Some(_)) => Some("changed"),
                (Some(_), None) => Some("left"),
                _ => Some("right"),
            };
            changes += u64::from(kind.is_some());
            expected.extend(kind.map(|kind| format!("{kind} {nth}")));
            for (log, event) in [(&left, on_left), (&right, on_right)] {
                let Some(event) = event else { continue };
                let write = Append::new(stream.clone(), [event], WriteCondition::Always);
                log.append(vec![write]).await.unwrap();
            }
        }
        assert_eq!(changes, 50);
        let [left, right] = [left, right].map(|log| Arc::new(log) as Arc<dyn StorageAdapter>);
        let nth = |event: &StoredEvent| event.payload().to_json::<u16>().unwrap();
        let found = difference(&left, &right, SequenceNumber::START);
        let mut found: Vec<String> = found
            .map_ok(|found| match found {
                Difference::Left(event) => format!("left {}", nth(&event)),
                Difference::Right(event) => format!("right {}", nth(&event)),
                Difference::Changed { left, .. } => format!("changed {}", nth(&left)),
                other => format!("{other:?}"),
            })
            .try_collect()
            .await
            .unwrap();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}

/// A base that the database itself lets nobody change.
#[tokio::test]
async fn a_fork_needs_no_right_to_write_to_its_base() -> Result<(), annals::BoxError> {
    let Some(url) = crate::postgres::server().await else { return Ok(()) };
    let name = crate::postgres::fresh();
    let owner = crate::postgres::open(crate::postgres::options(&url, &name)?).await;
    let append = async |to: &dyn StorageAdapter, nth: u16, condition| {
        to.append(vec![Append::new(stream(0), [event(nth, 0)], condition)]).await
    };
    append(&owner, 0, WriteCondition::Always).await?;
    append(&owner, 1, WriteCondition::Always).await?;
    let client = crate::postgres::admin(&url).await?;
    let role = format!("reads_{name}");
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'reads'; GRANT USAGE ON SCHEMA {name} TO {role}; \
             GRANT SELECT ON ALL TABLES IN SCHEMA {name} TO {role}"
        ))
        .await?;
    let mut config: annals_postgres::tokio_postgres::Config = url.parse()?;
    config.user(&role).password("reads");
    let base = annals_postgres::PostgresOptions::from_config(config).with_schema(&name);
    let base = base.connect().await?;
    let refused = append(&base, 2, WriteCondition::Always).await;
    assert!(refused.is_err(), "the role may only read");
    let fork = Fork::open(base.clone(), MemoryAdapter::new()).await?;
    let expected = WriteCondition::PositionIs(Position::new(1));
    append(&fork, 3, expected.clone()).await?;
    assert!(matches!(append(&fork, 4, expected).await, Err(Error::ConditionFailed(_))));
    let store = EventStore::new(fork);
    let all = store.stream(stream(0)).read(ReadOptions::default()).into_vec().await?;
    let numbers: Vec<u16> = all.iter().map(|it| it.payload().to_json().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 3]);
    let kept = EventStore::new(owner.clone()).log().read(ReadOptions::default()).into_vec().await?;
    assert_eq!(kept.len(), 2, "the base is as it was");
    base.close().await;
    owner.close().await;
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await?;
    Ok(())
}
