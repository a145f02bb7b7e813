//! The log inside a transaction of the writer: tasks are judged and made, one after the other.

use std::borrow::Borrow;
use std::num::NonZeroUsize;
#[cfg(feature = "state")]
use std::sync::Arc;

use annals::adapter::Facts;
use annals::{Append, Error, EventId, Position, Result, SequenceNumber, StreamId};
use annals_sql::placing::{Numbers, Placement, count, first_after, judge};
use annals_sql::{Cache, Ids as _, to_column, to_micros};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::made::{Made, Refused};
use super::task::Task;
use crate::error::Outcome;
#[cfg(feature = "state")]
use crate::options::SqliteOptions;
use crate::read::{Session, to_json};

/// What the writer knows of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    stream_id: i64,
    last: u64,
    last_id: EventId,
}

/// What is remembered of the log holds inside a transaction, and only while no other connection has written.
#[derive(Debug)]
pub(crate) struct Log<C = Connection> {
    pub(super) session: Session<C>,
    pub(super) streams: Cache<StreamId, Head>,
    pub(super) head: Option<u64>,
    data_version: i64,
    /// Whether the transaction has changed anything.
    pub(super) wrote: bool,
}

impl<C: Borrow<Connection>> Log<C> {
    /// The log in a transaction that is under way on `connection`, for as long as nothing is undone in it.
    #[cfg(feature = "state")]
    pub(crate) fn within(connection: C, options: &SqliteOptions) -> Outcome<Self> {
        let bound = options.common.cache_bound;
        let mut log = Self::new(Session::new(connection, bound, Arc::default()), bound);
        log.head = Some(log.session.head()?);
        Ok(log)
    }

    pub(super) fn new(session: Session<C>, cache_bound: NonZeroUsize) -> Self {
        let streams = Cache::new(cache_bound);
        Self { session, streams, head: None, data_version: 0, wrote: false }
    }

    /// The connection, also for reads.
    pub(super) fn session(&mut self) -> &mut Session<C> {
        &mut self.session
    }

    /// Begins a transaction that excludes all others.
    pub(super) fn begin(&mut self) -> Outcome<()> {
        self.session.execute("BEGIN IMMEDIATE")?;
        self.wrote = false;
        Ok(())
    }

    /// Whether the transaction has changed anything.
    pub(super) fn has_changes(&self) -> bool {
        self.wrote
    }

    pub(super) fn commit(&self) -> Outcome<()> {
        self.session.execute("COMMIT")
    }

    /// Takes note of the last event that is committed.
    pub(super) fn saw(&self, jobs: &[Task], outcomes: &[Made]) {
        let made = jobs.iter().zip(outcomes).rev().filter(|(_, outcome)| outcome.is_ok());
        let last =
            made.flat_map(|(job, _)| job.writes().iter().rev().filter_map(|w| w.events.last()));
        if let (Some(event), Some(head)) = (last.into_iter().next(), self.head) {
            self.session.history().saw(head, event.id);
        }
    }

    /// Whether another connection may have changed what is remembered.
    pub(super) fn has_news(&self) -> Outcome<bool> {
        Ok(self.head.is_none() || self.session.data_version()? != self.data_version)
    }

    /// Forgets what another connection may have changed.
    pub(super) fn refresh(&mut self) -> Outcome<()> {
        let data_version = self.session.data_version()?;
        self.session.is_of_history()?;
        self.streams.clear();
        self.head = Some(self.session.head()?);
        self.data_version = data_version;
        Ok(())
    }

    /// Ends the transaction without a trace, in the store and in memory.
    pub(super) fn abandon(&mut self) {
        self.roll_back();
        self.session.forget();
        self.streams.clear();
        self.head = None;
    }

    pub(super) fn roll_back(&mut self) {
        // Some failures have rolled back already. If it fails, the next BEGIN says so.
        if !self.session.connection().is_autocommit() {
            let _ = self.session.execute("ROLLBACK");
        }
    }

    /// Judges a task and makes it. An inner error refuses this task only; nothing of it was written.
    pub(crate) fn place(&mut self, job: &Task, checked: bool) -> Outcome<Made> {
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
    pub(super) fn judge_append(
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
    pub(super) fn write_append(
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

    /// Makes an event findable by its tags; returns them as the row holds them.
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
