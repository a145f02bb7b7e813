//! Handles: what the rest of a program sees of a processor, and how it asks something of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use annals::SequenceNumber;
use annals_state::{DocumentKey, Revision, StateStore};
use event_listener::{Event, EventListener};
use futures_util::future::{Either, select};

use crate::ask::{Answer, Ask};
use crate::claim::Claim;
use crate::error::{ProcessingError, Result, chain};
use crate::status::{Phase, Status};
use crate::timer::Timer;
use crate::token::Token;
use crate::tracking::{Tracking, get_one};

/// The most requests that wait for a processor; a further one is rejected.
const MAX_ASKED: usize = 64;

/// A handle to a processor: its status, waits, requests. Clones are handles to the same processor.
#[derive(Clone)]
pub struct Handle {
    pub(crate) claim: Arc<Claim>,
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// What the processor works on.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// What it does now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status(&*self.timer)
    }

    /// Asks it to end. It finishes the batch in hand.
    pub fn stop(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify(usize::MAX);
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// The error that it ended with.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn stopped(&self) -> Result<()> {
        loop {
            let changed = self.shared.changed.listen();
            if let Some(ended) = self.shared.lock().ended.clone() {
                return ended;
            }
            changed.await;
        }
    }

    /// How far it is, as it is stored: everything up to this number is visible to a read of what it makes.
    ///
    /// # Errors
    /// Those of the state store.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn position(&self) -> Result<SequenceNumber> {
        let tracking = get_one::<Tracking>(&*self.state, self.claim.tracking()).await?;
        Ok(tracking.map_or(SequenceNumber::START, |held| held.value.after))
    }

    /// Waits until everything up to this number is visible to a read of what it makes. Returns at once if it is, and if
    /// `until` is `None`, as the last number of an append without events.
    ///
    /// # Errors
    /// [`Timeout`](ProcessingError::Timeout) once this much time has passed; the processor's own error if it has ended
    /// with one, else [`Ended`](ProcessingError::Ended).
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn wait(
        &self,
        until: impl Into<Option<SequenceNumber>>,
        timeout: Duration,
    ) -> Result<()> {
        let Some(wanted) = until.into() else { return Ok(()) };
        let mut late = self.timer.sleep(timeout);
        // Once: a look that does not reach it wakes this future, too.
        let mut asks = true;
        loop {
            let changed = self.shared.changed.listen();
            let reached = {
                let mut inner = self.shared.lock();
                if inner.status.tracked >= wanted {
                    return Ok(());
                }
                if std::mem::take(&mut asks) && inner.wanted < wanted {
                    inner.wanted = wanted;
                    self.shared.wake.notify(usize::MAX);
                }
                match &inner.ended {
                    Some(Err(error)) => return Err(error.clone()),
                    Some(Ok(())) => return Err(ProcessingError::Ended),
                    None => inner.status.tracked,
                }
            };
            if let Either::Right(_) = select(changed, &mut late).await {
                return Err(ProcessingError::Timeout { wanted, reached, within: timeout });
            }
        }
    }

    /// Waits until what `token` wants of its source is visible to a read of what it makes.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_for(&self, token: &Token, timeout: Duration) -> Result<()> {
        self.wait(token.until(self.claim.source()), timeout).await
    }

    /// Asks something of it, and waits until it is done: in the same commit as its tracking, between two batches.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if too many requests wait already, or if the request makes no sense;
    /// [`Ended`](ProcessingError::Ended) or the processor's own error if it does not run any more; what a retried
    /// handler said, after which the sequence is parked as before.
    ///
    /// # Cancel safety
    /// If it is dropped, the request is carried out or not.
    pub async fn ask(&self, ask: Ask) -> Result<Answer> {
        let slot = Arc::new(Mutex::new(None));
        self.shared.push(Asked { ask, document: None, slot: Some(Arc::clone(&slot)) })?;
        loop {
            let changed = self.shared.changed.listen();
            if let Some(answer) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return answer;
            }
            if let Some(ended) = self.shared.lock().ended.clone() {
                return Err(ended.err().unwrap_or(ProcessingError::Ended));
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("claim", &self.claim.to_string())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Where the answer to a request of this process goes.
type Slot = Arc<Mutex<Option<Result<Answer>>>>;

/// A request that waits for the processor.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    /// The document of a request that came through the store. The answer is put in its place.
    pub(crate) document: Option<(DocumentKey, Revision)>,
    pub(crate) slot: Option<Slot>,
}

/// What a processor and its handles share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Something of the status changed.
    changed: Event,
    /// The processor has something else to do than to wait for events.
    wake: Event,
}

#[derive(Debug, Default)]
struct Inner {
    status: Status,
    /// When it was at the head for the last time, or began.
    at_head: Option<Duration>,
    /// The highest number that somebody waits for.
    wanted: SequenceNumber,
    stop: bool,
    asked: VecDeque<Asked>,
    ended: Option<Result<()>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stop
    }

    pub(crate) fn has_work(&self) -> bool {
        let inner = self.lock();
        inner.stop || !inner.asked.is_empty()
    }

    /// Whether somebody has begun to wait for what is not reached.
    pub(crate) fn has_waiters(&self) -> bool {
        let inner = self.lock();
        inner.wanted > inner.status.tracked
    }

    /// Whether somebody has begun to wait for a number beyond this one since it was asked.
    pub(crate) fn is_waited_for(&self, seen: SequenceNumber) -> bool {
        std::mem::take(&mut self.lock().wanted) > seen
    }

    pub(crate) fn next_asked(&self) -> Option<Asked> {
        self.lock().asked.pop_front()
    }

    /// Registers for the next wake-up.
    pub(crate) fn listen(&self) -> EventListener {
        self.wake.listen()
    }

    pub(crate) fn push(&self, asked: Asked) -> Result<()> {
        let mut inner = self.lock();
        if let Some(ended) = &inner.ended {
            return Err(ended.clone().err().unwrap_or(ProcessingError::Ended));
        }
        let is_known = |other: &Asked| asked.document.is_some() && other.document == asked.document;
        if inner.asked.iter().any(is_known) {
            return Ok(());
        }
        if inner.asked.len() >= MAX_ASKED {
            return Err(ProcessingError::misuse("too many requests wait for the processor"));
        }
        inner.asked.push_back(asked);
        drop(inner);
        self.wake.notify(usize::MAX);
        Ok(())
    }

    /// Puts back what could not be carried out yet.
    pub(crate) fn return_asked(&self, asked: Asked) {
        self.lock().asked.push_front(asked);
    }

    pub(crate) fn answer(&self, asked: &Asked, answer: Result<Answer>) {
        if let Some(slot) = &asked.slot {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            self.changed.notify(usize::MAX);
        }
    }

    pub(crate) fn status(&self, timer: &dyn Timer) -> Status {
        let inner = self.lock();
        let is_behind =
            !matches!(inner.status.phase, Phase::Waiting | Phase::Live | Phase::Stopped);
        let behind = match inner.at_head {
            Some(since) if is_behind => timer.elapsed().saturating_sub(since),
            _ => Duration::ZERO,
        };
        Status { behind, ..inner.status.clone() }
    }

    /// Changes the status, and wakes who waits for it.
    pub(crate) fn update(&self, timer: &dyn Timer, change: impl FnOnce(&mut Status)) {
        let mut inner = self.lock();
        let was_live = inner.status.phase == Phase::Live;
        change(&mut inner.status);
        inner.status.head = inner.status.head.max(inner.status.tracked);
        if inner.at_head.is_none() || was_live || inner.status.phase == Phase::Live {
            inner.at_head = Some(timer.elapsed());
        }
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    /// The processor has ended, unless it had before.
    pub(crate) fn end(&self, ended: Result<()>) {
        let mut inner = self.lock();
        if inner.ended.is_some() {
            return;
        }
        match &ended {
            Ok(()) => inner.status.phase = Phase::Stopped,
            Err(error) => {
                inner.status.phase = Phase::Failed;
                inner.status.error = Some(chain(error));
            }
        }
        inner.ended = Some(ended);
        inner.asked.clear();
        drop(inner);
        self.changed.notify(usize::MAX);
    }
}

/// Ends the processor for its handles however its future ends.
#[derive(Debug)]
pub(crate) struct EndsWithIt(pub(crate) Arc<Shared>);

impl Drop for EndsWithIt {
    fn drop(&mut self) {
        self.0.end(Ok(()));
    }
}
