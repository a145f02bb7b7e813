//! Appends begun behind one that fails. An adapter that judges or sends what comes next before it knows how the one
//! before ended must not leave it judged on what never came to be.

use annals::{
    Append, EventName, NewEvent, Position, Query, QueryItem, SequenceNumber, StreamId,
    WriteCondition,
};

use crate::checks::burst::{Due, judge, run};
use crate::checks::support::ledger::{Ledger, always, light, most};
use crate::engine::{Failure, Outcome};
use crate::storage::{Check, check};
use crate::subject::Context;

pub(super) const CHECKS: &[Check] = &[check!(
    "append.behind_failed",
    [A2 A4 A5 A7],
    Required,
    [],
    behind_failed,
    "what is begun behind a large append that fails is judged on the log without it, and leaves no room for it"
)];

/// Events of the append that fails, and of those around it: enough that adapters which commit one batch while they
/// send the next have a reason to cut between the two halves of a round.
const FAILS: usize = 100;
const AROUND: usize = 60;
/// Every other round on a stream that the failing append would make.
const ROUNDS: usize = 6;

/// The name of the events of the append that fails. It is known before: adapters may wait for what makes a name.
const NAME: &str = "failed";

fn named(count: usize) -> Vec<NewEvent> {
    let mut batch = light(count);
    for event in &mut batch {
        event.name = EventName::from_static(NAME);
    }
    batch
}

/// What one round begins together, in this order, and the events of the failing append that nobody has stored.
struct Round {
    target: StreamId,
    calls: Vec<(Vec<Append>, Due)>,
    fresh: Vec<NewEvent>,
}

impl Round {
    fn new(ledger: &Ledger, nth: usize) -> Outcome<Self> {
        let store = &ledger.store;
        let [home, beside] = ["home", "beside"].map(|name| store.stream("behind", name));
        let made = store.stream("behind", &format!("made{nth}"));
        let target = if nth.is_multiple_of(2) { home.clone() } else { made };
        let Some(known) = ledger.stream(&beside).last().map(|last| last.event.clone()) else {
            return Err(Failure::new("a stream that was appended to is empty"));
        };
        let (room, stored) = (most(store), ledger.stream(&target));
        let fresh = named(FAILS.min(room) - 1);
        let mut batch = fresh.clone();
        let id = known.id;
        batch.push(known);
        let in_two = nth % 3 == 2 && store.capabilities.multi_stream_append && batch.len() >= 2;
        let rest = batch.split_off(if in_two { batch.len() / 2 } else { batch.len() });
        let mut fails = vec![always(&target, batch)];
        if in_two {
            fails.push(always(&beside, rest));
        }
        let of_target = fails[0].events.len();
        let around = || light(AROUND.min(room));
        let mut calls = vec![
            // While it is committed, the others are queued.
            (vec![always(&beside, light(1))], Due::Stored),
            (fails, Due::Known(id)),
            (vec![always(&beside, around())], Due::Stored),
        ];
        // With it the target would end there; without it nothing gets so far.
        let there =
            WriteCondition::PositionIs(Position::new((stored.len() + of_target) as u64 - 1));
        if of_target > 1 {
            calls.push((vec![Append::new(target.clone(), around(), there)], Due::Unmet));
        }
        let as_it_is = ledger.as_it_is(&target);
        calls.push((vec![Append::new(target.clone(), light(1), as_it_is)], Due::Stored));
        if store.capabilities.query_conditions {
            let item = QueryItem::new(target.clone()).with_names([NAME]);
            let query = Query::from(item.map_err(annals::Error::from)?);
            let after = stored.last().map_or(SequenceNumber::START, |last| last.sequence_number);
            let none = WriteCondition::no_match(query, after);
            calls.push((vec![Append::new(beside.clone(), light(1), none)], Due::Stored));
        }
        calls.push((vec![always(&beside, around())], Due::Stored));
        Ok(Self { target, calls, fresh })
    }
}

async fn behind_failed(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    for (name, batch) in [("home", named(1)), ("beside", light(1))] {
        let stream = store.stream("behind", name);
        ledger.one(&stream, batch, WriteCondition::StreamIsEmpty).await?;
    }
    for nth in 0..ROUNDS {
        let Round { target, calls, fresh } = Round::new(&ledger, nth)?;
        let ended = run(std::slice::from_ref(&store), &calls).await?;
        let in_round = |failure: Failure| failure.in_context(format!("in round {nth}"));
        judge(&mut ledger, calls, ended).map_err(in_round)?;
        // Nothing of the one that failed is known.
        if !fresh.is_empty() {
            let as_it_is = ledger.as_it_is(&target);
            ledger.one(&target, fresh, as_it_is).await.map_err(in_round)?;
        }
        ledger.verify("after a round behind an append that failed").await?;
    }
    ledger.verify_no_hole("behind appends that failed").await
}
