//! Erasure: what a view keeps of a person is made again from events whose data is gone.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use annals::{BoxError, EventStore, Query, SequenceNumber, StoredEvent};
use annals_state::{
    CollectionName, Commit, DocumentId, Documents, Expected, Scan, StateError, StateStore, Stored,
    Sweep, Swept, Write,
};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::{Audit, apply, canonical};
use crate::claim::{Claim, PARKED, STATUS};
use crate::control::Reported;
use crate::error::{ProcessingError, Result};
use crate::made::View;
use crate::parked::{Parked, ParkedSet};
use crate::timer::Timer;
use crate::tracking::{decode, put};

/// How many documents are made again in one pass over the log.
const AT_ONCE: usize = 1_000;
/// How often documents that change meanwhile are made again.
const TRIES: usize = 8;
/// What is left of what a handler said.
const FORGOTTEN: &str = "forgotten";

type Concerns<T> = Arc<dyn Fn(&str, &T) -> bool + Send + Sync>;

/// Removes from a view what was made of a person's data, once their keys are destroyed: each document that concerns them is
/// made again from its events, which say nothing of them any more, and is deleted if those make none.
///
/// Of parked sequences that concern them it removes what the handler said, and of what the processor
/// [reported](crate::reported) the last error. It needs no stopped processor: a document that changes meanwhile is made
/// again. Results of effects are for an [`EffectSweep`](crate::EffectSweep).
///
/// ```
/// # use std::sync::Arc;
/// # use annals::{BoxError, EventStore, StoredEvent};
/// # use annals_memory::{MemoryAdapter, MemoryState};
/// # use annals_processing::{Claim, SystemTimer, View, ViewSweep};
/// # use annals_state::{Collection, DocumentId, Sweep};
/// # #[derive(Clone)]
/// # struct Customers;
/// # impl View for Customers {
/// #     type State = String;
/// #     fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
/// #         Ok(vec![DocumentId::new(event.stream.name.as_str())?])
/// #     }
/// #     fn apply(&self, _: &DocumentId, _: &mut Option<String>, _: &StoredEvent) -> Result<(), BoxError> {
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let store = EventStore::new(MemoryAdapter::new());
/// # let customers = Collection::new("customers")?.on(Arc::new(MemoryState::new()));
/// let claim = Claim::new("customers")?;
/// let sweep = ViewSweep::new(&store, Customers, customers, claim, SystemTimer::new(), |subject, customer| {
///     customer.id.as_str() == subject
/// });
/// sweep.forget("c-1").await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a sweep does nothing until it is asked to forget"]
pub struct ViewSweep<V: View> {
    audit: Audit<V>,
    documents: Documents<V::State>,
    claim: Claim,
    concerns: Concerns<Stored<V::State>>,
    parked: Concerns<Parked>,
}

impl<V: View> ViewSweep<V> {
    /// Sweeps `documents`, which `view` makes of the events of `store`. `claim` names the processor; `concerns` says whether
    /// a document says something of a subject.
    pub fn new(
        store: &EventStore,
        view: V,
        documents: Documents<V::State>,
        claim: Claim,
        timer: impl Timer,
        concerns: impl Fn(&str, &Stored<V::State>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let audit = Audit::new(store, view, documents.clone(), claim.clone(), timer);
        let parked = |subject: &str, parked: &Parked| {
            parked.stream.name.as_str() == subject || parked.error.contains(subject)
        };
        Self { audit, documents, claim, concerns: Arc::new(concerns), parked: Arc::new(parked) }
    }

    /// Reads only these events: the query of the processor.
    pub fn with_query(mut self, query: impl Into<Query>) -> Self {
        self.audit = self.audit.with_query(query);
        self
    }

    /// The sequences of the processor, if they are not streams.
    pub fn with_sequence(
        mut self,
        sequence: impl Fn(&StoredEvent) -> String + Send + Sync + 'static,
    ) -> Self {
        self.audit = self.audit.with_sequence(sequence);
        self
    }

    /// Says which parked sequences concern a subject. Otherwise those do whose stream has its name, or whose error says it.
    pub fn with_parked(
        mut self,
        concerns: impl Fn(&str, &Parked) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.parked = Arc::new(concerns);
        self
    }

    async fn sweep(&self, subject: &str) -> Result<Swept> {
        let mut swept = self.sweep_parked(subject).await?;
        let reported = self.sweep_status().await?;
        swept.looked_at += reported.looked_at;
        swept.removed += reported.removed;
        let name = self.documents.collection().name().clone();
        let mut pages = self.documents.store().scan(Scan::along_ids(name));
        let mut concerned = Vec::new();
        while let Some(page) = pages.try_next().await? {
            let ids: Vec<DocumentId> = page.into_iter().map(|one| one.document.key.id).collect();
            swept.looked_at += ids.len() as u64;
            concerned.extend(self.concerned(subject, ids).await?);
            if concerned.len() >= AT_ONCE {
                swept.removed += self.make_again(subject, std::mem::take(&mut concerned)).await?;
            }
        }
        swept.removed += self.make_again(subject, concerned).await?;
        Ok(swept)
    }

    /// Those of these documents that concern the subject, as they are now.
    async fn concerned(
        &self,
        subject: &str,
        ids: Vec<DocumentId>,
    ) -> Result<Vec<Stored<V::State>>> {
        let found = self.documents.get_each(ids).await?.into_iter().flatten();
        Ok(found.filter(|stored| (self.concerns)(subject, stored)).collect())
    }

    /// Makes these documents again, each up to its own last event; returns how many were not what their events make now.
    async fn make_again(&self, subject: &str, mut left: Vec<Stored<V::State>>) -> Result<u64> {
        let (state, view) = (&**self.documents.store(), self.audit.view());
        let mut removed = 0;
        for _ in 0..TRIES {
            if left.is_empty() {
                return Ok(removed);
            }
            let parked = ParkedSet::of_all_parts(state, &self.claim, usize::MAX).await?;
            let mut made: HashMap<&DocumentId, (SequenceNumber, Option<V::State>)> =
                left.iter().map(|stored| (&stored.id, (stored.at, None))).collect();
            let last = left.iter().map(|stored| stored.at).max().unwrap_or_default();
            self.audit
                .fold(last, &parked, |id, event| {
                    if let Some((at, state)) = made.get_mut(id)
                        && event.sequence_number <= *at
                    {
                        apply(view, id, state, event);
                    }
                })
                .await?;
            let mut changed = Vec::new();
            for stored in &left {
                let state = made.remove(&stored.id).and_then(|(_, state)| state);
                if canonical(state.as_ref())? == canonical(Some(&stored.value))? {
                    continue;
                }
                match self.replace(stored, state.as_ref()).await {
                    Ok(()) => removed += 1,
                    Err(StateError::Conflict(_)) => changed.push(stored.id.clone()),
                    Err(error) => return Err(error.into()),
                }
            }
            left = self.concerned(subject, changed).await?;
        }
        if left.is_empty() {
            return Ok(removed);
        }
        Err(StateError::unavailable("documents change all the time").into())
    }

    async fn replace(
        &self,
        stored: &Stored<V::State>,
        state: Option<&V::State>,
    ) -> Result<(), StateError> {
        let expected = Expected::Is(stored.revision);
        let write = match state {
            Some(state) => {
                self.documents.write_at(stored.id.clone(), state, expected, stored.at)?
            }
            None => Write::delete(self.documents.key(stored.id.clone())?, expected),
        };
        let guard = self.documents.guard().await?;
        self.documents.store().commit(Commit::new([write, guard])).await
    }

    /// Removes what the handler said of parked sequences that concern the subject.
    async fn sweep_parked(&self, subject: &str) -> Result<Swept> {
        let forget = |parked: Parked| {
            let concerns = parked.error != FORGOTTEN && (self.parked)(subject, &parked);
            concerns.then(|| Parked { error: FORGOTTEN.to_owned(), ..parked })
        };
        self.replace_each(PARKED, forget).await
    }

    /// Removes the last error from what the processor reported. Nobody can say whom that concerns, and nobody needs it.
    async fn sweep_status(&self) -> Result<Swept> {
        let forget = |mut reported: Reported| {
            let said = reported.status.error.replace(FORGOTTEN.to_owned())?;
            (said != FORGOTTEN).then_some(reported)
        };
        self.replace_each(STATUS, forget).await
    }

    /// Replaces those documents of the processor of which `change` returns another content.
    async fn replace_each<T: Serialize + DeserializeOwned + Send + Sync>(
        &self,
        collection: CollectionName,
        change: impl Fn(T) -> Option<T> + Send + Sync,
    ) -> Result<Swept> {
        let state: &dyn StateStore = &**self.documents.store();
        let prefix = format!("{}/{}/", self.claim.processor(), self.claim.source());
        let mut scan = Scan::along_ids(collection).from(prefix.clone());
        scan.to = annals_state::prefix_end(prefix.as_bytes());
        let mut swept = Swept::default();
        let mut pages = state.scan(scan);
        while let Some(page) = pages.try_next().await? {
            for scanned in page {
                swept.looked_at += 1;
                let Some(next) = change(decode(&scanned.document)?) else { continue };
                let found = Some(scanned.document.revision);
                let write = put(scanned.document.key, &next, found)?;
                match state.commit(Commit::new([write])).await {
                    Ok(()) => swept.removed += 1,
                    // It is gone, or was written anew, and what was said then was said of the redacted event.
                    Err(StateError::Conflict(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(swept)
    }
}

#[async_trait]
impl<V: View> Sweep for ViewSweep<V> {
    async fn forget(&self, subject: &str) -> Result<Swept, StateError> {
        self.sweep(subject).await.map_err(|error| match error {
            ProcessingError::State(error) => match Arc::try_unwrap(error) {
                Ok(error) => error,
                Err(shared) => StateError::backend(BoxError::from(shared.to_string())),
            },
            error => StateError::backend(error),
        })
    }
}

impl<V: View> fmt::Debug for ViewSweep<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewSweep")
            .field("claim", &self.claim)
            .field("documents", &self.documents)
            .finish_non_exhaustive()
    }
}
