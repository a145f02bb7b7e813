//! Rows as events, and values as SQLite takes them.

use annals::{Direction, Error, StreamId};
use annals_sql::{COLUMNS, Dictionary, Lookup, Name, Parameter, RawEvent, Select};
use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use crate::error::{Failure, Outcome};

/// Names behind numbers: remembered, or read.
pub(super) struct Names<'a> {
    pub(super) connection: &'a Connection,
    pub(super) dictionary: &'a mut Dictionary,
}

impl Lookup for Names<'_> {
    type Error = Failure;

    fn stream(&mut self, id: i64) -> Outcome<StreamId> {
        if let Some(stream) = self.dictionary.stream(id) {
            return Ok(stream);
        }
        let sql = "SELECT category_id, name FROM streams WHERE stream_id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([id])?;
        let row = rows.next()?.ok_or_else(|| dangling("stream"))?;
        let category = self.name(row.get(0)?)?.category.clone();
        Ok(self.dictionary.learn_stream(id, category, text(row, 1)?)?)
    }

    fn name(&mut self, id: i64) -> Outcome<&Name> {
        if self.dictionary.name(id).is_none() {
            let sql = "SELECT name FROM names WHERE name_id = ?1";
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([id])?;
            let row = rows.next()?.ok_or_else(|| dangling("name"))?;
            self.dictionary.learn_name(id, text(row, 0)?)?;
        }
        Ok(self.dictionary.name(id).ok_or_else(|| dangling("name"))?)
    }
}

fn dangling(what: &str) -> Error {
    Error::corrupt(format!("an event refers to a {what} that is not there"))
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Outcome<&'a str> {
    Ok(row.get_ref(column)?.as_str().map_err(Error::corrupt)?)
}

pub(super) fn raw_event(row: &Row<'_>) -> Outcome<RawEvent> {
    let bytes = |column| {
        let value = row.get_ref(column)?.as_blob_or_null();
        value.map_err(|error| Failure::from(Error::corrupt(error)))
    };
    let none = || Error::corrupt("an event has no payload or no id");
    let id = Uuid::from_slice(bytes(5)?.ok_or_else(none)?);
    Ok(RawEvent {
        sequence_number: row.get(0)?,
        stream_id: row.get(1)?,
        position: row.get(2)?,
        name_id: row.get(3)?,
        encoding_id: row.get(4)?,
        id: id.map_err(Error::corrupt)?,
        occurred_at: row.get(6)?,
        recorded_at: row.get(7)?,
        payload: Bytes::copy_from_slice(bytes(8)?.ok_or_else(none)?),
        metadata: bytes(9)?.map(Bytes::copy_from_slice),
        tags: match row.get_ref(10)?.as_str_or_null() {
            Ok(None) => Vec::new(),
            Ok(Some(text)) => from_json(text)?,
            Err(error) => return Err(Error::corrupt(error).into()),
        },
    })
}

/// The events of these numbers.
pub(super) fn by_numbers(numbers: Vec<i64>, direction: Direction) -> Select {
    let order = if direction == Direction::Forward { "" } else { " DESC" };
    let sql = format!(
        "SELECT {COLUMNS} FROM events e WHERE e.sequence_number IN \
         (SELECT value FROM json_each(?1)) ORDER BY e.sequence_number{order}"
    );
    Select { sql, parameters: vec![Parameter::Numbers(numbers)] }
}

pub(super) fn values(select: &Select) -> impl Iterator<Item = Value> {
    select.parameters.iter().map(|parameter| match parameter {
        Parameter::Number(number) => Value::Integer(*number),
        Parameter::Numbers(numbers) => Value::Text(to_json(numbers)),
        Parameter::Ids(ids) => {
            let ids: Vec<String> = ids.iter().map(|id| format!("\"{}\"", id.simple())).collect();
            Value::Text(format!("[{}]", ids.join(",")))
        }
    })
}

/// A list of numbers as SQLite takes it apart again.
pub(crate) fn to_json(numbers: &[i64]) -> String {
    let mut json = String::from("[");
    for (nth, number) in numbers.iter().enumerate() {
        if nth > 0 {
            json.push(',');
        }
        json.push_str(&number.to_string());
    }
    json.push(']');
    json
}

fn from_json(json: &str) -> Outcome<Vec<i64>> {
    let list = json.strip_prefix('[').and_then(|json| json.strip_suffix(']'));
    let numbers = list.unwrap_or_default().split(',').map(str::parse);
    let corrupt = |error| Failure::from(Error::corrupt(error));
    numbers.collect::<Result<_, std::num::ParseIntError>>().map_err(corrupt)
}
