//! Parked sequences: events that wait for a person, while the rest goes on.
//!
//! Only the event that failed is written down. What follows of its sequence is passed over while it is parked, and read
//! again from the log when it is retried.

use std::collections::BTreeMap;

use annals::{EventId, SequenceNumber, StreamId};
use annals_state::{
    DocumentKey, Expected, Revision, Scan, StateError, StateStore, Write, prefix_end,
};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::claim::{Claim, PARKED};
use crate::error::{HandlerError, chain};
use crate::tracking::{Held, decode, put};

/// A sequence that waits for a person. A document of `annals.parked`, committed together with the tracking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parked {
    /// The sequence: the stream, unless the processor says otherwise.
    pub sequence: String,
    /// The stream of the event that failed.
    pub stream: StreamId,
    /// The number of the event that failed. No event of the sequence from it on is applied.
    pub from: SequenceNumber,
    /// Its id.
    pub id: EventId,
    /// What failed, with its causes.
    pub error: String,
    /// How often it was tried.
    pub tries: u32,
}

impl Parked {
    pub(crate) fn new(sequence: String, error: &HandlerError) -> Self {
        Self {
            sequence,
            stream: error.stream.clone(),
            from: error.sequence_number,
            id: error.id,
            error: chain(error),
            tries: error.tries,
        }
    }
}

/// What is parked of a claim, as it was when its tracking was read.
#[derive(Debug, Default)]
pub(crate) struct ParkedSet(BTreeMap<String, Held<Parked>>);

impl ParkedSet {
    /// Reads at most so many. It must be called after the tracking was read: what changes meanwhile changes the tracking.
    pub(crate) async fn load(
        state: &dyn StateStore,
        claim: &Claim,
        most: usize,
    ) -> Result<Self, StateError> {
        Self::with_prefix(state, &claim.own_prefix(), most).await
    }

    /// … of all parts of the processor.
    pub(crate) async fn of_all_parts(
        state: &dyn StateStore,
        claim: &Claim,
        most: usize,
    ) -> Result<Self, StateError> {
        let prefix = format!("{}/{}/", claim.processor(), claim.source());
        Self::with_prefix(state, &prefix, most).await
    }

    async fn with_prefix(
        state: &dyn StateStore,
        prefix: &str,
        most: usize,
    ) -> Result<Self, StateError> {
        let mut scan = Scan::along_ids(PARKED).from(prefix.to_owned());
        scan.to = prefix_end(prefix.as_bytes());
        scan.limit = Some(most as u64);
        let mut set = BTreeMap::new();
        let mut pages = state.scan(scan);
        while let Some(page) = pages.try_next().await? {
            for scanned in page {
                let parked: Parked = decode(&scanned.document)?;
                let revision = Some(scanned.document.revision);
                set.insert(parked.sequence.clone(), Held { value: parked, revision });
            }
        }
        Ok(Self(set))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, sequence: &str) -> Option<&Parked> {
        self.0.get(sequence).map(|held| &held.value)
    }

    pub(crate) fn contains(&self, sequence: &str) -> bool {
        self.0.contains_key(sequence)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn list(&self, after: Option<&str>, limit: usize) -> Vec<Parked> {
        let later =
            self.0.iter().filter(|(sequence, _)| after.is_none_or(|after| &***sequence > after));
        later.take(limit).map(|(_, held)| held.value.clone()).collect()
    }

    /// What to commit so that the sequence is parked like this, or no more.
    pub(crate) fn write(
        &self,
        claim: &Claim,
        sequence: &str,
        next: Option<&Parked>,
    ) -> Result<Write, StateError> {
        let key = key(claim, sequence);
        let found = self.0.get(sequence).and_then(|held| held.revision);
        match next {
            Some(next) => put(key, next, found),
            None => Ok(Write::delete(key, Expected::from(found))),
        }
    }

    /// Remembers what was committed.
    pub(crate) fn set(&mut self, sequence: &str, next: Option<Parked>, revision: Revision) {
        match next {
            Some(value) => {
                let held = Held { value, revision: Some(revision) };
                self.0.insert(sequence.to_owned(), held);
            }
            None => drop(self.0.remove(sequence)),
        }
    }
}

/// A sequence may be any text; its document has an id of bounded length.
pub(crate) fn key(claim: &Claim, sequence: &str) -> DocumentKey {
    claim.own(PARKED, Uuid::new_v5(&Uuid::NAMESPACE_OID, sequence.as_bytes()))
}
