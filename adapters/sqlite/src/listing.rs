//! Lists of the streams and categories of a store.

use std::num::NonZeroUsize;

use annals::adapter::check_list;
use annals::{CategoryName, CategorySummary, Error, Result, StreamName, StreamSummary};
use annals_sql::{Listed, Listing};

use crate::adapter::SqliteAdapter;
use crate::error::NAME;
use crate::read::List;

const LISTING: Listing<'_> = Listing {
    parameter: "?",
    names: "names",
    streams: "streams",
    events: "events",
    key: "sequence_number",
};

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
        let listed = self.reads()?.list(List::new(sql, texts, limit))?;
        listed.await.unwrap_or_else(|_| Err(Error::closed(NAME)))
    }
}
