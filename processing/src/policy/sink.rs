//! A policy as a sink: decides on each event, appends what follows, then commits the tracking.
//!
//! The append and the commit are in two stores, and cannot diverge: the append is made first, and is one that changes
//! nothing when it is made again.

use std::fmt;
use std::sync::Arc;

use annals::{
    Append, BoxError, Error, EventId, EventStore, KnownIds, Position, QueryItem, ReadOptions,
    SequenceNumber, Source, StoredEvent, WriteCondition,
};
use annals_state::{StateError, StateStore, Write};
use async_trait::async_trait;
use futures_util::TryStreamExt;

use super::{LogUpTo, Policy, decided};
use crate::claim::Claim;
use crate::error::{ProcessingError, Result};
use crate::sink::{Batch, Sink, SinkError};

/// How often a decision is made again because its condition did not hold.
const MAX_TRIES: u32 = 8;
/// How many events are appended at once, of how many bytes.
const MOST_EVENTS: usize = 1_000;
const MOST_BYTES: usize = 4 << 20;

/// A policy as a sink, for [`Processor::sink`](crate::Processor::sink).
pub struct PolicySink<P> {
    pub(super) policy: P,
    pub(super) store: EventStore,
    state: Arc<dyn StateStore>,
    one_stream_at_a_time: bool,
    is_tracked_in_log: bool,
    /// Known once the processor begins.
    pub(super) claim: Option<Claim>,
    pub(super) logged: Option<Logged>,
}

/// How far a policy that is tracked in the log is, as its stream says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Logged {
    pub(super) position: Option<Position>,
    pub(super) to: SequenceNumber,
}

/// What follows from one event.
pub(super) struct Decided<'a> {
    pub(super) input: &'a StoredEvent,
    pub(super) appends: Vec<Append>,
}

impl<P: Policy> PolicySink<P> {
    /// Appends to `store` what `policy` decides, and keeps the tracking of its processor in `state`.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if the log does not recognise the ids of all its events: use
    /// [`tracked_in_log`](Self::tracked_in_log) there.
    pub fn new(store: &EventStore, state: Arc<dyn StateStore>, policy: P) -> Result<Self> {
        if store.capabilities().known_ids < KnownIds::Forever {
            let text = "a policy needs a log that recognises the ids of all its events";
            return Err(ProcessingError::misuse(text));
        }
        Ok(Self::made(store, state, policy, false))
    }

    /// A policy whose decisions may depend on anything: on a clock, on other stores, on the log as it is now. How far it is
    /// is an event of the stream `annals.tracking` / `processor/source/partition`, in the same append as what it decides,
    /// under the condition that no other decision was made meanwhile: each input is decided on once, also if others work.
    /// It takes one append for each input with an output, and one more for a batch that ends without.
    ///
    /// Its streams must not be divided differently later: the new parts would not know what the old ones decided.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if the log does not append to several streams at once.
    pub fn tracked_in_log(
        store: &EventStore,
        state: Arc<dyn StateStore>,
        policy: P,
    ) -> Result<Self> {
        if !store.capabilities().multi_stream_append {
            let text = "a policy that is tracked in the log needs appends to several streams";
            return Err(ProcessingError::misuse(text));
        }
        Ok(Self::made(store, state, policy, true))
    }

    fn made(
        store: &EventStore,
        state: Arc<dyn StateStore>,
        policy: P,
        is_tracked_in_log: bool,
    ) -> Self {
        let store = store.clone();
        let (claim, logged) = (None, None);
        Self { policy, store, state, one_stream_at_a_time: false, is_tracked_in_log, claim, logged }
    }

    /// Permits decisions that append to several streams in a log that appends to one at a time: others may see a part of a
    /// decision for a while. A repeat appends what is missing.
    #[must_use]
    pub fn one_stream_at_a_time(mut self) -> Self {
        self.one_stream_at_a_time = true;
        self
    }

    pub(super) async fn decide<'a>(
        &self,
        input: &'a StoredEvent,
    ) -> Result<Decided<'a>, SinkError> {
        let name = self.claim()?.processor();
        let log = LogUpTo::new(&self.store, input);
        let decided = decided(&self.policy, name, input, &log).await;
        let mut appends = decided.map_err(|error| failed(input, error))?;
        if appends.iter().all(|append| append.events.is_empty()) {
            appends.clear();
        }
        let can_several = self.store.capabilities().multi_stream_append;
        if appends.len() > 1 && !can_several && !self.one_stream_at_a_time {
            let what = "a decision on several streams in a log that appends to one at a time \
                        (PolicySink::one_stream_at_a_time permits it)";
            return Err(SinkError::Unsupported(what));
        }
        Ok(Decided { input, appends })
    }

    pub(super) fn claim(&self) -> Result<&Claim, SinkError> {
        self.claim.as_ref().ok_or(SinkError::Unsupported("a take before its processor has begun"))
    }

    /// Appends what follows from several events in as few calls as the log permits.
    async fn append_all(&self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let mut together = Together::new(&self.store);
        for input in batch.events() {
            let decided = self.decide(input).await?;
            if let Some(decided) = together.add(decided) {
                self.flush(std::mem::replace(&mut together, Together::new(&self.store))).await?;
                // What does not fit into an empty one goes alone.
                if let Some(decided) = together.add(decided) {
                    self.append_one(decided).await?;
                }
            }
        }
        self.flush(together).await
    }

    async fn flush(&self, together: Together<'_>) -> Result<(), SinkError> {
        if together.appends.is_empty() {
            return Ok(());
        }
        match self.store.append(together.appends).await {
            Ok(_) => Ok(()),
            // One of them says why.
            Err(
                Error::DuplicateEvent(_)
                | Error::ConditionFailed(_)
                | Error::Invalid(_)
                | Error::Unsupported { .. },
            ) => {
                for decided in together.decided {
                    self.append_one(decided).await?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Appends what follows from one event, unless that was done before.
    async fn append_one(&self, mut decided: Decided<'_>) -> Result<(), SinkError> {
        let input = decided.input;
        let can_several = self.store.capabilities().multi_stream_append;
        for tries in 1.. {
            let appends = decided.appends;
            let outcome = if can_several || appends.len() < 2 {
                self.append_once(input, appends).await
            } else {
                let mut outcome = Ok(());
                for append in appends {
                    outcome = self.append_once(input, vec![append]).await;
                    if outcome.is_err() {
                        break;
                    }
                }
                outcome
            };
            match outcome {
                Err(SinkError::Log(Error::ConditionFailed(unmet))) => {
                    if tries >= MAX_TRIES {
                        return Err(SinkError::handler(input, Error::ConditionFailed(unmet)));
                    }
                    decided = self.decide(input).await?;
                }
                outcome => return outcome,
            }
        }
        Ok(())
    }

    async fn append_once(
        &self,
        input: &StoredEvent,
        appends: Vec<Append>,
    ) -> Result<(), SinkError> {
        let ids: Vec<EventId> =
            appends.iter().flat_map(|append| &append.events).map(|event| event.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        match self.store.append(appends).await {
            Ok(_) => Ok(()),
            Err(Error::DuplicateEvent(_)) => self.check_repeat(input, ids).await,
            Err(error @ (Error::Invalid(_) | Error::Unsupported { .. })) => {
                Err(SinkError::handler(input, error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One of these events is in the log. If the others are not, the policy decided differently before.
    async fn check_repeat(&self, input: &StoredEvent, ids: Vec<EventId>) -> Result<(), SinkError> {
        let wanted = ids.len();
        let item = QueryItem::new(Source::Log).with_ids(ids);
        let mut pages = self.store.pages(item, ReadOptions::default());
        let mut found = 0;
        while let Some(page) = pages.try_next().await? {
            found += page.events.len();
        }
        if found == wanted {
            return Ok(());
        }
        let text = format!(
            "the policy has decided differently on this event before: {found} of the {wanted} events that follow are there"
        );
        Err(SinkError::handler(input, text))
    }
}

/// What a handler said of an event. A store that is away is not its failure, nor is a commit that another processor was
/// faster with.
pub(crate) fn failed(input: &StoredEvent, error: BoxError) -> SinkError {
    let error = match error.downcast::<StateError>() {
        Ok(error) => {
            return match *error {
                StateError::Unavailable(_)
                | StateError::OutcomeUnknown(_)
                | StateError::Conflict(_) => SinkError::State(*error),
                _ => SinkError::handler(input, error),
            };
        }
        Err(error) => error,
    };
    match error.downcast::<Error>() {
        Ok(error) if matches!(*error, Error::Unavailable(_) | Error::OutcomeUnknown(_)) => {
            SinkError::Log(*error)
        }
        Ok(error) => SinkError::handler(input, error),
        Err(error) => SinkError::handler(input, error),
    }
}

/// Decisions that one append makes.
struct Together<'a> {
    decided: Vec<Decided<'a>>,
    appends: Vec<Append>,
    events: usize,
    bytes: usize,
    most_events: usize,
    can_several: bool,
}

impl<'a> Together<'a> {
    fn new(store: &EventStore) -> Self {
        let capabilities = store.capabilities();
        let most = capabilities.max_events_per_append;
        let most = most.and_then(|most| usize::try_from(most.get()).ok());
        Self {
            decided: Vec::new(),
            appends: Vec::new(),
            events: 0,
            bytes: 0,
            most_events: most.unwrap_or(MOST_EVENTS).min(MOST_EVENTS),
            can_several: capabilities.multi_stream_append,
        }
    }

    /// Adds a decision; returns it if it does not fit.
    fn add(&mut self, decided: Decided<'a>) -> Option<Decided<'a>> {
        let all = || decided.appends.iter().flat_map(|append| &append.events);
        let events = self.events + all().count();
        let bytes = self.bytes + all().map(|one| one.payload.as_bytes().len()).sum::<usize>();
        let streams = |one: &Append| self.appends.iter().any(|other| other.stream == one.stream);
        let fits = |one: &Append| !streams(one) || one.condition == WriteCondition::Always;
        let is_narrow = self.can_several
            || match decided.appends.as_slice() {
                [] => true,
                [one] => self.appends.is_empty() || streams(one),
                _ => false,
            };
        let is_small = events <= self.most_events && (bytes <= MOST_BYTES || self.events == 0);
        if !is_narrow || !is_small || !decided.appends.iter().all(fits) {
            return Some(decided);
        }
        (self.events, self.bytes) = (events, bytes);
        for append in &decided.appends {
            match self.appends.iter_mut().find(|other| other.stream == append.stream) {
                Some(other) => other.events.extend(append.events.iter().cloned()),
                None => self.appends.push(append.clone()),
            }
        }
        if !decided.appends.is_empty() {
            self.decided.push(decided);
        }
        None
    }
}

#[async_trait]
impl<P: Policy> Sink for PolicySink<P> {
    fn begin(&mut self, claim: &Claim) {
        self.claim = Some(claim.clone());
    }

    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        if self.is_tracked_in_log {
            self.append_tracked(batch).await?;
        } else {
            self.append_all(batch).await?;
        }
        self.state.commit(batch.commit([])).await?;
        Ok(())
    }

    fn forget(&mut self) {
        self.logged = None;
    }

    /// What a policy has appended stays: the log keeps it. When it decides again on all events, it appends only what is not
    /// there.
    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}

impl<P> fmt::Debug for PolicySink<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySink")
            .field("claim", &self.claim.as_ref().map(ToString::to_string))
            .field("is_tracked_in_log", &self.is_tracked_in_log)
            .finish_non_exhaustive()
    }
}
