//! What appends are judged on: looked up once for all appends of a transaction.

use std::num::NonZeroUsize;

use annals::{Direction, Error, EventId, Query, SequenceNumber, StoredEvent};
use annals_sql::facts::{Facts, Missing, Work, looks_into_log};
use annals_sql::{
    Bounds, Dictionary, Head, Item, Scope, Want, from_column, resolve, select, to_column,
};
use futures_util::future::{try_join_all, try_join5};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::connection::session::{Session, Value, if_any, values};
use crate::error::{Failure, Outcome};
use crate::lookup::decode::{events, numbers};
use crate::lookup::history::History;
use crate::lookup::known::Known;
use crate::store::Store;

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

/// What one transaction is judged on, and what was found out of the store beside it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) facts: Facts,
    /// The mark and the type of rows of the store, where the head was asked for.
    pub(crate) of_store: Option<(i64, Type)>,
}

impl Found {
    /// What `known` does not tell is looked up. Statements are sent in order and without waiting for one another.
    pub(crate) async fn gather(
        store: &Store,
        session: Session<'_>,
        works: &[Work<'_>],
        known: &mut Known,
        ask: &Ask,
    ) -> Outcome<Self> {
        let mut gathered = Self::default();
        for work in works {
            gathered.facts.list(work.writes);
        }
        let missing = gathered.facts.recall(&mut known.log);
        if !missing.is_empty() || ask.head || ask.ids || ask.numbers.is_some() {
            let history = known.history();
            let found =
                Box::pin(gathered.look_up(store, session, works, &missing, ask, history)).await;
            if matches!(found, Err(Failure::Outdated)) {
                known.forget_all();
            }
            found?;
        }
        if works.iter().flat_map(|work| work.writes).any(looks_into_log) {
            let head = gathered.facts.head.map(|(head, _)| head).or(known.log.head);
            Box::pin(gathered.look_into_log(store, session, works, head)).await?;
        }
        Ok(gathered)
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
                self.facts.matches.push(found);
            }
            if write.condition.needs_last_event() {
                let last = match self.facts.streams.get(&write.stream) {
                    Some(Some(head)) => last_event(store, session, &mut dictionary, *head).await?,
                    _ => None,
                };
                self.facts.lasts.push(last);
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
        let mut found = Self::default();
        found.facts.list_query(query);
        let missing = found.facts.all_missing();
        let ask = Ask { head: true, ..Ask::default() };
        Box::pin(found.look_up(store, session, &[], &missing, &ask, history)).await?;
        Ok(found)
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
            self.facts.head = Some((number, row.try_get(2)?));
            self.facts.last = row.try_get::<_, Option<Uuid>>(1)?.map(|id| (id.into(), number));
            self.of_store = Some((mark, store.tables.rows(row.try_get(5)?, row.try_get(6)?)));
        }
        for row in names {
            self.facts.names.insert(row.try_get(1)?, Some(row.try_get(0)?));
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
                self.facts.streams.insert(stream.clone(), Some(head));
            }
        }
        for row in ids {
            self.facts.known_ids.insert(EventId::from_uuid(row.try_get(0)?));
        }
        for row in numbers {
            self.facts.numbers.push(SequenceNumber::new(from_column(row.try_get(0)?)?));
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
        let items = resolve(query, &mut self.facts)?;
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
