//! Rows as events.

use annals::{CategoryName, Error, Result, StoredEvent, StreamId, StreamName};
use annals_sql::{Dictionary, Lookup, Name, RawEvent, Select, from_column};
use bytes::Bytes;
use futures_util::future::{join, try_join3};
use futures_util::{StreamExt, pin_mut};
use hashbrown::HashMap;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connection::session::{Session, Value, if_any, values};
use crate::error::Outcome;
use crate::lookup::history::History;
use crate::lookup::values::Micros;
use crate::store::Store;

/// The column of the last number of the log, behind those of the events.
const HEAD: usize = 11;
/// A page ends early when its rows have so many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// The events of a statement, and whether a page of them was cut short. Names are taken from `dictionary` only if the
/// store is the one that they are remembered of, by the time that the statement is done.
pub(crate) async fn events(
    store: &Store,
    session: Session<'_>,
    dictionary: &mut Dictionary,
    history: &mut History,
    sql: &str,
    values: Vec<Value<'_>>,
) -> Outcome<(Vec<StoredEvent>, bool)> {
    // So that both are sent at their first poll: the look at the history comes after the events.
    let types: Vec<_> = values.iter().map(|(_, ty)| ty.clone()).collect();
    session.prepare(sql, &types).await?;
    let (raw, checked) =
        join(raw_events(session, sql, values), check(store, session, *history)).await;
    let Raw { events, cut, .. } = raw?;
    history.mark = Some(checked?);
    Ok((decode(store, session, dictionary, history, events).await?, cut))
}

/// Checks `history` against the store, which returns its mark.
///
/// # Errors
/// [`Failure::Outdated`](crate::error::Failure::Outdated), besides those of the statement.
async fn check(store: &Store, session: Session<'_>, history: History) -> Outcome<i64> {
    let (number, id) = (history.number(), history.id());
    let values: [Value<'_>; 2] = [(&number, Type::INT8), (&id, Type::UUID)];
    let rows = session.query(&store.sql.history, &values).await?;
    let row = rows.first().ok_or_else(|| Error::corrupt("no answer"))?;
    let mark = row.try_get(0)?;
    history.check(mark, row.try_get(1)?)?;
    Ok(mark)
}

/// The rows of a statement before numbers are names.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) events: Vec<RawEvent>,
    /// Whether they were cut short.
    pub(crate) cut: bool,
    /// The last number of the log, the mark of the store, and whether it has the event that was asked for: of a
    /// statement [with them](crate::schema::statements::Statements::with_head).
    pub(crate) head: Option<(u64, i64, bool)>,
}

pub(crate) async fn raw_events(
    session: Session<'_>,
    sql: &str,
    values: Vec<Value<'_>>,
) -> Outcome<Raw> {
    let rows = session.rows(sql, values).await?;
    pin_mut!(rows);
    let mut raw = Raw::default();
    let mut bytes = 0;
    while let Some(row) = rows.next().await {
        let row = row?;
        if raw.events.is_empty() && row.len() > HEAD {
            let head = from_column(row.try_get(HEAD)?)?;
            raw.head = Some((head, row.try_get(HEAD + 1)?, row.try_get(HEAD + 2)?));
            if row.try_get::<_, Option<i64>>(0)?.is_none() {
                break;
            }
        }
        bytes += row.raw_size_bytes();
        raw.events.push(raw_event(&row)?);
        if bytes >= PAGE_BYTES {
            raw.cut = true;
            break;
        }
    }
    Ok(raw)
}

/// Puts names in the place of numbers. `history`: what names are remembered of, and of which the rows were read.
pub(crate) async fn decode(
    store: &Store,
    session: Session<'_>,
    dictionary: &mut Dictionary,
    history: &History,
    rows: Vec<RawEvent>,
) -> Outcome<Vec<StoredEvent>> {
    let mut names = PageNames::look_up(store, session, dictionary, history, &rows).await?;
    Ok(rows.into_iter().map(|row| row.decode(&mut names)).collect::<Result<_>>()?)
}

/// The numbers of a statement.
pub(crate) async fn numbers(session: Session<'_>, select: &Select) -> Outcome<Vec<i64>> {
    let rows = session.rows(&select.sql, values(select)).await?;
    pin_mut!(rows);
    let mut numbers = Vec::new();
    while let Some(row) = rows.next().await {
        numbers.push(row?.try_get(0)?);
    }
    Ok(numbers)
}

fn raw_event(row: &Row) -> Outcome<RawEvent> {
    Ok(RawEvent {
        sequence_number: row.try_get(0)?,
        stream_id: row.try_get(1)?,
        position: row.try_get(2)?,
        name_id: row.try_get(3)?,
        encoding_id: row.try_get(4)?,
        id: row.try_get(5)?,
        occurred_at: row.try_get::<_, Micros>(6)?.0,
        recorded_at: row.try_get::<_, Micros>(7)?.0,
        payload: Bytes::copy_from_slice(row.try_get(8)?),
        metadata: row.try_get::<_, Option<&[u8]>>(9)?.map(Bytes::copy_from_slice),
        tags: row.try_get::<_, Option<Vec<i64>>>(10)?.unwrap_or_default(),
    })
}

/// Names behind the numbers of one page: remembered, or looked up for it. All of them are at hand before the first
/// row is decoded, however little the dictionary keeps.
struct PageNames {
    streams: HashMap<i64, StreamId>,
    names: HashMap<i64, Name>,
}

impl PageNames {
    async fn look_up(
        store: &Store,
        session: Session<'_>,
        dictionary: &mut Dictionary,
        history: &History,
        raws: &[RawEvent],
    ) -> Outcome<Self> {
        let mut page = Self { streams: HashMap::new(), names: HashMap::new() };
        let (streams, names) = page.recall(dictionary, raws);
        if !streams.is_empty() || !names.is_empty() {
            Box::pin(page.ask(store, session, dictionary, history, &streams, &names)).await?;
        }
        Ok(page)
    }

    /// Takes what `dictionary` knows; returns what it does not.
    fn recall(&mut self, dictionary: &mut Dictionary, raws: &[RawEvent]) -> (Vec<i64>, Vec<i64>) {
        let (mut streams, mut names) = (Vec::new(), Vec::new());
        let mut last = i64::MIN;
        for raw in raws {
            // Events of one stream often follow each other.
            if raw.stream_id != last && !self.streams.contains_key(&raw.stream_id) {
                match dictionary.stream(raw.stream_id) {
                    Some(stream) => drop(self.streams.insert(raw.stream_id, stream)),
                    None => streams.push(raw.stream_id),
                }
            }
            last = raw.stream_id;
            for id in [raw.name_id, raw.encoding_id].iter().chain(&raw.tags) {
                if !self.names.contains_key(id) {
                    match dictionary.name(*id) {
                        Some(name) => drop(self.names.insert(*id, name.clone())),
                        None => names.push(*id),
                    }
                }
            }
        }
        for list in [&mut streams, &mut names] {
            list.sort_unstable();
            list.dedup();
        }
        (streams, names)
    }

    /// Looks up these streams and names, and has `dictionary` remember them.
    async fn ask(
        &mut self,
        store: &Store,
        session: Session<'_>,
        dictionary: &mut Dictionary,
        history: &History,
        streams: &[i64],
        names: &[i64],
    ) -> Outcome<()> {
        let of_streams: [Value<'_>; 1] = [(&streams, Type::INT8_ARRAY)];
        let of_names: [Value<'_>; 1] = [(&names, Type::INT8_ARRAY)];
        let sql = &store.sql;
        if !streams.is_empty() {
            session.prepare(&sql.streams_by_id, &[Type::INT8_ARRAY]).await?;
        }
        if !names.is_empty() {
            session.prepare(&sql.names_by_id, &[Type::INT8_ARRAY]).await?;
        }
        // Sent in this order: the look at the history comes last.
        let (streams, names, _) = try_join3(
            if_any((!streams.is_empty()).then(|| session.query(&sql.streams_by_id, &of_streams))),
            if_any((!names.is_empty()).then(|| session.query(&sql.names_by_id, &of_names))),
            check(store, session, *history),
        )
        .await?;
        for row in names {
            let name = Name::from_store(row.try_get(1)?)?;
            dictionary.remember_name(row.try_get(0)?, name.clone());
            self.names.insert(row.try_get(0)?, name);
        }
        // Streams of one category share its text.
        let mut categories: HashMap<&str, CategoryName> = HashMap::new();
        for row in &streams {
            let text: &str = row.try_get(1)?;
            let category = match categories.get(text) {
                Some(category) => category.clone(),
                None => CategoryName::new(text).map_err(corrupt)?,
            };
            categories.insert(text, category.clone());
            let name = StreamName::new(row.try_get::<_, &str>(2)?).map_err(corrupt)?;
            let stream = StreamId { category, name };
            dictionary.remember_stream(row.try_get(0)?, &stream);
            self.streams.insert(row.try_get(0)?, stream);
        }
        Ok(())
    }
}

impl Lookup for PageNames {
    type Error = Error;

    fn stream(&mut self, id: i64) -> Result<StreamId> {
        self.streams.get(&id).cloned().ok_or_else(|| dangling("stream"))
    }

    fn name(&mut self, id: i64) -> Result<&Name> {
        self.names.get(&id).ok_or_else(|| dangling("name"))
    }
}

fn corrupt(error: annals::InvalidName) -> Error {
    Error::corrupt(error)
}

fn dangling(what: &str) -> Error {
    Error::corrupt(format!("an event refers to a {what} that is not there"))
}
