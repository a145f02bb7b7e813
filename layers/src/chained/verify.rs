//! What was done to a stream, by kind.

use std::collections::{BTreeMap, BTreeSet};

use annals::{Position, SequenceNumber, StoredEvent};

use crate::link::{Before, Hash, Head, Method};

/// What a verification of a stream found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many events the stream has now.
    pub events: u64,
    /// The last event of the chain as it is now; `None` if there is none.
    pub head: Option<Head>,
    /// What is wrong, by position; nothing of an intact stream.
    pub findings: Vec<Finding>,
    /// Where it stopped reading, because so many events follow the first difference that no more could be kept; `None` if it
    /// read all of the stream.
    pub stopped_at: Option<Position>,
}

/// How many events are kept from the first difference on, some hundred bytes each.
pub(super) const MAX_KEPT: usize = 1 << 20;

/// Something that no append made. Positions are those that the store has now, unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The event at this position does not say what it said, or cannot be read.
    Changed(Position),
    /// The events that were appended at these positions, both included, are missing, whether or not those behind them
    /// were numbered anew.
    Removed {
        /// The first that is missing.
        first: Position,
        /// The last that is missing.
        last: Position,
    },
    /// The stream begins with the event that was appended at this position.
    LostPrefix(Position),
    /// An event is at another place than it was appended at.
    Moved {
        /// Where it is now.
        at: Position,
        /// Where it was appended.
        was: Position,
    },
    /// The event at this position is in the stream already.
    Duplicated(Position),
    /// No append of this layer made the event at this position.
    Inserted(Position),
    /// The event at this position does not follow from the one before it: one of them was replaced with its hash.
    BrokenLink(Position),
    /// The stream ends before the known head.
    CutTail {
        /// The head that was known.
        head: Head,
    },
    /// The stream is another one than that of the known head: it was written anew.
    OtherHead {
        /// The head that was known.
        head: Head,
    },
}

struct Row {
    at: Position,
    was: Position,
    previous: Hash,
    hash: Hash,
    is_whole: bool,
}

/// What is kept of each event.
pub(super) struct Seen<'a> {
    method: &'a Method,
    after: SequenceNumber,
    events: u64,
    /// The hash of the events at the beginning that are what was appended, and how many these are. Of them nothing else is
    /// kept.
    prefix: (Hash, u64),
    /// How many of them are not chained, and what the first link follows.
    unchained: (Before, u64),
    /// The other events. While all is well that is the last one only: which of two events at one place was appended shows
    /// in what follows.
    rows: Vec<Row>,
    is_well: bool,
    known: Option<Head>,
    /// The hash of the known head's event, where it is in the prefix.
    at_known: Option<Hash>,
    /// Hashes of events in the prefix that others claim to be.
    looked_up: BTreeMap<Position, Hash>,
    findings: Vec<(Position, Finding)>,
    max_kept: usize,
    stopped_at: Option<Position>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(method: &'a Method, after: SequenceNumber, known: Option<Head>) -> Self {
        Self {
            method,
            after,
            events: 0,
            prefix: (Hash::GENESIS, 0),
            unchained: (Before::NOTHING, 0),
            rows: Vec::new(),
            is_well: true,
            known,
            at_known: None,
            looked_up: BTreeMap::new(),
            findings: Vec::new(),
            max_kept: MAX_KEPT,
            stopped_at: None,
        }
    }

    /// Whether it takes more events.
    pub(super) fn push(&mut self, event: &StoredEvent) -> bool {
        let at = event.position;
        if self.rows.len() + self.findings.len() >= self.max_kept {
            self.stopped_at.get_or_insert(at);
            return false;
        }
        self.events += 1;
        match self.method.read(self.after, event) {
            Ok(Some(chained)) => self.take(Row {
                at,
                was: chained.position,
                previous: chained.previous,
                hash: chained.hash,
                is_whole: chained.is_whole,
            }),
            Ok(None)
                if event.sequence_number <= self.after
                    && self.rows.is_empty()
                    && self.prefix.1 == self.unchained.1 =>
            {
                let before = self.unchained.0.with(self.method, event);
                self.grow(at, before.own);
                self.unchained = (before, self.prefix.1);
            }
            Ok(None) => {
                self.is_well = false;
                self.find(at, Finding::Inserted(at));
            }
            // It is there, and it cannot be read: what is at its place is not what was appended.
            Err(_) => self.take(Row {
                at,
                was: at,
                previous: Hash::GENESIS,
                hash: Hash::GENESIS,
                is_whole: false,
            }),
        }
        true
    }

    fn grow(&mut self, at: Position, hash: Hash) {
        self.prefix = (hash, at.value().saturating_add(1));
        if self.known.is_some_and(|known| known.position == at) {
            self.at_known = Some(hash);
        }
    }

    fn take(&mut self, row: Row) {
        let is_first = self.rows.is_empty() && self.prefix.1 == self.unchained.1;
        if is_first && self.unchained.0.is(row.previous) {
            self.prefix.0 = row.previous;
        }
        if self.is_well {
            let (previous, place) = match self.rows.last() {
                Some(last) => (last.hash, last.was.value().saturating_add(1)),
                None => self.prefix,
            };
            let is_next = row.at == row.was && row.was.value() == place && row.previous == previous;
            if row.is_whole && is_next {
                // What it follows is what was appended.
                if let Some(last) = self.rows.pop() {
                    self.grow(last.was, last.hash);
                }
            } else {
                self.is_well = false;
            }
        }
        self.rows.push(row);
    }

    /// The places in the prefix that kept events claim to be of: look their hashes up. At most as many as are kept.
    pub(super) fn claimed(&self) -> BTreeSet<Position> {
        let inside = |row: &&Row| row.was.value() < self.prefix.1;
        self.rows.iter().filter(inside).map(|row| row.was).collect()
    }

    /// Learns the hash of an event of the prefix.
    pub(super) fn learn(&mut self, event: &StoredEvent) {
        if let Ok(Some(chained)) = self.method.read(self.after, event) {
            self.looked_up.insert(event.position, chained.hash);
        }
    }

    fn find(&mut self, at: Position, finding: Finding) {
        self.findings.push((at, finding));
    }

    pub(super) fn report(mut self) -> Report {
        let rows = std::mem::take(&mut self.rows);
        let head = rows.last().map(|row| Head { position: row.at, hash: row.hash });
        let head = head.or_else(|| {
            let position = Position::new(self.prefix.1.checked_sub(1)?);
            Some(Head { position, hash: self.prefix.0 })
        });
        let genuine = self.genuine(rows);
        self.order(&genuine);
        let by_place: BTreeMap<Position, &Row> = genuine.iter().map(|row| (row.was, row)).collect();
        self.links(&by_place);
        self.compare(&by_place);
        self.findings.sort_by_key(|(at, _)| *at);
        let findings = self.findings.into_iter().map(|(_, finding)| finding).collect();
        Report { events: self.events, head, findings, stopped_at: self.stopped_at }
    }

    /// One event for each place: reports those that are there twice, and those that nobody appended.
    fn genuine(&mut self, rows: Vec<Row>) -> Vec<Row> {
        let mut named: BTreeMap<Position, Vec<Hash>> = BTreeMap::new();
        for row in &rows {
            if let Some(before) = row.was.prev() {
                named.entry(before).or_default().push(row.previous);
            }
        }
        let mut by_place: BTreeMap<Position, Vec<Row>> = BTreeMap::new();
        for row in rows {
            if row.was.value() < self.prefix.1 {
                // The event of that place is there already.
                let is_copy = self.looked_up.get(&row.was) == Some(&row.hash);
                let finding =
                    if is_copy { Finding::Duplicated(row.at) } else { Finding::Inserted(row.at) };
                self.find(row.at, finding);
                continue;
            }
            by_place.entry(row.was).or_default().push(row);
        }
        let mut genuine = Vec::new();
        for (place, mut rows) in by_place {
            // What follows names the one that was appended; of equal ones the one at its own place is it.
            let is_named =
                |row: &Row| named.get(&place).is_some_and(|named| named.contains(&row.hash));
            let best = rows.iter().enumerate().max_by_key(|(nth, row)| {
                (
                    row.is_whole && is_named(row),
                    row.is_whole,
                    row.at == place,
                    std::cmp::Reverse(*nth),
                )
            });
            let Some(best) = best.map(|(nth, _)| nth) else { continue };
            let first = rows.swap_remove(best);
            for row in rows {
                let is_copy = row.hash == first.hash;
                let finding =
                    if is_copy { Finding::Duplicated(row.at) } else { Finding::Inserted(row.at) };
                self.find(row.at, finding);
            }
            if !first.is_whole {
                self.find(first.at, Finding::Changed(first.at));
            }
            genuine.push(first);
        }
        genuine.sort_by_key(|row| row.at);
        genuine
    }

    /// What is missing and what is out of its order.
    fn order(&mut self, genuine: &[Row]) {
        let mut places: Vec<Position> = genuine.iter().map(|row| row.was).collect();
        places.sort_unstable();
        let mut expected = self.prefix.1;
        for place in &places {
            if place.value() > expected {
                let is_prefix = expected == 0 && self.prefix.1 == 0;
                let removed = Finding::Removed {
                    first: Position::new(expected),
                    last: Position::new(place.value() - 1),
                };
                self.find(*place, if is_prefix { Finding::LostPrefix(*place) } else { removed });
            }
            expected = place.value().saturating_add(1);
        }
        let in_order = longest_ascent(genuine);
        let is_otherwise_intact = self.findings.is_empty() && in_order.len() == genuine.len();
        for (nth, row) in genuine.iter().enumerate() {
            let is_moved = in_order.binary_search(&nth).is_err();
            if is_moved || (is_otherwise_intact && row.at != row.was) {
                self.find(row.at, Finding::Moved { at: row.at, was: row.was });
            }
        }
    }

    /// Whether each event follows from the one before it, where both are there and say what they said.
    fn links(&mut self, by_place: &BTreeMap<Position, &Row>) {
        for row in by_place.values() {
            let before = if row.was.value() == self.prefix.1 {
                Some(self.prefix.0)
            } else {
                let before = row.was.prev().and_then(|before| by_place.get(&before));
                before.filter(|before| before.is_whole).map(|before| before.hash)
            };
            if row.is_whole && before.is_some_and(|before| before != row.previous) {
                self.find(row.at, Finding::BrokenLink(row.at));
            }
        }
    }

    fn compare(&mut self, by_place: &BTreeMap<Position, &Row>) {
        let Some(head) = self.known else { return };
        let last = by_place.keys().next_back().map(|last| last.value());
        let last = last.or(self.prefix.1.checked_sub(1));
        if last.is_none_or(|last| last < head.position.value()) {
            if self.stopped_at.is_some() {
                return;
            }
            self.find(Position::MAX, Finding::CutTail { head });
            return;
        }
        let is_prefix = self.at_known.is_some_and(|hash| hash != head.hash);
        let row = by_place.get(&head.position);
        if is_prefix || row.is_some_and(|row| row.is_whole && row.hash != head.hash) {
            self.find(Position::MAX, Finding::OtherHead { head });
        }
    }
}

/// The places in `rows` of a longest selection that ascends (patience sorting): all but the fewest that were moved.
fn longest_ascent(rows: &[Row]) -> Vec<usize> {
    let mut piles: Vec<usize> = Vec::new();
    let mut below: Vec<Option<usize>> = Vec::with_capacity(rows.len());
    let was = |nth: usize| rows.get(nth).map(|row| row.was);
    for nth in 0..rows.len() {
        let pile = piles.partition_point(|top| was(*top) < was(nth));
        below.push(pile.checked_sub(1).and_then(|left| piles.get(left).copied()));
        match piles.get_mut(pile) {
            Some(top) => *top = nth,
            None => piles.push(nth),
        }
    }
    let mut ascent = Vec::with_capacity(piles.len());
    let mut next = piles.last().copied();
    while let Some(nth) = next {
        ascent.push(nth);
        next = below.get(nth).copied().flatten();
    }
    ascent.reverse();
    ascent
}

#[cfg(test)]
mod tests {
    use annals::{NewEvent, Position, SequenceNumber, StoredEvent, StreamId};

    use super::{Finding, Seen};
    use crate::link::{Hash, Method};

    /// A chained stream of so many events.
    fn stream(events: u64) -> Vec<StoredEvent> {
        let (method, stream) = (Method::default(), StreamId::from_static("worlds", "earth"));
        let mut previous = Hash::GENESIS;
        let mut made = Vec::new();
        for nth in 0..events {
            let event = NewEvent::json("said", &nth).expect("a number");
            let at = Position::new(nth);
            let (event, hash) = method.chain(&stream, event, previous, at);
            let time = event.occurred_at;
            let number = SequenceNumber::new(nth + 1);
            made.push(StoredEvent::new(event, stream.clone(), at, number, time));
            previous = hash;
        }
        made
    }

    #[test]
    fn an_intact_stream_takes_no_memory_and_a_damaged_one_a_bounded_one() {
        let method = Method::default();
        let events = stream(1_000);
        let mut seen = Seen::new(&method, SequenceNumber::START, None);
        for event in &events {
            assert!(seen.push(event));
            assert!(seen.rows.len() <= 1, "only the last event is kept");
        }
        let report = seen.report();
        assert_eq!((report.events, report.findings.len()), (1_000, 0));

        let mut seen = Seen::new(&method, SequenceNumber::START, report.head);
        seen.max_kept = 100;
        for event in events.iter().filter(|event| event.position != Position::new(500)) {
            seen.push(event);
            assert!(seen.rows.len() <= 100);
        }
        let report = seen.report();
        let gone = Position::new(500);
        assert_eq!(report.findings, [Finding::Removed { first: gone, last: gone }]);
        assert!(report.stopped_at.is_some_and(|at| at > gone), "{report:?}");
    }
}
