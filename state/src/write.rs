//! Commits: what is written together, what must hold for it, and the one function that judges it.

use std::fmt;

use annals::Payload;
use bytes::Bytes;

use crate::document::{DocumentKey, IndexName, Revision};

/// What must hold of a document before the commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Expected {
    /// Anything.
    #[default]
    Any,
    /// There is no such document.
    Absent,
    /// The document has this revision.
    Is(Revision),
}

impl Expected {
    /// Whether it holds of a document of this revision (`None`: there is none). The one definition for all stores.
    #[must_use]
    pub fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Is(revision) => found == Some(revision),
        }
    }
}

impl From<Option<Revision>> for Expected {
    /// That the document is still as it was found: of this revision, or absent.
    fn from(found: Option<Revision>) -> Self {
        found.map_or(Self::Absent, Self::Is)
    }
}

impl fmt::Display for Expected {
    /// What is expected, to follow the word "expected".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Absent => f.write_str("no document"),
            Self::Is(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// Where a document is found in an index: under a key that the client computes and the store compares by bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexEntry {
    /// The index.
    pub index: IndexName,
    /// The key, which may be empty.
    pub key: Bytes,
}

/// What a write does to its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes the document, or replaces it with all its entries.
    Put {
        /// What the document says.
        body: Payload,
        /// Where it is found beside its id.
        entries: Vec<IndexEntry>,
    },
    /// Removes the document with all its entries, if there is one.
    Delete,
    /// Changes nothing: only the expectation counts.
    Guard,
}

/// One document's part of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Write {
    /// The document.
    pub key: DocumentKey,
    /// What must hold of it for the whole commit to be made.
    pub expected: Expected,
    /// What is done to it.
    pub change: Change,
}

impl Write {
    /// Puts `body` under `key`, without entries in an index.
    #[must_use]
    pub fn put(key: DocumentKey, body: Payload, expected: Expected) -> Self {
        Self { key, expected, change: Change::Put { body, entries: Vec::new() } }
    }

    /// Removes what is under `key`.
    #[must_use]
    pub fn delete(key: DocumentKey, expected: Expected) -> Self {
        Self { key, expected, change: Change::Delete }
    }

    /// Changes nothing, and fails the commit unless `expected` holds.
    #[must_use]
    pub fn guard(key: DocumentKey, expected: Expected) -> Self {
        Self { key, expected, change: Change::Guard }
    }

    /// Adds an entry under which the document is found in `index`. Nothing on a write that puts nothing.
    #[must_use]
    pub fn with_entry(mut self, index: IndexName, key: impl Into<Bytes>) -> Self {
        if let Change::Put { entries, .. } = &mut self.change {
            entries.push(IndexEntry { index, key: key.into() });
        }
        self
    }
}

/// Writes that are made together or not at all, and the revision that the documents get which they put.
///
/// # Sent again
/// A commit that expects [`Expected::Is`] of at least one document that it puts or deletes is made at most once,
/// however often it is sent. With only [`Expected::Absent`] that holds while nobody deletes these documents; with
/// [`Expected::Any`] it is made each time. After [`OutcomeUnknown`](crate::StateError::OutcomeUnknown) it was certainly made
/// if a document that it put still has its revision. If none has, that stays unknown, because a later commit may have
/// replaced them all; a commit that also puts a document which nobody else puts can always be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// What every document that it puts gets as its revision.
    pub revision: Revision,
    /// What it writes, at most one write a document.
    pub writes: Vec<Write>,
}

impl Commit {
    /// A commit of these writes with a fresh revision.
    pub fn new(writes: impl IntoIterator<Item = Write>) -> Self {
        Self::with_revision(Revision::generate(), writes)
    }

    /// A commit of these writes with this revision, which no other commit may have.
    pub fn with_revision(revision: Revision, writes: impl IntoIterator<Item = Write>) -> Self {
        Self { revision, writes: writes.into_iter().collect() }
    }

    /// Its size as [`max_commit_bytes`](crate::StateCapabilities::max_commit_bytes) counts it: bodies, keys of entries,
    /// names and ids.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sizes = self.writes.iter().map(|write| {
            let key = write.key.collection.as_str().len() + write.key.id.as_str().len();
            match &write.change {
                Change::Put { body, entries } => {
                    let entry = |entry: &IndexEntry| entry.index.as_str().len() + entry.key.len();
                    key + body.as_bytes().len() + entries.iter().map(entry).sum::<usize>()
                }
                Change::Delete | Change::Guard => key,
            }
        });
        sizes.fold(0, |sum: u64, size| sum.saturating_add(size as u64))
    }
}

/// An expectation that did not hold: of which document, what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Conflict {
    /// The document.
    pub key: DocumentKey,
    /// What the commit expected of it.
    pub expected: Expected,
    /// The revision that it had; `None` if there was no such document.
    pub found: Option<Revision>,
}

impl Conflict {
    /// A conflict on this document.
    #[must_use]
    pub fn new(key: DocumentKey, expected: Expected, found: Option<Revision>) -> Self {
        Self { key, expected, found }
    }
}

impl fmt::Display for Conflict {
    /// Both sides of the mismatch: `products/p-1 has revision …, expected no document`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Some(revision) => write!(f, "{} has revision {revision}", self.key)?,
            None => write!(f, "{} does not exist", self.key)?,
        }
        write!(f, ", expected {}", self.expected)
    }
}
