//! Operations in few words: small numbers instead of names and ids, so that they shrink, compare and print well.

use annals::Capabilities;
use annals::Order;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// How many event names there are: an [`Event::name`] is below it.
pub const NAMES: u8 = 3;
/// How many tags and streams random operations use: few, so that they meet.
const TAGS: u8 = 3;
const STREAMS: u8 = 4;

/// An event. Its payload follows from its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Stands for an event id: equal numbers are equal ids.
    pub id: u32,
    /// Its name, below [`NAMES`].
    pub name: u8,
    /// Its tags, ascending.
    pub tags: Vec<u8>,
}

/// A sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mark {
    /// Before every event.
    Start,
    /// The last that the client has seen.
    Seen,
    /// In a sequential program the number of the nth event of the program, in a history the number itself.
    At(u64),
}

/// Where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Everywhere.
    Log,
    /// In the streams 2n and 2n + 1.
    Category(u8),
    /// In one stream.
    Stream(u8),
}

/// An alternative of a query: any of the names, all of the tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Item {
    /// Where to look.
    pub source: Scope,
    /// None given: no restriction.
    pub names: Vec<u8>,
    /// None given: no restriction.
    pub tags: Vec<u8>,
}

/// A write condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the write condition of that name")]
pub enum Condition {
    Always,
    StreamIsEmpty,
    StreamExists,
    PositionIs(u64),
    /// The stream is where the client last saw it.
    AsSeen,
    NoMatch {
        query: Vec<Item>,
        after: Mark,
    },
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// What one call appends to one stream; without events a guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Stream n is in category n / 2.
    pub stream: u8,
    /// In order.
    pub events: Vec<Event>,
    /// Must hold for the whole call.
    pub condition: Condition,
}

/// Which part of what a query matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Exclusive.
    pub after: Mark,
    /// Inclusive.
    pub until: Option<Mark>,
    /// At most so many.
    pub limit: Option<u64>,
    /// Newest first.
    pub backward: bool,
}

/// A call of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// An append to any number of streams.
    Append(Vec<Write>),
    /// A read; of no items, of the whole log.
    Read(Vec<Item>, Part),
}

impl Item {
    /// The narrowest scope that holds all that `items` can match.
    #[must_use]
    pub fn scope(items: &[Self]) -> Scope {
        let category = |scope| match scope {
            Scope::Log => None,
            Scope::Category(category) => Some(category),
            Scope::Stream(stream) => Some(stream / 2),
        };
        let mut sources = items.iter().map(|item| item.source);
        let Some(first) = sources.next() else { return Scope::Log };
        sources.fold(first, |all, next| match (category(all), category(next)) {
            _ if all == next => all,
            (Some(a), Some(b)) if a == b => Scope::Category(a),
            _ => Scope::Log,
        })
    }
}

impl Scope {
    /// The order that an adapter must declare for a read of this scope.
    #[must_use]
    pub fn width(self) -> Order {
        match self {
            Self::Log => Order::Log,
            Self::Category(_) => Order::Category,
            Self::Stream(_) => Order::Stream,
        }
    }
}

/// Makes operations that `capabilities` allow.
#[derive(Debug)]
pub(crate) struct Generator {
    rng: StdRng,
    capabilities: Capabilities,
    issued: Vec<Event>,
    /// The last read: the same again finds what is remembered too long.
    last_read: Option<Op>,
    /// Whether sequence numbers are given as such: only where one client makes all calls.
    numbers: bool,
}

impl Generator {
    pub(crate) fn new(seed: u64, capabilities: Capabilities, numbers: bool) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            capabilities,
            issued: Vec::new(),
            last_read: None,
            numbers,
        }
    }

    pub(crate) fn below(&mut self, end: u8) -> u8 {
        self.rng.random_range(0..end)
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn op(&mut self) -> Op {
        if self.chance(60) { self.append() } else { self.read() }
    }

    pub(crate) fn append(&mut self) -> Op {
        let several = self.capabilities.multi_stream_append && self.chance(35);
        let count = if several { 2 + usize::from(self.below(2)) } else { 1 };
        let most = self.capabilities.max_events_per_append.map_or(u32::MAX, Into::into);
        let mut room = usize::try_from(most).unwrap_or(usize::MAX);
        let mut writes: Vec<Write> = Vec::new();
        while writes.len() < count {
            let stream = self.below(STREAMS);
            let taken = writes.iter().any(|write| write.stream == stream);
            if taken && (!several || !self.chance(4)) {
                continue;
            }
            let size = [0, 1, 1, 1, 2, 2, 3, 5][usize::from(self.below(8))].min(room);
            room -= size;
            let events = (0..size).map(|_| self.event()).collect();
            writes.push(Write { stream, events, condition: self.condition(0) });
        }
        Op::Append(writes)
    }

    fn event(&mut self) -> Event {
        if !self.issued.is_empty() && self.chance(6) {
            let nth = self.rng.random_range(0..self.issued.len());
            return self.issued[nth].clone();
        }
        let id = u32::try_from(self.issued.len()).unwrap_or(u32::MAX - 1) + 1;
        let event = Event { id, name: self.below(NAMES), tags: self.tags(40) };
        self.issued.push(event.clone());
        event
    }

    fn tags(&mut self, percent: u8) -> Vec<u8> {
        if !self.capabilities.tags {
            return Vec::new();
        }
        (0..TAGS).filter(|_| self.chance(percent)).collect()
    }

    fn condition(&mut self, depth: u8) -> Condition {
        match self.below(if depth < 2 { 20 } else { 14 }) {
            0..=2 => Condition::Always,
            3 => Condition::StreamIsEmpty,
            4 => Condition::StreamExists,
            5..=6 => Condition::PositionIs(u64::from(self.below(7))),
            7..=9 if self.capabilities.query_conditions => {
                let after = if self.chance(70) { Mark::Seen } else { self.mark() };
                Condition::NoMatch { query: self.query(Order::Log), after }
            }
            7..=13 => Condition::AsSeen,
            nth => {
                let parts = (0..self.below(4)).map(|_| self.condition(depth + 1)).collect();
                if nth < 17 { Condition::All(parts) } else { Condition::Any(parts) }
            }
        }
    }

    fn mark(&mut self) -> Mark {
        match self.below(4) {
            0 => Mark::Start,
            1..=2 if self.numbers => Mark::At(u64::from(self.below(12))),
            _ => Mark::Seen,
        }
    }

    fn query(&mut self, order: Order) -> Vec<Item> {
        let scope = match self.below(3) {
            0 if order >= Order::Log => Scope::Log,
            0 | 1 if order >= Order::Category => Scope::Category(self.below(STREAMS / 2)),
            _ => Scope::Stream(self.below(STREAMS)),
        };
        if scope == Scope::Log && self.chance(30) {
            return Vec::new();
        }
        let count = 1 + self.below(5) / 3;
        (0..count)
            .map(|nth| {
                let source = match scope {
                    Scope::Log if nth > 0 => Scope::Stream(self.below(STREAMS)),
                    Scope::Category(category) if nth > 0 => {
                        Scope::Stream(category * 2 + self.below(2))
                    }
                    same => same,
                };
                let restricted = self.chance(40);
                let names = (0..NAMES).filter(|_| restricted && self.chance(50)).collect();
                Item { source, names, tags: self.tags(20) }
            })
            .collect()
    }

    pub(crate) fn read(&mut self) -> Op {
        if let Some(same) = self.last_read.clone().filter(|_| self.chance(30)) {
            return same;
        }
        let query = self.query(self.capabilities.order);
        let after = if self.chance(60) { Mark::Start } else { self.mark() };
        let until = self.chance(20).then(|| self.mark());
        let limit = self.chance(35).then(|| u64::from(self.below(6)));
        let op = Op::Read(query, Part { after, until, limit, backward: self.chance(35) });
        self.last_read = Some(op.clone());
        op
    }
}
