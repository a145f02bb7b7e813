//! Loops written by hand: events one by one, what was done with them said afterwards, and the tracking moved over it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use annals::{EventPages, EventStore, Query, SequenceNumber, StoredEvent};
use annals_state::{StateStore, Write};
use async_trait::async_trait;
use futures_util::StreamExt;

use crate::claim::Claim;
use crate::error::{ProcessingError, Result};
use crate::halt::Halt;
use crate::partition::Partition;
use crate::processor::Processor;
use crate::runner::Session;
use crate::sink::{Batch, Sink, SinkError};
use crate::timer::Timer;
use crate::tracking::{LastEvent, Tracking};

/// The most events that are returned and not committed.
const MAX_OPEN: usize = 10_000;

/// The events of a log for a loop written by hand, which acknowledges what it has done and commits: in any order, and the
/// tracking moves without a gap. It is what a [`Processor`] does with a [`Sink`], where a program has its own loop.
///
/// Each event that was not committed is returned again after an end of the program, to the next one of this name. Documents
/// that are put in the commit are made exactly once; what a loop does elsewhere may be done again.
///
/// ```
/// # use std::sync::Arc;
/// # use annals::{BoxError, EventStore, NewEvent, StreamId, WriteCondition};
/// # use annals_memory::{MemoryAdapter, MemoryState};
/// # use annals_processing::{ByHand, SystemTimer};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let store = EventStore::new(MemoryAdapter::new());
/// let stream = store.stream(StreamId::from_static("orders", "o-1"));
/// stream.append([NewEvent::json("order-placed", &12)?], WriteCondition::Always).await?;
///
/// let mut events = ByHand::new("mailer", &store, Arc::new(MemoryState::new()), SystemTimer::new())?;
/// let event = events.next().await?;
/// println!("{}", event.name());
/// assert!(events.ack(&event));
/// assert_eq!(events.commit([]).await?, event.sequence_number);
/// events.end().await?;
/// # Ok(())
/// # }
/// ```
pub struct ByHand {
    processor: Processor,
    /// `None`: the tracking has to be read.
    session: Option<Session>,
    pages: Option<EventPages>,
    /// What was read and not returned.
    read: VecDeque<StoredEvent>,
    /// Up to where was read.
    seen: SequenceNumber,
    /// What was returned and not committed, in order, and whether it is acknowledged.
    open: VecDeque<(LastEvent, bool)>,
    auto: Option<usize>,
}

impl ByHand {
    /// All events of `store`, with the tracking of this name in `state`.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) for an invalid name: see [`Claim::new`].
    pub fn new(
        name: impl Into<Box<str>>,
        store: &EventStore,
        state: Arc<dyn StateStore>,
        timer: impl Timer,
    ) -> Result<Self> {
        let processor = Processor::sink(name, store, state, NoSink, timer)?;
        Ok(Self {
            processor,
            session: None,
            pages: None,
            read: VecDeque::new(),
            seen: SequenceNumber::START,
            open: VecDeque::new(),
            auto: None,
        })
    }

    fn with(mut self, change: impl FnOnce(Processor) -> Result<Processor>) -> Result<Self> {
        self.processor = change(self.processor)?;
        Ok(self)
    }

    /// Only the events that `query` matches: see [`Processor::with_query`].
    ///
    /// # Errors
    /// As [`Processor::with_query`].
    pub fn with_query(self, query: impl Into<Query>) -> Result<Self> {
        self.with(|processor| processor.with_query(query))
    }

    /// Names the source: see [`Claim::with_source`].
    ///
    /// # Errors
    /// As [`Claim::with_source`].
    pub fn with_source(self, source: impl Into<Box<str>>) -> Result<Self> {
        self.with(|processor| processor.with_source(source))
    }

    /// Only the events of this part of the streams: see [`Processor::with_partition`].
    #[must_use]
    pub fn with_partition(mut self, partition: Partition) -> Self {
        self.processor = self.processor.with_partition(partition);
        self
    }

    /// Acknowledges each event when the next one is asked for, and commits after so many of them (at least 1) and before it
    /// waits for further ones.
    #[must_use]
    pub fn with_auto_commit(mut self, events: usize) -> Self {
        self.auto = Some(events.max(1));
        self
    }

    /// What it works on.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.processor.runner().claim
    }

    /// The next event; waits until there is one. A store that is away is asked again, with growing pauses.
    ///
    /// # Errors
    /// - [`AheadOfLog`](ProcessingError::AheadOfLog), [`DefinitionChanged`](ProcessingError::DefinitionChanged).
    /// - [`Misuse`](ProcessingError::Misuse) if 10,000 events are returned and not committed, and if a processor of this
    ///   name has parked sequences.
    /// - With an automatic commit its errors: see [`commit`](Self::commit).
    /// - Those of the stores that trying again does not help.
    ///
    /// # Cancel safety
    /// If it is dropped, no event is lost: the next call returns it.
    pub async fn next(&mut self) -> Result<StoredEvent> {
        if let Some(most) = self.auto {
            self.open.iter_mut().for_each(|(_, is_done)| *is_done = true);
            if self.open.len() >= most || self.read.is_empty() {
                self.commit([]).await?;
            }
        }
        loop {
            match self.step().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(Halt::Fatal(error)) => return Err(error),
                // What is in hand stays: only reads have failed.
                Err(Halt::Again(error)) => {
                    self.pages = None;
                    self.processor.runner.back_off(&error).await;
                }
                Err(Halt::Lost(_) | Halt::Reload | Halt::Stopped) => self.forget(),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<StoredEvent>, Halt> {
        if self.open.len() >= MAX_OPEN {
            let text = format!("{MAX_OPEN} events are returned and not committed");
            return Err(ProcessingError::misuse(text).into());
        }
        if self.session.is_none() {
            self.begin().await?;
        }
        if let Some(event) = self.read.pop_front() {
            self.open.push_back(((&event).into(), false));
            return Ok(Some(event));
        }
        let runner = &mut self.processor.runner;
        let pages = self.pages.get_or_insert_with(|| runner.pages(self.seen, true));
        let page = match pages.next().await {
            Some(Ok(page)) => page,
            Some(Err(annals::Error::AheadOfLog { head, .. })) => {
                return Err(runner.ahead(self.seen, head).into());
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Halt::Reload),
        };
        runner.failures = 0;
        let wanted = page.events.into_iter().filter(|event| runner.wants(event));
        self.read.extend(wanted);
        self.seen = page.through;
        Ok(None)
    }

    /// Reads the tracking, and begins where it is.
    async fn begin(&mut self) -> Result<(), Halt> {
        let runner = &mut self.processor.runner;
        let session = loop {
            let session = runner.load().await?;
            if !session.tracked().paused {
                break session;
            }
            runner.pause(runner.options.beat).await?;
        };
        if !session.parked.is_empty() {
            let text = "a processor of this name has parked sequences, a loop by hand has none";
            return Err(ProcessingError::misuse(text).into());
        }
        runner.check_log(&session).await?;
        self.forget();
        self.seen = session.tracked().after;
        self.session = Some(session);
        Ok(())
    }

    /// What is in hand is not known any more: the tracking is read again.
    fn forget(&mut self) {
        (self.session, self.pages) = (None, None);
        self.read.clear();
        self.open.clear();
    }

    /// This event is done. `false` if it is not in hand: it is committed already, or is returned again.
    pub fn ack(&mut self, event: &StoredEvent) -> bool {
        let event = LastEvent::from(event);
        let found = self.open.binary_search_by_key(&event.number, |(open, _)| open.number);
        let known = found.ok().and_then(|nth| self.open.get_mut(nth));
        match known.filter(|(open, _)| *open == event) {
            Some((_, is_done)) => {
                *is_done = true;
                true
            }
            None => false,
        }
    }

    /// Moves the tracking over what is acknowledged, up to the first event that is not, with these writes in the same
    /// commit. Returns up to which number everything is done now. It commits nothing if there is nothing to say.
    ///
    /// # Errors
    /// After each of them nothing is in hand, and [`next`](Self::next) goes on from what is stored:
    /// - [`Fenced`](ProcessingError::Fenced) if another one of this name has committed meanwhile, the processor was reset, or
    ///   an expectation of `writes` does not hold: nothing was made.
    /// - [`State`](ProcessingError::State): after `OutcomeUnknown` it may have been made, after any other nothing was.
    ///
    /// # Cancel safety
    /// If it is dropped, all of it was made or nothing, and the next call of [`next`](Self::next) goes on from what is stored.
    pub async fn commit(
        &mut self,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<SequenceNumber> {
        let writes: Vec<Write> = writes.into_iter().collect();
        if self.session.is_none() {
            if !writes.is_empty() {
                let text = "nothing is in hand to commit: the next event is asked for first";
                return Err(ProcessingError::misuse(text));
            }
            if let Err(halt) = self.begin().await {
                return Err(self.rejected(halt));
            }
        }
        let done = self.open.iter().take_while(|(_, is_done)| *is_done).count();
        let first_open = self.open.get(done).map(|(event, _)| event.number);
        let first_read = self.read.front().map(|event| event.sequence_number);
        let before = first_open.or(first_read).map(|first| first.prev().unwrap_or_default());
        let Some(mut session) = self.session.take() else { return Err(ProcessingError::Ended) };
        let tracked = session.tracked();
        let after = before.unwrap_or(self.seen).max(tracked.after);
        if after == tracked.after && writes.is_empty() {
            self.session = Some(session);
            return Ok(after);
        }
        let last = done.checked_sub(1).and_then(|nth| self.open.get(nth)).map(|(event, _)| *event);
        // If this is dropped meanwhile, what is in hand is not known any more.
        let (mut open, read) = (std::mem::take(&mut self.open), std::mem::take(&mut self.read));
        let pages = self.pages.take();
        let runner = &mut self.processor.runner;
        let next = Tracking {
            after,
            last: last.or(tracked.last),
            owner: Some(runner.node),
            events: tracked.events + done as u64,
            suspect: None,
            ..tracked.clone()
        };
        match runner.commit_tracking(&mut session, next, writes).await {
            Ok(()) => {
                open.drain(..done);
                (self.open, self.read, self.pages) = (open, read, pages);
                self.session = Some(session);
                Ok(after)
            }
            Err(halt) => Err(self.rejected(halt)),
        }
    }

    fn rejected(&self, halt: Halt) -> ProcessingError {
        match halt {
            Halt::Again(error) | Halt::Fatal(error) => error,
            Halt::Lost(_) | Halt::Reload | Halt::Stopped => {
                ProcessingError::Fenced { what: self.claim().to_string().into() }
            }
        }
    }

    /// Commits what is acknowledged, and says that nothing is in hand.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    ///
    /// # Cancel safety
    /// As [`commit`](Self::commit).
    pub async fn end(mut self) -> Result<()> {
        self.commit([]).await?;
        if let Some(mut session) = self.session.take() {
            session.seen = session.tracked().after;
            session.claimed = session.tracked().owner == Some(self.processor.runner.node);
            self.processor.runner.release(&mut session).await;
        }
        Ok(())
    }
}

impl fmt::Debug for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHand")
            .field("claim", &self.claim().to_string())
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

/// Nobody hands it events.
struct NoSink;

#[async_trait]
impl Sink for NoSink {
    async fn take(&mut self, _: &Batch<'_>) -> Result<(), SinkError> {
        Err(SinkError::Unsupported("a processor: it is a loop by hand"))
    }

    fn forget(&mut self) {}

    /// What the loop put in its commits is its own.
    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}
