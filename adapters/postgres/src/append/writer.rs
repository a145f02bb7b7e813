//! The writer: one task that commits what is queued together.

use std::sync::Arc;

use annals::{Error, Order, Result};
use annals_sql::facts::Work;
use annals_sql::fault::Fault;
use annals_sql::placing::Placement;
use annals_sql::queue::{Intake, Job, Message, Stop, halves};
use deadpool_postgres::Object;
use tokio::time::Instant;
use tracing::Level;

use crate::append::backend::Backends;
use crate::append::flight::{Departure, Flight};
use crate::append::held::Held;
use crate::append::sent::Sent;
use crate::append::transact::Transact;
use crate::connection::pool::Connections;
use crate::connection::session::Session;
use crate::error::{Failure, NAME, Outcome, in_time, micros_since};
use crate::lookup::known::Known;
use crate::store::Store;

/// How often the same appends are tried: others may append at the same time, connections may be lost.
const TRIES: usize = 5;

/// What is asked of the writer beside appends.
#[derive(Debug)]
pub(crate) enum Request {
    /// To end, once all before it is done.
    Stop(Stop),
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) store: Arc<Store>,
    pub(crate) pool: Connections,
    known: Known,
    backends: Backends,
    /// Appends that wait for a category or stream that others hold.
    held: Held,
    /// Others append to the same log at this time.
    contended: bool,
    /// Nothing but its connection shares its thread.
    has_thread: bool,
}

/// Why the appends of a transaction were not made, or are not known to be.
pub(crate) enum Trouble {
    /// They were judged on an older log, or on one that never came to be.
    Stale,
    /// Another transaction was in the way, or they were judged on a store that was replaced or put back since.
    Crossed(Failure),
    /// Others hold locks, with these keys, that some of them need.
    Held(Vec<i64>),
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

impl Trouble {
    /// Whether the connection is of no use any more.
    pub(crate) fn lost_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Open(..))
    }
}

impl Writer {
    pub(crate) fn new(store: Arc<Store>, pool: Connections, has_thread: bool) -> Self {
        let known = Known::new(store.options.common.cache_bound);
        let (backends, held) = (Backends::default(), Held::default());
        Self { store, pool, known, backends, held, contended: false, has_thread }
    }

    /// Works until all callers are gone, or one asked it to stop.
    pub(crate) async fn run(mut self, mut intake: Intake<Request>) {
        while let Some(messages) = self.held.next(&mut intake).await {
            let mut jobs = Vec::with_capacity(messages.len());
            let mut stops = Vec::new();
            for message in messages {
                match message {
                    Message::Append(job) if job.is_abandoned() => {}
                    Message::Append(job) => jobs.push(job),
                    Message::Other(Request::Stop(stop)) => stops.push(stop),
                }
            }
            let jobs = self.held.keep_known(&self.store, jobs);
            let parts = if self.may_pipeline() { halves(jobs) } else { Err(jobs) };
            match parts {
                Ok(halves) => self.pipeline(halves, &mut intake).await,
                Err(jobs) => {
                    let answered = jobs.len();
                    self.settle(jobs, None, &mut intake).await;
                    if self.has_thread {
                        intake.let_return(answered);
                    }
                }
            }
            let jobs = self.held.take_due();
            self.settle(jobs, None, &mut intake).await;
            if !stops.is_empty() {
                while self.held.wait().await {
                    let jobs = self.held.take_due();
                    self.settle(jobs, None, &mut intake).await;
                }
                // The connections of the writer are closed before the calls that asked go on.
                drop(self);
                drop(stops);
                return;
            }
        }
    }

    /// Whether a batch may be sent before the one ahead of it is answered: on a session and a connection of its own,
    /// where others do not append all the time.
    fn may_pipeline(&self) -> bool {
        let options = &self.store.options;
        self.has_thread && self.sends_at_once() && options.prepares() && options.pool_size.get() > 1
    }

    /// Whether appends are judged on what is remembered of the log.
    fn sends_at_once(&self) -> bool {
        self.store.order() == Order::Log && !self.contended
    }

    /// Makes `jobs` in one transaction; where one of them fails in a way that is not its own, each alone. `trouble`:
    /// what became of them so far.
    pub(crate) async fn settle(
        &mut self,
        jobs: Vec<Job>,
        mut trouble: Option<Trouble>,
        intake: &mut Intake<Request>,
    ) {
        if jobs.is_empty() {
            return;
        }
        let mut groups = vec![jobs];
        while let Some(jobs) = groups.pop() {
            match self.make(&jobs, trouble.take()).await {
                Ok(outcomes) => self.answer(jobs, outcomes),
                Err(Trouble::Held(keys)) => {
                    let free = self.held.keep(&self.store, jobs, &keys);
                    groups.extend(Some(free).filter(|free| !free.is_empty()));
                }
                Err(Trouble::Failed(_)) if jobs.len() > 1 => {
                    groups.extend(jobs.into_iter().rev().map(|job| vec![job]));
                }
                Err(trouble) => {
                    let is_away = matches!(trouble, Trouble::Unavailable(_) | Trouble::Open(..));
                    let (fault, unknown) = told(trouble);
                    // Taken before anybody is answered: a call that follows an answer is tried anew.
                    let queued = if is_away { intake.drain() } else { Vec::new() };
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
                        refuse(queued, &fault, intake);
                    }
                }
            }
        }
    }

    async fn make(
        &mut self,
        jobs: &[Job],
        mut trouble: Option<Trouble>,
    ) -> Result<Vec<Result<Placement>>, Trouble> {
        let works = works(jobs);
        let mut checked = false;
        let mut tries = TRIES;
        loop {
            let made = if let Some(trouble) = trouble.take() {
                Err(trouble)
            } else {
                tries -= 1;
                self.attempt(&works, checked).await
            };
            match made {
                // Looked up once, others may still store it under another lock.
                Err(Trouble::Duplicate) if tries > 0 => checked = true,
                Err(Trouble::Stale | Trouble::Lost(_) | Trouble::Crossed(_)) if tries > 0 => {}
                Err(Trouble::Crossed(failure)) => return Err(Trouble::Failed(failure)),
                Err(Trouble::Stale | Trouble::Duplicate) => {
                    let text = "others append to the log without taking its lock";
                    return Err(Trouble::Failed(Error::unavailable(text).into()));
                }
                Err(Trouble::Open(failure, mut sent)) => match self.was_committed(&sent).await {
                    Ok(true) => return Ok(sent.take_outcomes(failure)),
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
        let client = match self.pool.get().await {
            Ok(client) => Arc::new(client),
            Err(failure) => return Err(self.trouble(failure, None)),
        };
        let made = self.attempt_on(&client, works, checked).await;
        let is_lost = made.as_ref().is_err_and(Trouble::lost_connection);
        give_back(client, is_lost);
        made
    }

    async fn attempt_on(
        &mut self,
        client: &Arc<Object>,
        works: &[Work<'_>],
        checked: bool,
    ) -> Result<Vec<Result<Placement>>, Trouble> {
        if self.sends_at_once()
            && let Some(flight) = self.depart(client, works, checked).await?
        {
            return self.land(flight, true).await;
        }
        let mut sent = None;
        let limit = self.store.options.answer_limit();
        let session = Session::new(client, self.store.options.prepares());
        let locked = async {
            let backend = self.backends.of(&self.store, client, session).await?;
            let transact = Transact {
                store: &self.store,
                known: &mut self.known,
                backend,
                contended: &mut self.contended,
                sent: &mut sent,
            };
            Box::pin(transact.locked(session, works, checked)).await
        };
        let begun = Instant::now();
        let made = in_time(limit, locked).await;
        if made.is_ok() {
            committed(works.len(), begun);
        }
        made.map_err(|failure| self.trouble(failure, sent))
    }

    /// Sends `works` in one statement; `None`: it takes several.
    pub(crate) async fn depart(
        &mut self,
        client: &Arc<Object>,
        works: &[Work<'_>],
        checked: bool,
    ) -> Result<Option<Flight>, Trouble> {
        let limit = self.store.options.answer_limit();
        let departed = async {
            let session = Session::new(client, self.store.options.prepares());
            let backend = self.backends.of(&self.store, client, session).await?;
            let known = &mut self.known;
            let departure = Departure { store: &self.store, client, backend, known };
            departure.depart(works, checked).await
        };
        in_time(limit, departed).await.map_err(|failure| self.trouble(failure, None))
    }

    /// Waits for what becomes of a flight. `follows`: all that was sent before it is committed.
    pub(crate) async fn land(
        &mut self,
        flight: Flight,
        follows: bool,
    ) -> Result<Vec<Result<Placement>>, Trouble> {
        let departed = flight.departed;
        let (mut sent, landed) = flight.land(self.store.options.answer_limit()).await;
        committed(sent.outcomes.len(), departed);
        let finished = landed.and_then(|found| match found {
            // Refusals alone were judged on what did not come to be.
            Some(_) if !follows && sent.ends.is_none() => Ok(None),
            // What was inserted is committed: only those that were refused lack their answer.
            Some(Err(failure)) => Ok(Some(sent.take_outcomes(failure))),
            Some(Ok(found)) => sent.finish(&found, &mut self.known).map(Some),
            None => {
                self.contended |= follows;
                Ok(None)
            }
        });
        match finished {
            Ok(Some(outcomes)) => Ok(outcomes),
            Ok(None) => {
                self.known.forget();
                Err(Trouble::Stale)
            }
            Err(failure) => Err(self.trouble(failure, Some(sent))),
        }
    }

    /// What a failure means for the appends. What is remembered of the log may not be true after it.
    fn trouble(&mut self, failure: Failure, sent: Option<Sent>) -> Trouble {
        self.known.forget();
        if let Failure::Held(keys) = failure {
            return Trouble::Held(keys);
        }
        if failure.is_outdated() || failure.met_another() {
            self.known.forget_all();
            return Trouble::Crossed(failure);
        }
        if failure.lost_connection() {
            return match sent.filter(|sent| sent.ends.is_some()) {
                Some(sent) => Trouble::Open(failure, sent),
                None => Trouble::Lost(failure),
            };
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

    /// Answers the callers of appends that are committed or refused, and wakes who follows them.
    pub(crate) fn answer(&self, jobs: Vec<Job>, outcomes: Vec<Result<Placement>>) {
        let made = jobs.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let writes = made.flat_map(|(job, _)| job.writes());
        let written = writes.filter(|write| !write.events.is_empty());
        self.store.watch.appended(written.map(|write| &write.stream));
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            job.answer(outcome);
        }
    }

    /// Whether the appends that were on their way were committed, once nothing more can come of them.
    async fn was_committed(&self, sent: &Sent) -> Outcome<bool> {
        let limit = self.store.options.pool_timeout;
        let looking = self.backends.resolve(&self.store, &self.pool, sent.backend, sent.ends);
        in_time(limit, looking).await
    }
}

/// Records how long a group of appends took, from its statement to the answer: its locks and its commit.
fn committed(appends: usize, begun: Instant) {
    let micros = micros_since(begun);
    tracing::event!(name: "annals.committed", target: "annals", Level::DEBUG, adapter = NAME, appends, micros);
}

pub(crate) fn works(jobs: &[Job]) -> Vec<Work<'_>> {
    let works = jobs.iter();
    works.map(|job| Work { writes: job.writes(), recorded_at: job.recorded_at() }).collect()
}

/// Returns a connection to its pool, or closes it when it is of no use any more.
pub(crate) fn give_back(client: Arc<Object>, is_lost: bool) {
    if is_lost && let Some(client) = Arc::into_inner(client) {
        drop(Object::take(client));
    }
}

/// What callers get, and for which of them the outcome is unknown.
fn told(trouble: Trouble) -> (Fault, Vec<usize>) {
    match trouble {
        Trouble::Open(failure, sent) => {
            let placed = sent.outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok());
            (failure.into_fault(), placed.map(|(nth, _)| nth).collect())
        }
        Trouble::Lost(failure)
        | Trouble::Unavailable(failure)
        | Trouble::Failed(failure)
        | Trouble::Crossed(failure) => (failure.into_fault(), Vec::new()),
        Trouble::Stale | Trouble::Duplicate | Trouble::Held(_) => {
            unreachable!("these are tried again")
        }
    }
}

fn refuse(queued: Vec<Message<Request>>, fault: &Fault, intake: &mut Intake<Request>) {
    for message in queued {
        match message {
            Message::Append(job) => job.answer(Err(fault.error(NAME))),
            stop @ Message::Other(_) => intake.put_back(stop),
        }
    }
}
