//! Commits in the writer's queue.

use annals::{Append, Error, StoredEvent};
use annals_sql::fault::Fault;
use annals_sql::oneshot;
use annals_sql::placing::{Placement, count};
use annals_sql::queue::{Queue, Room};
use annals_state::{Commit, TogetherError};
use time::OffsetDateTime;

use crate::error::NAME;
use crate::write::{Made, Refused};

type Answer = Result<(Placement, Vec<Append>), TogetherError>;

/// One commit that waits for its outcome, and what is appended with it. Dropped without one, it sends its caller what
/// that means.
#[derive(Debug)]
pub(crate) struct Job {
    commit: Commit,
    writes: Vec<Append>,
    /// What else is done in the transaction.
    #[cfg(feature = "views")]
    work: Option<crate::state::work::Work>,
    recorded_at: OffsetDateTime,
    reply: Option<oneshot::Sender<Answer>>,
    /// Whether the writer has begun with it.
    taken: bool,
    room: Option<Room>,
}

/// Queues both, as `request` has it, and waits for the writer's answer.
pub(super) async fn commit<R>(
    queue: &Queue<R>,
    request: impl FnOnce(Box<Job>) -> R,
    commit: Commit,
    writes: Vec<Append>,
    recorded_at: OffsetDateTime,
) -> Result<Vec<StoredEvent>, TogetherError> {
    let (job, answer) = Job::new(queue, commit, writes, recorded_at)?;
    send(queue, request, job, answer).await
}

/// The same with what else is done in the transaction.
#[cfg(feature = "views")]
pub(super) async fn commit_with<R>(
    queue: &Queue<R>,
    request: impl FnOnce(Box<Job>) -> R,
    work: crate::state::work::Work,
    writes: Vec<Append>,
    recorded_at: OffsetDateTime,
) -> Result<Vec<StoredEvent>, TogetherError> {
    let (mut job, answer) = Job::new(queue, Commit::new([]), writes, recorded_at)?;
    job.work = Some(work);
    send(queue, request, job, answer).await
}

async fn send<R>(
    queue: &Queue<R>,
    request: impl FnOnce(Box<Job>) -> R,
    job: Job,
    answer: oneshot::Receiver<Answer>,
) -> Result<Vec<StoredEvent>, TogetherError> {
    let recorded_at = job.recorded_at;
    queue.send(request(Box::new(job)))?;
    let (placement, writes) = answer.await.unwrap_or_else(|_| Err(Error::closed(NAME).into()))?;
    Ok(placement.events(writes, recorded_at))
}

impl Job {
    fn new<R>(
        queue: &Queue<R>,
        commit: Commit,
        writes: Vec<Append>,
        recorded_at: OffsetDateTime,
    ) -> Result<(Self, oneshot::Receiver<Answer>), TogetherError> {
        let room = queue.reserve(commit.writes.len() + count(&writes))?;
        let (reply, answer) = oneshot::channel();
        let mut job = Self::at_once(commit, writes, recorded_at);
        job.reply = Some(reply);
        job.taken = false;
        job.room = Some(room);
        Ok((job, answer))
    }

    /// One that is in no queue, and whose caller has the outcome at once.
    pub(super) fn at_once(
        commit: Commit,
        writes: Vec<Append>,
        recorded_at: OffsetDateTime,
    ) -> Self {
        Self {
            commit,
            writes,
            #[cfg(feature = "views")]
            work: None,
            recorded_at,
            reply: None,
            taken: true,
            room: None,
        }
    }

    #[cfg(feature = "views")]
    pub(crate) fn work(&self) -> Option<&crate::state::work::Work> {
        self.work.as_ref()
    }

    pub(crate) fn commit(&self) -> &Commit {
        &self.commit
    }

    pub(crate) fn writes(&self) -> &[Append] {
        &self.writes
    }

    pub(crate) fn recorded_at(&self) -> OffsetDateTime {
        self.recorded_at
    }

    /// Marks it as begun; whether its caller still waits for it.
    pub(crate) fn take(&mut self) -> bool {
        self.taken = true;
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    pub(crate) fn answer(mut self, made: Made) {
        let writes = std::mem::take(&mut self.writes);
        self.reply(match made {
            Ok(placement) => Ok((placement, writes)),
            Err(Refused::Append(error)) => Err(error.into()),
            Err(Refused::Commit(error)) => Err(error.into()),
        });
    }

    pub(crate) fn refuse(mut self, fault: &Fault) {
        self.reply(Err(if self.writes.is_empty() {
            fault.state_error(NAME).into()
        } else {
            fault.error(NAME).into()
        }));
    }

    fn reply(&mut self, answer: Answer) {
        // First, so that a caller that was answered finds the room that it had.
        self.room = None;
        if let Some(reply) = self.reply.take() {
            // A caller that is gone needs no answer.
            drop(reply.send(answer));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let error = if self.taken {
            Error::outcome_unknown("the writer ended while it was at work")
        } else {
            Error::closed(NAME)
        };
        self.reply(Err(error.into()));
    }
}
