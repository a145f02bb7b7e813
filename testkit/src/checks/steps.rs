//! Never skips, step by step: an append and a read stop at their awaits while others go on.

use std::time::Duration;

use annals::{Query, ReadOptions, SequenceNumber, StoredEvent, StreamId, WriteCondition};

use crate::checks::never_skips::{Widest, many_items};
use crate::checks::support::dropped_appends::poll_times;
use crate::checks::support::ledger::most;
use crate::checks::support::read_world::NAMES;
use crate::engine::{Outcome, ensure};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, event, within};

pub(super) const CHECKS: &[Check] = &[check!(
    "r2.steps",
    [R2 R1],
    Required,
    [],
    steps,
    "a read that stops between its steps skips nothing of an append that began before it and ends before it"
)];

/// After so many polls the append stops.
const APPEND: [usize; 6] = [0, 1, 2, 3, 5, 9];
/// After so many polls the read stops.
const READ: [usize; 8] = [0, 1, 2, 3, 5, 8, 13, 21];
/// A store may let another append wait for the one that stopped: that is waited for no longer.
const WAIT: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(25);

async fn steps(cx: Context) -> Outcome {
    let handles = [cx.open().await?, cx.open().await?];
    let Widest { source, inside, beside } = Widest::of(&handles[0]);
    let query = many_items(&source, &inside);
    let other = beside.first().unwrap_or(&inside[inside.len() - 1]);
    let mut after = handles[0].start;
    for polls in APPEND.iter().flat_map(|append| READ.map(|read| [*append, read])) {
        after = stopped(&handles, &query, [&inside[0], other], after, polls).await?;
    }
    Ok(())
}

/// An append stops, another one is made, a read stops, the first append ends, and then the read. Returns the last number
/// that the read could return.
async fn stopped(
    [one, two]: &[Subject; 2],
    query: &Query,
    [stream, other]: [&StreamId; 2],
    after: SequenceNumber,
    [append, read]: [usize; 2],
) -> Outcome<SequenceNumber> {
    let names = &NAMES[..NAMES.len().min(most(one))];
    let events = names.iter().map(|name| event(name)).collect();
    let mut slow = Box::pin(one.append(stream, events, WriteCondition::Always));
    let begun = poll_times(append, false, |cx| slow.as_mut().poll(cx)).await;
    let mut beside = Box::pin(two.append(other, vec![event(NAMES[0])], WriteCondition::Always));
    let in_time = tokio::time::timeout(WAIT, beside.as_mut()).await;

    let options = ReadOptions::default().after(after);
    let mut reading = Box::pin(two.read(query.clone(), options));
    let found = poll_times(read, false, |cx| reading.as_mut().poll(cx)).await;
    let appended = match begun {
        Some(appended) => appended?,
        None => within(LIMIT, "an append that had stopped", slow).await??,
    };
    match in_time {
        Ok(made) => made?,
        Err(_) => within(LIMIT, "an append beside it", beside).await??,
    };
    let found = match found {
        Some(found) => found?,
        None => within(LIMIT, "a read that had stopped", reading).await??,
    };

    let whole = two.read(query.clone(), options).await?;
    let what = format!(
        "a read that stopped after {read} polls, beside an append that had stopped after {append}"
    );
    let has = |event: &StoredEvent| whole.iter().any(|it| it.id() == event.id());
    let missed = appended.iter().find(|event| query.matches(event) && !has(event));
    ensure!(missed.is_none(), "{what}: a later read skips {missed:?}");
    let last = found.last().map_or(after, |last| last.sequence_number);
    let up_to: Vec<_> =
        whole.iter().filter(|event| event.sequence_number <= last).cloned().collect();
    two.same(&found, &up_to, &what)?;
    Ok(whole.last().map_or(after, |last| last.sequence_number))
}
