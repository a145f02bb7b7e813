//! Views as documents that are made in the transaction of the append.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use annals::{EventStore, StoredEvent};
use annals_state::{Document, DocumentKey, Documents, StateError, Write};

use crate::error::Result;
use crate::made::{Made, View};
use crate::processor::Processor;
use crate::sink::SinkError;
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

    /// The documents that these events concern, each once.
    ///
    /// # Errors
    /// [`SinkError::Handler`] if the view cannot say which.
    pub fn keys(&self, events: &[StoredEvent]) -> Result<Vec<DocumentKey>, SinkError> {
        let mut ids: Vec<_> = self.made.concerned(events)?.into_iter().flatten().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| Ok(self.made.documents.key(id)?)).collect()
    }

    /// What these events make of the documents of [`keys`](Self::keys), as the transaction sees them; `guard` is with it if
    /// that is anything.
    ///
    /// # Errors
    /// [`SinkError::Handler`] if the view cannot apply an event; [`SinkError::State`] if a document cannot be read.
    pub fn writes(
        &self,
        events: &[StoredEvent],
        found: Vec<Option<Document>>,
        guard: Option<Write>,
    ) -> Result<Vec<Write>, SinkError> {
        let ids = self.made.concerned(events)?;
        let keys = self.keys(events)?;
        let mut known = crate::made::Known::new();
        for (key, found) in keys.into_iter().zip(found) {
            let found = found.map(|found| self.made.documents.decode(found)).transpose()?;
            known.insert(key.id, found.into());
        }
        let mut writes = self.made.writes(&self.made.changed(events, &ids, &known)?)?;
        if !writes.is_empty() {
            writes.extend(guard);
        }
        Ok(writes)
    }
}

impl<V: View> fmt::Debug for InlineDocuments<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineDocuments")
            .field("documents", &self.made.documents)
            .finish_non_exhaustive()
    }
}
