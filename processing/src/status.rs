//! Status: what a processor does now, and how far it is.

use std::time::Duration;

use annals::SequenceNumber;
use serde::{Deserialize, Serialize};

/// What a processor does now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It has not begun.
    #[default]
    Waiting,
    /// It applies what is there already.
    CatchingUp,
    /// It has applied all that there was, and waits for more.
    Live,
    /// Another processor of its name works on the same events; it is ready to go on if that one does not.
    Standby,
    /// A store is away or a handler failed; it tries again.
    Retrying,
    /// It waits until somebody asks it to resume.
    Paused,
    /// It has ended as it should.
    Stopped,
    /// It has ended with an error.
    Failed,
}

/// What a processor does now, and how far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// What it does.
    pub phase: Phase,
    /// Everything up to this number was applied, skipped or parked, or is of no interest to it.
    pub tracked: SequenceNumber,
    /// The highest number of the log that it has seen.
    pub head: SequenceNumber,
    /// How long it has not been at the head, by its own timer.
    pub behind: Duration,
    /// How many events it has applied since it began.
    pub applied: u64,
    /// How many events were skipped or discarded, ever.
    pub skipped: u64,
    /// How often it has tried something again since it began.
    pub retries: u64,
    /// How many sequences are parked.
    pub parked: usize,
    /// The last error, until it works again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Up to where a processor is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most numbers that it may be behind.
    pub lag: u64,
    /// The longest that it may be behind.
    pub behind: Duration,
    /// The most sequences that may be parked.
    pub parked: usize,
}

impl Default for Limits {
    /// 10,000 numbers, one minute, nothing parked.
    fn default() -> Self {
        Self { lag: 10_000, behind: Duration::from_secs(60), parked: 0 }
    }
}

impl Limits {
    /// Permits so many numbers.
    #[must_use]
    pub fn lag(mut self, numbers: u64) -> Self {
        self.lag = numbers;
        self
    }

    /// Permits so much time.
    #[must_use]
    pub fn behind(mut self, time: Duration) -> Self {
        self.behind = time;
        self
    }

    /// Permits so many parked sequences.
    #[must_use]
    pub fn parked(mut self, sequences: usize) -> Self {
        self.parked = sequences;
        self
    }
}

impl Status {
    /// How many numbers of the log it is behind what it has seen of it.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.head.value().saturating_sub(self.tracked.value())
    }

    /// What is not well, in one line each; nothing if all is.
    #[must_use]
    pub fn complaints(&self, limits: &Limits) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.phase == Phase::Failed {
            let error = self.error.as_deref().unwrap_or("without an error");
            complaints.push(format!("it failed: {error}"));
        }
        if self.lag() > limits.lag {
            complaints.push(format!("it is {} events behind", self.lag()));
        }
        if self.behind > limits.behind {
            complaints.push(format!("it has been behind for {} s", self.behind.as_secs()));
        }
        if self.parked > limits.parked {
            complaints.push(format!("{} sequences are parked", self.parked));
        }
        complaints
    }
}
