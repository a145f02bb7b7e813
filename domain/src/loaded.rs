//! An aggregate as the log has it: what caches keep, and what decisions are made on.

use annals::{EventId, Position, SequenceNumber, StoredEvent, StreamId, WriteCondition};
use time::OffsetDateTime;

use crate::error::{Error, Result};
use crate::event::{Unknown, decode_or};
use crate::kind::DISCARDED;
use crate::state::Aggregate;

/// State after `version` events.
#[derive(Debug, Clone)]
pub(crate) struct Loaded<A> {
    pub(crate) state: A,
    pub(crate) version: u64,
    pub(crate) last: Option<Last>,
    pub(crate) created_at: Option<OffsetDateTime>,
    pub(crate) modified_at: Option<OffsetDateTime>,
    pub(crate) is_discarded: bool,
}

/// The last event that was folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) id: EventId,
    pub(crate) sequence_number: SequenceNumber,
}

impl<A: Aggregate> Loaded<A> {
    pub(crate) fn new() -> Self {
        Self {
            state: A::default(),
            version: 0,
            last: None,
            created_at: None,
            modified_at: None,
            is_discarded: false,
        }
    }

    /// Whether it was created and not discarded.
    pub(crate) const fn exists(&self) -> bool {
        self.version > 0 && !self.is_discarded
    }

    /// That the stream is still as it was loaded. An id, unlike a position, is never used again after the store went back.
    pub(crate) fn is_current(&self) -> WriteCondition {
        self.last.map_or(WriteCondition::StreamIsEmpty, |last| WriteCondition::LastEventIs(last.id))
    }

    /// Whether `event` is the last one that was folded, at its place.
    pub(crate) fn ends_with(&self, event: &StoredEvent) -> bool {
        self.last.is_some_and(|last| last.id == event.id())
            && event.position.next() == Some(self.next())
    }

    /// The position of the next event.
    pub(crate) const fn next(&self) -> Position {
        Position::new(self.version)
    }

    /// Folds the next event of the stream.
    pub(crate) fn apply(&mut self, stored: &StoredEvent, unknown: Unknown) -> Result<()> {
        let event = if stored.name() == DISCARDED { None } else { decode_or(stored, unknown)? };
        self.follow(stored, event)
    }

    /// Folds an event that was decoded before, or that changes nothing.
    pub(crate) fn follow(&mut self, stored: &StoredEvent, event: Option<A::Event>) -> Result<()> {
        if stored.position != self.next() {
            return Err(replay(&stored.stream, self.next(), stored));
        }
        if let Some(event) = event {
            self.state.apply(event);
        }
        self.is_discarded |= stored.name() == DISCARDED;
        self.version += 1;
        self.last = Some(Last { id: stored.id(), sequence_number: stored.sequence_number });
        self.created_at = self.created_at.or(Some(stored.occurred_at()));
        self.modified_at = Some(stored.occurred_at());
        Ok(())
    }
}

/// That `event` is not the next one of `stream`.
pub(crate) fn replay(stream: &StreamId, expected: Position, event: &StoredEvent) -> Error {
    Error::Replay { stream: Box::new(stream.clone()), expected, event: event.to_string().into() }
}
