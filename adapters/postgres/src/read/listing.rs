//! Lists of the streams and categories of a log.

use std::num::NonZeroUsize;

use annals::adapter::check_list;
use annals::{CategoryName, CategorySummary, Error, Result, StreamName, StreamSummary};
use annals_sql::{Listed, to_column};
use tokio_postgres::types::Type;

use crate::adapter::PostgresAdapter;
use crate::connection::session::Value;
use crate::error::NAME;
use crate::error::{Failure, Outcome};
use crate::lookup::values::Micros;

/// How often a list is asked for again after its connection was lost.
const TRIES: usize = 4;

impl PostgresAdapter {
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
        let (of, after) = (category.as_str(), after.map_or("", |after| after.as_str()));
        let most = to_column(limit.get() as u64);
        let values: [Value<'_>; 3] = [(&of, Type::TEXT), (&after, Type::TEXT), (&most, Type::INT8)];
        let listed = self.list(&self.shared.store.sql.list_streams, &values).await?;
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
        let most = to_column(limit.get() as u64);
        let values: [Value<'_>; 2] = [(&after, Type::TEXT), (&most, Type::INT8)];
        let listed = self.list(&self.shared.store.sql.list_categories, &values).await?;
        listed.into_iter().map(Listed::into_category).collect()
    }

    async fn list(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Listed>> {
        self.check_open()?;
        let listed = self.shared.source.engine.enter(async {
            let mut tries = TRIES;
            loop {
                tries -= 1;
                match self.try_list(sql, values).await {
                    Err(failure) if tries > 0 && failure.is_worth_another_try() => {}
                    other => return other,
                }
            }
        });
        listed.await.map_err(|failure| Error::from(failure).at(NAME, "list"))
    }

    async fn try_list(&self, sql: &str, values: &[Value<'_>]) -> Outcome<Vec<Listed>> {
        let [_, reading] = &self.shared.pools;
        let rows =
            reading.run(&self.shared.store, async |session| session.query(sql, values).await);
        let mut listed = Vec::new();
        for row in rows.await? {
            let time = |column| Ok::<_, Failure>(row.try_get::<_, Option<Micros>>(column)?);
            listed.push(Listed {
                name: row.try_get(0)?,
                streams: row.try_get(1)?,
                events: row.try_get(2)?,
                recorded_at: [time(3)?.map(|time| time.0), time(4)?.map(|time| time.0)],
            });
        }
        Ok(listed)
    }
}
