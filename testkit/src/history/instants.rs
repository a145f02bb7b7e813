//! Instants: each read and refusal has one that explains it, and time never runs back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::history::view::View;
use crate::history::{Anomaly, History, Violation, reads};
use crate::model::{Item, Op, Outcome, Scope, Write, is_repeated};

pub(super) fn check(history: &History, views: &[View<'_>]) -> Result<(), Violation> {
    let mut order: Vec<usize> = (0..history.operations.len()).collect();
    order.sort_by_key(|nth| history.operations[*nth].invoked);
    for view in views {
        timeline(view, views, &order)?;
    }
    Ok(())
}

/// Assigns each operation of the scope the earliest state that explains it and is no earlier than what any
/// operation that was done before it was given. The earliest choice leaves the most room for later ones.
fn timeline(view: &View<'_>, views: &[View<'_>], order: &[usize]) -> Result<(), Violation> {
    let operations = &view.history.operations;
    let mut floor = 0;
    let mut open: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for &nth in order {
        let operation = &operations[nth];
        while let Some(&Reverse((returned, state))) = open.peek() {
            if returned >= operation.invoked {
                break;
            }
            floor = floor.max(state);
            open.pop();
        }
        let state = match (&operation.op, &operation.outcome) {
            (Op::Read(items, part), Outcome::Read(found)) if view.covers(Item::scope(items)) => {
                let states = reads::states(view, nth, (items, part), found)?;
                Some((floor.max(states.start), states.end))
            }
            (Op::Append(writes), outcome) => answer(view, views, nth, writes, outcome, floor)?,
            _ => None,
        };
        let Some((state, end)) = state else { continue };
        if state >= end {
            let text = format!("it fits no state after {floor}, which was shown before it began");
            return Err(Violation::new(Anomaly::NonMonotonic, nth, text));
        }
        open.push(Reverse((operation.returned, state)));
    }
    Ok(())
}

/// The first state that explains the answer to an append that stored nothing in the scope, and the end of its
/// states; `None` when the scope has nothing to tell about it.
fn answer(
    view: &View<'_>,
    views: &[View<'_>],
    nth: usize,
    writes: &[Write],
    outcome: &Outcome,
    floor: usize,
) -> Result<Option<(usize, usize)>, Violation> {
    let window = view.window(nth);
    let states = floor.max(window.start)..window.end;
    let inside = |write: &&Write| view.covers(Scope::Stream(write.stream));
    if !writes.iter().any(|write| inside(&write)) {
        return Ok(None);
    }
    // Where the order is weaker than the call is wide, any of its scopes may be the reason.
    let elsewhere = !writes.iter().all(|write| inside(&write));
    let violation = |anomaly, text| Err(Violation::new(anomaly, nth, text));
    let chosen = |state: Option<usize>| state.map(|state| (state, window.end));
    match outcome {
        Outcome::Appended(stored) if stored.is_empty() => {
            let held = |state: &usize| {
                writes.iter().all(|w| view.holds(*state, w.stream, &w.condition) != Some(false))
            };
            match states.clone().find(held) {
                None if !window.clone().any(|state| held(&state)) => violation(
                    Anomaly::ConditionDidNotHold,
                    format!("at no instant of the call held all of {writes:?}"),
                ),
                None => Ok(Some((states.start, states.start))),
                found => Ok(chosen(found)),
            }
        }
        Outcome::Duplicate => {
            if is_repeated(ids(writes)) {
                return Ok(None);
            }
            let known = |view: &View<'_>| first_known(view, writes);
            let here = known(view).filter(|state| *state < window.end);
            match here {
                None if views.iter().any(|v| known(v).is_some_and(|s| s < v.window(nth).end)) => {
                    Ok(None)
                }
                None => {
                    violation(Anomaly::UnjustifiedDuplicate, "none of its ids was known".to_owned())
                }
                // More ids become known, none is forgotten: any later state will do as well.
                Some(state) => Ok(chosen(Some(state.max(states.start)))),
            }
        }
        Outcome::ConditionFailed => {
            let told = |view: &View<'_>| {
                first_known(view, writes).is_some_and(|state| state <= view.window(nth).start)
            };
            if is_repeated(ids(writes)) || views.iter().any(told) {
                let text = "one of its ids was known before it began".to_owned();
                return violation(Anomaly::DuplicateNotTold, text);
            }
            if elsewhere {
                return Ok(None);
            }
            let known = first_known(view, writes).unwrap_or(usize::MAX);
            let failed = |state: &usize| {
                *state < known
                    && writes
                        .iter()
                        .any(|w| view.holds(*state, w.stream, &w.condition) != Some(true))
            };
            match states.clone().find(failed) {
                None if !window.clone().any(|state| failed(&state)) => violation(
                    Anomaly::UnjustifiedRefusal,
                    format!("at every instant of the call held {writes:?}"),
                ),
                None => Ok(Some((states.start, states.start))),
                found => Ok(chosen(found)),
            }
        }
        _ => Ok(None),
    }
}

fn ids(writes: &[Write]) -> impl Iterator<Item = u32> + use<'_> {
    writes.iter().flat_map(|write| write.events.iter().map(|event| event.id))
}

/// The first state in which an id of `writes` is known.
fn first_known(view: &View<'_>, writes: &[Write]) -> Option<usize> {
    let places = ids(writes).filter_map(|id| view.places.get(&id));
    places.map(|place| view.commit_of[*place] + 1).min()
}
