//! Proofs, which anybody checks without the log.

use annals::StoredEvent;
use sha2::{Digest, Sha256};

use crate::link::{Hash, Method};
use crate::notary::checkpoint::Checkpoint;
use crate::notary::tree;

/// That an event is in the tree of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InclusionProof {
    /// The event's place in the tree, from 0.
    pub index: u64,
    /// The size of the tree.
    pub size: u64,
    /// The hashes beside the way from the event to the root.
    pub hashes: Vec<Hash>,
}

impl InclusionProof {
    /// A proof that came from elsewhere.
    #[must_use]
    pub const fn new(index: u64, size: u64, hashes: Vec<Hash>) -> Self {
        Self { index, size, hashes }
    }

    /// Whether it proves that `event`, as the notary's log has it, is in the tree of `checkpoint`.
    #[must_use]
    pub fn proves(&self, event: &StoredEvent, checkpoint: &Checkpoint) -> bool {
        let leaf = tree::leaf(&entry(event).0);
        let is_of_it = self.size == checkpoint.size;
        is_of_it && tree::includes(leaf, self.index, self.size, &self.hashes, checkpoint.root)
    }
}

/// That the tree of one checkpoint begins with the tree of an older one: nothing of it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsistencyProof {
    /// The size of the older tree.
    pub old: u64,
    /// The size of the newer tree.
    pub new: u64,
    /// The hashes that both roots are made of.
    pub hashes: Vec<Hash>,
}

impl ConsistencyProof {
    /// A proof that came from elsewhere.
    #[must_use]
    pub const fn new(old: u64, new: u64, hashes: Vec<Hash>) -> Self {
        Self { old, new, hashes }
    }

    /// Whether it proves that the log of `new` is that of `old` with more events behind it.
    #[must_use]
    pub fn proves(&self, old: &Checkpoint, new: &Checkpoint) -> bool {
        let is_of_them = old.origin == new.origin && (self.old, self.new) == (old.size, new.size);
        is_of_them && tree::extends((old.size, old.root), (new.size, new.root), &self.hashes)
    }
}

/// The entry of an event in the tree: SHA-256 of all that the log has of it.
///
/// ```text
/// entry = H("annals-notary entry", number u64, position u64, recorded_at in microseconds as i128, content 32), each part
///         behind its length as u64; content is that of a chain (SHA-256)
/// ```
#[must_use]
pub fn entry(event: &StoredEvent) -> Hash {
    let content = Method::default().content(&event.stream, &event.event);
    let recorded_at = event.recorded_at.unix_timestamp_nanos().div_euclid(1_000).to_be_bytes();
    let (number, position) = (event.sequence_number.value(), event.position.value());
    let mut hash = Sha256::new();
    let parts: [&[u8]; 5] = [
        b"annals-notary entry",
        &number.to_be_bytes(),
        &position.to_be_bytes(),
        &recorded_at,
        &content.0,
    ];
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Hash(hash.finalize().into())
}
