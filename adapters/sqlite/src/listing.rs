//! Lists of the streams and categories of a store.

use std::num::NonZeroUsize;

use annals::adapter::check_list;
use annals::{CategoryName, CategorySummary, Error, Result, StreamName, StreamSummary};
use annals_sql::{Listed, Listing, to_column};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::error::Outcome;
use crate::{NAME, SqliteAdapter};

const LISTING: Listing<'_> = Listing {
    parameter: "?",
    names: "names",
    streams: "streams",
    events: "events",
    key: "sequence_number",
};

/// A list that is asked for.
#[derive(Debug)]
pub(crate) struct List {
    sql: String,
    values: Vec<Value>,
}

impl List {
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

impl SqliteAdapter {
    /// The streams of `category` whose names come after `after`, sorted by the bytes of their names: at most `limit`,
    /// and fewer only at the end. All of it is of one moment; what is appended between two pages may be in the second.
    ///
    /// # Errors
    /// [`Invalid`](annals::Error::Invalid) for a limit above 65,536; otherwise as a read.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn streams(
        &self,
        category: &CategoryName,
        after: Option<&StreamName>,
        limit: NonZeroUsize,
    ) -> Result<Vec<StreamSummary>> {
        check_list(limit)?;
        let after = after.map_or("", |after| after.as_str());
        let texts = [category.as_str(), after];
        let listed = self.list(LISTING.streams(), &texts, limit).await?;
        listed.into_iter().map(|listed| listed.into_stream(category)).collect()
    }

    /// The categories whose names come after `after`, sorted by the bytes of their names: at most `limit`, and fewer
    /// only at the end. All of it is of one moment. It counts the events of each category that it returns, by an
    /// index.
    ///
    /// # Errors
    /// As [`streams`](Self::streams).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn categories(
        &self,
        after: Option<&CategoryName>,
        limit: NonZeroUsize,
    ) -> Result<Vec<CategorySummary>> {
        check_list(limit)?;
        let after = after.map_or("", |after| after.as_str());
        let listed = self.list(LISTING.categories(), &[after], limit).await?;
        listed.into_iter().map(Listed::into_category).collect()
    }

    async fn list(&self, sql: String, texts: &[&str], limit: NonZeroUsize) -> Result<Vec<Listed>> {
        let texts = texts.iter().map(|text| Value::Text((*text).to_owned()));
        let limit = Value::Integer(to_column(limit.get() as u64));
        let list = List { sql, values: texts.chain([limit]).collect() };
        let listed = self.reads()?.list(list)?;
        listed.await.unwrap_or_else(|_| Err(Error::closed(NAME)))
    }
}
