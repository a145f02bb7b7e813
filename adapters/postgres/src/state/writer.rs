//! The writer of documents: commits that wait together are made in one call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use annals_sql::documents::state_error;
use annals_sql::oneshot;
use annals_sql::queue::{Intake, Message, Queue, Room, Stop};
use annals_state::{Commit, Result, StateError};
use tokio::sync::Semaphore;

use crate::connection::pool::Connections;
use crate::connection::session::Session;
use crate::error::NAME;
use crate::error::{Failure, Outcome};
use crate::state::call::{self, Touched};
use crate::state::direct;
use crate::state::statements::Statements;
use crate::store::Store;

/// How often a call is made again that met another at the same document.
const TRIES: usize = 5;
/// How many calls may be under way at once: one, and those that wait for a lock.
const CALLS: u32 = 4;
/// When a call takes longer, the next one does not wait for it.
const PATIENCE: Duration = Duration::from_millis(20);
/// Beyond so many bytes or writes a call takes no further commit.
const CALL_BYTES: u64 = 16 << 20;
const CALL_WRITES: usize = 10_000;
/// How long a commit waits for locks once more, alone, when those beside it may have been the reason.
const BRIEFLY: Duration = Duration::from_millis(1);

/// What is asked of the writer.
#[derive(Debug)]
pub(crate) enum Request {
    Commit(Job),
    /// To end, once all before it is done.
    Stop(Stop),
}

/// One commit that waits for its outcome. Dropped without one, it sends its caller what that means.
#[derive(Debug)]
pub(crate) struct Job {
    commit: Commit,
    reply: Option<oneshot::Sender<Result<()>>>,
    sent: bool,
    room: Option<Room>,
}

impl Job {
    fn answer(mut self, outcome: Result<()>) {
        self.reply(outcome);
    }

    fn reply(&mut self, outcome: Result<()>) {
        // First, so that a caller that was answered finds the room that it had.
        self.room = None;
        if let Some(reply) = self.reply.take() {
            // A caller that is gone needs no answer.
            let _ = reply.send(outcome);
        }
    }

    fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let error = if self.sent {
            StateError::outcome_unknown("the writer ended while it was at work")
        } else {
            StateError::closed(NAME)
        };
        self.reply(Err(error));
    }
}

/// Queues `commit` and waits for the writer's answer.
pub(super) async fn commit(queue: &Queue<Request>, commit: Commit) -> Result<()> {
    let told = |error| state_error(error, NAME);
    let room = queue.reserve(commit.writes.len()).map_err(told)?;
    let (reply, answer) = oneshot::channel();
    let job = Job { commit, reply: Some(reply), sent: false, room: Some(room) };
    queue.send(Request::Commit(job)).map_err(told)?;
    answer.await.unwrap_or_else(|_| Err(StateError::closed(NAME)))
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) store: Arc<Store>,
    pub(crate) pool: Connections,
    pub(crate) sql: Arc<Statements>,
}

impl Writer {
    /// Works until all callers are gone, or one asked it to stop.
    pub(crate) async fn run(self, mut intake: Intake<Request>) {
        let (writer, calls) = (Arc::new(self), Arc::new(Semaphore::new(CALLS as usize)));
        let (mut waiting, mut stops) = (VecDeque::new(), Vec::new());
        while let Some(messages) = intake.next().await {
            sort(messages, &mut waiting, &mut stops);
            while let Some(group) = next_group(&mut waiting) {
                let Ok(call) = Arc::clone(&calls).acquire_owned().await else { return };
                let writer = Arc::clone(&writer);
                let mut making = tokio::spawn(async move {
                    writer.make(group).await;
                    drop(call);
                });
                // Beyond that it goes on by itself.
                let _ = tokio::time::timeout(PATIENCE, &mut making).await;
                // Those that were just answered come back in the next call.
                tokio::task::yield_now().await;
                sort(intake.drain(), &mut waiting, &mut stops);
            }
            if !stops.is_empty() {
                // Nothing is under way any more.
                let _ = calls.acquire_many(CALLS).await;
                drop(stops);
                return;
            }
        }
    }

    /// Makes commits in one call, and answers their callers.
    async fn make(&self, mut group: Vec<Job>) {
        let patience = self.store.options.common.lock_timeout;
        for job in &mut group {
            job.sent = true;
        }
        match self.call(&group, patience).await {
            Ok(outcomes) => answer(group, outcomes),
            Err(failure)
                if group.len() > 1 && !failure.lost_connection() && !failure.is_unreachable() =>
            {
                // One of them may be the reason. What waited for a lock has waited long enough.
                let patience = if failure.is_lock_timeout() { BRIEFLY } else { patience };
                for job in group {
                    let alone = [job];
                    let made = self.call(&alone, patience).await;
                    let [job] = alone;
                    job.answer(made.map_or_else(|failure| Err(told(failure)), only));
                }
            }
            Err(failure) => {
                let fault = fault(failure);
                for job in group {
                    job.answer(Err(fault.state_error(NAME)));
                }
            }
        }
    }

    async fn call(&self, group: &[Job], patience: Duration) -> Outcome<Vec<Result<()>>> {
        let commits: Vec<&Commit> = group.iter().map(|job| &job.commit).collect();
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match self.call_once(&commits, patience).await {
                Err(failure) if tries > 0 && failure.met_another() => {}
                other => return other,
            }
        }
    }

    async fn call_once(&self, commits: &[&Commit], patience: Duration) -> Outcome<Vec<Result<()>>> {
        let call = async |session: Session<'_>| {
            if let [commit] = commits
                && self.sql.direct.commit(session, commit, &direct::setting(patience)).await?
            {
                return Ok(vec![Ok(())]);
            }
            call::commit(session, &self.sql, commits, patience).await
        };
        self.pool.run(&self.store, call).await
    }
}

fn only(outcomes: Vec<Result<()>>) -> Result<()> {
    outcomes.into_iter().next().unwrap_or(Ok(()))
}

fn answer(group: Vec<Job>, outcomes: Vec<Result<()>>) {
    for (job, outcome) in group.into_iter().zip(outcomes) {
        job.answer(outcome);
    }
}

/// What a failed call means: without a connection it may have been made.
fn fault(failure: Failure) -> annals_sql::fault::Fault {
    let is_open = failure.lost_connection();
    let met = failure.met_another();
    let fault = failure.into_fault();
    match (is_open, met) {
        (true, _) => fault.of_commit(false),
        (false, true) => annals_sql::fault::Fault::of(annals::Error::unavailable(
            "other commits met it again and again",
        )),
        _ => fault,
    }
}

pub(super) fn told(failure: Failure) -> StateError {
    fault(failure).state_error(NAME)
}

fn sort(messages: Vec<Message<Request>>, waiting: &mut VecDeque<Job>, stops: &mut Vec<Stop>) {
    for message in messages {
        match message {
            Message::Other(Request::Commit(job)) if job.is_abandoned() => {}
            Message::Other(Request::Commit(job)) => waiting.push_back(job),
            Message::Other(Request::Stop(stop)) => stops.push(stop),
            // Appends go to a queue of their own.
            Message::Append(job) => drop(job),
        }
    }
}

/// The next commits that one call can make: in the order queued, but none beside one that it excludes.
fn next_group(waiting: &mut VecDeque<Job>) -> Option<Vec<Job>> {
    let fits = fits(waiting);
    let (mut group, mut rest) = (Vec::new(), VecDeque::new());
    for (job, fits) in waiting.drain(..).zip(fits) {
        if fits { group.push(job) } else { rest.push_back(job) }
    }
    *waiting = rest;
    (!group.is_empty()).then_some(group)
}

/// Which of those that wait go into the next call.
fn fits(waiting: &VecDeque<Job>) -> Vec<bool> {
    let mut touched = Touched::default();
    let (mut bytes, mut writes) = (0, 0);
    let mut fits = Vec::with_capacity(waiting.len());
    for Job { commit, .. } in waiting {
        let full =
            bytes + commit.bytes() > CALL_BYTES || writes + commit.writes.len() > CALL_WRITES;
        let goes_in = (!full || bytes + writes as u64 == 0) && touched.add(commit);
        if goes_in {
            bytes += commit.bytes();
            writes += commit.writes.len();
        }
        fits.push(goes_in);
    }
    fits
}
