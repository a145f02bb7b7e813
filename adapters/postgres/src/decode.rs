//! Rows as events.

use std::collections::HashMap;

use annals::{CategoryName, Error, Result, StoredEvent, StreamId, StreamName};
use annals_sql::{Dictionary, Lookup, Name, RawEvent, Select};
use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::{StreamExt, pin_mut};
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
    names.remember();
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

/// Names behind the numbers of one page: remembered, or looked up for it.
struct PageNames<'a> {
    dictionary: &'a mut Dictionary,
    streams: HashMap<i64, StreamId>,
    names: HashMap<i64, Name>,
}

impl<'a> PageNames<'a> {
    async fn look_up(
        store: &Store,
        session: Session<'_>,
        dictionary: &'a mut Dictionary,
        raws: &[RawEvent],
    ) -> Outcome<Self> {
        let (streams, names) = missing(dictionary, raws);
        let of_streams: [Value<'_>; 1] = [(&streams, Type::INT8_ARRAY)];
        let of_names: [Value<'_>; 1] = [(&names, Type::INT8_ARRAY)];
        let sql = &store.sql;
        let (streams, names) = try_join(
            if_any((!streams.is_empty()).then(|| session.query(&sql.streams_by_id, &of_streams))),
            if_any((!names.is_empty()).then(|| session.query(&sql.names_by_id, &of_names))),
        )
        .await?;
        let mut found = Self { dictionary, streams: HashMap::new(), names: HashMap::new() };
        for row in names {
            found.names.insert(row.try_get(0)?, Name::from_store(row.try_get(1)?)?);
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
            found.streams.insert(row.try_get(0)?, StreamId { category, name });
        }
        Ok(found)
    }

    /// Keeps what was looked up for the next page.
    fn remember(self) {
        for (id, stream) in &self.streams {
            self.dictionary.remember_stream(*id, stream);
        }
        for (id, name) in self.names {
            self.dictionary.remember_name(id, name);
        }
    }
}

impl Lookup for PageNames<'_> {
    type Error = Error;

    fn stream(&mut self, id: i64) -> Result<StreamId> {
        let known = self.dictionary.stream(id);
        let known = known.or_else(|| self.streams.get(&id).cloned());
        known.ok_or_else(|| dangling("stream"))
    }

    fn name(&mut self, id: i64) -> Result<&Name> {
        let known = self.dictionary.name(id);
        known.or_else(|| self.names.get(&id)).ok_or_else(|| dangling("name"))
    }
}

/// The streams and names of a page that `dictionary` does not know.
fn missing(dictionary: &Dictionary, raws: &[RawEvent]) -> (Vec<i64>, Vec<i64>) {
    let (mut streams, mut names) = (Vec::new(), Vec::new());
    let mut before = [i64::MIN; 3];
    for raw in raws {
        let this = [raw.stream_id, raw.name_id, raw.encoding_id];
        let [stream, name, encoding] = this;
        if before[0] != stream && !dictionary.has_stream(stream) {
            streams.push(stream);
        }
        if before[1] != name && !dictionary.has_name(name) {
            names.push(name);
        }
        if before[2] != encoding && !dictionary.has_name(encoding) {
            names.push(encoding);
        }
        before = this;
        names.extend(raw.tags.iter().filter(|tag| !dictionary.has_name(**tag)));
    }
    for list in [&mut streams, &mut names] {
        list.sort_unstable();
        list.dedup();
    }
    (streams, names)
}

fn corrupt(error: annals::InvalidName) -> Error {
    Error::Corrupt(error.into())
}

fn dangling(what: &str) -> Error {
    Error::Corrupt(format!("an event refers to a {what} that is not there").into())
}
