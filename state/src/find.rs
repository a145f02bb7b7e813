//! What to find: a filter, a sort, a page of the result.

use annals::SequenceNumber;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::document::{CollectionName, DocumentId, Revision};
use crate::error::{Result, StateError};
use crate::filter::Filter;
use crate::similarity::similarity;
use crate::value::Path;

/// The most documents that one find looks at, and the most that the pages up to the one asked for hold.
pub const MAX_LOOKED_AT: usize = 100_000;
const MAX_SORTS: usize = 16;
const MAX_SIMILAR_BYTES: usize = 1_000;

/// One field of a sort. Null, which is what is missing too, comes first if ascending and last if descending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum By {
    /// The least first.
    Ascending(Path),
    /// The greatest first.
    Descending(Path),
    /// The text that is most [similar](similarity) first; what is no text comes last.
    Similarity {
        /// Where the text is.
        path: Path,
        /// What it is compared with, at most 1,000 bytes.
        to: String,
    },
}

impl By {
    /// The least first.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the path is none.
    pub fn ascending(path: impl TryInto<Path, Error: Into<StateError>>) -> Result<Self> {
        path.try_into().map(Self::Ascending).map_err(Into::into)
    }

    /// The greatest first.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the path is none.
    pub fn descending(path: impl TryInto<Path, Error: Into<StateError>>) -> Result<Self> {
        path.try_into().map(Self::Descending).map_err(Into::into)
    }

    /// The most similar to `to` first.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the path is none.
    pub fn similarity(
        path: impl TryInto<Path, Error: Into<StateError>>,
        to: impl Into<String>,
    ) -> Result<Self> {
        Ok(Self::Similarity { path: path.try_into().map_err(Into::into)?, to: to.into() })
    }

    pub(crate) fn is_descending(&self) -> bool {
        !matches!(self, Self::Ascending(_))
    }

    /// What a document with this state is sorted by.
    pub(crate) fn value(&self, state: &Value) -> Value {
        match self {
            Self::Ascending(path) | Self::Descending(path) => path.of(state).clone(),
            Self::Similarity { path, to } => {
                path.of(state).as_str().map_or(0.0, |text| similarity(text, to)).into()
            }
        }
    }
}

/// Which part of the result to return.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum Paging {
    /// All of it, if no more than [`MAX_LOOKED_AT`] documents are looked at.
    #[default]
    Everything,
    /// The page of this number, from 1, of pages of this size. All pages before it are found too.
    Offset {
        /// Which page; the first is 1.
        page: usize,
        /// How many documents a page holds.
        size: usize,
    },
    /// So many from the beginning.
    First(usize),
    /// So many after the document of the cursor.
    After(Cursor, usize),
    /// So many before the document of the cursor, the last ones, in the order of the sort.
    Before(Cursor, usize),
}

/// What to find in a collection.
///
/// The order is total: documents that are equal in every field of the sort are in the order of their ids, descending if
/// the last field of the sort is not ascending.
///
/// ```
/// use annals_state::{By, Filter, Find, Paging};
/// let find = Find::default()
///     .filter(Filter::is("kind", "tea")?)
///     .sort([By::descending("price")?, By::ascending("name")?])
///     .paging(Paging::First(20));
/// assert_eq!(find.sort.len(), 2);
/// # Ok::<(), annals_state::StateError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Find {
    /// What must hold of a document; `None`: nothing.
    pub filter: Option<Filter>,
    /// By what they are sorted; of none, by id.
    pub sort: Vec<By>,
    /// Which part of them is returned.
    pub paging: Paging,
}

impl Find {
    /// Requires `filter`, beside what is required already.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(match self.filter {
            None => filter,
            Some(first) => first & filter,
        });
        self
    }

    /// Sorts by these, the first of which counts most.
    #[must_use]
    pub fn sort(mut self, sort: impl IntoIterator<Item = By>) -> Self {
        self.sort = sort.into_iter().collect();
        self
    }

    /// Returns this part of the result.
    #[must_use]
    pub fn paging(mut self, paging: Paging) -> Self {
        self.paging = paging;
        self
    }

    /// What makes a cursor one of this find: everything but the paging.
    pub(crate) fn fingerprint(&self, collection: &CollectionName) -> Result<Uuid> {
        let text = serde_json::to_vec(&(collection, &self.filter, &self.sort));
        let text = text.map_err(StateError::invalid)?;
        Ok(Uuid::new_v5(&Uuid::NAMESPACE_OID, &text))
    }

    /// Whether documents that are equal in the whole sort come by descending id.
    pub(crate) fn ids_descend(&self) -> bool {
        self.sort.last().is_some_and(By::is_descending)
    }

    /// Rejects what makes no sense or goes beyond a bound.
    pub(crate) fn check(&self, collection: &CollectionName) -> Result<()> {
        self.filter.as_ref().map_or(Ok(()), Filter::check)?;
        if self.sort.len() > MAX_SORTS {
            return Err(StateError::invalid(format!("a sort has at most {MAX_SORTS} fields")));
        }
        for by in &self.sort {
            if let By::Similarity { to, .. } = by
                && to.len() > MAX_SIMILAR_BYTES
            {
                let text = format!("a text to be similar to has at most {MAX_SIMILAR_BYTES} bytes");
                return Err(StateError::invalid(text));
            }
        }
        let (page, size) = match &self.paging {
            Paging::Everything => return Ok(()),
            Paging::Offset { page, size } => (*page, *size),
            Paging::First(size) => (1, *size),
            Paging::After(cursor, size) | Paging::Before(cursor, size) => {
                cursor.check(self.fingerprint(collection)?, self.sort.len())?;
                (1, *size)
            }
        };
        if size == 0 {
            return Err(StateError::invalid("a page has a size of at least 1"));
        }
        if page == 0 {
            return Err(StateError::invalid("pages are numbered from 1"));
        }
        if page.checked_mul(size).is_none_or(|all| all > MAX_LOOKED_AT) {
            let text = format!(
                "a page ends at document {MAX_LOOKED_AT} at most: go on after a cursor instead"
            );
            return Err(StateError::invalid(text));
        }
        Ok(())
    }
}

/// A document as a program sees it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stored<T> {
    /// The document's id.
    pub id: DocumentId,
    /// The commit that put it.
    pub revision: Revision,
    /// What it says.
    pub value: T,
    /// The last event that went into it; [`SequenceNumber::START`] if it was not made from events.
    pub at: SequenceNumber,
}

/// What a find returned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Found<T> {
    /// The documents, in the order of the sort.
    pub documents: Vec<Stored<T>>,
    /// The last of them, if others follow: for [`Paging::After`].
    pub next: Option<Cursor>,
    /// The first of them, if others may come before it: for [`Paging::Before`].
    pub previous: Option<Cursor>,
}
