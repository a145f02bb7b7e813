//! Collections: what a program declares of its documents.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use annals::BoxError;
use bytes::Bytes;
use serde_json::Value;

use crate::document::{CollectionName, IndexName};
use crate::error::{Result, StateError};
use crate::find::By;
use crate::value::{Path, encode, invert};

/// The most indexes of a collection.
pub const MAX_INDEXES: usize = 64;
const MAX_INDEX_PARTS: usize = 16;

/// Makes a state of this schema number a state of the current one.
type Upcast = dyn Fn(u32, Value) -> Result<Value, BoxError> + Send + Sync;

/// What a program declares of a collection: its name, its indexes, the schema of its documents.
///
/// The type of its documents need not have all fields that indexes name: what is missing is null.
///
/// ```
/// use annals_state::{By, Collection};
/// # type Product = serde_json::Value;
/// let products = Collection::<Product>::new("products")?
///     .with_index("by_price", [By::ascending("price")?])?
///     // Documents of schema 1 called it "cost".
///     .with_schema(2, |_from, mut state| {
///         state["price"] = state["cost"].take();
///         Ok(state)
///     })?;
/// # Ok::<(), annals_state::StateError>(())
/// ```
pub struct Collection<T> {
    pub(crate) name: CollectionName,
    pub(crate) indexes: Vec<Index>,
    pub(crate) schema: u32,
    upcast: Option<Arc<Upcast>>,
    of: PhantomData<fn() -> T>,
}

/// A declared index. Its last part is ascending: one that is declared descending is the same index read from its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) name: IndexName,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) path: Path,
    pub(crate) descending: bool,
}

impl Part {
    /// Writes the key of a value to the end of `key`, given what it is ascending.
    pub(crate) fn write(&self, ascending: &[u8], key: &mut Vec<u8>) {
        let start = key.len();
        key.extend(ascending);
        if self.descending
            && let Some(written) = key.get_mut(start..)
        {
            invert(written);
        }
    }
}

impl Index {
    /// The whole key of a document with this state.
    pub(crate) fn key(&self, state: &Value) -> Bytes {
        let mut key = Vec::new();
        let mut ascending = Vec::new();
        for part in &self.parts {
            ascending.clear();
            encode(part.path.of(state), &mut ascending);
            part.write(&ascending, &mut key);
        }
        key.into()
    }
}

impl<T> Collection<T> {
    /// A collection without indexes, of schema 1.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the name is none, or begins with `annals.`, which Annals keeps for itself.
    pub fn new(name: impl TryInto<CollectionName, Error: Into<StateError>>) -> Result<Self> {
        let collection = Self::reserved(name)?;
        if collection.name.is_reserved() {
            let text =
                format!("the collection {} is reserved: it begins with annals.", collection.name);
            return Err(StateError::invalid(text));
        }
        Ok(collection)
    }

    /// For the crates of Annals: as [`Self::new`], also of a name that is reserved for them.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the name is none.
    pub fn reserved(name: impl TryInto<CollectionName, Error: Into<StateError>>) -> Result<Self> {
        let name = name.try_into().map_err(Into::into)?;
        Ok(Self { name, indexes: Vec::new(), schema: 1, upcast: None, of: PhantomData })
    }

    /// Declares an index: finds that filter or sort by its fields in this order need not look at every document.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the name is none or declared already, for no fields, more than 16, a field twice or a
    /// similarity, and for more than [`MAX_INDEXES`] indexes.
    pub fn with_index(
        mut self,
        name: impl TryInto<IndexName, Error: Into<StateError>>,
        fields: impl IntoIterator<Item = By>,
    ) -> Result<Self> {
        let name: IndexName = name.try_into().map_err(Into::into)?;
        let wrong = |what: &str| Err(StateError::invalid(format!("index {name} {what}")));
        let mut parts: Vec<Part> = Vec::new();
        for by in fields {
            let (path, descending) = match by {
                By::Ascending(path) => (path, false),
                By::Descending(path) => (path, true),
                By::Similarity { .. } => return wrong("cannot be by similarity"),
            };
            if parts.iter().any(|part| part.path == path) {
                return wrong("has a field twice");
            }
            parts.push(Part { path, descending });
        }
        if parts.is_empty() || parts.len() > MAX_INDEX_PARTS {
            return wrong("must have 1 to 16 fields");
        }
        if self.indexes.iter().any(|index| index.name == name) {
            return wrong("is declared twice");
        }
        if self.indexes.len() == MAX_INDEXES {
            return wrong("is one too many");
        }
        if parts.last().is_some_and(|part| part.descending) {
            for part in &mut parts {
                part.descending = !part.descending;
            }
        }
        self.indexes.push(Index { name, parts });
        self.indexes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(self)
    }

    /// Declares the number of the schema that `T` has now, and how a state of an older one becomes one of it. Filters,
    /// sorts and indexes see the result. In a collection with indexes a new number needs a
    /// [`reindex`](crate::Documents::reindex).
    ///
    /// # Errors
    /// [`StateError::Invalid`] for schema 0.
    pub fn with_schema(
        mut self,
        schema: u32,
        upcast: impl Fn(u32, Value) -> Result<Value, BoxError> + Send + Sync + 'static,
    ) -> Result<Self> {
        if schema == 0 {
            return Err(StateError::invalid("schemas are numbered from 1"));
        }
        self.schema = schema;
        self.upcast = Some(Arc::new(upcast));
        Ok(self)
    }

    /// The collection's name.
    #[must_use]
    pub fn name(&self) -> &CollectionName {
        &self.name
    }

    /// A state of schema `from` as one of the current schema.
    pub(crate) fn upcast(&self, from: u32, state: Value) -> Result<Value, BoxError> {
        match &self.upcast {
            _ if from == self.schema => Ok(state),
            Some(upcast) if (1..self.schema).contains(&from) => upcast(from, state),
            _ => {
                Err(format!("it has schema {from}, this program knows up to {}", self.schema)
                    .into())
            }
        }
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            indexes: self.indexes.clone(),
            schema: self.schema,
            upcast: self.upcast.clone(),
            of: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("name", &self.name)
            .field("indexes", &self.indexes)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
