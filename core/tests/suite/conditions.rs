//! Write conditions against a second definition, over random logs; the laws of `&` and `|`.

use annals::adapter::Facts;
use annals::{
    Error, MAX_CONDITION_DEPTH, Position, SequenceNumber, Source, StoredEvent, StreamId, Unmet,
    WriteCondition,
};
use proptest::prelude::*;

use crate::queries::asks;
use crate::strategies::{LastIs, NAMES, Plan, STREAMS, leaf, log, plan, query, stream};

fn of_stream<'a>(
    log: &'a [StoredEvent],
    stream: &'a StreamId,
) -> impl Iterator<Item = &'a StoredEvent> {
    log.iter().filter(move |event| event.stream == *stream)
}

/// Whether a leaf holds, said a second time, by looking at the log itself.
fn leaf_holds(leaf: &WriteCondition, log: &[StoredEvent], stream: &StreamId) -> bool {
    let length = of_stream(log, stream).count() as u64;
    match leaf {
        WriteCondition::Always => true,
        WriteCondition::StreamIsEmpty => length == 0,
        WriteCondition::StreamExists => length != 0,
        WriteCondition::PositionIs(position) => length == position.value() + 1,
        WriteCondition::NoMatch { query, after } => {
            !log.iter().any(|event| event.sequence_number > *after && asks(query, event))
        }
        other => panic!("{other} is no leaf"),
    }
}

fn holds(plan: &Plan, log: &[StoredEvent], stream: &StreamId) -> bool {
    match plan {
        Plan::Leaf(leaf) => leaf_holds(leaf, log, stream),
        Plan::LastIs(name) => {
            of_stream(log, stream).last().is_some_and(|last| last.event.name == *name)
        }
        Plan::All(parts) => !parts.iter().any(|part| !holds(part, log, stream)),
        Plan::Any(parts) => parts.iter().any(|part| holds(part, log, stream)),
    }
}

/// What an adapter would look up; of several events that match, the `pick`th.
fn facts(condition: &WriteCondition, log: &[StoredEvent], stream: &StreamId, pick: usize) -> Facts {
    let found = |(query, after): (&_, SequenceNumber)| {
        let matching: Vec<_> = log
            .iter()
            .filter(|event| event.sequence_number > after && asks(query, event))
            .collect();
        matching.get(pick % matching.len().max(1)).map(|event| event.sequence_number)
    };
    let last = of_stream(log, stream).last();
    let facts = Facts::new(last.map(|last| last.position))
        .with_matches(condition.queries().into_iter().map(found).collect());
    if condition.needs_last_event() {
        return facts.with_last(last.cloned());
    }
    let needs_id = condition.needs_last_id();
    facts.with_last_id(last.filter(|_| needs_id).map(StoredEvent::id))
}

fn judged(condition: &WriteCondition, log: &[StoredEvent], stream: &StreamId) -> Option<Unmet> {
    match condition.evaluate(stream, &facts(condition, log, stream, 0)) {
        Ok(()) => None,
        Err(Error::ConditionFailed(unmet)) => Some(*unmet),
        Err(other) => panic!("{other}"),
    }
}

fn accepted(plan: &Plan, log: &[StoredEvent], stream: &StreamId) -> bool {
    judged(&plan.condition(), log, stream).is_none()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn evaluation_agrees_with_the_second_definition(
        plan in plan(), log in log(), stream in stream(), pick in 0usize..4,
    ) {
        let condition = plan.condition();
        let outcome = condition.evaluate(&stream, &facts(&condition, &log, &stream, pick));
        prop_assert_eq!(outcome.is_ok(), holds(&plan, &log, &stream), "{}", condition);
    }

    /// A refusal names the stream, its head, leaves that do not hold, and an event that does match.
    #[test]
    fn a_refusal_tells_what_did_not_hold(plan in plan(), log in log(), stream in stream(), pick in 0usize..4) {
        let condition = plan.condition();
        let outcome = condition.evaluate(&stream, &facts(&condition, &log, &stream, pick));
        let Err(Error::ConditionFailed(unmet)) = outcome else { return Ok(()) };
        prop_assert_eq!(&unmet.stream, &stream);
        prop_assert_eq!(unmet.actual, of_stream(&log, &stream).last().map(|last| last.position));
        let leaves = match &unmet.failed {
            WriteCondition::Any(leaves) => leaves.as_slice(),
            leaf => std::slice::from_ref(leaf),
        };
        let mut queries = Vec::new();
        for leaf in leaves {
            match leaf {
                WriteCondition::All(_) | WriteCondition::Any(_) => prop_assert!(false, "{leaf} is no leaf"),
                WriteCondition::Custom(predicate) => {
                    prop_assert!(!predicate.holds(of_stream(&log, &stream).last()));
                }
                leaf => prop_assert!(!leaf_holds(leaf, &log, &stream), "{leaf} holds"),
            }
            if let WriteCondition::NoMatch { query, after } = leaf {
                queries.push((query, *after));
            }
        }
        prop_assert_eq!(unmet.matched.is_some(), !queries.is_empty());
        if let Some(number) = unmet.matched {
            let event = log.iter().find(|event| event.sequence_number == number).expect("an event of the log");
            prop_assert!(queries.iter().any(|(query, after)| number > *after && asks(query, event)));
        }
    }

    #[test]
    fn and_holds_when_both_do_and_or_when_either_does(
        a in plan(), b in plan(), log in log(), stream in stream(),
    ) {
        let (x, y) = (a.condition(), b.condition());
        let (ok_x, ok_y) = (holds(&a, &log, &stream), holds(&b, &log, &stream));
        prop_assert_eq!(judged(&(x.clone() & y.clone()), &log, &stream).is_none(), ok_x && ok_y);
        prop_assert_eq!(judged(&(x | y), &log, &stream).is_none(), ok_x || ok_y);
    }

    #[test]
    fn composition_has_no_order_and_no_nesting(a in leaf(), b in leaf(), c in leaf()) {
        let [a, b, c] = [a, b, c].map(|leaf| leaf.condition());
        let and = |a: &WriteCondition, b: &WriteCondition| a.clone() & b.clone();
        let or = |a: &WriteCondition, b: &WriteCondition| a.clone() | b.clone();
        for compose in [and as fn(&_, &_) -> _, or] {
            prop_assert_eq!(compose(&a, &b), compose(&b, &a));
            prop_assert_eq!(compose(&compose(&a, &b), &c), compose(&a, &compose(&b, &c)));
            let (WriteCondition::All(parts) | WriteCondition::Any(parts)) = compose(&compose(&a, &b), &c) else {
                return Err(TestCaseError::fail("not a composition"));
            };
            prop_assert_eq!(parts, vec![a.clone(), b.clone(), c.clone()]);
        }
        prop_assert_ne!(and(&a, &b), or(&a, &b));
        prop_assert_ne!(and(&a, &b), and(&and(&a, &b), &b));
    }

    #[test]
    fn and_distributes_over_or(a in plan(), b in plan(), c in plan(), log in log(), stream in stream()) {
        let apart = Plan::Any(vec![Plan::All(vec![a.clone(), b.clone()]), Plan::All(vec![a.clone(), c.clone()])]);
        let joined = Plan::All(vec![a, Plan::Any(vec![b, c])]);
        prop_assert_eq!(accepted(&joined, &log, &stream), accepted(&apart, &log, &stream));
    }

    /// An adapter that forgets an answer is told so; it never passes for one that holds.
    #[test]
    fn a_missing_answer_is_an_error(
        a in plan(), b in plan(), asked in query(), log in log(), stream in stream(),
    ) {
        let asked = WriteCondition::no_match(asked, SequenceNumber::START);
        let condition = WriteCondition::Any(vec![a.condition(), asked, b.condition()]);
        let mut facts = facts(&condition, &log, &stream, 0);
        prop_assert!(facts.matches.pop().is_some());
        prop_assert!(matches!(condition.evaluate(&stream, &facts), Err(Error::Invalid(_))));
    }
}

#[test]
fn of_nothing_all_holds_and_any_does_not() {
    let judged = |condition: WriteCondition| condition.evaluate(&STREAMS[0], &Facts::default());
    assert!(judged(WriteCondition::All(Vec::new())).is_ok());
    let refusal =
        judged(WriteCondition::Any(Vec::new())).expect_err("of no alternatives none holds");
    assert_eq!(refusal.to_string(), "stream a/b.c is empty, expected one of no alternatives");
}

#[test]
fn refusals_name_both_sides() {
    let stream = StreamId::from_static("orders", "o-1");
    let head = Some(Position::new(4));
    let matched = Some(SequenceNumber::new(9));
    let facts = Facts::new(head).with_matches(vec![matched]);
    let refusal = |condition: &WriteCondition| {
        condition.evaluate(&stream, &facts).expect_err("does not hold").to_string()
    };
    let three = WriteCondition::PositionIs(Position::new(3));
    let quiet = WriteCondition::no_match(Source::Log, SequenceNumber::new(7));
    let opened = WriteCondition::custom(LastIs(NAMES[0].clone()));
    assert_eq!(refusal(&three), "stream orders/o-1 is at position 4, expected 3");
    assert_eq!(
        refusal(&(three.clone() | WriteCondition::StreamIsEmpty)),
        "stream orders/o-1 is at position 4, expected 3 or an empty stream"
    );
    assert_eq!(
        refusal(&(WriteCondition::StreamExists & three)),
        "stream orders/o-1 is at position 4, expected 3"
    );
    assert_eq!(
        refusal(&quiet),
        "stream orders/o-1 is at position 4 and event 9 matches, expected no event of the log after 7"
    );
    assert_eq!(
        refusal(&opened),
        "stream orders/o-1 is at position 4, expected a last event named opened"
    );
}

#[test]
fn a_custom_condition_is_equal_to_itself_only() {
    let one = WriteCondition::custom(LastIs(NAMES[0].clone()));
    assert_eq!(one, one.clone());
    assert_ne!(one, WriteCondition::custom(LastIs(NAMES[0].clone())));
}

/// Deep conditions cost no stack where they come from a caller that nobody has checked yet.
#[test]
fn leaves_of_deep_conditions_are_found_without_recursion() {
    let query = WriteCondition::no_match(Source::Log, SequenceNumber::START);
    let deep = (0..MAX_CONDITION_DEPTH * 20).fold(query, |inner, nth| match nth % 2 {
        0 => WriteCondition::All(vec![inner]),
        _ => WriteCondition::Any(vec![inner]),
    });
    assert_eq!(deep.queries().len(), 1);
    assert!(!deep.needs_last_event());
}
