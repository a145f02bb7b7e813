//! Copying a log from one store into another, through any layers.

use annals::{
    Append, Error, NewEvent, Position, Query, ReadOptions, Result, SequenceNumber, StorageAdapter,
    StoredEvent, StreamId, WriteCondition,
};
use futures_util::StreamExt;

use crate::pages::one;

/// How far a copy has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// How many events this call has copied.
    pub events: u64,
    /// The last of them, in the log that is copied.
    pub through: SequenceNumber,
}

/// How many events of the target are appended in one call at most.
const BATCH: usize = 500;

/// Copies every event of `from` up to its head into `to`, and calls `progress` after each call: streams, order, positions
/// and ids stay, `recorded_at` becomes that of the copy, and numbers close their holes. To encrypt anew, put a layer on
/// either side.
///
/// `to` is empty, or has what an earlier copy has made: then it goes on behind that. Nobody else may append to `to`.
///
/// # Errors
/// - [`Error::Invalid`]: `to` ends with an event that `from` does not have, or has others than `from` before it.
/// - [`Error::ConditionFailed`], [`Error::DuplicateEvent`]: somebody else appends to `to`.
/// - Those of both adapters. After any of them, call it again.
///
/// # Cancel safety
/// It may be dropped at any await, and goes on where it was if it is called again.
pub async fn copy(
    from: &dyn StorageAdapter,
    to: &dyn StorageAdapter,
    mut progress: impl FnMut(Copied),
) -> Result<Copied> {
    let mut copied = Copied { events: 0, through: resume(from, to).await? };
    let can = to.capabilities();
    let most = can.max_events_per_append.and_then(|most| usize::try_from(most.get()).ok());
    let most = most.unwrap_or(BATCH).min(BATCH);
    let mut pages = from.read(Query::all(), ReadOptions::default().after(copied.through));
    while let Some(page) = pages.next().await {
        let page = page?;
        let mut events = page.events.as_slice();
        while !events.is_empty() {
            let (writes, count) = batch(events, most, can.multi_stream_append);
            let (done, rest) = events.split_at(count);
            to.append(writes).await?;
            copied.events += count as u64;
            copied.through = done.last().map_or(copied.through, |last| last.sequence_number);
            progress(copied);
            events = rest;
        }
    }
    Ok(copied)
}

/// The number in `from` of the last event that `to` has.
async fn resume(from: &dyn StorageAdapter, to: &dyn StorageAdapter) -> Result<SequenceNumber> {
    let Some(last) = one(to, Query::all(), ReadOptions::last(1)).await? else {
        return Ok(SequenceNumber::START);
    };
    let place = ReadOptions::default().from_position(last.position).until_position(last.position);
    let source = one(from, last.stream.clone().into(), place).await?;
    let other = || {
        Error::invalid(format!(
            "{} is no copy of {}: it ends with event {}",
            to.name(),
            from.name(),
            last.id()
        ))
    };
    let source = source.filter(|source| source.event == last.event).ok_or_else(other)?;
    Ok(source.sequence_number)
}

/// The writes of one call, and how many of `events` they hold: as long as no stream comes back after another one, which
/// would change the order.
fn batch(events: &[StoredEvent], most: usize, several: bool) -> (Vec<Append>, usize) {
    let mut runs: Vec<(StreamId, Position, Vec<NewEvent>)> = Vec::new();
    let mut count = 0;
    for event in events.iter().take(most.max(1)) {
        let continues = runs.last().is_some_and(|(stream, ..)| *stream == event.stream);
        if continues {
            if let Some((.., run)) = runs.last_mut() {
                run.push(event.event.clone());
            }
        } else {
            let comes_back = runs.iter().any(|(stream, ..)| *stream == event.stream);
            if comes_back || (!several && !runs.is_empty()) {
                break;
            }
            runs.push((event.stream.clone(), event.position, vec![event.event.clone()]));
        }
        count += 1;
    }
    let write = |(stream, position, events): (StreamId, Position, Vec<NewEvent>)| {
        let condition =
            position.prev().map_or(WriteCondition::StreamIsEmpty, WriteCondition::PositionIs);
        Append::new(stream, events, condition)
    };
    (runs.into_iter().map(write).collect(), count)
}
