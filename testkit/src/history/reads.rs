//! The states that explain a read.

use std::collections::HashSet;
use std::ops::Range;

use crate::history::view::View;
use crate::history::{Anomaly, Violation};
use crate::model::{Item, Mark, Op, Outcome, Part, Stored, matches, select};

/// The states in which the read would have given what it gave, within the time of the call.
pub(super) fn states(
    view: &View<'_>,
    operation: usize,
    (items, part): (&[Item], &Part),
    found: &[Stored],
) -> Result<Range<usize>, Violation> {
    let violation = |anomaly, text| Err(Violation::new(anomaly, operation, text));
    shape(view, operation, (items, part), found)?;
    let all = view.matching(items);
    let number = |mark| if let Mark::At(number) = mark { number } else { 0 };
    let upto = |bound| all.partition_point(|place| view.log[*place].number <= bound);
    let start = upto(number(part.after));
    let end = part.until.map_or(all.len(), |until| upto(number(until))).max(start);
    let all = &all[start..end];

    // How many of the events that match must be there, at least and at most.
    let limited = part.limit == Some(found.len() as u64);
    let place =
        |stored: &Stored| all.partition_point(|place| view.log[*place].number < stored.number);
    let counts = match (part.backward, found.first()) {
        (_, None) if limited => 0..=all.len(),
        (true, Some(newest)) => place(newest) + 1..=place(newest) + 1,
        (false, Some(_)) if limited => found.len()..=all.len(),
        _ => {
            let last = found.last().map_or(0, |last| place(last) + 1);
            last..=last
        }
    };
    let least = (*counts.start()).min(all.len());
    let expected = select(all[..least].to_vec(), part);
    let expected: Vec<&Stored> = expected.into_iter().map(|place| view.log[place]).collect();
    // Both are in order and `found` holds nothing unwanted, so the first difference is what is missing.
    let differs = |nth: &usize| found.get(*nth) != Some(expected[*nth]);
    if let Some(missed) = (0..expected.len()).find(differs).map(|nth| expected[nth]) {
        let text = format!("#{} is missing from {:?}", missed.number, numbers(found));
        return violation(Anomaly::SkippedEvent, text);
    }
    // The first state with an event, and the first with one too many.
    let state = |nth: usize| view.commit_of[all[nth]] + 1;
    let first = least.checked_sub(1).map_or(0, state);
    let end = if *counts.end() < all.len() { state(*counts.end()) } else { view.commits.len() + 1 };
    if first >= end {
        let text = format!("it saw a part of an append: {:?}", numbers(found));
        return violation(Anomaly::IntermediateRead, text);
    }
    let window = view.window(operation);
    if end <= window.start {
        let next = all.get(*counts.end()).map_or(0, |place| view.log[*place].number);
        let text = format!("#{next} was done before it began; found {:?}", numbers(found));
        return violation(Anomaly::StaleRead, text);
    }
    if first >= window.end {
        let text = format!("it saw what began after it ended: {:?}", numbers(found));
        return violation(Anomaly::FutureRead, text);
    }
    Ok(first.max(window.start)..end.min(window.end))
}

/// What is wrong with the events whenever they were read.
fn shape(
    view: &View<'_>,
    operation: usize,
    (items, part): (&[Item], &Part),
    found: &[Stored],
) -> Result<(), Violation> {
    let violation = |anomaly, text| Err(Violation::new(anomaly, operation, text));
    let number = |mark| if let Mark::At(number) = mark { number } else { 0 };
    let mut seen = HashSet::new();
    for stored in found {
        if !seen.insert(stored.number) {
            return violation(Anomaly::RepeatedEvent, format!("#{} comes twice", stored.number));
        }
        let known = view.log.binary_search_by_key(&stored.number, |known| known.number);
        if known.ok().is_none_or(|place| view.log[place] != stored) {
            let anomaly =
                if is_refused(view, stored) { Anomaly::AbortedRead } else { Anomaly::PhantomRead };
            return violation(anomaly, format!("{stored:?} is not in the log"));
        }
        let inside = stored.number > number(part.after)
            && part.until.is_none_or(|until| stored.number <= number(until));
        if !inside || !matches(items, stored) {
            let text = format!("#{} was not asked for", stored.number);
            return violation(Anomaly::UnwantedEvent, text);
        }
    }
    let ordered = found.is_sorted_by(|a, b| (a.number < b.number) != part.backward);
    if !ordered {
        return violation(Anomaly::ReadOutOfOrder, format!("found {:?}", numbers(found)));
    }
    if part.limit.is_some_and(|limit| found.len() as u64 > limit) {
        return violation(Anomaly::LimitExceeded, format!("{} events", found.len()));
    }
    Ok(())
}

/// Whether an append that stored nothing proposed the event.
fn is_refused(view: &View<'_>, stored: &Stored) -> bool {
    view.history.operations.iter().any(|operation| match &operation.op {
        Op::Append(writes) if !matches!(operation.outcome, Outcome::Appended(_)) => {
            writes.iter().flat_map(|write| &write.events).any(|event| event.id == stored.event.id)
        }
        _ => false,
    })
}

fn numbers(found: &[Stored]) -> Vec<u64> {
    found.iter().map(|stored| stored.number).collect()
}
