//! Views as sinks of processors.

use std::fmt;

use annals_state::{
    CollectionName, DocumentId, DocumentKey, Documents, Revision, Scan, StateError, Write,
};
use async_trait::async_trait;

use crate::made::{Known, Made, View};
use crate::reset;
use crate::sink::{Batch, Sink, SinkError};

/// How often a batch is applied again because its documents were changed by others meanwhile.
const MAX_TRIES: u32 = 8;
/// How many documents a view keeps in memory.
const CACHED: usize = 10_000;

/// A view as a sink: each batch is one commit, in which every document that changed is written once, at the revision
/// that was read.
pub struct ViewSink<V: View> {
    made: Made<V>,
    cache: Known<V::State>,
    cached: usize,
    guard: Option<Write>,
}

impl<V: View> ViewSink<V> {
    /// Makes `view` of events, as these documents. All of the collection belongs to it.
    #[must_use]
    pub fn new(view: V, documents: Documents<V::State>) -> Self {
        let made = Made::new(view, documents);
        Self { made, cache: Known::new(), cached: CACHED, guard: None }
    }

    /// Keeps at most so many documents in memory between batches. No result depends on it.
    #[must_use]
    pub fn with_cache(mut self, documents: usize) -> Self {
        self.cached = documents;
        self
    }

    /// Reads the documents of the batch that are not remembered.
    async fn load(&mut self, ids: &[Vec<DocumentId>]) -> Result<(), SinkError> {
        let mut wanted: Vec<DocumentId> =
            ids.iter().flatten().filter(|id| !self.cache.contains_key(*id)).cloned().collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let found = self.made.documents.get_each(wanted.clone()).await?;
        self.cache.extend(wanted.into_iter().zip(found.into_iter().map(Into::into)));
        Ok(())
    }

    /// That the collection is still defined as this program defines it.
    async fn guard(&mut self) -> Result<Write, StateError> {
        if let Some(guard) = &self.guard {
            return Ok(guard.clone());
        }
        let guard = self.made.documents.guard().await?;
        self.guard = Some(guard.clone());
        Ok(guard)
    }

    fn is_of_it(&self, key: &DocumentKey, collection: &CollectionName) -> bool {
        key.collection == *collection || self.guard.as_ref().is_some_and(|guard| guard.key == *key)
    }

    fn remember(&mut self, changed: Known<V::State>, revision: Revision) {
        for (id, mut known) in changed {
            known.revision = known.state.is_some().then_some(revision);
            self.cache.insert(id, known);
        }
        if self.cache.len() > self.cached {
            self.cache.clear();
        }
    }
}

#[async_trait]
impl<V: View> Sink for ViewSink<V> {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let ids = self.made.concerned(batch.events())?;
        let documents = self.made.documents.clone();
        let collection = documents.collection().name();
        let bounds = documents.store().capabilities();
        for nth in 1.. {
            self.load(&ids).await?;
            let changed = self.made.changed(batch.events(), &ids, &self.cache)?;
            let mut writes = self.made.writes(&changed)?;
            if !writes.is_empty() {
                writes.push(self.guard().await?);
            }
            let commit = batch.commit(writes);
            if commit.writes.len() as u64 > u64::from(bounds.max_writes)
                || commit.bytes() > bounds.max_commit_bytes
            {
                return Err(SinkError::TooLarge);
            }
            match documents.store().commit(commit).await {
                Ok(()) => {
                    self.remember(changed, batch.revision());
                    return Ok(());
                }
                Err(StateError::Conflict(conflict))
                    if nth < MAX_TRIES && self.is_of_it(&conflict.key, collection) =>
                {
                    // Another part of the view, or a hand, changed a document of the batch: it is read and applied again.
                    self.forget();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.cache.clear();
        self.guard = None;
    }

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        let scan = Scan::along_ids(self.made.documents.collection().name().clone());
        reset::clear(&**self.made.documents.store(), scan, guard).await?;
        Ok(())
    }
}

impl<V: View> fmt::Debug for ViewSink<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewSink").field("documents", &self.made.documents).finish_non_exhaustive()
    }
}
