//! What a view makes of events, wherever its documents are read and written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use annals::{BoxError, SequenceNumber, StoredEvent};
use annals_state::{DocumentId, Documents, Expected, Revision, StateError, Stored, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sink::SinkError;

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

impl<V: View + ?Sized> View for Arc<V> {
    type State = V::State;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        (**self).ids(event)
    }

    fn apply(
        &self,
        id: &DocumentId,
        state: &mut Option<V::State>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        (**self).apply(id, state, event)
    }
}

/// A document as the view knows it.
#[derive(Clone)]
pub(crate) struct KnownDocument<T> {
    pub(crate) state: Option<T>,
    pub(crate) revision: Option<Revision>,
    at: SequenceNumber,
}

impl<T> From<Option<Stored<T>>> for KnownDocument<T> {
    fn from(found: Option<Stored<T>>) -> Self {
        match found {
            Some(Stored { revision, value, at, .. }) => {
                Self { state: Some(value), revision: Some(revision), at }
            }
            None => Self { state: None, revision: None, at: SequenceNumber::START },
        }
    }
}

/// Documents by their ids.
pub(crate) type Known<T> = HashMap<DocumentId, KnownDocument<T>>;

/// A view and its documents.
pub(crate) struct Made<V: View> {
    pub(crate) view: V,
    pub(crate) documents: Documents<V::State>,
}

impl<V: View> Made<V> {
    pub(crate) fn new(view: V, documents: Documents<V::State>) -> Self {
        Self { view, documents }
    }

    /// Which documents each event concerns, each once.
    pub(crate) fn concerned(
        &self,
        events: &[StoredEvent],
    ) -> Result<Vec<Vec<DocumentId>>, SinkError> {
        let of = |event: &StoredEvent| {
            let ids = self.view.ids(event).map_err(|source| SinkError::handler(event, source))?;
            let mut seen = HashSet::new();
            Ok(ids.into_iter().filter(|id| seen.insert(id.clone())).collect())
        };
        events.iter().map(of).collect()
    }

    /// What these documents of `known` are after the events.
    pub(crate) fn changed(
        &self,
        events: &[StoredEvent],
        ids: &[Vec<DocumentId>],
        known: &Known<V::State>,
    ) -> Result<Known<V::State>, SinkError> {
        let mut changed: Known<V::State> = HashMap::new();
        for (event, ids) in events.iter().zip(ids) {
            for id in ids {
                if !changed.contains_key(id)
                    && let Some(known) = known.get(id)
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

    pub(crate) fn writes(&self, changed: &Known<V::State>) -> Result<Vec<Write>, StateError> {
        let write = |(id, known): (&DocumentId, &KnownDocument<V::State>)| {
            let expected = Expected::from(known.revision);
            match &known.state {
                Some(state) => self.documents.write_at(id.clone(), state, expected, known.at),
                None => Ok(Write::delete(self.documents.key(id.clone())?, expected)),
            }
        };
        // What was not there and is not there afterwards needs no guard: if another part of the view makes it meanwhile, that
        // is as if this batch had come first.
        let matters = |known: &KnownDocument<_>| known.state.is_some() || known.revision.is_some();
        changed.iter().filter(|(_, known)| matters(known)).map(write).collect()
    }
}
