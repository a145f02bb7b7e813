//! The log in the end: whole, numbered rightly, and made of what was appended.

use std::collections::HashMap;

use crate::history::view::scope;
use crate::history::{Anomaly, History, Violation};
use crate::model::{Op, Outcome, Stored, is_repeated};

/// For each event of the log the operation that appended it.
pub(super) fn check(history: &History) -> Result<Vec<usize>, Violation> {
    numbers(history)?;
    let places: HashMap<u32, usize> =
        history.log.iter().enumerate().map(|(place, stored)| (stored.event.id, place)).collect();
    let mut owners = vec![None; history.log.len()];
    for (nth, operation) in history.operations.iter().enumerate() {
        outcome(nth, &operation.op, &operation.outcome)?;
        if let Outcome::Appended(stored) = &operation.outcome {
            acknowledged(history, nth, stored, &places, &mut owners)?;
        }
    }
    // Of unknown appends that share ids, the one that is there as a whole is the one that was made.
    for whole in [true, false] {
        for (nth, operation) in history.operations.iter().enumerate() {
            if let (Outcome::Unknown, Op::Append(writes)) = (&operation.outcome, &operation.op) {
                let events = || {
                    writes.iter().flat_map(|write| write.events.iter().map(|e| (write.stream, e)))
                };
                let there: Vec<usize> = events()
                    .filter_map(|(stream, event)| {
                        let place = *places.get(&event.id)?;
                        let stored = &history.log[place];
                        let same = stored.stream == stream && stored.event == *event;
                        (same && owners[place].is_none()).then_some(place)
                    })
                    .collect();
                if whole == (there.len() == events().count()) {
                    for place in there {
                        owners[place] = Some(nth);
                    }
                }
            }
        }
    }
    let owned = owners
        .into_iter()
        .enumerate()
        .map(|(place, owner)| owner.ok_or_else(|| unowned(history, &history.log[place])));
    let owners: Vec<usize> = owned.collect::<Result<_, _>>()?;
    unknown_whole(history, &owners)?;
    Ok(owners)
}

/// Numbers rise and positions have no hole.
fn numbers(history: &History) -> Result<(), Violation> {
    let violation = |anomaly, message| Err(Violation::new(anomaly, None, message));
    let mut last = HashMap::new();
    let mut heads = HashMap::new();
    let (mut ids, mut all) = (HashMap::new(), HashMap::new());
    for stored in &history.log {
        let number = stored.number;
        if let Some(other) = all.insert(number, stored.event.id) {
            let id = stored.event.id;
            return violation(
                Anomaly::RepeatedNumber,
                format!("events {other} and {id} both have sequence number {number}"),
            );
        }
        let before = last.insert(scope(history.order, stored.stream), number).unwrap_or(0);
        if number <= before {
            return violation(
                Anomaly::LogOutOfOrder,
                format!("sequence number {number} was read after {before}"),
            );
        }
    }
    for stored in &history.log {
        let number = stored.number;
        if let Some(other) = ids.insert(stored.event.id, number) {
            let text = format!("event {} is at #{other} and at #{number}", stored.event.id);
            return violation(Anomaly::StoredTwice, text);
        }
        let head = heads.entry(stored.stream).or_insert(0);
        if stored.position != *head {
            let hole = stored.position > *head;
            let anomaly = if hole { Anomaly::PositionHole } else { Anomaly::RepeatedPosition };
            let (stream, found) = (stored.stream, stored.position);
            let text =
                format!("#{number} of stream {stream}: expected position {head}, found {found}");
            return violation(anomaly, text);
        }
        *head += 1;
    }
    Ok(())
}

/// Answers that are wrong whatever the log is.
fn outcome(nth: usize, op: &Op, outcome: &Outcome) -> Result<(), Violation> {
    let twice = match op {
        Op::Append(writes) => is_repeated(writes.iter().map(|write| u32::from(write.stream))),
        Op::Read(..) => false,
    };
    let anomaly = match (op, outcome) {
        (_, Outcome::Unavailable)
        | (Op::Append(_), Outcome::Unknown)
        | (Op::Read(..), Outcome::Read(_)) => return Ok(()),
        (Op::Append(_), Outcome::Invalid) if twice => return Ok(()),
        (Op::Append(_), Outcome::Invalid) => Anomaly::InvalidNotTold,
        (Op::Append(_), Outcome::Appended(_) | Outcome::ConditionFailed | Outcome::Duplicate) => {
            if !twice {
                return Ok(());
            }
            Anomaly::InvalidNotTold
        }
        _ => Anomaly::UnexpectedOutcome,
    };
    Err(Violation::new(anomaly, nth, format!("{op:?} ended in {outcome:?}")))
}

/// What was acknowledged is what was proposed, and is in the log so.
fn acknowledged(
    history: &History,
    nth: usize,
    stored: &[Stored],
    places: &HashMap<u32, usize>,
    owners: &mut [Option<usize>],
) -> Result<(), Violation> {
    let Op::Append(writes) = &history.operations[nth].op else { return Ok(()) };
    let violation = |anomaly, message| Err(Violation::new(anomaly, nth, message));
    let proposed = writes
        .iter()
        .flat_map(|write| write.events.iter().map(|event| (write.stream, event.clone())));
    let proposed: Vec<_> = proposed.collect();
    let told: Vec<_> = stored.iter().map(|stored| (stored.stream, stored.event.clone())).collect();
    if told != proposed {
        let text = format!("proposed {proposed:?}, acknowledged {told:?}");
        return violation(Anomaly::AcknowledgedDiffers, text);
    }
    for stored in stored {
        let (id, number) = (stored.event.id, stored.number);
        let Some(&place) = places.get(&id) else {
            let text = format!("event {id} was acknowledged as #{number} and is not in the log");
            return violation(Anomaly::AcknowledgedMissing, text);
        };
        if let Some(other) = owners[place] {
            let text = format!("event {id} was acknowledged to operation {other} as well");
            return violation(Anomaly::DuplicateNotTold, text);
        }
        if history.log[place] != *stored {
            let text =
                format!("acknowledged as {stored:?}, in the log as {:?}", history.log[place]);
            return violation(Anomaly::AcknowledgedDiffers, text);
        }
        owners[place] = Some(nth);
    }
    Ok(())
}

/// An event of the log that no append is known to have stored.
fn unowned(history: &History, stored: &Stored) -> Violation {
    let mut operations = history.operations.iter();
    let refused = operations.position(|operation| match &operation.op {
        Op::Append(writes) => {
            writes.iter().flat_map(|write| &write.events).any(|event| event.id == stored.event.id)
        }
        Op::Read(..) => false,
    });
    let (id, number) = (stored.event.id, stored.number);
    match refused.map(|nth| (nth, &history.operations[nth].outcome)) {
        None => Violation::new(
            Anomaly::PhantomEvent,
            None,
            format!("#{number}, event {id}, was appended by nobody"),
        ),
        Some((nth, outcome)) => Violation::new(
            Anomaly::RefusedPresent,
            nth,
            format!("#{number}, event {id}, is in the log, and its append ended in {outcome:?}"),
        ),
    }
}

fn unknown_whole(history: &History, owners: &[usize]) -> Result<(), Violation> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for owner in owners {
        *counts.entry(*owner).or_default() += 1;
    }
    for (nth, found) in counts {
        let Op::Append(writes) = &history.operations[nth].op else { continue };
        let proposed: usize = writes.iter().map(|write| write.events.len()).sum();
        if found != proposed {
            let text = format!("{found} of {proposed} events are in the log");
            return Err(Violation::new(Anomaly::PartlyStored, nth, text));
        }
    }
    Ok(())
}
