//! A list of streams or categories, as one connection reads it.

use std::num::NonZeroUsize;

use annals_sql::{Listed, to_column};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::error::Outcome;

/// A list that is asked for.
#[derive(Debug)]
pub(crate) struct List {
    sql: String,
    values: Vec<Value>,
}

impl List {
    /// The list of `sql` with the texts that it asks for first, of at most `limit` entries.
    pub(crate) fn new(sql: String, texts: &[&str], limit: NonZeroUsize) -> Self {
        let texts = texts.iter().map(|text| Value::Text((*text).to_owned()));
        let limit = Value::Integer(to_column(limit.get() as u64));
        Self { sql, values: texts.chain([limit]).collect() }
    }

    pub(crate) fn read(&self, connection: &Connection) -> Outcome<Vec<Listed>> {
        let listed = |row: &Row<'_>| {
            Ok(Listed {
                name: row.get(0)?,
                streams: row.get(1)?,
                events: row.get(2)?,
                recorded_at: [row.get(3)?, row.get(4)?],
            })
        };
        let mut statement = connection.prepare_cached(&self.sql)?;
        let rows = statement.query_map(params_from_iter(&self.values), listed)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
