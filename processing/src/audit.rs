//! Audit: whether a view is what its events make, and if not, from which event on.
//!
//! It folds the source once and compares. A document is compared at its own last event, so the view need not stand still.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use annals::{EventStore, Query, ReadOptions, SequenceNumber, StoredEvent};
use annals_state::{CollectionName, DocumentId, Documents, Scan, Stored};
use futures_util::TryStreamExt;
use serde::Serialize;
use serde_json::Value;

use crate::claim::Claim;
use crate::error::{ProcessingError, Result};
use crate::made::View;
use crate::pace::Pace;
use crate::parked::ParkedSet;
use crate::progress::Progress;
use crate::runner::{Sequence, is_given};
use crate::timer::Timer;

/// The most documents of one audit.
const MOST_DOCUMENTS: usize = 20_000;
/// The most differences that it reports.
const MOST_DIFFERENCES: usize = 100;

/// Compares a view with its events.
#[must_use = "an audit does nothing until it runs"]
pub struct Audit<V: View> {
    store: EventStore,
    query: Query,
    view: V,
    documents: Documents<V::State>,
    progress: Progress,
    pub(crate) bucket: (u64, u64),
    sequence: Option<Sequence>,
    /// How much of the time it works; all of it if nothing is said.
    pub(crate) share: Option<f64>,
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audited {
    /// How many documents were compared.
    pub compared: usize,
    /// How many were not, because a part of the view is behind another one that has changed them.
    pub moving: usize,
    /// How many events could not be applied. Those that the processor has skipped or discarded are among them.
    pub failed: u64,
    /// What differs, by id: at most 100.
    pub differences: Vec<Difference>,
}

/// A document that is not what its events make.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Its id.
    pub id: DocumentId,
    /// Whether there is such a document.
    pub is_stored: bool,
    /// Whether its events make one.
    pub is_made: bool,
    /// The last event that should be in it.
    pub until: SequenceNumber,
    /// The first event after the last one at which the document was what it is: the first that is wrong in it, or that is
    /// missing. `None`: none of its events makes any of it.
    pub first: Option<SequenceNumber>,
}

/// A document to compare.
struct Compared<S> {
    stored: Option<Value>,
    /// Events up to this one are in it.
    until: SequenceNumber,
    made: Option<S>,
    /// An event that may be in it or not has concerned it.
    is_moving: bool,
    last: SequenceNumber,
}

/// A document that differs, made again step by step.
struct Tracing<S> {
    made: Option<S>,
    first: Option<SequenceNumber>,
    was_equal: bool,
}

impl<V: View> Audit<V> {
    /// Compares `documents` with what `view` makes of all events of `store`. `claim` names the processor.
    pub fn new(
        store: &EventStore,
        view: V,
        documents: Documents<V::State>,
        claim: Claim,
        timer: impl Timer,
    ) -> Self {
        let progress = Progress::new(Arc::clone(documents.store()), timer, claim);
        let store = store.clone();
        Self {
            store,
            query: Query::All,
            view,
            documents,
            progress,
            bucket: (0, 1),
            sequence: None,
            share: None,
        }
    }

    /// Reads only these events: the query of the processor.
    pub fn with_query(mut self, query: impl Into<Query>) -> Self {
        self.query = query.into();
        self
    }

    /// Compares only this part of so many of the documents, by a hash of their ids: one bucket a day makes a sweep.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if there is no such part.
    pub fn with_bucket(mut self, nth: u64, of: u64) -> Result<Self> {
        if nth >= of {
            return Err(ProcessingError::misuse(format!("there is no bucket {nth} of {of}")));
        }
        self.bucket = (nth, of);
        Ok(self)
    }

    /// The sequences of the processor, if they are not streams.
    pub fn with_sequence(
        mut self,
        sequence: impl Fn(&StoredEvent) -> String + Send + Sync + 'static,
    ) -> Self {
        self.sequence = Some(Arc::new(sequence));
        self
    }

    /// Works only this share of the time, between 0 and 1, and rests otherwise: after each page that it reads it rests as
    /// long as the page has earned. Without it [`run`](Self::run) works all the time, and [`keep_on`](Self::keep_on) one
    /// hundredth of it.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if it is less than a millionth, or more than 1.
    pub fn with_share(mut self, share: f64) -> Result<Self> {
        if !(1e-6..=1.0).contains(&share) {
            return Err(ProcessingError::misuse(format!("{share} is no share of the time")));
        }
        self.share = Some(share);
        Ok(self)
    }

    pub(crate) fn view(&self) -> &V {
        &self.view
    }

    pub(crate) fn timer(&self) -> &dyn Timer {
        self.progress.timer()
    }

    fn pace(&self) -> Pace<'_> {
        Pace::new(self.timer(), self.share)
    }

    fn is_in_bucket(&self, id: &DocumentId) -> bool {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, step);
        (hash ^ (hash >> 32)) % self.bucket.1 == self.bucket.0
    }

    /// Compares. Events of parked sequences are left out from where they are parked on.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if the bucket has more than 20,000 documents: take a smaller one. Those of the
    /// stores; an undecodable document is one of them.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn run(&self) -> Result<Audited> {
        self.compare().await?.ok_or_else(|| {
            let text = format!("more than {MOST_DOCUMENTS} documents: take a smaller bucket");
            ProcessingError::misuse(text)
        })
    }

    /// As [`run`](Self::run); `None` if the bucket has too many documents.
    pub(crate) async fn compare(&self) -> Result<Option<Audited>> {
        let begun = self.progress.position().await?;
        let is_whole = self.progress.parts().await? == 1;
        let (state, claim) = (&**self.documents.store(), self.progress.claim());
        let parked = ParkedSet::of_all_parts(state, claim, usize::MAX).await?;
        let Some(mut compared) = self.stored(begun, is_whole).await? else { return Ok(None) };
        let ended = self.progress.position().await?;
        let last = compared.values().map(|one| one.until).fold(ended, SequenceNumber::max);
        let mut audited = Audited::default();
        let known: HashSet<DocumentId> = compared.keys().cloned().collect();
        self.fold(last, &parked, |id, event| {
            if !self.is_in_bucket(id) {
                return;
            }
            let number = event.sequence_number;
            let one = compared.entry(id.clone()).or_insert_with(|| Compared {
                stored: None,
                until: begun,
                made: None,
                is_moving: false,
                last: SequenceNumber::START,
            });
            if number <= one.until {
                one.last = number;
                audited.failed += u64::from(!apply(&self.view, id, &mut one.made, event));
            } else if number <= ended && !known.contains(id) {
                one.is_moving = true;
            }
        })
        .await?;
        let mut differing: Vec<(DocumentId, Compared<V::State>)> = Vec::new();
        for (id, one) in compared {
            if one.is_moving {
                audited.moving += 1;
                continue;
            }
            audited.compared += 1;
            if canonical(one.made.as_ref())? != one.stored {
                differing.push((id, one));
            }
        }
        differing.sort_by(|(a, _), (b, _)| a.cmp(b));
        differing.truncate(MOST_DIFFERENCES);
        audited.differences = self.explained(differing, last, &parked).await?;
        Ok(Some(audited))
    }

    /// The documents of the bucket as they are stored; `None` if they are too many.
    async fn stored(
        &self,
        begun: SequenceNumber,
        is_whole: bool,
    ) -> Result<Option<HashMap<DocumentId, Compared<V::State>>>> {
        let mut pace = self.pace();
        let name: CollectionName = self.documents.collection().name().clone();
        let mut pages = self.documents.store().scan(Scan::along_ids(name));
        let mut compared = HashMap::new();
        while let Some(page) = pages.try_next().await? {
            let ids = page.into_iter().map(|one| one.document.key.id);
            let ids: Vec<DocumentId> = ids.filter(|id| self.is_in_bucket(id)).collect();
            for stored in self.documents.get_each(ids).await?.into_iter().flatten() {
                let Stored { id, value, at, .. } = stored;
                let one = Compared {
                    stored: canonical(Some(&value))?,
                    until: at.max(begun),
                    made: None,
                    is_moving: !is_whole && at > begun,
                    last: SequenceNumber::START,
                };
                compared.insert(id, one);
            }
            if compared.len() > MOST_DOCUMENTS {
                return Ok(None);
            }
            pace.rest().await;
        }
        Ok(Some(compared))
    }

    /// Goes through all events up to `last`, with each document that one concerns.
    pub(crate) async fn fold(
        &self,
        last: SequenceNumber,
        parked: &ParkedSet,
        mut each: impl FnMut(&DocumentId, &StoredEvent),
    ) -> Result<()> {
        let mut pace = self.pace();
        let options = ReadOptions::default().until(last);
        let mut pages = self.store.pages(self.query.clone(), options);
        while let Some(page) = pages.try_next().await? {
            for event in page.events {
                let sequence = || match &self.sequence {
                    Some(sequence) => sequence(&event),
                    None => event.stream.to_string(),
                };
                let is_parked = !parked.is_empty()
                    && parked.get(&sequence()).is_some_and(|one| event.sequence_number >= one.from);
                if is_parked || !is_given(&self.query, &event) {
                    continue;
                }
                let ids: HashSet<DocumentId> =
                    self.view.ids(&event).unwrap_or_default().into_iter().collect();
                for id in &ids {
                    each(id, &event);
                }
            }
            pace.rest().await;
        }
        Ok(())
    }

    /// Finds for each document that differs the first event from which on it does.
    async fn explained(
        &self,
        differing: Vec<(DocumentId, Compared<V::State>)>,
        last: SequenceNumber,
        parked: &ParkedSet,
    ) -> Result<Vec<Difference>> {
        if differing.is_empty() {
            return Ok(Vec::new());
        }
        let mut traced: HashMap<DocumentId, Tracing<V::State>> = differing
            .iter()
            .map(|(id, one)| {
                let tracing = Tracing { made: None, first: None, was_equal: one.stored.is_none() };
                (id.clone(), tracing)
            })
            .collect();
        let stored: HashMap<&DocumentId, &Compared<V::State>> =
            differing.iter().map(|(id, one)| (id, one)).collect();
        self.fold(last, parked, |id, event| {
            let (Some(tracing), Some(one)) = (traced.get_mut(id), stored.get(id)) else { return };
            if event.sequence_number > one.until {
                return;
            }
            apply(&self.view, id, &mut tracing.made, event);
            if tracing.was_equal || tracing.first.is_none() {
                tracing.first = Some(event.sequence_number);
            }
            tracing.was_equal =
                canonical(tracing.made.as_ref()).is_ok_and(|made| made == one.stored);
        })
        .await?;
        let difference = |(id, one): &(DocumentId, Compared<V::State>)| Difference {
            id: id.clone(),
            is_stored: one.stored.is_some(),
            is_made: one.made.is_some(),
            until: one.last,
            first: traced.get(id).and_then(|tracing| tracing.first),
        };
        Ok(differing.iter().map(difference).collect())
    }
}

/// Applies the event, or leaves the state as it was; whether it could be applied.
pub(crate) fn apply<V: View>(
    view: &V,
    id: &DocumentId,
    state: &mut Option<V::State>,
    event: &StoredEvent,
) -> bool {
    let mut next = state.clone();
    let is_applied = view.apply(id, &mut next, event).is_ok();
    if is_applied {
        *state = next;
    }
    is_applied
}

/// A state as it is read back: what the program and the store may write differently is equal.
pub(crate) fn canonical(state: Option<&impl Serialize>) -> Result<Option<Value>> {
    let value = |state| serde_json::to_vec(state).and_then(|text| serde_json::from_slice(&text));
    let invalid = |error| ProcessingError::from(annals_state::StateError::invalid(error));
    state.map(value).transpose().map_err(invalid)
}

impl<V: View> fmt::Debug for Audit<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("documents", &self.documents).finish_non_exhaustive()
    }
}
