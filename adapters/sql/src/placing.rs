//! Where an append lands: its conditions, and the numbers that it gets.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};

use annals::adapter::Facts;
use annals::{Append, Error, Position, Result, SequenceNumber, StoredEvent};
use time::OffsetDateTime;

/// The largest payload, and the largest metadata, in bytes: an adapter and its database hold several copies of one in
/// memory, and the conformance suite tries it.
pub const MAX_BYTES: NonZeroU32 = NonZeroU32::MIN.saturating_add((16 << 20) - 1);

/// The numbers that the events of one append got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The sequence numbers of the events, in the order given.
    pub numbers: Numbers,
    /// For each write, the position of its first event.
    pub positions: Vec<Position>,
}

/// Rising sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numbers {
    /// This one and those that follow it.
    From(SequenceNumber),
    /// These: the call that drew them did not draw alone.
    Drawn(Vec<SequenceNumber>),
}

impl Numbers {
    /// The numbers of events, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = SequenceNumber> + '_ {
        let (first, drawn) = match self {
            Self::From(first) => (Some(first.value()), &[][..]),
            Self::Drawn(drawn) => (None, &drawn[..]),
        };
        let following = first.into_iter().flat_map(|first| (first..).map(SequenceNumber::new));
        drawn.iter().copied().chain(following)
    }
}

impl Placement {
    /// The events as stored.
    #[must_use]
    pub fn events(&self, writes: Vec<Append>, recorded_at: OffsetDateTime) -> Vec<StoredEvent> {
        let mut numbers = self.numbers.iter();
        let mut stored = Vec::with_capacity(count(&writes));
        for (write, first) in writes.into_iter().zip(&self.positions) {
            let placed = write.events.into_iter().zip((first.value()..).zip(&mut numbers));
            for (event, (position, number)) in placed {
                let position = Position::new(position);
                let stream = write.stream.clone();
                stored.push(StoredEvent::new(event, stream, position, number, recorded_at));
            }
        }
        stored
    }
}

/// How many events `writes` have together.
#[must_use]
pub fn count(writes: &[Append]) -> usize {
    writes.iter().map(|write| write.events.len()).sum()
}

/// Judges the condition of `write`. A custom predicate runs on the writer, which a panic must not end.
///
/// # Errors
/// [`Error::ConditionFailed`] when it does not hold; [`Error::Invalid`] when a custom predicate panicked.
pub fn judge(write: &Append, facts: &Facts) -> Result<()> {
    let evaluate = || write.condition.evaluate(&write.stream, facts);
    if !write.condition.needs_last_event() {
        return evaluate();
    }
    catch_unwind(AssertUnwindSafe(evaluate))
        .unwrap_or_else(|_| Err(Error::invalid("a custom condition panicked")))
}

/// The number that the first of `count` events gets after `head`.
///
/// # Errors
/// [`Error::Invalid`] when the log has fewer numbers left.
pub fn first_after(head: u64, count: usize) -> Result<SequenceNumber> {
    let left = SequenceNumber::MAX.value().saturating_sub(head);
    match u64::try_from(count) {
        Ok(count) if count <= left => Ok(SequenceNumber::new(head.saturating_add(1))),
        _ => Err(Error::invalid("the log has no sequence numbers left")),
    }
}
