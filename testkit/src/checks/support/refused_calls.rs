//! Calls that must be refused, one of every kind that the declared capabilities leave.

use annals::{Append, Error, NewEvent, Query, QueryItem, SequenceNumber, StreamId, WriteCondition};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::checks::custom::LastIs;
use crate::checks::support::judged_conditions::{Form, at};
use crate::checks::support::ledger::{Ledger, always, light, most};
use crate::storage::Feature;
use crate::subject::Subject;

/// A call, and how it must be refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) why: &'static str,
    pub(crate) call: Vec<Append>,
    pub(crate) is: fn(&Error) -> bool,
}

fn is_unsupported(error: &Error) -> bool {
    matches!(error, Error::Unsupported { .. })
}

fn is_invalid(error: &Error) -> bool {
    matches!(error, Error::Invalid(_))
}

/// Times outside the years 1 to 9999 of UTC, and such as are only there by their offset.
pub(crate) fn impossible_times() -> Vec<OffsetDateTime> {
    vec![
        datetime!(0000-12-31 23:59:59.999999999 UTC),
        datetime!(0000-02-29 12:00 UTC),
        datetime!(-0001-06-01 00:00 UTC),
        datetime!(-4712-01-01 00:00 UTC),
        datetime!(-9999-01-01 00:00 UTC),
        datetime!(0001-01-01 00:59:59 +1),
        datetime!(9999-12-31 23:00:00 -1),
    ]
}

/// Conditions that are not declared, with events and without, alone and among declared ones.
fn undeclared(
    store: &Subject,
    stream: &StreamId,
    conditions: &[WriteCondition],
) -> Vec<Vec<Append>> {
    let forms = Form::all(store);
    let all = conditions
        .iter()
        .flat_map(|condition| forms.iter().map(|form| form.call(store, stream, condition.clone())));
    all.collect()
}

/// Queries that no event is asked by, or any.
fn queries(stream: &StreamId) -> Vec<WriteCondition> {
    let none = |query: Query, after| WriteCondition::no_match(query, after);
    vec![
        none(stream.clone().into(), SequenceNumber::START),
        none(stream.clone().into(), SequenceNumber::MAX),
        none(stream.category.clone().into(), SequenceNumber::START),
        none(Query::all(), SequenceNumber::START),
        none(Query::all(), SequenceNumber::MAX),
    ]
}

/// Compositions with `leaf` at each place, also where the other parts decide.
pub(crate) fn around(leaf: &WriteCondition) -> Vec<WriteCondition> {
    use WriteCondition::{All, Always, Any};
    let never = Any(Vec::new());
    vec![
        All(vec![leaf.clone()]),
        Any(vec![leaf.clone()]),
        All(vec![Always, leaf.clone()]),
        All(vec![leaf.clone(), Always]),
        All(vec![never.clone(), leaf.clone()]),
        Any(vec![Always, leaf.clone()]),
        Any(vec![leaf.clone(), Always]),
        Any(vec![never, leaf.clone()]),
        All(vec![Always, Any(vec![Always, All(vec![leaf.clone()])])]),
        Any(vec![Always, All(vec![Any(vec![leaf.clone(), Always]), Always])]),
    ]
}

/// Calls that need what is not declared.
pub(crate) fn unsupported(
    ledger: &Ledger,
    feature: Feature,
    stream: &StreamId,
) -> Vec<Vec<Append>> {
    let store = &ledger.store;
    let room = most(store);
    match feature {
        Feature::MultiStreamAppend => {
            let others = [("orders", "m-1"), ("users", "m-2")];
            let others = others.map(|(category, name)| store.stream(category, name));
            let write = |to: &StreamId, count: usize| always(to, light(count));
            let mut calls = vec![
                vec![write(stream, 0), write(&others[0], 0)],
                vec![write(stream, 1), write(&others[1], 0)],
                vec![write(&others[0], 0), write(stream, 1)],
            ];
            if room >= 3 {
                calls.push(vec![write(stream, 1), write(&others[0], 1)]);
                calls.push(vec![write(&others[0], 1), write(&others[1], 1), write(stream, 1)]);
            }
            calls
        }
        Feature::QueryConditions => undeclared(store, stream, &queries(stream)),
        Feature::CustomConditions => {
            let last = ledger.stream(stream).last().cloned();
            let conditions = [LastIs(last), LastIs(None)].map(WriteCondition::custom);
            undeclared(store, stream, &conditions)
        }
        Feature::Tags => {
            let tagged = |event: NewEvent| event.with_tags(store.tags(&["tag"]));
            let batch = |count: usize, place: usize| {
                let tag = |(nth, event)| if nth == place { tagged(event) } else { event };
                light(count).into_iter().enumerate().map(tag).collect::<Vec<_>>()
            };
            let mut calls = vec![vec![always(stream, batch(1, 0))]];
            if room >= 5 {
                calls.extend((0..5).map(|place| vec![always(stream, batch(5, place))]));
            }
            if store.capabilities.multi_stream_append && room >= 2 {
                let other = store.stream("users", "tagged");
                calls.push(vec![always(stream, light(1)), always(&other, batch(1, 0))]);
                calls.push(vec![always(&other, batch(1, 0)), always(stream, light(1))]);
            }
            if store.capabilities.query_conditions {
                let tagged = QueryItem::new(stream.clone()).with_tags(store.tags(&["tag"]));
                let plain = QueryItem::new(stream.clone());
                let queries = [
                    vec![tagged.clone()],
                    vec![plain.clone(), tagged.clone()],
                    vec![tagged, plain],
                ];
                let conditions = queries.map(|items| {
                    WriteCondition::no_match(Query::any_of(items), SequenceNumber::MAX)
                });
                calls.extend(undeclared(store, stream, &conditions));
            }
            calls
        }
        _ => Vec::new(),
    }
}

/// The features whose absence a call can run into.
pub(crate) fn lacking(store: &Subject) -> Vec<Feature> {
    let features = [
        Feature::MultiStreamAppend,
        Feature::QueryConditions,
        Feature::CustomConditions,
        Feature::Tags,
    ];
    features.into_iter().filter(|feature| !feature.is_declared(&store.capabilities)).collect()
}

/// One call of each kind that must be refused: `stream` has events, and its first is `known`.
pub(crate) fn every_refusal(ledger: &Ledger, stream: &StreamId) -> Vec<Refusal> {
    let store = &ledger.store;
    let (room, can) = (most(store), store.capabilities);
    let known = ledger.stream(stream)[0].event.clone();
    let fresh = store.stream("orders", "refused");
    let mut all = Vec::new();
    let mut add = |why, call, is| all.push(Refusal { why, call, is });
    let conditions = [
        WriteCondition::StreamIsEmpty,
        at(1_000),
        at(u64::MAX),
        WriteCondition::StreamIsEmpty & WriteCondition::StreamExists,
        WriteCondition::Any(Vec::new()),
    ];
    for condition in conditions {
        let write =
            |count: usize| Append::new(stream.clone(), light(count.min(room)), condition.clone());
        add("the condition does not hold", vec![write(1)], Error::is_condition_failed);
        add("the condition does not hold", vec![write(3)], Error::is_condition_failed);
        add("the condition of the guard does not hold", vec![write(0)], Error::is_condition_failed);
        if can.multi_stream_append && room >= 2 {
            let another = || always(&fresh, light(1));
            add(
                "one condition does not hold",
                vec![another(), write(1)],
                Error::is_condition_failed,
            );
            add(
                "one condition does not hold",
                vec![write(0), another()],
                Error::is_condition_failed,
            );
        }
    }
    let is_duplicate: fn(&Error) -> bool = |error| matches!(error, Error::DuplicateEvent(_));
    for to in [stream, &fresh] {
        let mut batch = light(room.min(3));
        if let Some(last) = batch.last_mut() {
            last.id = known.id;
        }
        add("an event id is known", vec![always(to, batch)], is_duplicate);
        if room >= 2 {
            let mut batch = light(room.min(3));
            let id = batch[0].id;
            batch[1].id = id;
            add("an event id comes twice", vec![always(to, batch)], is_duplicate);
        }
        for time in impossible_times() {
            let mut batch = light(room.min(2));
            if let Some(last) = batch.last_mut() {
                last.occurred_at = time;
            }
            add("a time cannot be stored", vec![always(to, batch)], is_invalid);
        }
    }
    if can.multi_stream_append && room >= 3 {
        let call =
            vec![always(stream, light(1)), always(&fresh, light(1)), always(stream, light(1))];
        add("a stream is named twice", call, is_invalid);
    }
    let deep = (0..annals::MAX_CONDITION_DEPTH)
        .fold(WriteCondition::Always, |inner, _| WriteCondition::All(vec![inner]));
    add(
        "the condition nests too deep",
        vec![Append::new(stream.clone(), light(1), deep)],
        is_invalid,
    );
    if room <= 10_000 {
        add("there are too many events", vec![always(stream, light(room + 1))], is_invalid);
    }
    let largest = can.max_payload_bytes.and_then(|most| usize::try_from(most.get()).ok());
    if let Some(largest) = largest.filter(|largest| *largest <= 16 << 20) {
        let mut batch = light(1);
        batch[0].payload = annals::Payload::bytes(vec![b'x'; largest + 1]);
        add("a payload is too large", vec![always(stream, batch)], is_invalid);
    }
    for feature in lacking(store) {
        for call in unsupported(ledger, feature, stream) {
            add("it is not declared", call, is_unsupported);
        }
    }
    all
}

/// The moments at both ends that can be stored, for a time that is refused one step beyond.
pub(crate) fn outermost_times() -> [OffsetDateTime; 4] {
    let first = datetime!(0001-01-01 00:00:00 UTC);
    let last = datetime!(9999-12-31 23:59:59.999999 UTC);
    [first, first + Duration::microseconds(1), last, datetime!(9999-12-31 23:59:59 +1)]
}
