//! What a store must answer: a pure model, and sequential programs that compare an adapter with it.
//!
//! The model shares nothing with the core's own judgement of conditions and queries, so that one mistake cannot
//! hide on both sides.

use serde::{Deserialize, Serialize};

pub use crate::op::{Condition, Event, Item, Mark, NAMES, Op, Part, Scope, Write};
pub use crate::sequential::{Counterexample, Program};

/// An event and where it landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// What was appended.
    pub event: Event,
    /// The stream.
    pub stream: u8,
    /// Its place in the stream.
    pub position: u64,
    /// Its place in the log.
    pub number: u64,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The events as stored.
    Appended(Vec<Stored>),
    /// The events as read.
    Read(Vec<Stored>),
    /// `ConditionFailed`.
    ConditionFailed,
    /// `DuplicateEvent`.
    Duplicate,
    /// `Invalid`.
    Invalid,
    /// `Unavailable`: nothing was written.
    Unavailable,
    /// `OutcomeUnknown`: written or not.
    Unknown,
    /// Any other error, which a working store never returns.
    Failed(String),
}

/// All events so far, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// The log.
    pub events: Vec<Stored>,
}

impl Model {
    /// What `op` makes of the log, and what it answers. Numbers are dense, the first is 1.
    #[must_use]
    pub fn step(mut self, op: &Op) -> (Self, Outcome) {
        let outcome = match op {
            Op::Append(writes) => match self.refusal(writes) {
                Some(refusal) => refusal,
                None => Outcome::Appended(self.append(writes)),
            },
            Op::Read(query, part) => {
                let bounds = (self.number(part.after), part.until.map(|mark| self.number(mark)));
                let inside = |number| number > bounds.0 && bounds.1.is_none_or(|end| number <= end);
                let all = self.events.iter();
                let matched = all.filter(|event| inside(event.number) && matches(query, event));
                Outcome::Read(select(matched.cloned().collect(), part))
            }
        };
        (self, outcome)
    }

    fn refusal(&self, writes: &[Write]) -> Option<Outcome> {
        if is_repeated(writes.iter().map(|write| u32::from(write.stream))) {
            return Some(Outcome::Invalid);
        }
        let ids = || writes.iter().flat_map(|write| &write.events).map(|event| event.id);
        if is_repeated(ids()) || ids().any(|id| self.events.iter().any(|old| old.event.id == id)) {
            return Some(Outcome::Duplicate);
        }
        let unmet = writes.iter().any(|write| !self.holds(write.stream, &write.condition));
        unmet.then_some(Outcome::ConditionFailed)
    }

    fn holds(&self, stream: u8, condition: &Condition) -> bool {
        let length = self.events.iter().filter(|event| event.stream == stream).count() as u64;
        let found = |query: &[Item], after| {
            let after = self.number(after);
            Some(self.events.iter().any(|event| event.number > after && matches(query, event)))
        };
        judge(condition, length, &found).unwrap_or(false)
    }

    fn append(&mut self, writes: &[Write]) -> Vec<Stored> {
        let before = self.events.len();
        for write in writes {
            for event in &write.events {
                let of_stream = self.events.iter().filter(|old| old.stream == write.stream);
                let position = of_stream.count() as u64;
                let number = self.events.len() as u64 + 1;
                let event = event.clone();
                self.events.push(Stored { event, stream: write.stream, position, number });
            }
        }
        self.events[before..].to_vec()
    }

    /// One client makes all calls, so it has seen everything.
    fn number(&self, mark: Mark) -> u64 {
        match mark {
            Mark::Start => 0,
            Mark::Seen => self.events.len() as u64,
            Mark::At(number) => number,
        }
    }
}

/// Whether `condition` holds of a stream of this length. `found` says whether an event after the mark matches;
/// `None`: it cannot be known, and neither can then what depends on it.
pub(crate) fn judge(
    condition: &Condition,
    length: u64,
    found: &dyn Fn(&[Item], Mark) -> Option<bool>,
) -> Option<bool> {
    let judged = |parts: &[Condition]| -> Vec<Option<bool>> {
        parts.iter().map(|part| judge(part, length, found)).collect()
    };
    match condition {
        Condition::Always | Condition::AsSeen => Some(true),
        Condition::StreamIsEmpty => Some(length == 0),
        Condition::StreamExists => Some(length > 0),
        Condition::PositionIs(position) => Some(length > 0 && *position == length - 1),
        Condition::NoMatch { query, after } => found(query, *after).map(|found| !found),
        Condition::All(parts) => match judged(parts) {
            parts if parts.contains(&Some(false)) => Some(false),
            parts if parts.contains(&None) => None,
            _ => Some(true),
        },
        Condition::Any(parts) => match judged(parts) {
            parts if parts.contains(&Some(true)) => Some(true),
            parts if parts.contains(&None) => None,
            _ => Some(false),
        },
    }
}

/// Whether a query of these items asks for `event`.
pub(crate) fn matches(items: &[Item], event: &Stored) -> bool {
    let source = |scope| match scope {
        Scope::Log => true,
        Scope::Category(category) => event.stream / 2 == category,
        Scope::Stream(stream) => event.stream == stream,
    };
    let item = |item: &Item| {
        source(item.source)
            && (item.names.is_empty() || item.names.contains(&event.event.name))
            && item.tags.iter().all(|tag| event.event.tags.contains(tag))
    };
    items.is_empty() || items.iter().any(item)
}

/// The events of ascending `matched` that `part` asks for by direction and limit.
pub(crate) fn select<T>(mut matched: Vec<T>, part: &Part) -> Vec<T> {
    if part.backward {
        matched.reverse();
    }
    let limit = part.limit.and_then(|limit| usize::try_from(limit).ok());
    matched.truncate(limit.unwrap_or(usize::MAX));
    matched
}

pub(crate) fn is_repeated(numbers: impl Iterator<Item = u32>) -> bool {
    let mut seen = std::collections::HashSet::new();
    { numbers }.any(|number| !seen.insert(number))
}
