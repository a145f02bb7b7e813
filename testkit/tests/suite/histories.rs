//! Histories made by hand: right ones pass, each wrong one is called by its name.

use annals::Order;
use annals_testkit::history::{Anomaly, History, Operation};
use annals_testkit::model::{
    Condition, Event, Item, Mark, Op, Outcome, Part, Scope, Stored, Write,
};

fn e(id: u32) -> Event {
    Event { id, name: 0, tags: Vec::new() }
}

/// Event `id` of `stream` at `position`, `number`.
fn at(id: u32, stream: u8, position: u64, number: u64) -> Stored {
    Stored { event: e(id), stream, position, number }
}

fn write(stream: u8, ids: &[u32], condition: Condition) -> Write {
    Write { stream, events: ids.iter().map(|id| e(*id)).collect(), condition }
}

fn append(stream: u8, ids: &[u32], condition: Condition) -> Op {
    Op::Append(vec![write(stream, ids, condition)])
}

fn add(stream: u8, ids: &[u32]) -> Op {
    append(stream, ids, Condition::Always)
}

fn of(source: Scope) -> Vec<Item> {
    vec![Item { source, names: Vec::new(), tags: Vec::new() }]
}

fn part() -> Part {
    Part { after: Mark::At(0), until: None, limit: None, backward: false }
}

fn scan() -> Op {
    Op::Read(Vec::new(), part())
}

fn stream(stream: u8) -> Op {
    Op::Read(of(Scope::Stream(stream)), part())
}

fn last() -> Op {
    Op::Read(Vec::new(), Part { limit: Some(1), backward: true, ..part() })
}

fn done(events: &[Stored]) -> Outcome {
    Outcome::Appended(events.to_vec())
}

fn read(events: &[Stored]) -> Outcome {
    Outcome::Read(events.to_vec())
}

/// Operations as client, begin, end, call, answer.
type Row = (usize, u64, u64, Op, Outcome);

fn history(order: Order, rows: Vec<Row>, log: &[Stored]) -> History {
    let operation = |(client, invoked, returned, op, outcome)| Operation {
        client,
        invoked,
        returned,
        op,
        outcome,
    };
    History { order, operations: rows.into_iter().map(operation).collect(), log: log.to_vec() }
}

#[track_caller]
fn good(order: Order, rows: Vec<Row>, log: &[Stored]) {
    let history = history(order, rows, log);
    assert_eq!(history.check(), Ok(()));
    assert_eq!(History::from_json(&history.to_json()).ok(), Some(history));
}

#[track_caller]
fn bad(expected: Anomaly, rows: Vec<Row>, log: &[Stored]) {
    bad_in(Order::Log, expected, rows, log);
}

#[track_caller]
fn bad_in(order: Order, expected: Anomaly, rows: Vec<Row>, log: &[Stored]) {
    let history = history(order, rows, log);
    let Err(violation) = history.check() else { panic!("expected {expected:?}") };
    assert_eq!(violation.anomaly, expected, "{violation}");
    let html = history.to_html();
    assert!(html.contains(&format!("{expected:?}")));
    assert_eq!(
        html.contains("class=\"op") && html.contains(" bad\""),
        violation.operation.is_some()
    );
}

use Condition::{AsSeen, PositionIs, StreamExists, StreamIsEmpty};
const A: fn() -> Stored = || at(1, 0, 0, 1);
const B: fn() -> Stored = || at(2, 0, 1, 2);

#[test]
fn nothing_happened() {
    good(Order::Log, vec![(0, 0, 1, scan(), read(&[]))], &[]);
}

#[test]
fn one_after_the_other() {
    let rows = vec![
        (0, 0, 1, append(0, &[1], StreamIsEmpty), done(&[A()])),
        (1, 2, 3, append(0, &[2], PositionIs(0)), done(&[B()])),
        (1, 4, 5, stream(0), read(&[A(), B()])),
        (0, 6, 7, last(), read(&[B()])),
    ];
    good(Order::Log, rows, &[A(), B()]);
}

#[test]
fn overlapping_appends_commit_in_any_order() {
    let rows = vec![(0, 0, 3, add(0, &[2]), done(&[B()])), (1, 1, 2, add(0, &[1]), done(&[A()]))];
    good(Order::Log, rows, &[A(), B()]);
}

#[test]
fn an_overlapping_read_sees_it_or_not() {
    for seen in [vec![], vec![A()]] {
        let rows = vec![(0, 0, 3, add(0, &[1]), done(&[A()])), (1, 1, 2, scan(), read(&seen))];
        good(Order::Log, rows, &[A()]);
    }
}

#[test]
fn a_live_read_sees_what_committed_while_it_ran() {
    let rows = vec![
        (0, 0, 1, add(0, &[1]), done(&[A()])),
        (1, 2, 5, scan(), read(&[A(), B()])),
        (0, 3, 4, add(0, &[2]), done(&[B()])),
    ];
    good(Order::Log, rows.clone(), &[A(), B()]);
    let mut snapshot = rows;
    snapshot[1].4 = read(&[A()]);
    good(Order::Log, snapshot, &[A(), B()]);
}

#[test]
fn numbers_may_have_gaps() {
    let (a, b) = (at(1, 0, 0, 7), at(2, 1, 0, 1_000));
    let rows = vec![
        (0, 0, 1, add(0, &[1]), done(std::slice::from_ref(&a))),
        (0, 2, 3, add(1, &[2]), done(std::slice::from_ref(&b))),
    ];
    good(Order::Log, rows, &[a, b]);
}

#[test]
fn an_unknown_append_is_there_or_not_or_comes_later() {
    let unknown = (0, 0, 1, add(0, &[1, 2]), Outcome::Unknown);
    good(Order::Log, vec![unknown.clone()], &[]);
    good(Order::Log, vec![unknown.clone()], &[A(), B()]);
    let late = vec![unknown, (1, 2, 3, scan(), read(&[])), (1, 4, 5, scan(), read(&[A(), B()]))];
    good(Order::Log, late, &[A(), B()]);
}

#[test]
fn a_refusal_has_its_reason_while_it_runs() {
    let rows = vec![
        (0, 0, 3, append(0, &[1], StreamIsEmpty), done(&[A()])),
        (1, 1, 2, append(0, &[3], StreamIsEmpty), Outcome::ConditionFailed),
    ];
    good(Order::Log, rows, &[A()]);
}

#[test]
fn a_repeated_append_is_a_duplicate_whatever_its_condition() {
    let rows = vec![
        (0, 0, 1, append(0, &[1], StreamIsEmpty), done(&[A()])),
        (0, 2, 3, append(0, &[1], StreamIsEmpty), Outcome::Duplicate),
        (1, 4, 5, add(1, &[8, 8]), Outcome::Duplicate),
    ];
    good(Order::Log, rows, &[A()]);
}

#[test]
fn an_unavailable_append_is_absent_and_its_ids_are_free() {
    let rows =
        vec![(0, 0, 1, add(0, &[1]), Outcome::Unavailable), (0, 2, 3, add(0, &[1]), done(&[A()]))];
    good(Order::Log, rows, &[A()]);
}

#[test]
fn several_streams_and_guards() {
    let (a, b) = (at(1, 0, 0, 1), at(2, 2, 0, 2));
    let both = Op::Append(vec![
        write(0, &[1], StreamIsEmpty),
        write(2, &[2], StreamIsEmpty),
        write(1, &[], StreamIsEmpty),
    ]);
    let guard = append(0, &[], StreamExists);
    let twice = Op::Append(vec![write(0, &[5], StreamIsEmpty), write(0, &[6], StreamIsEmpty)]);
    let rows = vec![
        (0, 0, 1, both, done(&[a.clone(), b.clone()])),
        (0, 2, 3, guard, done(&[])),
        (0, 4, 5, twice, Outcome::Invalid),
        (0, 6, 7, Op::Append(Vec::new()), done(&[])),
    ];
    good(Order::Log, rows, &[a, b]);
}

#[test]
fn a_weaker_order_binds_only_its_scope() {
    // Across categories numbers and time disagree; inside they agree.
    let (a, b) = (at(1, 0, 0, 9), at(2, 2, 0, 3));
    let rows = vec![
        (0, 0, 1, add(0, &[1]), done(std::slice::from_ref(&a))),
        (0, 2, 3, add(2, &[2]), done(std::slice::from_ref(&b))),
        (1, 4, 5, stream(2), read(std::slice::from_ref(&b))),
    ];
    good(Order::Category, rows.clone(), &[a.clone(), b.clone()]);
    good(Order::Stream, rows.clone(), &[a.clone(), b.clone()]);
    bad(Anomaly::RealTimeInversion, rows, &[b, a]);
}

#[test]
fn the_order_of_a_stream_binds_in_it() {
    let rows = vec![(0, 0, 1, add(0, &[2]), done(&[B()])), (0, 2, 3, add(0, &[1]), done(&[A()]))];
    bad_in(Order::Stream, Anomaly::RealTimeInversion, rows, &[A(), B()]);
}

#[test]
fn conditions_on_queries() {
    let none = |after| Condition::NoMatch { query: of(Scope::Category(0)), after: Mark::At(after) };
    let rows = |after| {
        vec![
            (0, 0, 1, add(0, &[1]), done(&[A()])),
            (1, 2, 3, append(0, &[2], Condition::All(vec![AsSeen, none(after)])), done(&[B()])),
        ]
    };
    good(Order::Log, rows(1), &[A(), B()]);
    bad(Anomaly::ConditionDidNotHold, rows(0), &[A(), B()]);
}

#[test]
fn lost_update() {
    let rows = vec![
        (0, 0, 3, append(0, &[1], StreamIsEmpty), done(&[A()])),
        (1, 1, 2, append(0, &[2], StreamIsEmpty), done(&[B()])),
    ];
    bad(Anomaly::LostUpdate, rows, &[A(), B()]);
}

#[test]
fn log_that_is_not_whole() {
    let one = vec![(0, 0, 1, add(0, &[1, 2]), done(&[A(), B()]))];
    bad(Anomaly::LogOutOfOrder, one.clone(), &[B(), A()]);
    bad(Anomaly::RepeatedNumber, one.clone(), &[A(), at(2, 0, 1, 1)]);
    bad(Anomaly::StoredTwice, one.clone(), &[A(), at(1, 0, 1, 2)]);
    bad(Anomaly::PositionHole, one.clone(), &[A(), at(2, 0, 2, 2)]);
    bad(Anomaly::RepeatedPosition, one.clone(), &[A(), at(2, 0, 0, 2)]);
    bad(Anomaly::PhantomEvent, one.clone(), &[A(), B(), at(9, 0, 2, 3)]);
    bad(Anomaly::AcknowledgedMissing, one.clone(), &[A()]);
    bad(Anomaly::AcknowledgedDiffers, one, &[A(), at(2, 0, 1, 3)]);
}

#[test]
fn refused_but_there() {
    for outcome in [Outcome::ConditionFailed, Outcome::Duplicate, Outcome::Unavailable] {
        let rows = vec![(0, 0, 1, append(0, &[1], StreamExists), outcome)];
        bad(Anomaly::RefusedPresent, rows, &[A()]);
    }
}

#[test]
fn unknown_and_half_there() {
    let rows = vec![(0, 0, 1, add(0, &[1, 2]), Outcome::Unknown)];
    bad(Anomaly::PartlyStored, rows, &[A()]);
}

#[test]
fn batches() {
    let unknown = |ids: &[u32]| vec![(0, 0, 1, add(0, ids), Outcome::Unknown)];
    bad(Anomaly::BatchOutOfOrder, unknown(&[2, 1]), &[A(), B()]);
    let (x, y) = (at(1, 0, 0, 1), at(2, 0, 2, 3));
    let rows = vec![
        (0, 0, 3, add(0, &[1, 2]), done(&[x.clone(), y.clone()])),
        (1, 1, 2, add(0, &[3]), done(&[at(3, 0, 1, 2)])),
    ];
    bad(Anomaly::InterleavedBatch, rows, &[x, at(3, 0, 1, 2), y]);
}

#[test]
fn refusals_without_reason() {
    let empty = |outcome| vec![(0, 0, 1, append(0, &[1], StreamIsEmpty), outcome)];
    bad(Anomaly::UnjustifiedRefusal, empty(Outcome::ConditionFailed), &[]);
    bad(Anomaly::UnjustifiedDuplicate, empty(Outcome::Duplicate), &[]);
    bad(Anomaly::InvalidNotTold, empty(Outcome::Invalid), &[]);
    bad(Anomaly::UnexpectedOutcome, empty(Outcome::Failed("deadlock".to_owned())), &[]);
    bad(Anomaly::UnexpectedOutcome, empty(Outcome::Read(Vec::new())), &[]);
    // The reason came only after the answer.
    let mut late = empty(Outcome::ConditionFailed);
    late.push((1, 2, 3, add(0, &[3]), done(&[at(3, 0, 0, 1)])));
    bad(Anomaly::UnjustifiedRefusal, late, &[at(3, 0, 0, 1)]);
}

#[test]
fn known_ids() {
    let again = |op, outcome| vec![(0, 0, 1, add(0, &[1]), done(&[A()])), (0, 2, 3, op, outcome)];
    let refused = again(append(0, &[1], StreamIsEmpty), Outcome::ConditionFailed);
    bad(Anomaly::DuplicateNotTold, refused, &[A()]);
    let accepted = again(add(0, &[1]), done(&[A()]));
    bad(Anomaly::DuplicateNotTold, accepted, &[A()]);
}

#[test]
fn guard_that_did_not_hold() {
    let rows = vec![(0, 0, 1, append(0, &[], StreamExists), done(&[]))];
    bad(Anomaly::ConditionDidNotHold, rows, &[]);
}

#[test]
fn wrong_reads() {
    let c = || at(3, 1, 0, 3);
    let rows = |op, found: &[Stored]| {
        vec![
            (0, 0, 1, add(0, &[1, 2]), done(&[A(), B()])),
            (0, 2, 3, add(1, &[3]), done(&[c()])),
            (1, 4, 5, op, read(found)),
        ]
    };
    let log = [A(), B(), c()];
    let limited = |limit| Op::Read(Vec::new(), Part { limit: Some(limit), ..part() });
    let after = |after| Op::Read(Vec::new(), Part { after: Mark::At(after), ..part() });
    let backward = || Op::Read(Vec::new(), Part { backward: true, ..part() });
    good(Order::Log, rows(limited(2), &[A(), B()]), &log);
    good(Order::Log, rows(after(2), &[c()]), &log);
    good(Order::Log, rows(backward(), &[c(), B(), A()]), &log);
    good(Order::Log, rows(limited(0), &[]), &log);
    bad(Anomaly::StaleRead, rows(scan(), &[]), &log);
    bad(Anomaly::StaleRead, rows(scan(), &[A(), B()]), &log);
    bad(Anomaly::StaleRead, rows(last(), &[B()]), &log);
    bad(Anomaly::StaleRead, rows(limited(3), &[A(), B()]), &log);
    bad(Anomaly::IntermediateRead, rows(scan(), &[A()]), &log);
    bad(Anomaly::SkippedEvent, rows(scan(), &[A(), c()]), &log);
    bad(Anomaly::SkippedEvent, rows(backward(), &[c(), B()]), &log);
    bad(Anomaly::SkippedEvent, rows(limited(2), &[A(), c()]), &log);
    bad(Anomaly::ReadOutOfOrder, rows(scan(), &[B(), A(), c()]), &log);
    bad(Anomaly::ReadOutOfOrder, rows(backward(), &[A(), B(), c()]), &log);
    bad(Anomaly::RepeatedEvent, rows(scan(), &[A(), B(), B(), c()]), &log);
    bad(Anomaly::LimitExceeded, rows(limited(2), &[A(), B(), c()]), &log);
    bad(Anomaly::UnwantedEvent, rows(after(2), &[B(), c()]), &log);
    bad(Anomaly::UnwantedEvent, rows(stream(0), &[A(), B(), c()]), &log);
    bad(Anomaly::PhantomRead, rows(scan(), &[A(), B(), c(), at(9, 0, 2, 9)]), &log);
}

#[test]
fn aborted_read() {
    let rows = vec![
        (0, 0, 3, append(0, &[1], StreamExists), Outcome::ConditionFailed),
        (1, 1, 2, scan(), read(&[A()])),
    ];
    bad(Anomaly::AbortedRead, rows, &[]);
}

#[test]
fn future_read() {
    let rows = vec![(1, 0, 1, scan(), read(&[A()])), (0, 2, 3, add(0, &[1]), done(&[A()]))];
    bad(Anomaly::FutureRead, rows, &[A()]);
}

#[test]
fn reads_that_run_back() {
    let rows = vec![
        (0, 0, 9, add(0, &[1]), done(&[A()])),
        (1, 1, 2, scan(), read(&[A()])),
        (2, 3, 4, scan(), read(&[])),
    ];
    bad(Anomaly::NonMonotonic, rows, &[A()]);
}

#[test]
fn a_refusal_shows_the_state_to_those_after_it() {
    let rows = vec![
        (0, 0, 9, append(0, &[1], StreamIsEmpty), done(&[A()])),
        (1, 1, 2, append(0, &[3], StreamIsEmpty), Outcome::ConditionFailed),
        (2, 3, 4, scan(), read(&[])),
    ];
    bad(Anomaly::NonMonotonic, rows, &[A()]);
}

#[test]
fn text_that_is_no_history() {
    assert!(History::from_json("{\"order\":\"log\"}").is_err());
}
