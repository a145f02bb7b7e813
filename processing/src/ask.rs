//! Requests: what can be asked of a processor while it works.

use annals::SequenceNumber;
use serde::{Deserialize, Serialize};

use crate::parked::Parked;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ask {
    /// Take no more events. It is remembered in the tracking, so it holds after a restart, too.
    Pause,
    /// Take events again.
    Resume,
    /// Look at the log now, and store how far it was looked at. For who waits for an event that the processor does not ask
    /// for: nothing says to the processor that it was appended.
    Look,
    /// Divide the streams by hash into so many parts, as [`split`](crate::split) does. The processor ends then.
    Split {
        /// A multiple of the number of parts that there are.
        parts: u16,
    },
    /// Remove all that the processor made, all parts of it, and begin from the first event. Rejected if what it made
    /// cannot be taken back.
    Reset,
    /// Apply the events of this parked sequence, from the one that failed on, and unpark it.
    Retry(String),
    /// Pass over this event of a parked sequence. The next one of the sequence is where it is parked then; if there is
    /// none, it is parked no more. Nothing is done if the sequence is not parked at this event.
    Discard {
        /// The sequence.
        sequence: String,
        /// The number of the event at which it is parked.
        event: SequenceNumber,
    },
    /// List what is parked: at most so many sequences, after this one.
    List {
        /// The sequence after which the list begins.
        after: Option<String>,
        /// The most sequences to list.
        limit: usize,
    },
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// It is done.
    Done,
    /// It was tried, and the handler failed again: the sequence is parked as before, from this failure on.
    StillParked(Parked),
    /// There was nothing to do.
    Nothing,
    /// What is parked.
    List(Vec<Parked>),
    /// It makes no sense, or could not be done.
    Rejected(String),
}
