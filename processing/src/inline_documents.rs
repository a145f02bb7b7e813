//! Views as documents that are made in the transaction of the append.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use annals::{EventStore, StoredEvent};
use annals_state::{Document, DocumentId, DocumentKey, Documents, StateError, Write};

use crate::error::Result;
use crate::inlined::InlineError;
use crate::made::{Known, Made, View};
use crate::processor::Processor;
use crate::timer::Timer;

/// What an adapter needs to make a [`View`] inside appends. The adapter reads the documents under the lock that keeps
/// others from appending, and makes the writes in the same transaction.
pub struct InlineDocuments<V: View> {
    made: Made<Arc<V>>,
    guard: Mutex<Option<Write>>,
}

impl<V: View> InlineDocuments<V> {
    /// Makes `view` as these documents, whose store is in the database of the log.
    #[must_use]
    pub fn new(view: Arc<V>, documents: Documents<V::State>) -> Self {
        Self { made: Made::new(view, documents), guard: Mutex::new(None) }
    }

    /// The processor of this name that makes the same documents, for where others append without the view.
    ///
    /// # Errors
    /// As [`Processor::view`].
    pub fn processor(
        &self,
        name: impl Into<Box<str>>,
        store: &EventStore,
        timer: impl Timer,
    ) -> Result<Processor> {
        let (view, documents) = (Arc::clone(&self.made.view), self.made.documents.clone());
        Processor::view(name, store, documents, view, timer)
    }

    /// The write that guards the definition of the collection: to be called before the transaction, for it may read the
    /// store.
    ///
    /// # Errors
    /// As [`Documents::guard`].
    ///
    /// # Cancel safety
    /// As [`Documents::guard`].
    pub async fn guard(&self) -> Result<Write, StateError> {
        let remembered = self.guard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(guard) = remembered {
            return Ok(guard);
        }
        let guard = self.made.documents.guard().await?;
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard.clone());
        Ok(guard)
    }

    /// Forgets the guard, after an append that was not made.
    pub fn forget(&self) {
        *self.guard.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What these events concern.
    ///
    /// # Errors
    /// [`View`](InlineError::View) if the view cannot say; [`State`](InlineError::State) if an id is none of the store's.
    pub fn concerned<'a>(
        &'a self,
        events: &'a [StoredEvent],
    ) -> Result<ConcernedDocuments<'a, V>, InlineError> {
        let of_each = self.made.concerned(events)?;
        let mut ids: Vec<_> = of_each.iter().flatten().cloned().collect();
        ids.sort_unstable();
        ids.dedup();
        let keys =
            ids.into_iter().map(|id| self.made.documents.key(id)).collect::<Result<_, _>>()?;
        Ok(ConcernedDocuments { made: &self.made, events, of_each, keys })
    }
}

/// The documents that some events concern; see [`InlineDocuments::concerned`].
pub struct ConcernedDocuments<'a, V: View> {
    made: &'a Made<Arc<V>>,
    events: &'a [StoredEvent],
    of_each: Vec<Vec<DocumentId>>,
    keys: Vec<DocumentKey>,
}

impl<V: View> ConcernedDocuments<'_, V> {
    /// Their keys, each once.
    #[must_use]
    pub fn keys(&self) -> Vec<DocumentKey> {
        self.keys.clone()
    }

    /// What the events make of the documents of [`keys`](Self::keys), as the transaction sees them; `guard` is with it if
    /// that is anything.
    ///
    /// # Errors
    /// [`View`](InlineError::View) if the view cannot apply an event; [`State`](InlineError::State) if a document cannot be
    /// read.
    pub fn writes(
        self,
        found: Vec<Option<Document>>,
        guard: Option<Write>,
    ) -> Result<Vec<Write>, InlineError> {
        let mut known = Known::new();
        for (key, found) in self.keys.into_iter().zip(found) {
            let found = found.map(|found| self.made.documents.decode(found)).transpose()?;
            known.insert(key.id, found.into());
        }
        let changed = self.made.changed(self.events, &self.of_each, &known)?;
        let mut writes = self.made.writes(&changed)?;
        if !writes.is_empty() {
            writes.extend(guard);
        }
        Ok(writes)
    }
}

impl<V: View> fmt::Debug for ConcernedDocuments<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcernedDocuments").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl<V: View> fmt::Debug for InlineDocuments<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineDocuments")
            .field("documents", &self.made.documents)
            .finish_non_exhaustive()
    }
}
