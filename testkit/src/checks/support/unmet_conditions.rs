//! What a refused append returns, and what it leaves behind.

use annals::{Append, Error, Position, Query, SequenceNumber, StreamId, Unmet, WriteCondition};

use crate::checks::support::ledger::{Ledger, always, describe, light, most};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::error::chain;
use crate::subject::{Context, events};

/// Appends what must be refused because of its condition; returns what the refusal says.
pub(crate) async fn unmet(ledger: &Ledger, writes: Vec<Append>) -> Outcome<Unmet> {
    let described = describe(&writes);
    match ledger.refused(writes, "its condition does not hold").await? {
        Error::ConditionFailed(unmet) => Ok(*unmet),
        other => Err(Failure::new(format!(
            "{described}: expected ConditionFailed, found: {}",
            chain(&other)
        ))),
    }
}

/// What a refusal must tell: one of these leaves, and whether an event was found that matches.
struct Expected {
    condition: WriteCondition,
    failed: Vec<WriteCondition>,
    matched: bool,
}

impl Expected {
    fn new(
        condition: WriteCondition,
        failed: impl IntoIterator<Item = WriteCondition>,
        matched: bool,
    ) -> Self {
        Self { condition, failed: failed.into_iter().collect(), matched }
    }
}

/// Conditions that do not hold of `stream`, and what their refusals must tell.
fn unmet_conditions(ledger: &Ledger, stream: &StreamId) -> Vec<Expected> {
    use WriteCondition::{All, Always, Any, StreamExists, StreamIsEmpty};
    let at = |position| WriteCondition::PositionIs(Position::new(position));
    let length = ledger.stream(stream).len() as u64;
    let holds = ledger.as_it_is(stream);
    let state = if length == 0 { StreamExists } else { StreamIsEmpty };
    let (one, two) = (at(length + 3), at(length));
    let both = || Any(vec![one.clone(), two.clone()]);
    let mut all = vec![
        Expected::new(state.clone(), [state.clone()], false),
        Expected::new(one.clone(), [one.clone()], false),
        Expected::new(two.clone(), [two.clone()], false),
        Expected::new(at(u64::MAX), [at(u64::MAX)], false),
        Expected::new(Any(Vec::new()), [Any(Vec::new())], false),
        Expected::new(All(vec![holds.clone(), one.clone()]), [one.clone()], false),
        Expected::new(All(vec![one.clone(), holds.clone()]), [one.clone()], false),
        Expected::new(All(vec![Always, one.clone(), holds.clone()]), [one.clone()], false),
        Expected::new(All(vec![one.clone(), two.clone()]), [one.clone(), two.clone()], false),
        Expected::new(both(), [both()], false),
        Expected::new(Any(vec![one.clone()]), [one.clone(), Any(vec![one.clone()])], false),
        Expected::new(All(vec![holds.clone(), both()]), [both()], false),
        Expected::new(
            Any(vec![All(vec![holds.clone(), one.clone()]), two.clone()]),
            [both()],
            false,
        ),
        Expected::new(All(vec![All(vec![holds.clone(), two.clone()])]), [two.clone()], false),
    ];
    if length > 1 {
        all.push(Expected::new(at(length - 2), [at(length - 2)], false));
    }
    if ledger.store.capabilities.query_conditions && length > 0 {
        let none = |after| WriteCondition::no_match(Query::from(stream.clone()), after);
        let first = none(SequenceNumber::START);
        all.extend([
            Expected::new(first.clone(), [first.clone()], true),
            Expected::new(All(vec![holds.clone(), first.clone()]), [first.clone()], true),
            Expected::new(
                Any(vec![one.clone(), first.clone()]),
                [Any(vec![one.clone(), first.clone()])],
                true,
            ),
        ]);
        if let [.., before, last] = ledger.stream(stream) {
            let met = none(last.sequence_number);
            let unmet = none(before.sequence_number);
            all.push(Expected::new(unmet.clone(), [unmet.clone()], true));
            all.push(Expected::new(All(vec![met.clone(), unmet.clone()]), [unmet], true));
            all.push(Expected::new(All(vec![met, one.clone()]), [one], false));
        }
    }
    all
}

/// Proves a refusal of `condition` on `stream`.
fn tells(ledger: &Ledger, stream: &StreamId, expected: &Expected, unmet: &Unmet) -> Outcome {
    let condition = &expected.condition;
    ensure_eq!(unmet.stream, *stream, "the stream that the refusal of \"{condition}\" names");
    let head = ledger.stream(stream).last().map(|last| last.position);
    ensure_eq!(
        unmet.actual,
        head,
        "the position that the refusal of \"{condition}\" tells of {stream}"
    );
    ensure!(
        expected.failed.contains(&unmet.failed),
        "the refusal of \"{condition}\" names \"{}\", expected {}",
        unmet.failed,
        expected.failed.iter().map(|leaf| format!("\"{leaf}\"")).collect::<Vec<_>>().join(" or ")
    );
    let Some(number) = unmet.matched else {
        ensure!(
            !expected.matched,
            "the refusal of \"{condition}\" does not tell the event that matches"
        );
        return Ok(());
    };
    ensure!(
        expected.matched,
        "the refusal of \"{condition}\" tells of event {number}, which it did not ask for"
    );
    let queries = unmet.failed.queries();
    let event = ledger.stream(stream).iter().find(|event| event.sequence_number == number);
    let asked = |event: &annals::StoredEvent| {
        queries.iter().any(|(query, after)| number > *after && query.matches(event))
    };
    ensure!(
        event.is_some_and(asked),
        "the refusal of \"{condition}\" tells of event {number}, which does not match"
    );
    Ok(())
}

pub(crate) async fn error_detail(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let streams = [("orders", "a", 0), ("orders", "b", 1), ("users", "a", 2), ("orders", "c", 7)]
        .map(|(category, name, count)| (ledger.store.stream(category, name), count));
    for (stream, count) in &streams {
        for _ in 0..*count {
            ledger.one(stream, events(1), WriteCondition::Always).await?;
        }
    }
    for turn in 0..2 {
        for (stream, _) in &streams {
            for expected in unmet_conditions(&ledger, stream) {
                let condition = &expected.condition;
                for count in [0, 1, 2].map(|count: usize| count.min(room)) {
                    let write = Append::new(stream.clone(), light(count), condition.clone());
                    let found = unmet(&ledger, vec![write]).await?;
                    tells(&ledger, stream, &expected, &found)?;
                }
            }
        }
        beside_others(&ledger, &streams.each_ref().map(|(stream, _)| stream)).await?;
        // The same after more appends, through another handle: what it tells is not what once was.
        for (stream, _) in streams.iter().skip(1 - turn) {
            ledger.one(stream, events(room.min(2)), ledger.as_it_is(stream)).await?;
        }
        ledger = ledger.through(cx.open().await?);
    }
    ledger.verify("after refusals").await
}

/// In a call over several streams the refusal names the one that was refused; of several, of any.
async fn beside_others(ledger: &Ledger, streams: &[&StreamId; 4]) -> Outcome {
    if !ledger.store.capabilities.multi_stream_append || most(&ledger.store) < 8 {
        return Ok(());
    }
    for (bad, stream) in streams.iter().enumerate() {
        for expected in unmet_conditions(ledger, stream) {
            for start in [0, 1, bad] {
                let mut call: Vec<_> = streams
                    .iter()
                    .map(|to| Append::new((*to).clone(), light(1), ledger.as_it_is(to)))
                    .collect();
                call[bad].condition = expected.condition.clone();
                call.rotate_left(start);
                let found = unmet(ledger, call).await?;
                tells(ledger, stream, &expected, &found)?;
            }
        }
    }
    let cases = streams.map(|stream| (stream, unmet_conditions(ledger, stream).swap_remove(1)));
    for first in 0..4 {
        for second in (0..4).filter(|second| *second != first) {
            let two = [first, second].map(|nth| (cases[nth].0, &cases[nth].1));
            let call = two.map(|(to, it)| Append::new(to.clone(), light(1), it.condition.clone()));
            let found = unmet(ledger, call.to_vec()).await?;
            let told = two.map(|(to, it)| tells(ledger, to, it, &found));
            ensure!(
                told.iter().any(Result::is_ok),
                "the refusal \"{found}\" of two writes to {} and {} fits neither",
                two[0].0,
                two[1].0
            );
        }
    }
    Ok(())
}

pub(crate) async fn stores_nothing(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let existing = ledger.store.stream("orders", "existing");
    let fresh = ledger.store.stream("orders", "fresh");
    let lonely = ledger.store.stream("invoices", "lonely");
    ledger.one(&existing, events(room.min(3)), WriteCondition::Always).await?;
    let others = [&fresh, &lonely];
    for round in 0..2 {
        for count in [1, 2, 100].map(|count: usize| count.min(room)) {
            for stream in [&existing, &fresh, &lonely] {
                for expected in unmet_conditions(&ledger, stream) {
                    let write = Append::new(stream.clone(), light(count), expected.condition);
                    let mut calls = vec![vec![write.clone()]];
                    if ledger.store.capabilities.multi_stream_append && room > count {
                        let another =
                            || always(&ledger.store.stream("beside", "another"), events(1));
                        calls.push(vec![write.clone(), another()]);
                        calls.push(vec![another(), write]);
                    }
                    for call in calls {
                        unmet(&ledger, call).await?;
                    }
                }
                // Neither at once, nor with the next append, nor by another handle.
                ledger.verify_with(&others, "after refused appends").await?;
            }
        }
        ledger.one(&existing, events(1), ledger.as_it_is(&existing)).await?;
        ledger.verify_with(&others, "after refused appends and one that was done").await?;
        ledger.verify_no_hole("after refused appends").await?;
        ledger = ledger.through(cx.open().await?);
        ledger.verify_with(&others, "after refused appends, by another handle").await?;
        if round == 0 {
            let conditions = unmet_conditions(&ledger, &fresh).into_iter();
            let batches = conditions.map(|expected| (light(room.min(2)), expected.condition));
            for (batch, condition) in batches {
                let write = Append::new(fresh.clone(), batch.clone(), condition);
                unmet(&ledger, vec![write]).await?;
                // The same events may come again where they are allowed.
                ledger.one(&existing, batch, ledger.as_it_is(&existing)).await?;
            }
        }
    }
    for stream in [&fresh, &lonely] {
        ledger.one(stream, events(1), WriteCondition::StreamIsEmpty).await?;
    }
    ledger.verify("after refused appends and some that were done").await?;
    ledger.verify_no_hole("after refused appends").await
}
