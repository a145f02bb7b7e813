//! The writer: one thread with one connection, which commits what is queued together.

#[cfg(feature = "views")]
mod views;

use std::sync::Arc;
use std::time::Duration;

use annals::adapter::{Bell, Facts, Wake};
use annals::{Append, Error, EventId, Position, Result, SequenceNumber, StreamId};
use annals_sql::fault::{Class, Fault};
use annals_sql::placing::{Numbers, Placement, count, first_after, judge};
use annals_sql::queue::{Intake, Message};
use annals_sql::{Cache, Ids as _, oneshot, to_column, to_micros};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::NAME;
use crate::error::Outcome;
use crate::options::SqliteOptions;
use crate::place::{Opened, Place};
use crate::session::{History, Session, to_json};
use crate::task::{Made, Refused, Task};
use crate::threads::ReadRequest;
use crate::wal::Wal;

/// When the commits of a transaction have so many bytes, it ends.
#[cfg(feature = "state")]
const TRANSACTION_BYTES: u64 = 32 << 20;

/// What is asked of the writer beside appends.
#[derive(Debug)]
pub(crate) enum Request {
    /// A page, of a store that has this one connection only.
    Read(ReadRequest),
    /// A commit of documents, alone or with an append.
    #[cfg(feature = "state")]
    Commit(Box<crate::state::Job>),
    /// To see whether another connection has appended, for follows that wait.
    Look,
    /// To end, once all before it is done.
    Stop(oneshot::Sender<()>),
}

/// What the writer knows of a stream.
#[derive(Debug, Clone, Copy)]
struct Head {
    stream_id: i64,
    last: u64,
    last_id: EventId,
}

/// Its memory of the log holds inside a transaction, and only while no other connection has written.
#[derive(Debug)]
pub(crate) struct Writer {
    session: Session,
    /// None of a store in memory.
    wal: Option<Wal>,
    file: Option<Opened>,
    lock_timeout: Duration,
    bell: Bell,
    streams: Cache<StreamId, Head>,
    head: Option<u64>,
    data_version: i64,
    /// Whether the transaction has changed anything.
    wrote: bool,
}

/// Why a transaction was not made.
struct Refusal {
    fault: Fault,
    /// What is left to try: one of its appends may be the reason.
    cause: Cause,
}

enum Cause {
    /// An event is known: it can be told which, and the others be made.
    Duplicate,
    /// The lock was not to be had.
    Lock,
    /// It failed on the way, and nothing was written.
    Work,
    /// The commit itself failed, and may have been made.
    Commit,
}

/// The lock was not to be had, and these appends were neither made nor answered.
struct Locked {
    fault: Fault,
    jobs: Vec<Task>,
}

fn refuse(jobs: Vec<Task>, fault: &Fault) {
    for job in jobs {
        job.refuse(fault);
    }
}

impl Writer {
    pub(crate) fn new(
        connection: Connection,
        place: &Place,
        options: &SqliteOptions,
        bell: Bell,
        history: Arc<History>,
    ) -> Self {
        let (wal, file) = match place {
            Place::Memory => (None, None),
            Place::File(path) => (Some(Wal::of(path)), Some(Opened::at(path))),
        };
        Self {
            session: Session::new(connection, options.common.cache_bound, history),
            wal,
            file,
            lock_timeout: options.common.lock_timeout,
            bell,
            streams: Cache::new(options.common.cache_bound),
            head: None,
            data_version: 0,
            wrote: false,
        }
    }

    /// Works until all callers are gone, or one asked it to stop.
    pub(crate) fn run(mut self, mut intake: Intake<Request>) {
        while let Some(messages) = intake.blocking_next() {
            let mut jobs = Vec::with_capacity(messages.len());
            let mut stops = Vec::new();
            #[cfg(feature = "state")]
            let mut committed = 0;
            for message in messages {
                match message {
                    Message::Append(job) if job.is_abandoned() => {}
                    Message::Append(job) => jobs.push(Task::Append(job)),
                    #[cfg(feature = "state")]
                    Message::Other(Request::Commit(mut job)) => {
                        let bytes = job.commit().bytes();
                        if job.take() {
                            jobs.push(Task::Commit(job));
                        }
                        committed += bytes;
                        if committed > TRANSACTION_BYTES {
                            self.settle(std::mem::take(&mut jobs), &mut intake);
                            committed = 0;
                        }
                    }
                    Message::Other(Request::Read(read)) => {
                        // What was queued before it comes first.
                        self.settle(std::mem::take(&mut jobs), &mut intake);
                        read.serve(&mut self.session);
                    }
                    Message::Other(Request::Look) => self.look(),
                    Message::Other(Request::Stop(done)) => stops.push(done),
                }
            }
            let answered = jobs.len();
            self.settle(jobs, &mut intake);
            if !stops.is_empty() {
                // All that was taken is answered, and the connection closed, before whoever asked is told.
                drop(self);
                for done in stops {
                    // Whoever asked may be gone.
                    let _ = done.send(());
                }
                return;
            }
            if let Some(wal) = &mut self.wal {
                wal.keep_bounded(self.session.connection(), self.lock_timeout);
            }
            intake.let_return(answered);
        }
    }

    /// Makes `jobs`, and answers their callers.
    fn settle(&mut self, jobs: Vec<Task>, intake: &mut Intake<Request>) {
        let Err(Locked { fault, jobs }) = self.make(jobs) else { return };
        // What was queued meanwhile has waited for the lock as long, and is told as well. It is taken out before
        // anybody is answered: whoever comes after an answer has not waited yet.
        let queued = intake.drain();
        refuse(jobs, &fault);
        for message in queued {
            match message {
                Message::Append(job) => job.answer(Err(fault.error(NAME))),
                #[cfg(feature = "state")]
                Message::Other(Request::Commit(job)) => job.refuse(&fault),
                Message::Other(Request::Read(read)) => read.serve(&mut self.session),
                Message::Other(Request::Look) => {}
                Message::Other(stop @ Request::Stop(_)) => intake.put_back(Message::Other(stop)),
            }
        }
    }

    /// Makes `jobs` in one transaction, or, where one of them is in the way, each in its own, until the lock is not
    /// to be had.
    fn make(&mut self, jobs: Vec<Task>) -> Result<(), Locked> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut tried = self.attempt(&jobs, false);
        if let Err(Refusal { cause: Cause::Duplicate, .. }) = tried {
            tried = self.attempt(&jobs, true);
        }
        match tried {
            Ok(outcomes) => {
                let made = jobs.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
                let writes = made.flat_map(|(job, _)| job.writes());
                let written = writes.filter(|write| !write.events.is_empty());
                self.bell.ring(written.map(|write| &write.stream));
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    job.answer(outcome);
                }
                Ok(())
            }
            Err(Refusal { cause: Cause::Work | Cause::Duplicate, .. }) if jobs.len() > 1 => {
                let mut jobs = jobs.into_iter();
                while let Some(job) = jobs.next() {
                    if let Err(mut locked) = self.make(vec![job]) {
                        locked.jobs.extend(jobs);
                        return Err(locked);
                    }
                }
                Ok(())
            }
            Err(Refusal { cause: Cause::Lock, fault }) => Err(Locked { fault, jobs }),
            Err(refusal) => {
                refuse(jobs, &refusal.fault);
                Ok(())
            }
        }
    }

    /// One transaction: each of `jobs` judged on its own, after those before it. `checked`: known events are
    /// looked for beforehand; otherwise the index finds them, which costs nothing where there are none.
    fn attempt(&mut self, jobs: &[Task], checked: bool) -> Result<Vec<Made>, Refusal> {
        self.begin().map_err(|failure| {
            let fault = failure.into_fault();
            let busy = fault.class() == Class::Unavailable;
            Refusal { fault, cause: if busy { Cause::Lock } else { Cause::Work } }
        })?;
        self.wrote = false;
        let placed: Outcome<Vec<_>> = jobs.iter().map(|job| self.place(job, checked)).collect();
        match placed {
            Ok(outcomes) if !self.wrote => {
                // Nothing to commit; what was looked up stays true.
                self.roll_back();
                Ok(outcomes)
            }
            Ok(outcomes) => match self.session.execute("COMMIT") {
                Ok(()) => {
                    self.saw(jobs, &outcomes);
                    Ok(outcomes)
                }
                Err(failure) => {
                    self.abandon();
                    let fault = failure.into_commit_fault();
                    let unknown = fault.class() == Class::OutcomeUnknown;
                    let cause = if unknown { Cause::Commit } else { Cause::Work };
                    Err(Refusal { fault, cause })
                }
            },
            Err(failure) => {
                self.abandon();
                let cause = if failure.is_duplicate() { Cause::Duplicate } else { Cause::Work };
                Err(Refusal { fault: failure.into_fault(), cause })
            }
        }
    }

    /// Takes note of the last event that is committed.
    fn saw(&self, jobs: &[Task], outcomes: &[Made]) {
        let made = jobs.iter().zip(outcomes).rev().filter(|(_, outcome)| outcome.is_ok());
        let last =
            made.flat_map(|(job, _)| job.writes().iter().rev().filter_map(|w| w.events.last()));
        if let (Some(event), Some(head)) = (last.into_iter().next(), self.head) {
            self.session.history().saw(head, event.id);
        }
    }

    fn begin(&mut self) -> Outcome<()> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        self.session.execute("BEGIN IMMEDIATE")?;
        let known = self.refresh();
        if known.is_err() {
            self.abandon();
        }
        known
    }

    /// Wakes all follows if another connection has written. A failure is that of the next append or read.
    fn look(&mut self) {
        let _ = self.refresh();
    }

    /// Forgets what another connection may have changed.
    fn refresh(&mut self) -> Outcome<()> {
        let data_version = self.session.data_version()?;
        if data_version != self.data_version || self.head.is_none() {
            // Another program may even have put an older state in place.
            self.bell.ring_all(Wake::Unsure);
            self.session.is_of_history()?;
            self.streams.clear();
            self.head = Some(self.session.head()?);
            self.data_version = data_version;
        }
        Ok(())
    }

    /// Ends the transaction without a trace, in the store and in memory.
    fn abandon(&mut self) {
        self.roll_back();
        self.session.forget();
        self.streams.clear();
        self.head = None;
    }

    fn roll_back(&mut self) {
        // Some failures have rolled back already. If it fails, the next BEGIN says so.
        if !self.session.connection().is_autocommit() {
            let _ = self.session.execute("ROLLBACK");
        }
    }

    /// Judges a task and makes it. An inner error refuses this task only; nothing of it was written.
    fn place(&mut self, job: &Task, checked: bool) -> Outcome<Made> {
        #[cfg(feature = "views")]
        if let Task::Commit(with) = job
            && let Some(work) = with.work()
        {
            return self.place_with(job, work, checked);
        }
        let (heads, first) = match self.judge_append(job, checked)? {
            Ok(judged) => judged,
            Err(refusal) => return Ok(Err(Refused::Append(refusal))),
        };
        #[cfg(feature = "state")]
        let judged = match job {
            Task::Append(_) => None,
            Task::Commit(job) => match crate::state::look(self.session.connection(), job.commit())?
            {
                Ok(judged) => Some(judged),
                // A repeated append is reported as one, whatever else rejects it.
                Err(refusal) => {
                    return Ok(Err(match self.known_event(job.writes())? {
                        Some(known) => Refused::Append(Error::DuplicateEvent(known)),
                        None => Refused::Commit(refusal),
                    }));
                }
            },
        };
        let placement = self.write_append(job, heads, first)?;
        #[cfg(feature = "state")]
        if let Some(judged) = judged {
            self.wrote |= judged.write(self.session.connection())?;
        }
        Ok(Ok(placement))
    }

    /// Judges what a task appends: the heads of its streams, and the number of its first event.
    fn judge_append(
        &mut self,
        job: &Task,
        checked: bool,
    ) -> Outcome<Result<(Vec<Option<Head>>, SequenceNumber)>> {
        if checked && let Some(known) = self.known_event(job.writes())? {
            return Ok(Err(Error::DuplicateEvent(known)));
        }
        let mut heads = Vec::with_capacity(job.writes().len());
        for write in job.writes() {
            let head = self.stream_head(&write.stream)?;
            heads.push(head);
            let facts = self.facts(write, head)?;
            if let Err(refusal) = judge(write, &facts) {
                return Ok(Err(self.known_or(refusal, job)?));
            }
        }
        match first_after(self.head.unwrap_or(0), count(job.writes())) {
            Ok(first) => Ok(Ok((heads, first))),
            Err(refusal) => Ok(Err(self.known_or(refusal, job)?)),
        }
    }

    /// Inserts the events of a task from the sequence number `first` on.
    fn write_append(
        &mut self,
        job: &Task,
        heads: Vec<Option<Head>>,
        first: SequenceNumber,
    ) -> Outcome<Placement> {
        let mut next = first.value();
        let mut positions = Vec::with_capacity(heads.len());
        for (write, head) in job.writes().iter().zip(heads) {
            let position = head.map_or(0, |head| head.last + 1);
            positions.push(Position::new(position));
            if !write.events.is_empty() {
                self.insert(write, head, next, to_micros(job.recorded_at()))?;
                next += write.events.len() as u64;
                self.wrote = true;
            }
        }
        self.head = Some(next - 1);
        Ok(Placement { numbers: Numbers::From(first), positions })
    }

    /// The refusal of an append. A repeated one is reported as one, whatever else rejects it.
    fn known_or(&self, refusal: Error, job: &Task) -> Outcome<Error> {
        Ok(self.known_event(job.writes())?.map_or(refusal, Error::DuplicateEvent))
    }

    /// The first event of `writes` that the log has.
    fn known_event(&self, writes: &[Append]) -> Outcome<Option<EventId>> {
        let sql = "SELECT 1 FROM events WHERE id = ?1";
        let mut statement = self.session.connection().prepare_cached(sql)?;
        for event in writes.iter().flat_map(|write| &write.events) {
            if statement.exists([event.id.as_uuid().as_bytes()])? {
                return Ok(Some(event.id));
            }
        }
        Ok(None)
    }

    fn stream_head(&mut self, stream: &StreamId) -> Outcome<Option<Head>> {
        if let Some(head) = self.streams.get(stream) {
            return Ok(Some(*head));
        }
        let Some(stream_id) = self.session.stream(stream)? else { return Ok(None) };
        let sql = "SELECT position, id FROM events WHERE stream_id = ?1 \
                   ORDER BY sequence_number DESC LIMIT 1";
        let mut statement = self.session.connection().prepare_cached(sql)?;
        let last: Option<(i64, [u8; 16])> =
            statement.query_row([stream_id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let last = last.and_then(|(last, id)| Some((u64::try_from(last).ok()?, id)));
        let (last, id) = last.ok_or_else(|| Error::corrupt("a stream has no last event"))?;
        let head = Head { stream_id, last, last_id: Uuid::from_bytes(id).into() };
        self.streams.put(stream.clone(), head);
        Ok(Some(head))
    }

    fn facts(&mut self, write: &Append, head: Option<Head>) -> Outcome<Facts> {
        let mut matches = Vec::new();
        for (query, after) in write.condition.queries() {
            // Most decisions are made on all that there is.
            let current = self.head.is_some_and(|head| after.value() >= head);
            matches.push(if current { None } else { self.session.first_match(query, after)? });
        }
        let facts = Facts::new(head.map(|head| Position::new(head.last))).with_matches(matches);
        match head {
            Some(head) if write.condition.needs_last_event() => {
                Ok(facts.with_last(self.session.last_event(head.stream_id)?))
            }
            head => Ok(facts.with_last_id(head.map(|head| head.last_id))),
        }
    }

    /// Inserts the events of `write` from the sequence number `first` on.
    fn insert(&mut self, write: &Append, head: Option<Head>, first: u64, now: i64) -> Outcome<()> {
        let category_id = self.session.intern(write.stream.category.as_str())?;
        let (stream_id, position) = match head {
            Some(head) => (head.stream_id, head.last + 1),
            None => (to_column(first), 0),
        };
        if head.is_none() {
            let sql = "INSERT INTO streams (stream_id, category_id, name) VALUES (?1, ?2, ?3)";
            let mut statement = self.session.connection().prepare_cached(sql)?;
            statement.execute(params![stream_id, category_id, write.stream.name.as_str()])?;
        }
        for (event, nth) in write.events.iter().zip(0..) {
            let number = to_column(first + nth);
            let name_id = self.session.intern(event.name.as_str())?;
            let encoding_id = self.session.intern(event.payload.encoding().as_str())?;
            let tags = self.insert_tags(event, number)?;
            let sql = "INSERT INTO events (sequence_number, stream_id, position, category_id, name_id, \
                       encoding_id, id, occurred_at, recorded_at, tags, metadata, payload) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
            let mut statement = self.session.connection().prepare_cached(sql)?;
            statement.execute(params![
                number,
                stream_id,
                to_column(position + nth),
                category_id,
                name_id,
                encoding_id,
                event.id.as_uuid().as_bytes(),
                to_micros(event.occurred_at),
                now,
                tags,
                event.metadata.as_ref().map(|metadata| &metadata.as_bytes()[..]),
                &event.payload.as_bytes()[..],
            ])?;
        }
        if let Some(event) = write.events.last() {
            let last = position + write.events.len() as u64 - 1;
            let head = Head { stream_id, last, last_id: event.id };
            self.streams.put(write.stream.clone(), head);
        }
        Ok(())
    }

    /// Makes an event findable by its tags; gives them as the row holds them.
    fn insert_tags(&mut self, event: &annals::NewEvent, number: i64) -> Outcome<Option<String>> {
        if event.tags.is_empty() {
            return Ok(None);
        }
        let mut ids = Vec::with_capacity(event.tags.len());
        for tag in &event.tags {
            let id = self.session.intern(tag.as_str())?;
            let sql = "INSERT INTO event_tags (tag_id, sequence_number) VALUES (?1, ?2)";
            self.session.connection().prepare_cached(sql)?.execute([id, number])?;
            ids.push(id);
        }
        Ok(Some(to_json(&ids)))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use annals::{Clock as _, EventName, NewEvent, Payload, SystemClock, WriteCondition};
    use annals_sql::queue::queue;
    use futures_util::FutureExt as _;

    use super::*;
    use crate::connect;

    #[test]
    fn an_append_that_is_taken_beside_a_stop_is_made() {
        let options = SqliteOptions::new();
        let connection = connect::writer(&Place::Memory, &options).unwrap();
        let (queue, intake) = queue("sqlite", 8);
        let (done, ended) = oneshot::channel();
        queue.send(Request::Stop(done)).unwrap();
        let event = NewEvent::new(EventName::from_static("made"), Payload::json(&1).unwrap());
        let stream = StreamId::from_static("orders", "o-1");
        let write = Append::new(stream, [event], WriteCondition::Always);
        let mut append = pin!(queue.append(vec![write], SystemClock.now()));
        assert!(append.as_mut().now_or_never().is_none(), "it is queued");
        Writer::new(connection, &Place::Memory, &options, Bell::default(), Arc::default())
            .run(intake);
        assert_eq!(append.now_or_never().unwrap().unwrap().len(), 1);
        ended.now_or_never().unwrap().unwrap();
    }
}
