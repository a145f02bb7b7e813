//! Who takes part, and what each is asked to do.

use std::sync::Arc;
use std::time::Duration;

use annals::BoxError;
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};

pub use crate::about::About;
use crate::measure::Measure;

/// One that takes part.
#[async_trait]
pub trait Contestant: Send + Sync {
    /// Who it is.
    fn about(&self) -> About;

    /// A new, empty store for so many clients at once.
    ///
    /// # Errors
    /// Why there is none.
    async fn open(&self, clients: usize) -> Result<Arc<dyn Store>, BoxError>;
}

/// Why there is no figure.
#[derive(Debug)]
pub enum Missing {
    /// It has no such operation.
    NotOffered,
    /// It failed.
    Failed(BoxError),
}

impl<E: Into<BoxError>> From<E> for Missing {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How an append ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It was stored, and this is the number of its last event.
    Stored(u64),
    /// The stream's last event is another one, whose number the refusal told or not.
    Refused(Option<u64>),
}

/// The number of the last of `events` events after `last`, where those of a stream count from 0.
#[must_use]
pub fn last_of(last: Option<u64>, events: usize) -> u64 {
    last.map_or(0, |last| last + 1) + events as u64 - 1
}

/// What a load of appends consists of.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many clients append at once.
    pub writers: usize,
    /// How many events each append has.
    pub events: usize,
    /// Whether all writers share one stream.
    pub contended: bool,
    /// Sets this repetition's streams apart from others'.
    pub repetition: usize,
    /// For how long.
    pub time: Duration,
}

/// A store, or bare code in its place. What it does not offer it leaves as it is here.
#[async_trait]
pub trait Store: Send + Sync {
    /// Appends `events` events to `stream` if its last event has the number `last`; `None` for no event. It is the
    /// number by which the store's own condition knows an event: its position in the stream, or in the log.
    async fn append(
        &self,
        _stream: &str,
        _last: Option<u64>,
        _events: usize,
    ) -> Result<Appended, Missing> {
        Err(Missing::NotOffered)
    }

    /// Does the whole load in a way of its own, where single calls would add what the limit does not need.
    async fn bare_load(&self, _load: Load) -> Option<Result<Measure, Missing>> {
        None
    }

    /// Reads all events in order, and counts them.
    async fn scan(&self) -> Result<u64, Missing> {
        Err(Missing::NotOffered)
    }

    /// Reads one stream, and counts its events.
    async fn read(&self, _stream: &str) -> Result<u64, Missing> {
        Err(Missing::NotOffered)
    }

    /// The number of the last event of one stream, read as a client does that was refused and decides again.
    async fn last(&self, stream: &str) -> Result<Option<u64>, Missing> {
        Ok(self.read(stream).await?.checked_sub(1))
    }

    /// Folds all events, which lie in memory, and counts them.
    async fn fold(&self) -> Result<u64, Missing> {
        Err(Missing::NotOffered)
    }

    /// The streams `0`, `1`, … up to `streams`, of `events` events each. A limit may take them from elsewhere.
    async fn fill(&self, streams: usize, events: usize) -> Result<(), Missing> {
        let streams = (0..streams).map(|stream| async move {
            let stream = stream.to_string();
            let (mut last, mut left) = (None, events);
            while left > 0 {
                let now = left.min(1_000);
                match self.append(&stream, last, now).await? {
                    Appended::Stored(stored) => {
                        last = Some(stored);
                        left -= now;
                    }
                    // A store may refuse for what others do at the same time.
                    Appended::Refused(_) => last = self.last(&stream).await?,
                }
            }
            Ok(())
        });
        // Several at once, so that they share what a commit costs where the store lets them.
        futures_util::stream::iter(streams).buffer_unordered(32).try_collect().await
    }

    /// Returns what it holds.
    async fn close(&self) {}
}
