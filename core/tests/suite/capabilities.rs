//! Capabilities: what is not declared is refused, and nothing else is.

use std::num::NonZeroU32;

use annals::{
    Append, Capabilities, Error, EventId, MAX_CONDITION_DEPTH, Metadata, NewEvent, Order, Payload,
    Query, QueryItem, ReadOptions, Result, SequenceNumber, Source, Tags, WriteCondition,
};
use proptest::collection::vec;
use proptest::prelude::*;
use time::macros::{datetime, offset};
use uuid::Uuid;

use crate::strategies::{LastIs, NAMES, Plan, STREAMS, plan, query};

/// Everything, without limits.
const ALL: Capabilities = Capabilities::NONE
    .with_durable(true)
    .with_shared(true)
    .with_contiguous_sequence(true)
    .with_multi_stream_append(true)
    .with_query_conditions(true)
    .with_custom_conditions(true)
    .with_tags(true)
    .with_exact_payload_bytes(true)
    .with_order(Order::Log);

fn capabilities() -> impl Strategy<Value = Capabilities> {
    let order = prop_oneof![Just(Order::Stream), Just(Order::Category), Just(Order::Log)];
    let limits = (0u32..8, 0u32..8, 0u32..30, 0u32..6);
    (any::<[bool; 4]>(), order, limits).prop_map(|(flags, order, limits)| {
        let (events, bytes, call, parts) = limits;
        ALL.with_multi_stream_append(flags[0])
            .with_query_conditions(flags[1])
            .with_custom_conditions(flags[2])
            .with_tags(flags[3])
            .with_order(order)
            .with_max_events_per_append(NonZeroU32::new(events))
            .with_max_payload_bytes(NonZeroU32::new(bytes))
            .with_max_append_bytes(NonZeroU32::new(call))
            .with_max_query_parts(NonZeroU32::new(parts))
    })
}

fn event(bytes: usize, tagged: bool) -> NewEvent {
    let tags = if tagged { tags() } else { Tags::NONE };
    NewEvent::new(NAMES[0].clone(), Payload::bytes(vec![0; bytes])).with_tags(tags)
}

fn tags() -> Tags {
    Tags::parse(["x"]).expect("valid")
}

/// One write for each stream, of events with payloads of few bytes, seldom tagged.
fn writes() -> impl Strategy<Value = Vec<(Plan, Vec<(usize, bool)>)>> {
    vec((plan(), vec((0usize..10, prop::bool::weighted(0.1)), 0..5)), 0..4)
}

fn append(writes: &[(Plan, Vec<(usize, bool)>)]) -> Vec<Append> {
    let streams = STREAMS.iter().cloned();
    let write = |(stream, (plan, events)): (_, &(Plan, Vec<(usize, bool)>))| {
        let events = events.iter().map(|(bytes, tagged)| event(*bytes, *tagged));
        Append::new(stream, events, plan.condition())
    };
    streams.zip(writes).map(write).collect()
}

/// Whether `wanted` is true of the condition or any of its parts.
fn any_part(plan: &Plan, wanted: &dyn Fn(&Plan) -> bool) -> bool {
    let parts = match plan {
        Plan::All(parts) | Plan::Any(parts) => parts.as_slice(),
        _ => &[],
    };
    wanted(plan) || parts.iter().any(|part| any_part(part, wanted))
}

fn query_of(plan: &Plan) -> Option<&Query> {
    match plan {
        Plan::Leaf(WriteCondition::NoMatch { query, .. }) => Some(query),
        _ => None,
    }
}

/// How many items, names, ids and tags a query has.
fn query_parts(query: &Query) -> usize {
    let of = |item: &QueryItem| {
        let (names, ids) = (item.names.iter().flatten(), item.ids.iter().flatten());
        1 + names.count() + ids.count() + item.tags.len()
    };
    query.items().iter().map(of).sum()
}

/// How many its conditions have together.
fn parts_of(plan: &Plan) -> usize {
    let inner = match plan {
        Plan::All(parts) | Plan::Any(parts) => parts.as_slice(),
        _ => &[],
    };
    query_of(plan).map_or(0, query_parts) + inner.iter().map(parts_of).sum::<usize>()
}

/// All reasons to refuse a call, as they begin in a message.
fn reasons(can: &Capabilities, writes: &[(Plan, Vec<(usize, bool)>)]) -> Vec<&'static str> {
    let any =
        |wanted: &dyn Fn(&Plan) -> bool| writes.iter().any(|(plan, _)| any_part(plan, wanted));
    let tags_asked = any(&|part| {
        query_of(part).is_some_and(|query| query.items().iter().any(|item| !item.tags.is_empty()))
    });
    let events = || writes.iter().flat_map(|(_, events)| events);
    let count = u32::try_from(events().count()).expect("few");
    let largest = events().map(|(bytes, _)| u32::try_from(*bytes).expect("few")).max();
    let all = events().map(|(bytes, _)| u32::try_from(*bytes).expect("few")).sum::<u32>();
    let parts = writes.iter().map(|(plan, _)| parts_of(plan)).sum::<usize>();
    let parts = u32::try_from(parts).expect("few");
    let rules = [
        (
            writes.len() > 1 && !can.multi_stream_append,
            "x does not support an append to several streams",
        ),
        (
            any(&|part| query_of(part).is_some()) && !can.query_conditions,
            "x does not support query conditions",
        ),
        (
            any(&|part| matches!(part, Plan::LastIs(_))) && !can.custom_conditions,
            "x does not support custom conditions",
        ),
        (
            (tags_asked || events().any(|(_, tagged)| *tagged)) && !can.tags,
            "x does not support tags",
        ),
        (can.max_events_per_append.is_some_and(|most| count > most.get()), "invalid call: at most"),
        (
            can.max_payload_bytes.zip(largest).is_some_and(|(most, size)| size > most.get()),
            "invalid call: a payload has at most",
        ),
        (can.max_append_bytes.is_some_and(|most| all > most.get()), "invalid call: at most"),
        (
            can.max_query_parts.is_some_and(|most| parts > most.get()),
            "invalid call: the conditions of a call have at most",
        ),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, reason)| reason).collect()
}

proptest! {
    #[test]
    fn appends_are_refused_for_what_is_not_declared_and_for_nothing_else(
        can in capabilities(), writes in writes(),
    ) {
        let reasons = reasons(&can, &writes);
        match can.check_append("x", &append(&writes)) {
            Ok(()) => prop_assert!(reasons.is_empty(), "{reasons:?}"),
            Err(why) => {
                let text = why.to_string();
                prop_assert!(reasons.iter().any(|reason| text.starts_with(reason)), "{text}: {reasons:?}");
                prop_assert_eq!(matches!(why, Error::Unsupported { adapter, .. } if adapter == "x"), text.starts_with("x "));
            }
        }
    }

    #[test]
    fn reads_are_refused_for_what_is_not_declared_and_for_nothing_else(
        can in capabilities(), query in query(), allowed in any::<bool>(),
    ) {
        let options = if allowed { ReadOptions::default().allow_skips() } else { ReadOptions::default() };
        let width = match query.scope() {
            None | Some(Source::Stream(_)) => Order::Stream,
            Some(Source::Category(_)) => Order::Category,
            Some(Source::Log) => Order::Log,
        };
        let too_wide = width > can.order && !allowed;
        let tags = query.uses_tags() && !can.tags;
        let parts = u32::try_from(query_parts(&query)).expect("few");
        let too_many = can.max_query_parts.is_some_and(|most| parts > most.get());
        match can.check_read("x", &query, &options) {
            Ok(()) => prop_assert!(!too_wide && !tags && !too_many),
            Err(Error::Unsupported { what: "tags", .. }) => prop_assert!(tags),
            Err(Error::Unsupported { what, .. }) => prop_assert!(too_wide && what.contains("allow_skips")),
            Err(Error::Invalid(_)) => prop_assert!(too_many),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn capabilities_survive_json(can in capabilities()) {
        let json = serde_json::to_string(&can).expect("capabilities are JSON");
        prop_assert_eq!(serde_json::from_str::<Capabilities>(&json).expect("it was written so"), can);
    }

    /// Also among ids that do not ascend, as those of a caller's own.
    #[test]
    fn a_repeat_is_found_wherever_it_stands(
        ids in vec(any::<u128>(), 2..40), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(),
        sorted in any::<bool>(),
    ) {
        let mut ids: Vec<_> = ids.into_iter().map(|id| EventId::from_uuid(Uuid::from_u128(id))).collect();
        if sorted {
            ids.sort_unstable();
        }
        let count = ids.len();
        let (a, b) = (a.index(count), b.index(count));
        let mut events: Vec<NewEvent> = ids.into_iter().map(|id| event(0, false).with_id(id)).collect();
        prop_assert!(check(ALL, write(events.clone())).is_ok());
        events[b].id = events[a].id;
        match check(ALL, write(events.clone())) {
            Ok(()) => prop_assert_eq!(a, b),
            Err(Error::DuplicateEvent(id)) => prop_assert!(a != b && id == events[a].id),
            Err(other) => prop_assert!(false, "{other}"),
        }
        let (first, second) = events.split_at(count / 2);
        let apart = vec![
            Append::new(STREAMS[0].clone(), first.to_vec(), WriteCondition::Always),
            Append::new(STREAMS[1].clone(), second.to_vec(), WriteCondition::Always),
        ];
        prop_assert_eq!(check(ALL, apart).is_err(), a != b);
    }
}

fn check(can: Capabilities, writes: impl AsRef<[Append]>) -> Result<()> {
    can.check_append("x", writes.as_ref())
}

fn write(events: Vec<NewEvent>) -> Vec<Append> {
    vec![Append::new(STREAMS[0].clone(), events, WriteCondition::Always)]
}

fn guarded(condition: WriteCondition) -> Vec<Append> {
    vec![Append::guard(STREAMS[0].clone(), condition)]
}

#[test]
fn the_least_adapter_appends_to_one_stream_and_reads_it() {
    assert!(check(Capabilities::NONE, write(vec![event(1, false); 1])).is_ok());
    assert!(check(Capabilities::NONE, []).is_ok());
    assert!(check(Capabilities::NONE, guarded(WriteCondition::StreamExists)).is_ok());
    let query = Query::from(STREAMS[0].clone());
    assert!(Capabilities::NONE.check_read("x", &query, &ReadOptions::default()).is_ok());
}

#[test]
fn one_stream_twice_is_a_mistake() {
    let twice = |n: usize| {
        [0, 1, n].map(|n| Append::guard(STREAMS[n].clone(), WriteCondition::Always)).to_vec()
    };
    assert!(check(ALL, twice(2)).is_ok());
    let why = check(ALL, twice(0)).expect_err("a/b.c comes twice").to_string();
    assert_eq!(why, "invalid call: stream a/b.c is written to twice in one call");
}

#[test]
fn limits_name_both_sides() {
    let can = ALL
        .with_max_events_per_append(NonZeroU32::new(2))
        .with_max_payload_bytes(NonZeroU32::new(3))
        .with_max_append_bytes(NonZeroU32::new(5))
        .with_max_query_parts(NonZeroU32::new(4));
    let events = |count: usize, bytes: usize| (0..count).map(|_| event(bytes, false)).collect();
    assert!(check(can, write(events(1, 3))).is_ok());
    assert!(check(can, write(events(2, 2))).is_ok());
    let why =
        |count, bytes| check(can, write(events(count, bytes))).expect_err("too much").to_string();
    assert_eq!(why(3, 3), "invalid call: at most 2 events in one call, got 3");
    assert_eq!(why(2, 4), "invalid call: a payload has at most 3 bytes, got 4");
    assert_eq!(
        why(2, 3),
        "invalid call: at most 5 bytes of payloads and metadata in one call, got 6"
    );
    let noted = Metadata::json(&serde_json::json!({})).expect("valid");
    let noted = (0..2).map(|_| event(1, false).with_metadata(noted.clone())).collect();
    let noted = check(can, write(noted)).expect_err("metadata counts").to_string();
    assert_eq!(noted, "invalid call: at most 5 bytes of payloads and metadata in one call, got 6");

    let query = |names: usize| {
        let names = vec![NAMES[0].clone(); names];
        let item = QueryItem::new(STREAMS[0].clone()).with_names(names).expect("valid");
        Query::from(item.with_ids([EventId::generate()]).with_tags(tags()))
    };
    let can = can.with_known_ids(annals::KnownIds::Forever);
    let guard = |names| {
        guarded(WriteCondition::Any(vec![WriteCondition::no_match(
            query(names),
            SequenceNumber::START,
        )]))
    };
    assert!(check(can, guard(1)).is_ok());
    assert_eq!(
        check(can, guard(2)).expect_err("too wide").to_string(),
        "invalid call: the conditions of a call have at most 4 items, names, ids and tags together, got 5"
    );
    let options = ReadOptions::default();
    assert!(can.check_read("x", &query(1), &options).is_ok());
    assert_eq!(
        can.check_read("x", &query(2), &options).expect_err("too wide").to_string(),
        "invalid call: a query has at most 4 items, names, ids and tags together, got 5"
    );
}

#[test]
fn conditions_nest_so_deep_and_no_deeper() {
    let query = || WriteCondition::no_match(Source::Log, SequenceNumber::START);
    let custom = || WriteCondition::custom(LastIs(NAMES[0].clone()));
    for leaf in [WriteCondition::StreamIsEmpty, query(), custom()] {
        let nested = |depth: usize| {
            let wrap = |inner| WriteCondition::All(vec![WriteCondition::Always, inner]);
            guarded((1..depth).fold(leaf.clone(), |inner, _| wrap(inner)))
        };
        assert!(check(ALL, nested(MAX_CONDITION_DEPTH)).is_ok());
        for depth in [MAX_CONDITION_DEPTH + 1, 1_000] {
            let why = check(ALL, nested(depth)).expect_err("too deep").to_string();
            assert_eq!(why, "invalid call: a condition nests at most 64 deep");
        }
    }
    let wide = WriteCondition::Any((0..1_000).map(|_| query()).collect());
    assert!(check(ALL, guarded(wide)).is_ok());
}

#[test]
fn times_that_some_store_cannot_keep_are_refused() {
    let at = |time| check(ALL, write(vec![event(0, false).with_occurred_at(time)])).is_ok();
    for kept in [
        datetime!(0001-01-01 0:00 UTC),
        datetime!(9999-12-31 23:59:59.999_999_999 UTC),
        datetime!(0000-12-31 23:30 -1),
        datetime!(1969-12-31 23:59:59.999_999_999 UTC),
    ] {
        assert!(at(kept), "{kept}");
    }
    for refused in [
        datetime!(0000-12-31 23:59:59.999_999_999 UTC),
        datetime!(-2000-01-01 0:00 UTC),
        datetime!(0001-01-01 0:30 +1),
        datetime!(9999-12-31 23:30 UTC).replace_offset(offset!(-1)),
    ] {
        assert!(!at(refused), "{refused}");
    }
}

#[test]
fn an_id_twice_is_a_duplicate_even_where_payloads_differ() {
    let id = EventId::generate();
    let twice = vec![event(1, false).with_id(id), event(2, false), event(3, false).with_id(id)];
    assert!(matches!(check(ALL, write(twice)), Err(Error::DuplicateEvent(found)) if found == id));
}
