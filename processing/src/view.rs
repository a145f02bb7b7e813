//! Views: documents that are made from events.

use std::collections::{HashMap, HashSet};
use std::fmt;

use annals::{BoxError, SequenceNumber, StoredEvent};
use annals_state::{
    CollectionName, DocumentId, DocumentKey, Documents, Expected, Revision, Scan, StateError,
    Stored, Write,
};
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reset;
use crate::sink::{Batch, Sink, SinkError};

/// How often a batch is applied again because its documents were changed by others meanwhile.
const MAX_TRIES: u32 = 8;
/// How many documents a view keeps in memory.
const CACHED: usize = 10_000;

/// What is made of events: any number of documents of one collection, each of which an event makes, changes or removes.
///
/// ```
/// use annals::{BoxError, StoredEvent};
/// use annals_processing::View;
/// use annals_state::DocumentId;
///
/// /// How many events each stream has.
/// struct Counts;
///
/// impl View for Counts {
///     type State = u64;
///
///     fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
///         Ok(vec![DocumentId::new(event.stream.name.as_str())?])
///     }
///
///     fn apply(&self, _: &DocumentId, count: &mut Option<u64>, _: &StoredEvent) -> Result<(), BoxError> {
///         *count.get_or_insert_default() += 1;
///         Ok(())
///     }
/// }
/// ```
pub trait View: Send + Sync + 'static {
    /// What a document says.
    type State: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// The documents that the event concerns. Of none, nothing is read or written.
    ///
    /// # Errors
    /// If it cannot say: the event cannot be applied.
    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError>;

    /// Applies the event to one of its documents. `None`: there is no such document, before or afterwards. It must depend
    /// on nothing but its arguments, and may be called again for the same event.
    ///
    /// # Errors
    /// If the event cannot be applied; what it did to `state` does not count then.
    fn apply(
        &self,
        id: &DocumentId,
        state: &mut Option<Self::State>,
        event: &StoredEvent,
    ) -> Result<(), BoxError>;
}

/// A document as the view knows it.
#[derive(Clone)]
struct Known<T> {
    state: Option<T>,
    revision: Option<Revision>,
    at: SequenceNumber,
}

/// A view as a sink: each batch is one commit, in which every document that changed is written once, at the revision
/// that was read.
pub struct ViewSink<V: View> {
    view: V,
    documents: Documents<V::State>,
    cache: HashMap<DocumentId, Known<V::State>>,
    cached: usize,
    guard: Option<Write>,
}

impl<V: View> ViewSink<V> {
    /// Makes `view` of events, as these documents. All of the collection belongs to it.
    #[must_use]
    pub fn new(view: V, documents: Documents<V::State>) -> Self {
        Self { view, documents, cache: HashMap::new(), cached: CACHED, guard: None }
    }

    /// Keeps at most so many documents in memory between batches. No result depends on it.
    #[must_use]
    pub fn with_cache(mut self, documents: usize) -> Self {
        self.cached = documents;
        self
    }

    /// Which documents each event concerns, each once.
    fn concerned(&self, events: &[StoredEvent]) -> Result<Vec<Vec<DocumentId>>, SinkError> {
        let of = |event: &StoredEvent| {
            let ids = self.view.ids(event).map_err(|source| SinkError::handler(event, source))?;
            let mut seen = HashSet::new();
            Ok(ids.into_iter().filter(|id| seen.insert(id.clone())).collect())
        };
        events.iter().map(of).collect()
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
        let found = self.documents.get_each(wanted.clone()).await?;
        for (id, found) in wanted.into_iter().zip(found) {
            let known = match found {
                Some(Stored { revision, value, at, .. }) => {
                    Known { state: Some(value), revision: Some(revision), at }
                }
                None => Known { state: None, revision: None, at: SequenceNumber::START },
            };
            self.cache.insert(id, known);
        }
        Ok(())
    }

    /// What the documents of the batch are after it.
    fn changed(
        &self,
        events: &[StoredEvent],
        ids: &[Vec<DocumentId>],
    ) -> Result<HashMap<DocumentId, Known<V::State>>, SinkError> {
        let mut changed: HashMap<DocumentId, Known<V::State>> = HashMap::new();
        for (event, ids) in events.iter().zip(ids) {
            for id in ids {
                if !changed.contains_key(id)
                    && let Some(known) = self.cache.get(id)
                {
                    changed.insert(id.clone(), known.clone());
                }
                let Some(known) = changed.get_mut(id) else { continue };
                let applied = self.view.apply(id, &mut known.state, event);
                applied.map_err(|source| SinkError::handler(event, source))?;
                known.at = known.at.max(event.sequence_number);
            }
        }
        Ok(changed)
    }

    fn writes(
        &self,
        changed: &HashMap<DocumentId, Known<V::State>>,
    ) -> Result<Vec<Write>, StateError> {
        let write = |(id, known): (&DocumentId, &Known<V::State>)| {
            let expected = Expected::from(known.revision);
            match &known.state {
                Some(state) => self.documents.write_at(id.clone(), state, expected, known.at),
                None => Ok(Write::delete(self.documents.key(id.clone())?, expected)),
            }
        };
        // What was not there and is not there afterwards needs no guard: if another part of the view makes it meanwhile, that
        // is as if this batch had come first.
        let matters = |known: &Known<V::State>| known.state.is_some() || known.revision.is_some();
        changed.iter().filter(|(_, known)| matters(known)).map(write).collect()
    }

    /// That the collection is still defined as this program defines it.
    async fn guard(&mut self) -> Result<Write, StateError> {
        if let Some(guard) = &self.guard {
            return Ok(guard.clone());
        }
        let guard = self.documents.guard().await?;
        self.guard = Some(guard.clone());
        Ok(guard)
    }

    fn is_of_it(&self, key: &DocumentKey, collection: &CollectionName) -> bool {
        key.collection == *collection || self.guard.as_ref().is_some_and(|guard| guard.key == *key)
    }

    fn remember(&mut self, changed: HashMap<DocumentId, Known<V::State>>, revision: Revision) {
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
        let ids = self.concerned(batch.events())?;
        let collection = self.documents.collection().name().clone();
        let bounds = self.documents.store().capabilities();
        for nth in 1.. {
            self.load(&ids).await?;
            let changed = self.changed(batch.events(), &ids)?;
            let mut writes = self.writes(&changed)?;
            if !writes.is_empty() {
                writes.push(self.guard().await?);
            }
            let commit = batch.commit(writes);
            if commit.writes.len() as u64 > u64::from(bounds.max_writes)
                || commit.bytes() > bounds.max_commit_bytes
            {
                return Err(SinkError::TooLarge);
            }
            match self.documents.store().commit(commit).await {
                Ok(()) => {
                    self.remember(changed, batch.revision());
                    return Ok(());
                }
                Err(StateError::Conflict(conflict))
                    if nth < MAX_TRIES && self.is_of_it(&conflict.key, &collection) =>
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
        let scan = Scan::along_ids(self.documents.collection().name().clone());
        reset::clear(&**self.documents.store(), scan, guard).await?;
        Ok(())
    }
}

impl<V: View> fmt::Debug for ViewSink<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewSink").field("documents", &self.documents).finish_non_exhaustive()
    }
}
