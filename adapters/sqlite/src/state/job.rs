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
    let room = queue.reserve(commit.writes.len() + count(&writes))?;
    let (reply, answer) = oneshot::channel();
    let job =
        Job { commit, writes, recorded_at, reply: Some(reply), taken: false, room: Some(room) };
    queue.send(request(Box::new(job)))?;
    let (placement, writes) = answer.await.unwrap_or_else(|_| Err(Error::closed(NAME).into()))?;
    Ok(placement.events(writes, recorded_at))
}

impl Job {
    /// One that is in no queue, and whose caller has the outcome at once.
    pub(super) fn at_once(
        commit: Commit,
        writes: Vec<Append>,
        recorded_at: OffsetDateTime,
    ) -> Self {
        Self { commit, writes, recorded_at, reply: None, taken: true, room: None }
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
