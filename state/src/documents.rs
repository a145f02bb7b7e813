//! The documents of a collection in a store.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use annals::SequenceNumber;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::collection::Collection;
use crate::definition::Definition;
use crate::document::{Document, DocumentId, DocumentKey, Revision};
use crate::envelope::{seal, typed};
use crate::error::{Result, StateError};
use crate::find::Stored;
use crate::scan::Scan;
use crate::store::{StateStore, get_all};
use crate::write::{Commit, Expected, Write};

/// How often a call starts again because another program made the collection's definition meanwhile.
const MAX_TRIES: u32 = 8;

/// The documents of a collection in a store. Clones share what they know of the collection's definition, which the store
/// checks with every put.
pub struct Documents<T> {
    pub(crate) collection: Arc<Collection<T>>,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) definition: Arc<Definition>,
    /// At how many bytes keys of entries are cut.
    pub(crate) cut: usize,
    known: Arc<Mutex<Option<Known>>>,
}

/// A revision of the collection's definition that was this program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) revision: Revision,
    pub(crate) reindexing: bool,
}

impl<T> Collection<T> {
    /// The documents of this collection in `store`.
    #[must_use]
    pub fn on(self, store: Arc<dyn StateStore>) -> Documents<T> {
        Documents::new(self, store)
    }
}

impl<T> Documents<T> {
    pub(crate) fn new(collection: Collection<T>, store: Arc<dyn StateStore>) -> Self {
        let cut = usize::try_from(store.capabilities().max_entry_key_bytes).unwrap_or(usize::MAX);
        let definition = Arc::new(Definition::of(&collection, cut));
        Self { collection: Arc::new(collection), store, definition, cut, known: Arc::default() }
    }

    /// What the program declares of the collection.
    #[must_use]
    pub fn collection(&self) -> &Collection<T> {
        &self.collection
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }

    /// The key of the document of this id.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the id is none.
    pub fn key(
        &self,
        id: impl TryInto<DocumentId, Error: Into<StateError>>,
    ) -> Result<DocumentKey> {
        let id = id.try_into().map_err(Into::into)?;
        Ok(DocumentKey { collection: self.collection.name.clone(), id })
    }

    pub(crate) fn remembered(&self) -> Option<Known> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, known: Option<Known>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Reads the definition. `None`: there is none, and no document whose entries could be those of another one.
    pub(crate) async fn look_up(&self) -> Result<Option<Known>> {
        let mut known = self.read_definition().await?;
        if known.is_none() && self.definition.has_indexes() && !self.is_empty().await? {
            // Another program may have made the first document meanwhile, and before it the definition.
            known = self.read_definition().await?;
            if known.is_none() {
                let text = "it has documents, but no definition";
                return Err(StateError::definition_changed(&self.collection.name, text));
            }
        }
        self.remember(known);
        Ok(known)
    }

    async fn read_definition(&self) -> Result<Option<Known>> {
        let key = Definition::key(&self.collection.name)?;
        let Some(found) = get_all(&self.store, vec![key]).await?.pop().flatten() else {
            return Ok(None);
        };
        let reindexing = self.definition.is_reindexing(&self.collection.name, &found)?;
        Ok(Some(Known { revision: found.revision, reindexing }))
    }

    async fn is_empty(&self) -> Result<bool> {
        let scan = Scan::along_ids(self.collection.name.clone()).limit(1);
        Ok(self.page(scan).await?.is_empty())
    }

    /// A guard for a commit that puts documents of this collection: that its definition is still this program's. Such a
    /// commit needs it once; [`Self::commit`] adds it. If the commit fails with a conflict on it, take a new one.
    ///
    /// # Errors
    /// [`StateError::DefinitionChanged`] if another definition is stored, and those of the store.
    ///
    /// # Cancel safety
    /// It may be dropped at any await; the definition is stored or not.
    pub async fn guard(&self) -> Result<Write> {
        let key = Definition::key(&self.collection.name)?;
        let guard = |revision| Write::guard(key.clone(), Expected::Is(revision));
        for _ in 0..MAX_TRIES {
            if let Some(known) = self.look_up().await? {
                return Ok(guard(known.revision));
            }
            let body = self.definition.body(false)?;
            let commit = Commit::new([Write::put(key.clone(), body, Expected::Absent)]);
            let revision = commit.revision;
            match self.store.commit(commit).await {
                Ok(()) => {
                    self.remember(Some(Known { revision, reindexing: false }));
                    return Ok(guard(revision));
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(StateError::unavailable("the definition of the collection changes all the time"))
    }

    /// Makes these writes, and the guard of this collection's definition, in one commit. Writes to other collections
    /// may be among them. Returns the revision that the documents have now.
    ///
    /// # Errors
    /// - [`StateError::Conflict`] if an expectation does not hold, [`StateError::DefinitionChanged`] if another
    ///   definition is stored: nothing was made.
    /// - [`StateError::OutcomeUnknown`]: see [`Commit`].
    /// - Those of [`StateStore::commit`].
    ///
    /// # Cancel safety
    /// If it is dropped, all of it is made or nothing.
    pub async fn commit(&self, writes: impl IntoIterator<Item = Write>) -> Result<Revision> {
        let mut commit = Commit::new(writes);
        let count = commit.writes.len();
        let key = Definition::key(&self.collection.name)?;
        let mut last = None;
        for _ in 0..MAX_TRIES {
            commit.writes.truncate(count);
            commit.writes.push(match self.remembered() {
                Some(known) => Write::guard(key.clone(), Expected::Is(known.revision)),
                None => self.guard().await?,
            });
            match self.store.commit(commit.clone()).await {
                Ok(()) => return Ok(commit.revision),
                Err(error) if error.conflict().is_some_and(|conflict| conflict.key == key) => {
                    self.remember(None);
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| StateError::invalid("the commit was not tried")))
    }

    /// Removes the document of this id, if there is one.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the id is none, [`StateError::Conflict`] if `expected` does not hold, and those of
    /// [`StateStore::commit`].
    ///
    /// # Cancel safety
    /// If it is dropped, the document is removed or not.
    pub async fn delete(
        &self,
        id: impl TryInto<DocumentId, Error: Into<StateError>>,
        expected: Expected,
    ) -> Result<()> {
        let write = Write::delete(self.key(id)?, expected);
        self.store.commit(Commit::new([write])).await
    }
}

impl<T: Serialize + DeserializeOwned> Documents<T> {
    /// The document of this id; `None` if there is none.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the id is none, [`StateError::Undecodable`] if the document cannot be read as a `T`,
    /// and those of [`StateStore::get`].
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn get(
        &self,
        id: impl TryInto<DocumentId, Error: Into<StateError>>,
    ) -> Result<Option<Stored<T>>> {
        let found = get_all(&self.store, vec![self.key(id)?]).await?.pop().flatten();
        found.map(|document| typed(&self.collection, document)).transpose()
    }

    /// The documents of these ids, in their order; `None` where there is none. They are of one moment if they fit into
    /// one answer of the store.
    ///
    /// # Errors
    /// [`StateError::Undecodable`] of the first document that cannot be read as a `T`, and those of [`StateStore::get`].
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn get_each(
        &self,
        ids: impl IntoIterator<Item = DocumentId>,
    ) -> Result<Vec<Option<Stored<T>>>> {
        let key = |id| DocumentKey { collection: self.collection.name.clone(), id };
        let found = get_all(&self.store, ids.into_iter().map(key).collect()).await?;
        let read = |document| typed(&self.collection, document);
        found.into_iter().map(|document| document.map(read).transpose()).collect()
    }

    /// What a document of this collection says that was read in another way, as in a transaction.
    ///
    /// # Errors
    /// [`StateError::Undecodable`] if it cannot be read as a `T`.
    pub fn decode(&self, document: Document) -> Result<Stored<T>> {
        typed(&self.collection, document)
    }

    /// Puts `value` as the document of this id, with its entries in all indexes. Returns its revision.
    ///
    /// A float that is not finite becomes null, as JSON has none.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the id is none or the value cannot be JSON, and those of [`Self::commit`].
    ///
    /// # Cancel safety
    /// If it is dropped, the document is put or not.
    pub async fn put(
        &self,
        id: impl TryInto<DocumentId, Error: Into<StateError>>,
        value: &T,
        expected: Expected,
    ) -> Result<Revision> {
        let write = self.write(id, value, expected)?;
        self.commit([write]).await
    }

    /// What [`Self::put`] commits, for a commit of several documents: see [`Self::commit`] and [`Self::guard`].
    ///
    /// # Errors
    /// [`StateError::Invalid`] if the id is none or the value cannot be JSON.
    pub fn write(
        &self,
        id: impl TryInto<DocumentId, Error: Into<StateError>>,
        value: &T,
        expected: Expected,
    ) -> Result<Write> {
        self.write_at(id, value, expected, SequenceNumber::START)
    }

    /// As [`Self::write`], of a document that is made from events: `at` is the last of them.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub fn write_at(
        &self,
        id: impl TryInto<DocumentId, Error: Into<StateError>>,
        value: &T,
        expected: Expected,
        at: SequenceNumber,
    ) -> Result<Write> {
        self.sealed(self.key(id)?, value, expected, at)
    }
}

impl<T> Documents<T> {
    pub(crate) fn sealed(
        &self,
        key: DocumentKey,
        state: &impl Serialize,
        expected: Expected,
        at: SequenceNumber,
    ) -> Result<Write> {
        let (body, state) = seal(self.collection.schema, at, state)?;
        let write = Write::put(key, body, expected);
        Ok(self.collection.indexes.iter().fold(write, |write, index| {
            let mut key = index.key(&state);
            key.truncate(self.cut);
            write.with_entry(index.name.clone(), key)
        }))
    }
}

impl<T> Clone for Documents<T> {
    fn clone(&self) -> Self {
        Self {
            collection: Arc::clone(&self.collection),
            store: Arc::clone(&self.store),
            definition: Arc::clone(&self.definition),
            cut: self.cut,
            known: Arc::clone(&self.known),
        }
    }
}

impl<T> fmt::Debug for Documents<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents")
            .field("collection", &self.collection)
            .field("store", &self.store.name())
            .finish_non_exhaustive()
    }
}
