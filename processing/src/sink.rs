//! Sinks: what takes batches of events.

use annals::{BoxError, SequenceNumber, StoredEvent};
use annals_state::{Commit, Expected, Revision, StateError, Write};
use async_trait::async_trait;

use crate::claim::Claim;

/// Takes batches of events and makes something of them: a view in documents or in tables, new events, calls.
///
/// A processor calls it with one batch at a time. A sink keeps two rules:
/// - **All or nothing.** `take` makes the effect of all events of the batch *and* the commit of [`Batch::commit`], or
///   neither, in one transaction of the state store. An effect outside the state store cannot be part of it: it is made
///   before the commit, and must be one that changes nothing when it is made again.
/// - **No memory beyond the fence.** Whatever it remembers between two calls is true only as long as its commits succeed.
///   After an error of `take` it is asked to [`forget`](Self::forget); it is asked so, too, whenever the processor reads
///   its tracking again.
///
/// `annals_testkit::processing` has a suite that checks these rules on any sink.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The processor of this claim begins: it calls nothing else before. Most sinks need not know.
    fn begin(&mut self, claim: &Claim) {
        let _ = claim;
    }

    /// Applies the batch, and commits `batch.commit(effects)`, the tracking included. A batch may be without events: then
    /// only the commit is made.
    ///
    /// # Errors
    /// [`SinkError::Handler`] if an event cannot be applied: nothing of the batch was made. Those of the stores as they
    /// are.
    ///
    /// # Cancel safety
    /// It may be dropped at any await: all of the batch was made or nothing.
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError>;

    /// Forgets what it remembers of its own effects.
    fn forget(&mut self);

    /// Whether what it made can be removed, or made again without harm: a reset of its processor is rejected otherwise.
    fn can_clear(&self) -> bool {
        true
    }

    /// Removes all that it ever made, in as many commits as it likes, each with `guard`. It may have been called before
    /// and not have come to its end.
    ///
    /// # Errors
    /// [`SinkError::Unsupported`] if what it made cannot be removed: see [`can_clear`](Self::can_clear).
    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError>;
}

#[async_trait]
impl<S: Sink + ?Sized> Sink for Box<S> {
    fn begin(&mut self, claim: &Claim) {
        (**self).begin(claim);
    }

    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        (**self).take(batch).await
    }

    fn forget(&mut self) {
        (**self).forget();
    }

    fn can_clear(&self) -> bool {
        (**self).can_clear()
    }

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        (**self).clear(guard).await
    }
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The handler cannot apply an event. What comes before it in the batch is taken again without it.
    #[error("event {at} cannot be applied")]
    Handler {
        /// The number of the event.
        at: SequenceNumber,
        /// Why it cannot.
        #[source]
        source: BoxError,
    },
    /// The commit would go beyond a bound of the store: the batch is taken in parts.
    #[error("the batch makes a commit that is too large for the store")]
    TooLarge,
    /// The sink cannot do this.
    #[error("the sink does not support {0}")]
    Unsupported(&'static str),
    /// The state store failed, or an expectation does not hold.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] annals::Error),
}

impl SinkError {
    /// The handler cannot apply this event.
    pub fn handler(at: &StoredEvent, source: impl Into<BoxError>) -> Self {
        Self::Handler { at: at.sequence_number, source: source.into() }
    }

    /// Of a sink that applies a batch as a whole: one of its events cannot be applied. If there are several, which one it is
    /// is found by taking fewer.
    pub fn of_batch(batch: &Batch<'_>, source: impl Into<BoxError>) -> Self {
        match batch.events() {
            [event] => Self::handler(event, source),
            _ => Self::TooLarge,
        }
    }
}

/// Events to apply, and the tracking that is committed with them.
#[derive(Debug)]
pub struct Batch<'a> {
    events: &'a [StoredEvent],
    to: SequenceNumber,
    tries: u32,
    revision: Revision,
    fence: Vec<Write>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        events: &'a [StoredEvent],
        to: SequenceNumber,
        tries: u32,
        fence: Vec<Write>,
    ) -> Self {
        Self { events, to, tries, revision: Revision::generate(), fence }
    }

    /// For tests of sinks: a batch of these events whose commit also makes `fence`.
    #[must_use]
    pub fn of(events: &'a [StoredEvent], fence: Vec<Write>) -> Self {
        let to = events.last().map_or(SequenceNumber::START, |last| last.sequence_number);
        Self::new(events, to, 1, fence)
    }

    /// The events, ascending. There may be none.
    #[must_use]
    pub fn events(&self) -> &'a [StoredEvent] {
        self.events
    }

    /// Up to where the tracking says that everything was applied, once the batch is committed.
    #[must_use]
    pub fn to(&self) -> SequenceNumber {
        self.to
    }

    /// How often the first event was tried, this time included.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The revision that the documents of the commit have.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The commit of these effects and of the tracking. It fails with a conflict if another processor of this name took
    /// the events, or if the processor was reset.
    pub fn commit(&self, effects: impl IntoIterator<Item = Write>) -> Commit {
        let fence = self.fence.iter().cloned();
        Commit::with_revision(self.revision, effects.into_iter().chain(fence))
    }

    /// The guards of the commit: what a sink adds to a commit of its own that it makes before that of the batch.
    #[must_use]
    pub fn guards(&self) -> Vec<Write> {
        let guarded = self.fence.iter().filter(|write| write.expected != Expected::Any);
        guarded.map(|write| Write::guard(write.key.clone(), write.expected)).collect()
    }
}
