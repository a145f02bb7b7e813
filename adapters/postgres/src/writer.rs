//! The writer: one task that commits what is queued together.

use std::sync::Arc;

use annals::{Error, Result};
use annals_sql::fault::Fault;
use annals_sql::oneshot;
use annals_sql::placing::Placement;
use annals_sql::queue::{Intake, Job, Message};
use deadpool_postgres::{Object, Pool};

use crate::NAME;
use crate::backend::Backends;
use crate::connect::get;
use crate::error::{Failure, Outcome};
use crate::facts::{Known, Work};
use crate::store::Store;
use crate::transact::{Sent, Transact};

/// How often the same appends are tried: others may append at the same time, connections may be lost.
const TRIES: usize = 5;

/// What is asked of the writer beside appends.
#[derive(Debug)]
pub(crate) enum Request {
    /// To end, once all before it is done.
    Stop(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<Store>,
    pool: Pool,
    known: Known,
    backends: Backends,
    /// Others append to the same log at this time.
    contended: bool,
}

/// Why the appends of a transaction were not made, or are not known to be.
enum Trouble {
    /// They were judged on an older log.
    Stale,
    /// One of their events is known: it can be told which.
    Duplicate,
    /// The connection was lost, and nothing was sent that could be committed.
    Lost(Failure),
    /// The connection was lost when the commit was on its way.
    Open(Failure, Sent),
    /// No connection or no lock was to be had.
    Unavailable(Failure),
    /// It failed on the way, and nothing was written.
    Failed(Failure),
}

impl Writer {
    pub(crate) fn new(store: Arc<Store>, pool: Pool) -> Self {
        let known = Known::new(store.options.cache_bound);
        Self { store, pool, known, backends: Backends::default(), contended: false }
    }

    /// Works until all callers are gone, or one asked it to stop.
    pub(crate) async fn run(mut self, mut intake: Intake<Request>) {
        while let Some(messages) = intake.next().await {
            let mut jobs = Vec::with_capacity(messages.len());
            let mut stops = Vec::new();
            for message in messages {
                match message {
                    Message::Append(job) if job.is_abandoned() => {}
                    Message::Append(job) => jobs.push(job),
                    Message::Other(Request::Stop(done)) => stops.push(done),
                }
            }
            self.settle(jobs, &mut intake).await;
            if !stops.is_empty() {
                // The connections of the writer are closed before whoever asked is told.
                drop(self);
                for done in stops {
                    let _ = done.send(());
                }
                return;
            }
        }
    }

    /// Makes `jobs` in one transaction; where one of them fails in a way that is not its own, each alone.
    async fn settle(&mut self, jobs: Vec<Job>, intake: &mut Intake<Request>) {
        if jobs.is_empty() {
            return;
        }
        let mut groups = vec![jobs];
        while let Some(jobs) = groups.pop() {
            match self.make(&jobs).await {
                Ok(outcomes) => answer(jobs, outcomes),
                Err(Trouble::Failed(_)) if jobs.len() > 1 => {
                    groups.extend(jobs.into_iter().rev().map(|job| vec![job]));
                }
                Err(trouble) => {
                    let is_away = matches!(trouble, Trouble::Unavailable(_) | Trouble::Open(..));
                    let (fault, unknown) = told(trouble);
                    for (nth, job) in jobs.into_iter().enumerate() {
                        let fault = if unknown.contains(&nth) {
                            fault.clone().of_commit(false)
                        } else {
                            fault.clone()
                        };
                        job.answer(Err(fault.error(NAME)));
                    }
                    if is_away {
                        // What was queued meanwhile has waited as long.
                        let waiting = groups.drain(..).flatten();
                        waiting.for_each(|job| job.answer(Err(fault.error(NAME))));
                        refuse_queued(&fault, intake);
                    }
                }
            }
        }
    }

    async fn make(&mut self, jobs: &[Job]) -> Result<Vec<Result<Placement>>, Trouble> {
        let works =
            jobs.iter().map(|job| Work { writes: job.writes(), recorded_at: job.recorded_at() });
        let works: Vec<_> = works.collect();
        let mut checked = false;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match self.attempt(&works, checked).await {
                Err(Trouble::Duplicate) if !checked => checked = true,
                Err(Trouble::Stale | Trouble::Lost(_)) if tries > 0 => {}
                Err(Trouble::Stale | Trouble::Duplicate) => {
                    let text = "others append to the log without taking its lock";
                    return Err(Trouble::Failed(Error::unavailable(text).into()));
                }
                Err(Trouble::Open(failure, sent)) => match self.was_committed(&sent).await {
                    Ok(true) => return Ok(sent.into_outcomes(failure)),
                    Ok(false) if tries > 0 => {}
                    Ok(false) => return Err(Trouble::Lost(failure)),
                    Err(_) => return Err(Trouble::Open(failure, sent)),
                },
                other => return other,
            }
        }
    }

    /// One transaction on one connection.
    async fn attempt(
        &mut self,
        works: &[Work<'_>],
        checked: bool,
    ) -> Result<Vec<Result<Placement>>, Trouble> {
        let mut sent = None;
        let failure = match get(&self.pool).await {
            Err(failure) => failure,
            Ok(client) => {
                let limit = self.store.options.answer_limit();
                let transact = Transact {
                    store: &self.store,
                    known: &mut self.known,
                    backends: &mut self.backends,
                    contended: &mut self.contended,
                    sent: &mut sent,
                };
                let made = tokio::time::timeout(limit, transact.run(&client, works, checked)).await;
                let failure = match made.unwrap_or(Err(Failure::Timeout)) {
                    Ok(Some(outcomes)) => return Ok(outcomes),
                    Ok(None) => {
                        self.known.forget();
                        self.contended = true;
                        return Err(Trouble::Stale);
                    }
                    Err(failure) => failure,
                };
                if failure.lost_connection() {
                    drop(Object::take(client));
                }
                failure
            }
        };
        self.known.forget();
        Err(self.trouble(failure, sent))
    }

    fn trouble(&mut self, failure: Failure, sent: Option<Sent>) -> Trouble {
        match sent {
            Some(sent) if failure.lost_connection() => return Trouble::Open(failure, sent),
            _ if failure.lost_connection() => return Trouble::Lost(failure),
            _ => {}
        }
        if let Some(constraint) = failure.broken_constraint() {
            if constraint == self.store.tables.id_constraint() {
                return Trouble::Duplicate;
            }
            self.contended = true;
            return Trouble::Stale;
        }
        if failure.is_unreachable() || failure.is_lock_timeout() {
            Trouble::Unavailable(failure)
        } else {
            Trouble::Failed(failure)
        }
    }

    /// Whether the appends that were on their way were committed, once nothing more can come of them.
    async fn was_committed(&self, sent: &Sent) -> Outcome<bool> {
        let limit = self.store.options.pool_timeout;
        let looking = self.backends.resolve(&self.store, &self.pool, sent);
        tokio::time::timeout(limit, looking).await.unwrap_or(Err(Failure::Timeout))
    }
}

fn answer(jobs: Vec<Job>, outcomes: Vec<Result<Placement>>) {
    for (job, outcome) in jobs.into_iter().zip(outcomes) {
        job.answer(outcome);
    }
}

/// What callers are told, and for which of them the outcome is unknown.
fn told(trouble: Trouble) -> (Fault, Vec<usize>) {
    match trouble {
        Trouble::Open(failure, sent) => {
            let placed = sent.outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok());
            (failure.into_fault(), placed.map(|(nth, _)| nth).collect())
        }
        Trouble::Lost(failure) | Trouble::Unavailable(failure) | Trouble::Failed(failure) => {
            (failure.into_fault(), Vec::new())
        }
        Trouble::Stale | Trouble::Duplicate => unreachable!("both are tried again"),
    }
}

fn refuse_queued(fault: &Fault, intake: &mut Intake<Request>) {
    for message in intake.drain() {
        match message {
            Message::Append(job) => job.answer(Err(fault.error(NAME))),
            stop @ Message::Other(_) => intake.put_back(stop),
        }
    }
}
