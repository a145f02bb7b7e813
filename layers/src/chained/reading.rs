//! Verifying events as they are read.

use annals::{
    Direction, Position, Query, QueryItem, ReadOptions, Result, SequenceNumber, Source, StoredEvent,
};

use super::broken;
use crate::link::{Before, Hash, Head, Method};

/// What a read knows of the events before; it lives as long as the read, over all of its pages.
pub(super) struct Reading {
    /// Whether the read returns every event of one stream between two bounds, in this direction.
    whole: Option<Direction>,
    /// Whether it begins with the stream's first event.
    from_first: bool,
    last: Seen,
}

enum Seen {
    Nothing,
    /// Forward: the position and hash of the event before. Backward: the position and the `previous` of the event after.
    Link(Position, Hash),
    /// Forward: events that are not chained.
    Unchained(Position, Before),
    /// Events that are not chained, of which the read did not see the first one.
    Unknown(Position),
}

impl Reading {
    pub(super) fn new(query: &Query, options: &ReadOptions) -> Self {
        let whole = match query.items() {
            [item] => {
                matches!(&item.source, Source::Stream(_))
                    && *item == QueryItem::new(item.source.clone())
            }
            _ => false,
        };
        let from_first = whole
            && options.direction == Direction::Forward
            && options.after == SequenceNumber::START
            && options.from_position.is_none_or(|from| from == Position::FIRST);
        Self { whole: whole.then_some(options.direction), from_first, last: Seen::Nothing }
    }

    /// For an event without those around it.
    pub(super) const fn single() -> Self {
        Self { whole: None, from_first: false, last: Seen::Nothing }
    }

    /// The event as it was appended.
    pub(super) fn read(
        &mut self,
        method: &Method,
        after: SequenceNumber,
        event: StoredEvent,
    ) -> Result<StoredEvent> {
        let Some(chained) = method.read(after, &event).map_err(|cause| cause.of(&event))? else {
            self.unchained(method, after, &event)?;
            return Ok(event);
        };
        if !chained.is_whole {
            return Err(broken(&event, "an event was changed"));
        }
        if chained.position != event.position {
            return Err(broken(&event, "an event is at another position than it was appended at"));
        }
        self.follows(&event, chained.previous, chained.hash)?;
        let mut record = event.into_record();
        record.event = chained.own;
        Ok(record.into())
    }

    /// The head of a chain that ends with `event`; `None` if that is not chained.
    pub(super) fn head(
        &mut self,
        method: &Method,
        after: SequenceNumber,
        event: &StoredEvent,
    ) -> Result<Option<Head>> {
        self.read(method, after, event.clone())?;
        let chained = method.read(after, event).map_err(|cause| cause.of(event))?;
        Ok(chained.map(|chained| Head { position: event.position, hash: chained.hash }))
    }

    /// The hash of the stream up to `event`.
    pub(super) fn fold(
        &mut self,
        method: &Method,
        after: SequenceNumber,
        event: &StoredEvent,
    ) -> Result<Hash> {
        self.read(method, after, event.clone())?;
        match self.last {
            Seen::Link(_, hash) | Seen::Unchained(_, Before { own: hash, .. }) => Ok(hash),
            Seen::Nothing | Seen::Unknown(_) => {
                Err(broken(event, "its stream does not begin with its first event"))
            }
        }
    }

    fn unchained(
        &mut self,
        method: &Method,
        after: SequenceNumber,
        event: &StoredEvent,
    ) -> Result<()> {
        if event.sequence_number > after {
            return Err(broken(event, "an event is not chained"));
        }
        if self.whole != Some(Direction::Forward) {
            self.last = Seen::Nothing;
            return Ok(());
        }
        let before = match (&self.last, event.position) {
            (_, Position::FIRST) => Some(Before::NOTHING),
            (Seen::Link(_, hash), _) => Some(Before::link(*hash)),
            (Seen::Unchained(_, before), _) => Some(*before),
            _ => None,
        };
        self.adjacent(event)?;
        self.last = match before {
            Some(before) => Seen::Unchained(event.position, before.with(method, event)),
            None => Seen::Unknown(event.position),
        };
        Ok(())
    }

    fn follows(&mut self, event: &StoredEvent, previous: Hash, hash: Hash) -> Result<()> {
        let Some(direction) = self.whole else { return Ok(()) };
        self.adjacent(event)?;
        if event.position == Position::FIRST && previous != Hash::GENESIS {
            return Err(broken(event, "the first event follows another one"));
        }
        let expected = match (direction, &self.last) {
            (Direction::Forward, Seen::Link(_, before)) => *before == previous,
            (Direction::Backward, Seen::Link(_, named)) => *named == hash,
            (_, Seen::Unchained(_, before)) => before.is(previous),
            (_, Seen::Nothing | Seen::Unknown(_)) => true,
        };
        if !expected {
            return Err(broken(event, "an event does not follow from the one before it"));
        }
        let kept = if direction == Direction::Forward { hash } else { previous };
        self.last = Seen::Link(event.position, kept);
        Ok(())
    }

    fn adjacent(&self, event: &StoredEvent) -> Result<()> {
        let expected = match (&self.last, self.whole) {
            (Seen::Nothing, _) => self.from_first.then_some(Position::FIRST),
            (Seen::Link(at, _) | Seen::Unchained(at, _) | Seen::Unknown(at), whole) => {
                match whole {
                    Some(Direction::Backward) => at.prev(),
                    _ => at.next(),
                }
            }
        };
        if expected.is_some_and(|expected| expected != event.position) {
            return Err(broken(event, "an event before it is missing"));
        }
        Ok(())
    }
}
