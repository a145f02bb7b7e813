//! Tracking: how far a processor is, as a document that every commit of the processor replaces.
//!
//! Its revision is the fence. A commit expects the revision that the processor knows, so of two processors of one name
//! that work at once each batch is made by one of them; who lost learns it, and continues from what is stored.

use annals::{EventId, Payload, SequenceNumber, StoredEvent};
use annals_state::{
    Commit, Document, DocumentKey, Expected, Revision, StateError, StateStore, Write, get_all,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::claim::Claim;
use crate::error::{ProcessingError, Result};

/// How far a processor is. The document `annals.tracking` / `processor/source/partition`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tracking {
    /// Everything up to this number, inclusive, is in what the processor makes, or is of no interest to it, is parked,
    /// or was skipped.
    pub after: SequenceNumber,
    /// The last event that was applied: if the log does not have it, it is another log.
    pub last: Option<LastEvent>,
    /// Who has events in hand. It is removed when a processor ends as it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
    /// How many events were applied.
    pub events: u64,
    /// How many events were skipped after a failure, or discarded.
    #[serde(default)]
    pub skipped: u64,
    /// The event that the process may have ended at, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Suspect>,
    /// Somebody asked the processor to pause.
    #[serde(default)]
    pub paused: bool,
}

/// An event by its number and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastEvent {
    /// Its sequence number.
    pub number: SequenceNumber,
    /// Its id.
    pub id: EventId,
}

impl From<&StoredEvent> for LastEvent {
    fn from(event: &StoredEvent) -> Self {
        Self { number: event.sequence_number, id: event.id() }
    }
}

/// An event that the process may have ended at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// Its sequence number.
    pub number: SequenceNumber,
    /// How often it was begun without an end.
    pub tries: u32,
}

/// Why a reset is rejected.
pub(crate) const CANNOT_RESET: &str =
    "a reset: what the processor made, as commands that were dispatched, cannot be taken back";

/// What all parts of a processor must agree on. The document `annals.processors` / `processor/source`, guarded by every
/// commit of each part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// How the streams are divided.
    pub(crate) partitions: String,
    /// The number of parts, for who waits for all of them.
    pub(crate) parts: u16,
    /// Which events it asks for.
    pub(crate) query: String,
    /// Which version of its handlers it has; a program that changes them so that old events count again raises it.
    pub(crate) version: u32,
    /// What the processor made is being removed.
    #[serde(default)]
    pub(crate) resetting: bool,
    /// Only a program of this version or a newer one ends the reset: a newer one has begun it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<u32>,
    /// What it made cannot be taken back, so it is not reset.
    #[serde(default)]
    pub(crate) cannot_reset: bool,
    /// How the streams were divided, while the trackings are those of that division.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) splitting: Option<String>,
}

impl Definition {
    /// What keeps a program with `self` from working on what is stored as `stored`.
    pub(crate) fn check(&self, claim: &Claim, stored: &Self) -> Result<()> {
        // What is being reset takes the definition of who ends the reset.
        if stored.resetting && stored.at_least.is_none_or(|least| self.version >= least) {
            return Ok(());
        }
        let pairs = [
            ("its streams are divided as", &stored.partitions, &self.partitions),
            ("its query is", &stored.query, &self.query),
            ("its version is", &stored.version.to_string(), &self.version.to_string()),
        ];
        match pairs.into_iter().find(|(_, there, here)| there != here) {
            None => Ok(()),
            Some((what, there, here)) => Err(ProcessingError::DefinitionChanged {
                processor: claim.processor().into(),
                difference: format!("{what} {there} there, {here} here").into(),
            }),
        }
    }
}

/// A document's content with its revision; of one that does not exist the default, without a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held<T> {
    pub(crate) value: T,
    pub(crate) revision: Option<Revision>,
}

/// Puts `value` in place of what has this revision.
pub(crate) fn put(
    key: DocumentKey,
    value: &impl Serialize,
    found: Option<Revision>,
) -> Result<Write, StateError> {
    Ok(Write::put(key, Payload::json(value)?, Expected::from(found)))
}

/// What a processor knows when it works: its tracking and its definition, with the revisions that fence it.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    pub(crate) claim: Claim,
    pub(crate) tracking: Held<Tracking>,
    pub(crate) definition: Revision,
}

impl Fence {
    /// The writes that replace the tracking by `next`, if nobody else did and the definition is the same.
    pub(crate) fn moved(&self, next: &Tracking) -> Result<Vec<Write>, StateError> {
        let tracking = put(self.claim.tracking(), next, self.tracking.revision)?;
        Ok(vec![tracking, self.guard()])
    }

    /// That the definition is still the one that the processor knows.
    pub(crate) fn guard(&self) -> Write {
        Write::guard(self.claim.definition(), Expected::Is(self.definition))
    }
}

pub(crate) fn decode<T: DeserializeOwned>(document: &Document) -> Result<T, StateError> {
    let decoded = document.body.to_json();
    decoded.map_err(|error| StateError::undecodable(document.key.clone(), error))
}

/// The contents of these documents from one moment.
pub(crate) async fn get_both<A, B>(
    state: &dyn StateStore,
    keys: (DocumentKey, DocumentKey),
) -> Result<(Option<Held<A>>, Option<Held<B>>), StateError>
where
    A: DeserializeOwned,
    B: DeserializeOwned,
{
    let mut documents = get_all(state, vec![keys.0, keys.1]).await?.into_iter();
    Ok((held(documents.next().flatten())?, held(documents.next().flatten())?))
}

pub(crate) async fn get_one<T: DeserializeOwned>(
    state: &dyn StateStore,
    key: DocumentKey,
) -> Result<Option<Held<T>>, StateError> {
    held(get_all(state, vec![key]).await?.pop().flatten())
}

fn held<T: DeserializeOwned>(document: Option<Document>) -> Result<Option<Held<T>>, StateError> {
    let content = |document: Document| {
        Ok(Held { value: decode(&document)?, revision: Some(document.revision) })
    };
    document.map(content).transpose()
}

/// Makes a commit, and returns the revision that its documents have.
pub(crate) async fn commit(
    state: &dyn StateStore,
    writes: impl IntoIterator<Item = Write>,
) -> Result<Revision, StateError> {
    let commit = Commit::new(writes);
    let revision = commit.revision;
    state.commit(commit).await?;
    Ok(revision)
}
