//! What appends are judged on: looked up once for all appends of a transaction.

use std::num::NonZeroUsize;

use annals::{
    Append, Direction, Error, EventId, Query, SequenceNumber, Source, StoredEvent, StreamId,
};
use annals_sql::{
    Bounds, Dictionary, Ids, Item, Scope, Want, from_column, resolve, select, to_column,
};
use futures_util::future::{try_join_all, try_join5};
use hashbrown::{HashMap, HashSet};
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::connection::session::{Session, Value, if_any, values};
use crate::error::{Failure, Outcome};
use crate::lookup::decode::{events, numbers};
use crate::lookup::history::{History, Numbered};
use crate::lookup::known::{Head, Known};
use crate::store::Store;

/// One append to be judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) writes: &'a [Append],
    pub(crate) recorded_at: OffsetDateTime,
}

/// What is asked before the appends of one transaction are judged.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    /// The last numbers of the log.
    pub(crate) head: bool,
    /// Which events are known.
    pub(crate) ids: bool,
    /// So many fresh numbers, where the order is not that of the log.
    pub(crate) numbers: Option<i64>,
}

/// What one transaction is judged on.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The last sequence number and the last number of a name, where they were asked for.
    pub(crate) head: Option<(u64, i64)>,
    /// The last event of the log, and the mark and type of rows of the store, where the head was asked for.
    pub(crate) last: Option<Numbered>,
    pub(crate) of_store: Option<(i64, Type)>,
    /// All streams that the appends write to or ask for; `None`: without events.
    pub(crate) streams: HashMap<StreamId, Option<Head>>,
    /// All names that the appends write or ask for; `None`: not made yet.
    pub(crate) names: HashMap<Box<str>, Option<i64>>,
    /// For each query of each condition, in order, an event of the log that matches.
    pub(crate) matches: Vec<Option<SequenceNumber>>,
    /// For each write with a custom condition, in order, the last event of its stream.
    pub(crate) lasts: Vec<Option<StoredEvent>>,
    /// Those of the events that the log has, where it was asked for.
    pub(crate) known_ids: HashSet<EventId>,
    /// Fresh numbers, where they were asked for.
    pub(crate) numbers: Vec<SequenceNumber>,
}

/// What is not remembered.
#[derive(Debug, Default)]
struct Missing {
    streams: Vec<StreamId>,
    names: Vec<Box<str>>,
}

impl Facts {
    /// What `known` does not tell is looked up. Statements are sent in order and without waiting for one another.
    pub(crate) async fn gather(
        store: &Store,
        session: Session<'_>,
        works: &[Work<'_>],
        known: &mut Known,
        ask: &Ask,
    ) -> Outcome<Self> {
        let mut facts = Self::default();
        for work in works {
            facts.list(work.writes);
        }
        let missing = facts.recall(known);
        let is_known = missing.streams.is_empty() && missing.names.is_empty();
        if !is_known || ask.head || ask.ids || ask.numbers.is_some() {
            let history = known.history();
            let found =
                Box::pin(facts.look_up(store, session, works, &missing, ask, history)).await;
            if matches!(found, Err(Failure::Outdated)) {
                known.forget_all();
            }
            found?;
        }
        if works.iter().flat_map(|work| work.writes).any(looks_into_log) {
            let head = facts.head.map(|(head, _)| head).or(known.head);
            Box::pin(facts.look_into_log(store, session, works, head)).await?;
        }
        Ok(facts)
    }

    /// Finds what conditions on queries and on last events ask for.
    async fn look_into_log(
        &mut self,
        store: &Store,
        session: Session<'_>,
        works: &[Work<'_>],
        head: Option<u64>,
    ) -> Outcome<()> {
        let mut dictionary = Dictionary::new(NonZeroUsize::MIN.saturating_add(works.len()));
        for write in works.iter().flat_map(|work| work.writes) {
            for (query, after) in write.condition.queries() {
                // Most decisions are made on all that there is.
                let is_current = head.is_some_and(|head| after.value() >= head);
                let found = if is_current {
                    None
                } else {
                    self.first_match(store, session, query, after).await?
                };
                self.matches.push(found);
            }
            if write.condition.needs_last_event() {
                let last = match self.streams.get(&write.stream) {
                    Some(Some(head)) => last_event(store, session, &mut dictionary, *head).await?,
                    _ => None,
                };
                self.lasts.push(last);
            }
        }
        Ok(())
    }

    /// What names and streams `query` has, by number, after the head was read.
    pub(crate) async fn of_query(
        store: &Store,
        session: Session<'_>,
        query: &Query,
        history: History,
    ) -> Outcome<Self> {
        let mut facts = Self::default();
        facts.list_query(query);
        let missing = Missing {
            streams: facts.streams.keys().cloned().collect(),
            names: facts.names.keys().cloned().collect(),
        };
        let ask = Ask { head: true, ..Ask::default() };
        Box::pin(facts.look_up(store, session, &[], &missing, &ask, history)).await?;
        Ok(facts)
    }

    fn list(&mut self, writes: &[Append]) {
        for write in writes {
            self.streams.insert(write.stream.clone(), None);
            if !write.events.is_empty() {
                self.list_name(write.stream.category.as_str());
            }
            for event in &write.events {
                self.list_name(event.name.as_str());
                self.list_name(event.payload.encoding().as_str());
                for tag in &event.tags {
                    self.list_name(tag.as_str());
                }
            }
            for (query, _) in write.condition.queries() {
                self.list_query(query);
            }
        }
    }

    pub(crate) fn list_query(&mut self, query: &Query) {
        for item in query.items() {
            match &item.source {
                Source::Log => {}
                Source::Category(category) => self.list_name(category.as_str()),
                Source::Stream(stream) => {
                    self.streams.insert(stream.clone(), None);
                }
            }
            item.names.iter().flatten().for_each(|name| self.list_name(name.as_str()));
            item.tags.iter().for_each(|tag| self.list_name(tag.as_str()));
        }
    }

    fn list_name(&mut self, name: &str) {
        if !self.names.contains_key(name) {
            self.names.insert(name.into(), None);
        }
    }

    /// Fills in what is remembered.
    fn recall(&mut self, known: &mut Known) -> Missing {
        let mut missing = Missing::default();
        for (stream, head) in &mut self.streams {
            match known.streams.get(stream) {
                Some(remembered) => *head = *remembered,
                None => missing.streams.push(stream.clone()),
            }
        }
        for (name, id) in &mut self.names {
            *id = known.names.get(name);
            if id.is_none() {
                missing.names.push(name.clone());
            }
        }
        missing
    }

    async fn look_up(
        &mut self,
        store: &Store,
        session: Session<'_>,
        works: &[Work<'_>],
        missing: &Missing,
        ask: &Ask,
        history: History,
    ) -> Outcome<()> {
        let sql = &store.sql;
        if ask.head {
            // Sent first: the rest is to be no older than the head.
            session.prepare(&sql.head, &[Type::INT8, Type::UUID]).await?;
        }
        let (number, id) = (history.number(), history.id());
        let of_history: [Value<'_>; 2] = [(&number, Type::INT8), (&id, Type::UUID)];
        let names: Vec<&str> = missing.names.iter().map(|name| &**name).collect();
        let categories: Vec<_> = missing.streams.iter().map(|id| id.category.as_str()).collect();
        let streams: Vec<_> = missing.streams.iter().map(|id| id.name.as_str()).collect();
        let events = works.iter().flat_map(|work| work.writes).flat_map(|write| &write.events);
        let events = events.filter(|_| ask.ids);
        let ids: Vec<Uuid> = events.map(|event| event.id.as_uuid()).collect();
        let of_names: [Value<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
        let of_streams: [Value<'_>; 2] =
            [(&categories, Type::TEXT_ARRAY), (&streams, Type::TEXT_ARRAY)];
        let count = ask.numbers.unwrap_or(0);
        let of_numbers: [Value<'_>; 1] = [(&count, Type::INT8)];
        let (head, names, streams, ids, numbers) = try_join5(
            if_any(ask.head.then(|| session.query(&sql.head, &of_history))),
            if_any((!names.is_empty()).then(|| session.query(&sql.names, &of_names))),
            if_any((!streams.is_empty()).then(|| session.query(&sql.streams, &of_streams))),
            known_ids(store, session, &ids),
            if_any((count > 0).then(|| session.query(&sql.numbers, &of_numbers))),
        )
        .await?;
        if let Some(row) = head.first() {
            let number = from_column(row.try_get(0)?)?;
            let mark = row.try_get(3)?;
            history.check(mark, row.try_get(4)?)?;
            self.head = Some((number, row.try_get(2)?));
            self.last = row.try_get::<_, Option<Uuid>>(1)?.map(|id| (id.into(), number));
            self.of_store = Some((mark, store.tables.rows(row.try_get(5)?, row.try_get(6)?)));
        }
        for row in names {
            self.names.insert(row.try_get(1)?, Some(row.try_get(0)?));
        }
        for row in streams {
            let nth = usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX);
            let (last, last_id): (Option<i64>, Option<Uuid>) = (row.try_get(2)?, row.try_get(3)?);
            let (Some(last), Some(last_id)) = (last, last_id) else {
                return Err(Error::corrupt("a stream has no last event").into());
            };
            let stream_id = row.try_get(1)?;
            let head = Head { stream_id, last: from_column(last)?, last_id: last_id.into() };
            if let Some(stream) = missing.streams.get(nth) {
                self.streams.insert(stream.clone(), Some(head));
            }
        }
        for row in ids {
            self.known_ids.insert(EventId::from_uuid(row.try_get(0)?));
        }
        for row in numbers {
            self.numbers.push(SequenceNumber::new(from_column(row.try_get(0)?)?));
        }
        Ok(())
    }

    /// An event after `after` that `query` asks for.
    async fn first_match(
        &mut self,
        store: &Store,
        session: Session<'_>,
        query: &Query,
        after: SequenceNumber,
    ) -> Outcome<Option<SequenceNumber>> {
        let bounds = Bounds { after: to_column(after.value()), ..Bounds::one(Direction::Forward) };
        let items = resolve(query, self)?;
        let dialect = store.tables.dialect();
        let probes = items.iter().map(|item| select(item, Want::Numbers, &bounds, &dialect));
        let probes: Vec<_> = probes.collect();
        let found = try_join_all(probes.iter().map(|probe| numbers(session, probe))).await?;
        let first = found.into_iter().flatten().min();
        first.map(|number| Ok(SequenceNumber::new(from_column(number)?))).transpose()
    }
}

/// Those of `ids` that the log has.
pub(crate) async fn known_ids(
    store: &Store,
    session: Session<'_>,
    ids: &[Uuid],
) -> Outcome<Vec<Row>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    session.query(&store.sql.ids, &[(&ids, Type::UUID_ARRAY)]).await
}

/// Whether its condition is judged on events, not only on the ends of streams.
pub(crate) fn looks_into_log(write: &Append) -> bool {
    write.condition.needs_last_event() || !write.condition.queries().is_empty()
}

/// The last event of a stream.
async fn last_event(
    store: &Store,
    session: Session<'_>,
    dictionary: &mut Dictionary,
    head: Head,
) -> Outcome<Option<StoredEvent>> {
    let item = Item::of(Scope::Stream(head.stream_id));
    let bounds = Bounds::one(Direction::Backward);
    let select = select(&item, Want::Events, &bounds, &store.tables.dialect());
    // The dictionary is fresh, so nothing of it can be outdated.
    let mut history = History::default();
    let events = events(store, session, dictionary, &mut history, &select.sql, values(&select));
    Ok(events.await?.0.into_iter().next())
}

impl Ids for Facts {
    type Error = Failure;

    fn name(&mut self, name: &str) -> Outcome<Option<i64>> {
        Ok(self.names.get(name).copied().flatten())
    }

    fn stream(&mut self, stream: &StreamId) -> Outcome<Option<i64>> {
        Ok(self.streams.get(stream).copied().flatten().map(|head| head.stream_id))
    }
}
