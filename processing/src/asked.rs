//! How a processor carries out what it is asked: between two batches, under its fence, with the answer in the same
//! commit.

use annals::{Query, ReadOptions, SequenceNumber, StoredEvent};
use annals_state::{Commit, StateError};
use futures_util::TryStreamExt;

use crate::apply::Refused;
use crate::ask::{Answer, Ask};
use crate::error::HandlerError;
use crate::halt::Halt;
use crate::handle::Asked;
use crate::parked::Parked;
use crate::requests::answered;
use crate::reset;
use crate::runner::{Runner, Session};
use crate::split;
use crate::tracking::{CANNOT_RESET, Tracking, put};

/// The most sequences that one list holds.
const MAX_LISTED: usize = 1_000;

impl Runner {
    /// Carries out all that waits. What a store failed at waits on.
    pub(crate) async fn answer_asked(&mut self, session: &mut Session) -> Result<(), Halt> {
        while let Some(asked) = self.shared.next_asked() {
            if asked.ask == Ask::Look {
                self.looking.push(asked);
                continue;
            }
            let outcome = match self.move_on(session).await {
                Ok(()) => self.carry_out(session, &asked).await,
                Err(halt) => Err(halt),
            };
            match outcome {
                Ok(answer) => {
                    let is_reset = matches!(asked.ask, Ask::Reset | Ask::Split { .. })
                        && answer == Answer::Done;
                    tracing::info!(name: "annals.answered", processor = %self.claim, ask = ?asked.ask);
                    self.shared.answer(&asked, Ok(answer));
                    if is_reset {
                        return Err(Halt::Reload);
                    }
                }
                Err(Halt::Lost(StateError::Conflict(conflict)))
                    if asked.document.as_ref().is_some_and(|(key, _)| *key == conflict.key) =>
                {
                    // Somebody withdrew it, or it was answered already.
                    return Err(Halt::Reload);
                }
                Err(halt @ (Halt::Lost(_) | Halt::Again(_) | Halt::Reload | Halt::Stopped)) => {
                    self.shared.return_asked(asked);
                    return Err(halt);
                }
                Err(Halt::Fatal(error)) => {
                    self.shared.answer(&asked, Err(error.clone()));
                    return Err(Halt::Fatal(error));
                }
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, session: &mut Session, asked: &Asked) -> Result<Answer, Halt> {
        match &asked.ask {
            Ask::Pause => self.set_paused(session, asked, true).await,
            Ask::Resume => self.set_paused(session, asked, false).await,
            Ask::Reset if !self.sink.can_clear() => {
                let answer = Answer::Rejected(CANNOT_RESET.into());
                self.only_answer(session, asked, answer).await
            }
            Ask::Reset => {
                let answer = Answer::Done;
                let found = Some(session.fence.definition);
                let wanted = self.definition();
                let mut writes =
                    reset::begin(&*self.state, &self.claim, &wanted, found, &wanted.partitions)
                        .await?;
                writes.extend(answered(asked, &answer)?);
                self.state.commit(Commit::new(writes)).await?;
                Ok(answer)
            }
            Ask::Split { parts } => self.split(session, asked, *parts).await,
            // Answered at the head.
            Ask::Look => Ok(Answer::Nothing),
            Ask::Retry(sequence) => self.retry(session, asked, sequence).await,
            Ask::Discard { sequence, event } => {
                self.discard(session, asked, sequence, *event).await
            }
            Ask::List { after, limit } => {
                let limit = (*limit).min(MAX_LISTED);
                let answer = Answer::List(session.parked.list(after.as_deref(), limit));
                self.only_answer(session, asked, answer).await
            }
        }
    }

    /// Answers who asked to look, at the head of the log.
    pub(crate) async fn answer_looks(&mut self, session: &mut Session) -> Result<(), Halt> {
        if self.looking.is_empty() {
            return Ok(());
        }
        self.move_on(session).await?;
        while let Some(asked) = self.looking.pop() {
            match self.only_answer(session, &asked, Answer::Done).await {
                Ok(answer) => self.shared.answer(&asked, Ok(answer)),
                // It was withdrawn.
                Err(Halt::Lost(StateError::Conflict(conflict)))
                    if asked.document.as_ref().is_some_and(|(key, _)| *key == conflict.key) => {}
                Err(halt) => {
                    self.looking.push(asked);
                    return Err(halt);
                }
            }
        }
        Ok(())
    }

    async fn split(
        &mut self,
        session: &mut Session,
        asked: &Asked,
        parts: u16,
    ) -> Result<Answer, Halt> {
        let wanted = self.definition();
        let marked = match split::begin(&wanted, parts) {
            Ok(marked) if marked.partitions == wanted.partitions => {
                return self.only_answer(session, asked, Answer::Nothing).await;
            }
            Ok(marked) => marked,
            Err(error) => {
                let answer = Answer::Rejected(error.to_string());
                return self.only_answer(session, asked, answer).await;
            }
        };
        let found = Some(session.fence.definition);
        let mut writes = vec![put(self.claim.definition(), &marked, found)?];
        writes.extend(answered(asked, &Answer::Done)?);
        self.state.commit(Commit::new(writes)).await?;
        Ok(Answer::Done)
    }

    async fn set_paused(
        &mut self,
        session: &mut Session,
        asked: &Asked,
        paused: bool,
    ) -> Result<Answer, Halt> {
        let next = Tracking { paused, ..session.tracked().clone() };
        let write = answered(asked, &Answer::Done)?;
        self.commit_tracking(session, next, write).await?;
        Ok(Answer::Done)
    }

    /// Answers without doing anything.
    async fn only_answer(
        &mut self,
        session: &mut Session,
        asked: &Asked,
        answer: Answer,
    ) -> Result<Answer, Halt> {
        if let Some(write) = answered(asked, &answer)? {
            self.state.commit(Commit::new([write, session.fence.guard()])).await?;
        }
        Ok(answer)
    }

    /// Applies what is parked of a sequence, event by event in order. Each commit says from which event on the sequence
    /// is parked then; that of the last event unparks it.
    async fn retry(
        &mut self,
        session: &mut Session,
        asked: &Asked,
        sequence: &str,
    ) -> Result<Answer, Halt> {
        loop {
            let Some(parked) = session.parked.get(sequence).cloned() else {
                return self.only_answer(session, asked, Answer::Nothing).await;
            };
            let events = self.next_parked(session, &parked).await?;
            let Some(event) = events.first() else {
                return self.unpark(session, asked, &parked, None, 0).await;
            };
            let left = events.get(1).map(|next| parked_at(&parked, next));
            let is_done = left.is_none();
            let mut writes = vec![session.parked.write(&self.claim, sequence, left.as_ref())?];
            if is_done {
                writes.extend(answered(asked, &Answer::Done)?);
            }
            let tracked = session.tracked().clone();
            let next = Tracking { owner: Some(self.node), events: tracked.events + 1, ..tracked };
            let tries = if event.sequence_number == parked.from { parked.tries } else { 0 } + 1;
            let one = std::slice::from_ref(event);
            let source = match self.take_with(session, one, next, writes, tries).await {
                Ok(_) => {
                    session.claimed = true;
                    self.remember_parked(session, sequence, left);
                    if is_done {
                        return Ok(Answer::Done);
                    }
                    continue;
                }
                Err(Refused::Halt(halt)) => return Err(halt),
                Err(Refused::Handler(_, source)) => source,
                Err(Refused::TooLarge) => {
                    "the event needs a larger commit than the store permits".into()
                }
            };
            let error = HandlerError::new(&self.claim.to_string(), event, tries, source);
            let still = Parked::new(sequence.to_owned(), &error);
            let answer = Answer::StillParked(still.clone());
            let mut writes = vec![session.parked.write(&self.claim, sequence, Some(&still))?];
            writes.extend(answered(asked, &answer)?);
            let same = session.tracked().clone();
            self.commit_tracking(session, same, writes).await?;
            self.remember_parked(session, sequence, Some(still));
            return Ok(answer);
        }
    }

    async fn discard(
        &mut self,
        session: &mut Session,
        asked: &Asked,
        sequence: &str,
        event: SequenceNumber,
    ) -> Result<Answer, Halt> {
        let parked = session.parked.get(sequence).filter(|parked| parked.from == event).cloned();
        let Some(parked) = parked else {
            return self.only_answer(session, asked, Answer::Nothing).await;
        };
        let events = self.next_parked(session, &parked).await?;
        let left = events.get(1).map(|next| parked_at(&parked, next));
        self.unpark(session, asked, &parked, left, 1).await
    }

    /// Says from where on a sequence is parked now, if it still is, after so many of its events were passed over.
    async fn unpark(
        &mut self,
        session: &mut Session,
        asked: &Asked,
        parked: &Parked,
        left: Option<Parked>,
        skipped: u64,
    ) -> Result<Answer, Halt> {
        let mut writes =
            vec![session.parked.write(&self.claim, &parked.sequence, left.as_ref())?];
        writes.extend(answered(asked, &Answer::Done)?);
        let tracked = session.tracked().clone();
        let next = Tracking { skipped: tracked.skipped + skipped, ..tracked };
        self.commit_tracking(session, next, writes).await?;
        self.remember_parked(session, &parked.sequence, left);
        Ok(Answer::Done)
    }

    /// The next two events of a parked sequence, as far as the processor has read.
    async fn next_parked(
        &self,
        session: &Session,
        parked: &Parked,
    ) -> Result<Vec<StoredEvent>, Halt> {
        let after = parked.from.prev().unwrap_or_default();
        let options = ReadOptions::default().after(after).until(session.seen);
        // A sequence that is a stream is read as one.
        let query = match &self.options.sequence {
            None => Query::from(parked.stream.clone()),
            Some(_) => self.query.clone(),
        };
        let mut events = Vec::new();
        let mut pages = self.store.pages(query, options);
        while let Some(page) = pages.try_next().await? {
            let is_of_it = |event: &StoredEvent| {
                self.query.matches(event)
                    && self.wants(event)
                    && self.sequence(event) == parked.sequence
            };
            events.extend(page.events.into_iter().filter(is_of_it));
            if events.len() >= 2 {
                break;
            }
        }
        Ok(events)
    }
}

/// The sequence as it is parked once it has come to its next event.
fn parked_at(parked: &Parked, next: &StoredEvent) -> Parked {
    let (from, id) = (next.sequence_number, next.id());
    Parked { from, id, tries: 0, error: "an event before it failed".into(), ..parked.clone() }
}
