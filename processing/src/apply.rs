//! How a processor applies events: in batches, with its tracking in the same commit; and what it does about an event that
//! cannot be applied.

use annals::{BoxError, SequenceNumber, StoredEvent};
use annals_state::{Commit, Revision, Write};
use std::sync::Arc;

use crate::error::{HandlerError, ProcessingError, chain};
use crate::failing::Decision;
use crate::halt::Halt;
use crate::measure;
use crate::parked::Parked;
use crate::runner::{Runner, Session};
use crate::sink::{Batch, SinkError};
use crate::status::Phase;
use crate::tracking::{Held, Suspect, Tracking};

/// Why a batch was not taken, if the processor can do something about it.
pub(crate) enum Refused {
    /// The handler cannot apply the event of this place in the batch.
    Handler(usize, BoxError),
    TooLarge,
    Halt(Halt),
}

impl<T: Into<Halt>> From<T> for Refused {
    fn from(error: T) -> Self {
        Self::Halt(error.into())
    }
}

impl Runner {
    /// Applies what is not parked of these events, which are all that there are up to `to`.
    pub(crate) async fn apply(
        &mut self,
        session: &mut Session,
        mut rest: Vec<StoredEvent>,
        to: SequenceNumber,
    ) -> Result<(), Halt> {
        let mut width = usize::MAX;
        loop {
            rest.retain(|event| !self.is_parked(session, event));
            let Some(first) = rest.first().cloned() else { break };
            let is_careful = session.careful > 0;
            if is_careful {
                if let Some(tries) = self.suspect(session, &first).await? {
                    let error = HandlerError::poison(&self.claim.to_string(), &first, tries);
                    let decision = match self.options.errors.decide(&error) {
                        Decision::Retry(retry) => retry.after_all(),
                        decision => decision,
                    };
                    let upto = if rest.len() == 1 { to } else { first.sequence_number };
                    self.give_up(session, &first, error, decision, upto).await?;
                    rest.remove(0);
                    continue;
                }
            } else if !session.claimed {
                let next = Tracking { owner: Some(self.node), ..session.tracked().clone() };
                self.commit_tracking(session, next, []).await?;
                session.claimed = true;
            }
            let taken = if is_careful { 1 } else { width.min(rest.len()) };
            let later = rest.split_off(taken);
            let last = rest.last().map_or(to, |last| last.sequence_number);
            let upto = if later.is_empty() { to } else { last };
            match self.take(session, &rest, upto, 1).await {
                Ok(()) => {
                    rest = later;
                    width = usize::MAX;
                }
                Err(Refused::Halt(halt)) => return Err(halt),
                Err(Refused::TooLarge) if taken > 1 => {
                    width = taken / 2;
                    rest.extend(later);
                }
                Err(Refused::Handler(nth, _)) if nth > 0 => {
                    width = nth;
                    rest.extend(later);
                }
                Err(refused) => {
                    let source = match refused {
                        Refused::Handler(_, source) => source,
                        _ => "the event needs a larger commit than the store permits".into(),
                    };
                    rest.extend(later);
                    let upto = if rest.len() == 1 { to } else { first.sequence_number };
                    self.fail(session, &first, source, upto).await?;
                    rest.remove(0);
                    width = usize::MAX;
                }
            }
        }
        self.reached(session, to);
        Ok(())
    }

    fn is_parked(&self, session: &Session, event: &StoredEvent) -> bool {
        !session.parked.is_empty() && session.parked.contains(&self.sequence(event))
    }

    /// Notes that the event is begun, because one of those before the tracking may have ended the process. Returns how
    /// often it was begun, if that was often enough.
    async fn suspect(
        &mut self,
        session: &mut Session,
        event: &StoredEvent,
    ) -> Result<Option<u32>, Halt> {
        session.careful -= 1;
        let number = event.sequence_number;
        let before = session.tracked().suspect.filter(|suspect| suspect.number == number);
        let tries = before.map_or(0, |suspect| suspect.tries);
        let is_poison = tries >= self.options.poison_after;
        let suspect = if is_poison { before } else { Some(Suspect { number, tries: tries + 1 }) };
        let owner = Some(self.node);
        let next = Tracking { owner, suspect, ..session.tracked().clone() };
        self.commit_tracking(session, next, []).await?;
        session.claimed = true;
        Ok(is_poison.then_some(tries))
    }

    /// Takes these events as one batch, after which everything up to `to` is applied.
    async fn take(
        &mut self,
        session: &mut Session,
        events: &[StoredEvent],
        to: SequenceNumber,
        tries: u32,
    ) -> Result<(), Refused> {
        let tracked = session.tracked();
        let next = Tracking {
            after: to,
            last: events.last().map(Into::into).or(tracked.last),
            owner: Some(self.node),
            events: tracked.events + events.len() as u64,
            suspect: None,
            ..tracked.clone()
        };
        self.take_with(session, events, next, Vec::new(), tries).await.map(drop)
    }

    /// Takes these events as one batch, with this tracking and these writes in its commit. Returns its revision.
    pub(crate) async fn take_with(
        &mut self,
        session: &mut Session,
        events: &[StoredEvent],
        next: Tracking,
        writes: Vec<Write>,
        tries: u32,
    ) -> Result<Revision, Refused> {
        let mut fence = session.fence.moved(&next)?;
        fence.extend(writes);
        let batch = Batch::new(events, next.after, tries, fence);
        let revision = batch.revision();
        self.known = [session.fence.tracking.revision, Some(revision)];
        let begun = self.timer.elapsed();
        let outcome = self.sink.take(&batch).await;
        let took = self.timer.elapsed().saturating_sub(begun);
        if let Err(error) = outcome {
            self.sink.forget();
            return Err(match error {
                SinkError::Handler { at, source } => {
                    let nth = events.iter().position(|event| event.sequence_number == at);
                    let Some(nth) = nth else {
                        let text =
                            format!("the sink failed at event {at}, which is not in its batch");
                        return Err(ProcessingError::misuse(text).into());
                    };
                    Refused::Handler(nth, source)
                }
                SinkError::TooLarge => Refused::TooLarge,
                SinkError::State(error) => error.into(),
                SinkError::Log(error) => error.into(),
                error @ SinkError::Unsupported(_) => {
                    ProcessingError::misuse(error.to_string()).into()
                }
            });
        }
        measure::batch(&self.claim, events.len(), took);
        session.fence.tracking = Held { value: next, revision: Some(revision) };
        self.failures = 0;
        self.shared.update(&*self.timer, |status| {
            status.applied += events.len() as u64;
            status.error = None;
            if status.phase != Phase::Live {
                status.phase = Phase::CatchingUp;
            }
        });
        let after = session.tracked().after;
        self.reached(session, after);
        Ok(revision)
    }

    /// The handler cannot apply this event: does what was decided about that.
    async fn fail(
        &mut self,
        session: &mut Session,
        event: &StoredEvent,
        mut source: BoxError,
        to: SequenceNumber,
    ) -> Result<(), Halt> {
        let begun = self.timer.elapsed();
        let mut tries = 1;
        loop {
            let error = HandlerError::new(&self.claim.to_string(), event, tries, source);
            measure::handler_failed(&self.claim);
            let decision = self.options.errors.decide(&error);
            let Decision::Retry(retry) = decision else {
                return self.give_up(session, event, error, decision, to).await;
            };
            let since = self.timer.elapsed().saturating_sub(begun);
            let delay = match retry.next(tries, since, &mut self.jitter) {
                Ok(delay) => delay,
                Err(decision) => return self.give_up(session, event, error, decision, to).await,
            };
            self.shared.update(&*self.timer, |status| {
                status.phase = Phase::Retrying;
                status.error = Some(chain(&error));
                status.retries += 1;
            });
            self.pause(delay).await?;
            tries += 1;
            source = match self.take(session, std::slice::from_ref(event), to, tries).await {
                Ok(()) => return Ok(()),
                Err(Refused::Halt(halt)) => return Err(halt),
                Err(Refused::Handler(_, source)) => source,
                Err(Refused::TooLarge) => {
                    "the event needs a larger commit than the store permits".into()
                }
            };
        }
    }

    /// Goes past an event that is not applied, or stops before it.
    async fn give_up(
        &mut self,
        session: &mut Session,
        event: &StoredEvent,
        error: HandlerError,
        decision: Decision,
        to: SequenceNumber,
    ) -> Result<(), Halt> {
        let mut next = Tracking {
            after: to,
            last: Some(event.into()),
            owner: Some(self.node),
            suspect: None,
            ..session.tracked().clone()
        };
        match decision {
            Decision::Stop | Decision::Retry(_) => {
                Err(Halt::Fatal(ProcessingError::Handler(Arc::new(error))))
            }
            Decision::Skip => {
                tracing::warn!(name: "annals.event_skipped", processor = %self.claim, error = %chain(&error));
                next.skipped += 1;
                self.commit_tracking(session, next, []).await?;
                self.reached(session, to);
                Ok(())
            }
            Decision::Park => {
                let limit = self.options.max_parked;
                if session.parked.len() >= limit {
                    let processor = self.claim.to_string().into();
                    return Err(Halt::Fatal(ProcessingError::TooManyParked { processor, limit }));
                }
                let sequence = self.sequence(event);
                tracing::warn!(name: "annals.parked", processor = %self.claim, sequence, error = %chain(&error));
                let parked = Parked::new(sequence.clone(), &error);
                let write = session.parked.write(&self.claim, &sequence, Some(&parked))?;
                self.commit_tracking(session, next, [write]).await?;
                self.remember_parked(session, &sequence, Some(parked));
                self.reached(session, to);
                Ok(())
            }
        }
    }

    /// Remembers what the last commit said of a sequence.
    pub(crate) fn remember_parked(
        &self,
        session: &mut Session,
        sequence: &str,
        parked: Option<Parked>,
    ) {
        if let Some(revision) = session.fence.tracking.revision {
            session.parked.set(sequence, parked, revision);
        }
        let parked = session.parked.len();
        self.shared.update(&*self.timer, |status| status.parked = parked);
    }

    /// Replaces the tracking, with these writes in the same commit.
    pub(crate) async fn commit_tracking(
        &mut self,
        session: &mut Session,
        next: Tracking,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<(), Halt> {
        let mut all = session.fence.moved(&next)?;
        all.extend(writes);
        let commit = Commit::new(all);
        let revision = commit.revision;
        self.known = [session.fence.tracking.revision, Some(revision)];
        self.state.commit(commit).await?;
        session.fence.tracking = Held { value: next, revision: Some(revision) };
        self.failures = 0;
        Ok(())
    }
}
