//! Write conditions: a closed algebra.

use std::fmt;
use std::ops::{BitAnd, BitOr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{EventId, StoredEvent};
use crate::name::StreamId;
use crate::position::{Position, SequenceNumber};
use crate::query::Query;

/// How deep conditions may nest, so that no caller can exhaust an adapter's stack. [`EventStore`](crate::EventStore)
/// takes [`LAYER_CONDITION_DEPTH`] levels less, which are left to layers.
pub const MAX_CONDITION_DEPTH: usize = 64;

/// How many levels of nesting layers may put around a condition, all layers of a stack together.
pub const LAYER_CONDITION_DEPTH: usize = 8;

/// What must hold of the store for an append to be made (optimistic concurrency).
///
/// Conditions on "the stream" speak of the stream that the [`Append`](crate::Append) writes to;
/// [`NoMatch`](Self::NoMatch) may look anywhere. All conditions of one call are judged against the store as it
/// is before the call. They compose with `&` and `|`, which flatten; two compositions are equal when they have
/// the same parts in any order.
///
/// ```
/// use annals::{Position, WriteCondition};
/// let condition = WriteCondition::StreamIsEmpty | WriteCondition::PositionIs(Position::new(3));
/// assert_eq!(condition, WriteCondition::PositionIs(Position::new(3)) | WriteCondition::StreamIsEmpty);
/// ```
///
/// Its serde form has every variant but [`Custom`](Self::Custom), which is code and fails to serialize.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WriteCondition {
    /// Holds always: the append cannot lose a race, and can overwrite a decision.
    Always,
    /// The stream has no events.
    StreamIsEmpty,
    /// The stream has at least one event.
    StreamExists,
    /// The stream's last event is at this position.
    PositionIs(Position),
    /// The stream's last event has this id. Unlike a position, an id is never used again after a restore or a
    /// fail-over that lost events.
    LastEventIs(EventId),
    /// No event after `after` matches `query`: a dynamic consistency boundary. `after` is what the decision
    /// was made on, exclusive.
    NoMatch {
        /// What must not have happened.
        query: Query,
        /// The last sequence number that the decision knows of.
        after: SequenceNumber,
    },
    /// A predicate on the stream's last event.
    #[serde(skip)]
    Custom(Arc<dyn Predicate>),
    /// All of these hold; of none of them, it holds.
    All(Vec<Self>),
    /// Any of these holds; of none of them, it does not.
    Any(Vec<Self>),
}

/// A condition as code, judged inside the append.
///
/// It must depend on nothing but its argument, do no I/O and return at once: the store calls it while it holds
/// the lock of the append, and may call it again when it repeats a transaction.
pub trait Predicate: fmt::Debug + Send + Sync + 'static {
    /// What is expected, for the message of a refusal: "expected {it}".
    fn expectation(&self) -> String;

    /// Whether it holds, given the stream's last event (`None`: the stream is empty).
    fn holds(&self, last: Option<&StoredEvent>) -> bool;
}

/// A condition that did not hold: what was expected and what was found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Unmet {
    /// The stream that was to be appended to.
    pub stream: StreamId,
    /// The leaf that failed; of alternatives that all failed, an [`WriteCondition::Any`] of them.
    pub failed: WriteCondition,
    /// The position of the stream's last event; `None` when the stream is empty.
    pub actual: Option<Position>,
    /// The event that a [`WriteCondition::NoMatch`] found.
    pub matched: Option<SequenceNumber>,
}

impl WriteCondition {
    /// A condition that no event matches `query` after `after`.
    #[must_use]
    pub fn no_match(query: impl Into<Query>, after: SequenceNumber) -> Self {
        Self::NoMatch { query: query.into(), after }
    }

    /// A condition as code; needs [`Capabilities::custom_conditions`](crate::Capabilities).
    #[must_use]
    pub fn custom(predicate: impl Predicate) -> Self {
        Self::Custom(Arc::new(predicate))
    }

    /// The conditions without parts that it is made of, in order. Nesting costs no stack, a leaf no memory.
    fn leaves(&self) -> impl Iterator<Item = &Self> {
        let mut first = Some(self);
        let mut rest = Vec::new();
        std::iter::from_fn(move || {
            loop {
                match first.take().or_else(|| rest.pop())? {
                    Self::All(parts) | Self::Any(parts) => rest.extend(parts.iter().rev()),
                    leaf => return Some(leaf),
                }
            }
        })
    }

    /// For adapters: the queries whose matches [`Facts::matches`](crate::adapter::Facts::matches) must hold, in order.
    #[must_use]
    pub fn queries(&self) -> Vec<(&Query, SequenceNumber)> {
        let query = |leaf| match leaf {
            &Self::NoMatch { ref query, after } => Some((query, after)),
            _ => None,
        };
        self.leaves().filter_map(query).collect()
    }

    /// For adapters: whether [`Facts::last`](crate::adapter::Facts::last) must be looked up.
    #[must_use]
    pub fn needs_last_event(&self) -> bool {
        self.leaves().any(|leaf| matches!(leaf, Self::Custom(_)))
    }

    /// For adapters: whether [`Facts::last_id`](crate::adapter::Facts::last_id) must be looked up.
    #[must_use]
    pub fn needs_last_id(&self) -> bool {
        self.leaves().any(|leaf| matches!(leaf, Self::LastEventIs(_)))
    }

    /// Nesting costs no stack, a leaf no memory.
    pub(crate) fn is_deeper_than(&self, most: usize) -> bool {
        let mut first = Some((self, 1));
        let mut rest = Vec::new();
        while let Some((condition, depth)) = first.take().or_else(|| rest.pop()) {
            if depth > most {
                return true;
            }
            if let Self::All(parts) | Self::Any(parts) = condition {
                rest.extend(parts.iter().map(|part| (part, depth + 1)));
            }
        }
        false
    }
}

impl fmt::Display for Unmet {
    /// Both sides of the mismatch: `stream orders/o-1 is at position 4, expected 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.actual {
            Some(position) => write!(f, "stream {} is at position {position}", self.stream)?,
            None => write!(f, "stream {} is empty", self.stream)?,
        }
        if let Some(matched) = self.matched {
            write!(f, " and event {matched} matches")?;
        }
        write!(f, ", expected {}", self.failed)
    }
}

impl fmt::Display for WriteCondition {
    /// What is expected, to follow the word "expected".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word, none) = match self {
            Self::Always => return f.write_str("nothing"),
            Self::StreamIsEmpty => return f.write_str("an empty stream"),
            Self::StreamExists => return f.write_str("a stream with events"),
            Self::PositionIs(position) => return write!(f, "{position}"),
            Self::LastEventIs(id) => return write!(f, "event {id} as the last one"),
            Self::NoMatch { query, after } => {
                return write!(f, "no event of {query} after {after}");
            }
            Self::Custom(predicate) => return f.write_str(&predicate.expectation()),
            Self::All(parts) => (parts, " and ", "nothing"),
            Self::Any(parts) => (parts, " or ", "one of no alternatives"),
        };
        if parts.is_empty() {
            return f.write_str(none);
        }
        for (nth, part) in parts.iter().enumerate() {
            if nth > 0 {
                f.write_str(word)?;
            }
            match part {
                Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                leaf => write!(f, "{leaf}")?,
            }
        }
        Ok(())
    }
}

impl BitAnd for WriteCondition {
    type Output = Self;

    /// Both hold.
    fn bitand(self, other: Self) -> Self {
        let mut parts = match self {
            Self::All(parts) => parts,
            one => vec![one],
        };
        match other {
            Self::All(more) => parts.extend(more),
            one => parts.push(one),
        }
        Self::All(parts)
    }
}

impl BitOr for WriteCondition {
    type Output = Self;

    /// Either holds.
    fn bitor(self, other: Self) -> Self {
        let mut parts = match self {
            Self::Any(parts) => parts,
            one => vec![one],
        };
        match other {
            Self::Any(more) => parts.extend(more),
            one => parts.push(one),
        }
        Self::Any(parts)
    }
}

impl PartialEq for WriteCondition {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Always, Self::Always)
            | (Self::StreamIsEmpty, Self::StreamIsEmpty)
            | (Self::StreamExists, Self::StreamExists) => true,
            (Self::PositionIs(a), Self::PositionIs(b)) => a == b,
            (Self::LastEventIs(a), Self::LastEventIs(b)) => a == b,
            (Self::NoMatch { query, after }, Self::NoMatch { query: q, after: n }) => {
                query == q && after == n
            }
            (Self::Custom(a), Self::Custom(b)) => Arc::ptr_eq(a, b),
            (Self::All(a), Self::All(b)) | (Self::Any(a), Self::Any(b)) => same_parts(a, b),
            _ => false,
        }
    }
}

/// Whether both have the same parts equally often, in any order.
fn same_parts(a: &[WriteCondition], b: &[WriteCondition]) -> bool {
    let mut rest: Vec<&WriteCondition> = b.iter().collect();
    a.len() == b.len()
        && a.iter().all(|part| {
            let found = rest.iter().position(|other| *other == part);
            found.map(|at| rest.swap_remove(at)).is_some()
        })
}
