//! Lists of the streams and categories that a store holds, as SQL.

use annals::{CategoryName, CategorySummary, Error, Result, StreamId, StreamName, StreamSummary};
use time::OffsetDateTime;

use crate::row::from_micros;

/// Where lists look, and how the engine writes it.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// What comes before the number of a parameter: `?` or `$`.
    pub parameter: &'a str,
    /// The tables.
    pub names: &'a str,
    /// Of streams.
    pub streams: &'a str,
    /// Of events.
    pub events: &'a str,
    /// The column that the index of a stream is sorted by.
    pub key: &'a str,
}

impl Listing<'_> {
    /// A [`Listed`] for each stream of the category `1` after the name `2`, at most `3`, sorted by the bytes of names.
    /// One statement, so that all of it is of one moment; it looks at two events of each stream.
    #[must_use]
    pub fn streams(&self) -> String {
        let Self { parameter: p, names, streams, events, key } = self;
        let end = |column: &str, order: &str| {
            format!(
                "(SELECT {column} FROM {events} e WHERE e.stream_id = l.stream_id ORDER BY e.{key}{order} LIMIT 1)"
            )
        };
        format!(
            "SELECT l.name, CAST(1 AS bigint), {} + 1, {}, {} FROM \
             (SELECT s.stream_id, s.name FROM {streams} s WHERE s.category_id = \
             (SELECT c.name_id FROM {names} c WHERE c.name = {p}1) AND s.name > {p}2 ORDER BY s.name LIMIT {p}3) l \
             ORDER BY l.name",
            end("e.position", " DESC"),
            end("e.recorded_at", ""),
            end("e.recorded_at", " DESC"),
        )
    }

    /// The same for each category after the name `1`, at most `2`. It steps from one category to the next by the index
    /// of streams, and counts the events of those that it returns.
    #[must_use]
    pub fn categories(&self) -> String {
        let Self { parameter: p, names, streams, events, .. } = self;
        let end = |order: &str| {
            format!(
                "(SELECT e.recorded_at FROM {events} e WHERE e.category_id = l.name_id \
                 ORDER BY e.sequence_number{order} LIMIT 1)"
            )
        };
        format!(
            "WITH RECURSIVE ids (id) AS (SELECT min(s.category_id) FROM {streams} s UNION ALL \
             SELECT (SELECT min(s.category_id) FROM {streams} s WHERE s.category_id > ids.id) FROM ids \
             WHERE ids.id IS NOT NULL) \
             SELECT l.name, (SELECT count(*) FROM {streams} s WHERE s.category_id = l.name_id), \
             (SELECT count(*) FROM {events} e WHERE e.category_id = l.name_id), {}, {} FROM \
             (SELECT c.name_id, c.name FROM ids JOIN {names} c ON c.name_id = ids.id WHERE c.name > {p}1 \
             ORDER BY c.name LIMIT {p}2) l ORDER BY l.name",
            end(""),
            end(" DESC"),
        )
    }
}

/// One row of a list.
#[derive(Debug)]
pub struct Listed {
    /// The name of a stream or category.
    pub name: String,
    /// How many streams it has.
    pub streams: i64,
    /// How many events; `None`: an event is missing.
    pub events: Option<i64>,
    /// When the first and the last of them was recorded, in microseconds since 1970 in UTC.
    pub recorded_at: [Option<i64>; 2],
}

impl Listed {
    /// As a stream of `category`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the row makes no sense.
    pub fn into_stream(self, category: &CategoryName) -> Result<StreamSummary> {
        let (events, recorded_at) = self.events()?;
        let name = StreamName::new(self.name).map_err(Error::corrupt)?;
        let stream = StreamId { category: category.clone(), name };
        Ok(StreamSummary::new(stream, events, recorded_at))
    }

    /// As a category.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the row makes no sense.
    pub fn into_category(self) -> Result<CategorySummary> {
        let (events, recorded_at) = self.events()?;
        let streams = count(Some(self.streams))?;
        let category = CategoryName::new(self.name).map_err(Error::corrupt)?;
        Ok(CategorySummary::new(category, streams, events, recorded_at))
    }

    fn events(&self) -> Result<(u64, [OffsetDateTime; 2])> {
        let [first, last] = self.recorded_at;
        let time = |micros: Option<i64>| from_micros(micros.ok_or_else(none)?);
        Ok((count(self.events)?, [time(first)?, time(last)?]))
    }
}

fn count(column: Option<i64>) -> Result<u64> {
    u64::try_from(column.ok_or_else(none)?).map_err(Error::corrupt)
}

fn none() -> Error {
    Error::corrupt("a stream has no event")
}
