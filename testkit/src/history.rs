//! Concurrent histories: what clients asked at the same time and what they were answered, and whether one order
//! of commits explains it.
//!
//! The sequence numbers are the witness: no order has to be searched for, which in general takes exponential time,
//! and with the order of writes known does not (Gibbons and Korach, "Testing Shared Memories", 1997). A history is
//! JSON, so that one from a failed run can be checked again later:
//!
//! ```
//! use annals_testkit::history::{Anomaly, History};
//!
//! // Two clients both found the stream empty and both were told that they were right.
//! let text = r#"{ "order": "log", "operations": [
//!   { "client": 0, "invoked": 0, "returned": 3,
//!     "op": { "Append": [{ "stream": 0, "events": [{ "id": 1, "name": 0, "tags": [] }], "condition": "StreamIsEmpty" }] },
//!     "outcome": { "Appended": [{ "event": { "id": 1, "name": 0, "tags": [] }, "stream": 0, "position": 0, "number": 1 }] } },
//!   { "client": 1, "invoked": 1, "returned": 2,
//!     "op": { "Append": [{ "stream": 0, "events": [{ "id": 2, "name": 0, "tags": [] }], "condition": "StreamIsEmpty" }] },
//!     "outcome": { "Appended": [{ "event": { "id": 2, "name": 0, "tags": [] }, "stream": 0, "position": 1, "number": 2 }] } }],
//!   "log": [{ "event": { "id": 1, "name": 0, "tags": [] }, "stream": 0, "position": 0, "number": 1 },
//!           { "event": { "id": 2, "name": 0, "tags": [] }, "stream": 0, "position": 1, "number": 2 }] }"#;
//! let violation = History::from_json(text)?.check().unwrap_err();
//! assert_eq!(violation.anomaly, Anomaly::LostUpdate);
//! # Ok::<(), serde_json::Error>(())
//! ```

mod instants;
mod log;
mod reads;
mod record;
mod timeline;
mod view;

use std::fmt;

use annals::Order;
use serde::{Deserialize, Serialize};

use crate::model::{Op, Outcome, Stored};

pub use record::Clients;

/// A call and its answer. Times are ticks of a counter that all clients share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who made the call. One client makes one call at a time.
    pub client: usize,
    /// When the call was made.
    pub invoked: u64,
    /// When it was answered.
    pub returned: u64,
    /// The call, with sequence numbers as such ([`Mark::At`](crate::model::Mark::At)).
    pub op: Op,
    /// The answer.
    pub outcome: Outcome,
}

/// What clients did at the same time, and the log at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The widest scope in which sequence numbers rise in commit order.
    pub order: Order,
    /// The calls, in any order.
    pub operations: Vec<Operation>,
    /// All events in the end, as read: of each scope of `order` one after the other.
    pub log: Vec<Stored>,
}

/// What is wrong with a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Anomaly {
    /// The log was not read in ascending order of sequence numbers.
    LogOutOfOrder,
    /// Two events have one sequence number.
    RepeatedNumber,
    /// An event was stored twice.
    StoredTwice,
    /// A stream lacks a position.
    PositionHole,
    /// Two events of a stream have one position, or positions fall where numbers rise.
    RepeatedPosition,
    /// The log holds an event that nobody appended.
    PhantomEvent,
    /// An acknowledged event is not in the log.
    AcknowledgedMissing,
    /// An acknowledged event is elsewhere, or differs from what was acknowledged or proposed.
    AcknowledgedDiffers,
    /// The log holds an event of an append that was refused.
    RefusedPresent,
    /// An append whose outcome was unknown is there in part.
    PartlyStored,
    /// The events of an append are not in the order given.
    BatchOutOfOrder,
    /// Another append is amid the events of one append.
    InterleavedBatch,
    /// A stream's head was not what the append's condition asked for: two decisions on one state.
    LostUpdate,
    /// Another condition did not hold where the append took its place.
    ConditionDidNotHold,
    /// An append was numbered before one that was done when it began.
    RealTimeInversion,
    /// `ConditionFailed`, though the condition held at every instant of the call.
    UnjustifiedRefusal,
    /// `DuplicateEvent`, though no id was known at any instant of the call.
    UnjustifiedDuplicate,
    /// A known id was not refused as `DuplicateEvent`.
    DuplicateNotTold,
    /// One stream twice in a call was not refused as `Invalid`, or another call was.
    InvalidNotTold,
    /// An error that a working store never returns, or the answer to another call.
    UnexpectedOutcome,
    /// A read gave an event of an append that was refused.
    AbortedRead,
    /// A read gave an event that nobody appended, or that is not in the log as it was read.
    PhantomRead,
    /// A read gave an event that was not asked for.
    UnwantedEvent,
    /// A read gave events out of order.
    ReadOutOfOrder,
    /// A read gave an event twice.
    RepeatedEvent,
    /// A read went beyond its limit.
    LimitExceeded,
    /// A read left out an event amid those that it gave.
    SkippedEvent,
    /// A read saw a part of an append.
    IntermediateRead,
    /// A read did not see what was done when it began.
    StaleRead,
    /// A read saw what was not begun when it ended.
    FutureRead,
    /// A read or refusal fits only instants before one that another client was shown earlier.
    NonMonotonic,
}

/// The first thing found wrong with a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// What kind.
    pub anomaly: Anomaly,
    /// The operation at fault, by its place in [`History::operations`].
    pub operation: Option<usize>,
    /// What was expected and what was found.
    pub message: String,
}

impl Violation {
    fn new(anomaly: Anomaly, operation: impl Into<Option<usize>>, message: String) -> Self {
        Self { anomaly, operation: operation.into(), message }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.anomaly, self.message)?;
        self.operation.map_or(Ok(()), |nth| write!(f, " (operation {nth})"))
    }
}

impl std::error::Error for Violation {}

impl History {
    /// Takes a history that [`to_json`](Self::to_json) gave.
    ///
    /// # Errors
    /// When the text is no history.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The history as JSON, in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| error.to_string())
    }

    /// Whether one order of commits, the one of the sequence numbers, explains all answers. Within each scope of
    /// the declared order:
    ///
    /// - the log is whole: acknowledged appends are there, refused ones are not, unknown ones are whole or absent;
    /// - the order of commits contains the order in time of appends that do not overlap;
    /// - the conditions of each append hold at its place;
    /// - each read returns what it asked for at an instant between call and answer, each refusal has an instant that
    ///   justifies it, and these instants never go back from one call to a later one.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        let owners = log::check(self)?;
        let views = view::split(self, &owners);
        for view in &views {
            view.check_commits()?;
        }
        instants::check(self, &views)
    }
}
