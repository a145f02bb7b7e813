//! One connection with what it remembers: look-ups and pages.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals::{Direction, EventId, Page, SequenceNumber, StoredEvent, StreamId};
use annals_sql::{
    Bounds, Cache, Dialect, Dictionary, Ids, Item, NameIds, Scan, Scope, Select, Want, resolve,
    select, to_column,
};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use uuid::Uuid;

use super::history::History;
use super::row::{Names, by_numbers, raw_event, values};
use crate::error::{Failure, Outcome};

const SQLITE: Dialect<'_> = Dialect {
    parameter: "?",
    member: (" IN (SELECT value FROM json_each(", "))"),
    id_member: (" IN (SELECT unhex(value) FROM json_each(", "))"),
    unindexed: "+",
    events: "events",
    event_tags: "event_tags",
    seek: None,
};

/// A page ends early when its payloads have so many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// `C`: its own connection, or that of a caller.
#[derive(Debug)]
pub(crate) struct Session<C = Connection> {
    connection: C,
    history: Arc<History>,
    generation: u64,
    /// What was last seen to be of this history.
    data_version: Option<i64>,
    dictionary: Dictionary,
    ids: NameIds,
    streams: Cache<StreamId, i64>,
}

impl<C: Borrow<Connection>> Session<C> {
    pub(crate) fn new(connection: C, cache_bound: NonZeroUsize, history: Arc<History>) -> Self {
        Self {
            connection,
            history,
            generation: 0,
            data_version: None,
            dictionary: Dictionary::new(cache_bound),
            ids: NameIds::new(cache_bound),
            streams: Cache::new(cache_bound),
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.borrow()
    }

    /// Forgets all numbers, as after a transaction that was not committed.
    pub(crate) fn forget(&mut self) {
        self.dictionary.clear();
        self.ids.clear();
        self.streams.clear();
    }

    /// Whether the store has gone on from all that was remembered until now. Otherwise all connections forget it, this
    /// one before it returns.
    pub(crate) fn is_of_history(&mut self) -> Outcome<bool> {
        let data_version = self.data_version()?;
        if self.data_version == Some(data_version) && self.is_current() {
            return Ok(true);
        }
        let witness = *self.history.witness();
        let sql = "SELECT 1 FROM events WHERE sequence_number = ?1 AND id = ?2";
        let goes_on = match witness {
            Some((number, id)) => {
                let id = id.as_uuid();
                let mut statement = self.connection.borrow().prepare_cached(sql)?;
                statement.exists(params![number, id.as_bytes()])?
            }
            // Nothing proves it, unless nothing was remembered yet.
            None => self.data_version.is_none(),
        };
        if goes_on {
            // It was committed no earlier than all that was looked up until now.
            self.see_last()?;
        } else {
            *self.history.witness() = None;
            self.history.generation.fetch_add(1, Ordering::AcqRel);
        }
        self.data_version = Some(data_version);
        let is_current = self.is_current();
        self.catch_up();
        Ok(goes_on && is_current)
    }

    /// Changes if another connection has committed.
    pub(crate) fn data_version(&self) -> Outcome<i64> {
        let mut statement = self.connection.borrow().prepare_cached("PRAGMA data_version")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// Whether no other connection has found that the store went back.
    fn is_current(&self) -> bool {
        self.generation == self.history.generation.load(Ordering::Acquire)
    }

    /// Forgets what is of a history that is over.
    fn catch_up(&mut self) {
        if !self.is_current() {
            self.forget();
            self.generation = self.history.generation.load(Ordering::Acquire);
        }
    }

    fn see_last(&self) -> Outcome<()> {
        if let Some((number, id)) = self.last()? {
            self.history.saw(number, id);
        }
        Ok(())
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// The last event of the log.
    fn last(&self) -> Outcome<Option<(u64, EventId)>> {
        let sql = "SELECT sequence_number, id FROM events ORDER BY sequence_number DESC LIMIT 1";
        let mut statement = self.connection.borrow().prepare_cached(sql)?;
        let last: Option<(i64, [u8; 16])> =
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let last = last.and_then(|(number, id)| Some((u64::try_from(number).ok()?, id)));
        Ok(last.map(|(number, id)| (number, Uuid::from_bytes(id).into())))
    }

    /// The last sequence number; 0 of an empty log.
    pub(crate) fn head(&self) -> Outcome<u64> {
        self.end("SELECT max(sequence_number) FROM events")
    }

    /// The first sequence number; 0 of an empty log.
    fn first(&self) -> Outcome<u64> {
        self.end("SELECT min(sequence_number) FROM events")
    }

    fn end(&self, sql: &str) -> Outcome<u64> {
        let end: Option<i64> =
            self.connection.borrow().prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(end.and_then(|end| u64::try_from(end).ok()).unwrap_or(0))
    }

    /// The number of a name, which is made when it is new.
    pub(crate) fn intern(&mut self, name: &str) -> Outcome<i64> {
        if let Some(id) = self.name_id(name)? {
            return Ok(id);
        }
        let sql = "INSERT INTO names (name) VALUES (?1)";
        let id = self.connection.borrow().prepare_cached(sql)?.insert([name])?;
        self.ids.learn(name, id);
        Ok(id)
    }

    pub(crate) fn name_id(&mut self, name: &str) -> Outcome<Option<i64>> {
        if let Some(id) = self.ids.get(name) {
            return Ok(Some(id));
        }
        let sql = "SELECT name_id FROM names WHERE name = ?1";
        let id = self
            .connection
            .borrow()
            .prepare_cached(sql)?
            .query_row([name], |row| row.get(0))
            .optional()?;
        if let Some(id) = id {
            self.ids.learn(name, id);
        }
        Ok(id)
    }

    /// The last event of a stream.
    pub(crate) fn last_event(&mut self, stream_id: i64) -> Outcome<Option<StoredEvent>> {
        let item = Item::of(Scope::Stream(stream_id));
        let bounds = Bounds::one(Direction::Backward);
        let (events, _) = self.events(&select(&item, Want::Events, &bounds, &SQLITE))?;
        Ok(events.into_iter().next())
    }

    /// The first event after `after` that `query` asks for.
    pub(crate) fn first_match(
        &mut self,
        query: &annals::Query,
        after: SequenceNumber,
    ) -> Outcome<Option<SequenceNumber>> {
        let mut bounds =
            Bounds { after: to_column(after.value()), ..Bounds::one(Direction::Forward) };
        let mut first = None;
        for item in &resolve(query, self)? {
            let found = self.numbers(&select(item, Want::Numbers, &bounds, &SQLITE))?;
            // No later item need look further than this.
            if let Some(&number) = found.first() {
                bounds.until = number - 1;
                first = u64::try_from(number).ok().map(SequenceNumber::new);
            }
        }
        Ok(first)
    }

    /// The next page of `scan`.
    pub(crate) fn page(&mut self, scan: &mut Scan) -> Outcome<Page> {
        self.catch_up();
        let mut next = self.resumed(scan);
        let page = self.try_page(&mut next);
        // After it was read: what was true of the store before and after is true of the page.
        let page = if self.is_of_history()? {
            page?
        } else {
            next = self.resumed(scan);
            self.page_anew(&mut next)?
        };
        let ends = page.events.first().into_iter().chain(page.events.last());
        ends.for_each(|event| self.history.saw(event.sequence_number.value(), event.id()));
        *scan = next;
        Ok(page)
    }

    /// A copy of `scan` with nothing in it that is of a history that is over.
    fn resumed(&self, scan: &Scan) -> Scan {
        let mut scan = scan.clone();
        if scan.generation() != self.generation {
            scan.restart(self.generation);
        }
        scan
    }

    /// The next page of `scan` after all was forgotten. It is of one moment with all that it looks up, so that it
    /// needs no proof.
    fn page_anew(&mut self, scan: &mut Scan) -> Outcome<Page> {
        self.in_snapshot(|session| {
            session.see_last()?;
            session.data_version = Some(session.data_version()?);
            session.next_or_first_page(scan)
        })
    }

    fn try_page(&mut self, scan: &mut Scan) -> Outcome<Page> {
        if scan.items().is_none() && scan.query().items().len() != 1 {
            // The statements of the first page would each take and release the locks of their own.
            return self.in_snapshot(|session| session.first_page(scan));
        }
        self.next_or_first_page(scan)
    }

    fn next_or_first_page(&mut self, scan: &mut Scan) -> Outcome<Page> {
        if scan.items().is_some() { self.next_page(scan) } else { self.first_page(scan) }
    }

    fn in_snapshot<T>(&mut self, read: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.execute("BEGIN")?;
        let found = read(self);
        let ended = self.execute("COMMIT");
        if ended.is_err() && !self.connection.borrow().is_autocommit() {
            let _ = self.execute("ROLLBACK");
        }
        let found = found?;
        ended?;
        Ok(found)
    }

    pub(crate) fn execute(&self, sql: &str) -> Outcome<()> {
        self.connection.borrow().prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn first_page(&mut self, scan: &mut Scan) -> Outcome<Page> {
        scan.fix_head(self.head()?);
        scan.set_items(resolve(&scan.query(), self)?);
        let page = self.next_page(scan)?;
        if !scan.is_done() {
            scan.fix_first(self.first()?);
        }
        Ok(page)
    }

    fn next_page(&mut self, scan: &mut Scan) -> Outcome<Page> {
        let bounds = scan.bounds();
        let (events, cut) = match scan.items().unwrap_or_default() {
            _ if scan.is_empty() => (Vec::new(), false),
            [item] => self.events(&select(item, Want::Events, &bounds, &SQLITE))?,
            items => {
                let numbers = self.merge(items, &bounds)?;
                self.events(&by_numbers(numbers, bounds.direction))?
            }
        };
        Ok(scan.advance(events, cut))
    }

    /// The first numbers that any of `items` has.
    fn merge(&self, items: &[Item], bounds: &Bounds) -> Outcome<Vec<i64>> {
        let limit = usize::try_from(bounds.limit).unwrap_or(usize::MAX);
        let mut merged = BTreeSet::new();
        for item in items {
            merged.extend(self.numbers(&select(item, Want::Numbers, bounds, &SQLITE))?);
            while merged.len() > limit {
                match bounds.direction {
                    Direction::Forward => merged.pop_last(),
                    Direction::Backward => merged.pop_first(),
                };
            }
        }
        Ok(merged.into_iter().collect())
    }

    fn numbers(&self, select: &Select) -> Outcome<Vec<i64>> {
        let mut statement = self.connection.borrow().prepare_cached(&select.sql)?;
        let numbers = statement.query_map(params_from_iter(values(select)), |row| row.get(0))?;
        Ok(numbers.collect::<rusqlite::Result<_>>()?)
    }

    /// The events of a statement, and whether a page of them was cut short.
    fn events(&mut self, select: &Select) -> Outcome<(Vec<StoredEvent>, bool)> {
        let mut statement = self.connection.borrow().prepare_cached(&select.sql)?;
        let mut rows = statement.query(params_from_iter(values(select)))?;
        let mut names =
            Names { connection: self.connection.borrow(), dictionary: &mut self.dictionary };
        let mut events = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let raw = raw_event(row)?;
            bytes += raw.payload.len() + raw.metadata.as_ref().map_or(0, Bytes::len);
            events.push(raw.decode(&mut names)?);
            if bytes >= PAGE_BYTES {
                return Ok((events, true));
            }
        }
        Ok((events, false))
    }
}

impl<C: Borrow<Connection>> Ids for Session<C> {
    type Error = Failure;

    fn name(&mut self, name: &str) -> Outcome<Option<i64>> {
        self.name_id(name)
    }

    fn stream(&mut self, stream: &StreamId) -> Outcome<Option<i64>> {
        if let Some(id) = self.streams.cloned(stream) {
            return Ok(Some(id));
        }
        let Some(category) = self.name_id(stream.category.as_str())? else { return Ok(None) };
        let sql = "SELECT stream_id FROM streams WHERE category_id = ?1 AND name = ?2";
        let mut statement = self.connection.borrow().prepare_cached(sql)?;
        let id = statement.query_row(params![category, stream.name.as_str()], |row| row.get(0));
        let id = id.optional()?;
        if let Some(id) = id {
            self.dictionary.remember_stream(id, stream);
            self.streams.put(stream.clone(), id);
        }
        Ok(id)
    }
}
