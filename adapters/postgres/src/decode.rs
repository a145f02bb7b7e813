//! Rows as events.

use annals::{CategoryName, Error, Result, StoredEvent, StreamId, StreamName};
use annals_sql::{Dictionary, Lookup, Name, RawEvent, Select};
use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::{StreamExt, pin_mut};
use hashbrown::HashMap;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::Outcome;
use crate::session::{Session, Value, if_any};
use crate::store::Store;
use crate::values::Micros;

/// A page ends early when its rows have so many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// The events of a statement, and whether a page of them was cut short.
pub(crate) async fn events(
    store: &Store,
    session: Session<'_>,
    dictionary: &mut Dictionary,
    select: &Select,
) -> Outcome<(Vec<StoredEvent>, bool)> {
    let rows = session.rows(select).await?;
    pin_mut!(rows);
    let mut read = Vec::new();
    let mut bytes = 0;
    let mut cut = false;
    while let Some(row) = rows.next().await {
        let row = row?;
        bytes += row.raw_size_bytes();
        read.push(raw_event(&row)?);
        if bytes >= PAGE_BYTES {
            cut = true;
            break;
        }
    }
    let mut names = PageNames::look_up(store, session, dictionary, &read).await?;
    let events = read.into_iter().map(|raw| raw.decode(&mut names)).collect::<Result<_>>()?;
    Ok((events, cut))
}

/// The numbers of a statement.
pub(crate) async fn numbers(session: Session<'_>, select: &Select) -> Outcome<Vec<i64>> {
    let rows = session.rows(select).await?;
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
        raws: &[RawEvent],
    ) -> Outcome<Self> {
        let mut page = Self { streams: HashMap::new(), names: HashMap::new() };
        let (streams, names) = page.recall(dictionary, raws);
        if !streams.is_empty() || !names.is_empty() {
            Box::pin(page.ask(store, session, dictionary, &streams, &names)).await?;
        }
        Ok(page)
    }

    /// Takes what `dictionary` knows; gives what it does not.
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
        streams: &[i64],
        names: &[i64],
    ) -> Outcome<()> {
        let of_streams: [Value<'_>; 1] = [(&streams, Type::INT8_ARRAY)];
        let of_names: [Value<'_>; 1] = [(&names, Type::INT8_ARRAY)];
        let sql = &store.sql;
        let (streams, names) = try_join(
            if_any((!streams.is_empty()).then(|| session.query(&sql.streams_by_id, &of_streams))),
            if_any((!names.is_empty()).then(|| session.query(&sql.names_by_id, &of_names))),
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
    Error::Corrupt(error.into())
}

fn dangling(what: &str) -> Error {
    Error::Corrupt(format!("an event refers to a {what} that is not there").into())
}
