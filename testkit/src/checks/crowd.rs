//! Many more appends at once than in the other races, so that adapters that queue them, or commit several together, do.

use annals::{Append, Error, Position, StoredEvent, WriteCondition};

use crate::checks::support::ledger::{Ledger, light, most, patient};
use crate::checks::support::racing_clients::{Start, at_once};
use crate::engine::{Failure, Outcome};
use crate::error::chain;
use crate::storage::{Check, check};
use crate::subject::{Context, Subject};

pub(super) const CHECKS: &[Check] = &[check!(
    "cond.crowd",
    [A1 A2 A4 A7],
    Stochastic,
    [],
    crowd,
    "of many appends at once each returns its own outcome, and a refusal changes nothing for the others"
)];

/// How many append at once.
const CALLERS: usize = 160;
/// How often each of them does.
const TURNS: usize = 4;

/// An append, and its events as stored.
type Made = (Vec<Append>, Vec<StoredEvent>);

async fn crowd(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let store = ledger.store.clone();
    for (nth, _) in cx.cases(2).enumerate() {
        let callers = (0..CALLERS).map(|caller| {
            let through_other = nth % 2 == 1 && caller % 4 == 0;
            let store = if through_other { other.clone() } else { store.clone() };
            async move { turns(&store, nth, caller).await }
        });
        let mut all = Vec::new();
        for done in at_once(Start::Tasks, "the appends of a crowd", callers).await? {
            all.extend(done?);
        }
        // In the order in which they were made, as the ledger records them.
        all.sort_by_key(|(_, stored)| stored.first().map(|event| event.sequence_number));
        for (call, stored) in all {
            ledger.record(&call, &stored).map_err(|failure| failure.in_context("in a crowd"))?;
        }
    }
    ledger.verify_wide("after the appends of a crowd").await?;
    ledger.verify_no_hole("after the appends of a crowd").await
}

/// Appends to a stream of its own, which must be done, and between them what must be refused.
async fn turns(store: &Subject, nth: usize, caller: usize) -> Outcome<Vec<Made>> {
    let own = store.stream(&format!("crowd-{nth}"), &caller.to_string());
    let mut done: Vec<Made> = Vec::new();
    let mut length = 0;
    for turn in 0..TURNS {
        let count = (1 + (caller + turn) % 3).min(most(store));
        let last = done.last().and_then(|(_, stored)| stored.last());
        let here = match last {
            None => WriteCondition::StreamIsEmpty,
            Some(last) if store.capabilities.query_conditions && caller.is_multiple_of(5) => {
                WriteCondition::no_match(own.clone(), last.sequence_number)
            }
            Some(last) => WriteCondition::PositionIs(last.position),
        };
        match (caller + turn) % 4 {
            0 => {
                let beyond = WriteCondition::PositionIs(Position::new(length + 7));
                let call = [Append::new(own.clone(), light(count), beyond)];
                refused(store, &call, |error| {
                    matches!(error, Error::ConditionFailed(unmet) if unmet.stream == own
                        && unmet.actual == last.map(|last| last.position))
                })
                .await?;
            }
            1 if let Some(last) = last => {
                let known = last.event.clone();
                let id = known.id;
                let call = [Append::new(own.clone(), [known], here.clone())];
                refused(
                    store,
                    &call,
                    |error| matches!(error, Error::DuplicateEvent(known) if *known == id),
                )
                .await?;
            }
            _ => {}
        }
        let call = vec![Append::new(own.clone(), light(count), here)];
        let stored = patient(store, &call).await;
        let stored = stored.map_err(|error| {
            Failure::from(error).in_context("an append whose condition holds, in a crowd")
        })?;
        length += count as u64;
        done.push((call, stored));
    }
    Ok(done)
}

async fn refused(store: &Subject, call: &[Append], as_it_must: impl Fn(&Error) -> bool) -> Outcome {
    match patient(store, call).await {
        Err(error) if as_it_must(&error) => Ok(()),
        Err(error) => Err(Failure::new(format!(
            "an append that must be refused, in a crowd, is told: {}",
            chain(&error)
        ))),
        Ok(_) => Err(Failure::new("an append that must be refused is made, in a crowd".to_owned())),
    }
}
