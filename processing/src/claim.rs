//! Claims: which documents of the state store belong to a processor.

use std::fmt;

use annals_state::{CollectionName, DocumentId, DocumentKey};

use crate::error::{ProcessingError, Result};
use crate::partition::Partition;

pub(crate) const TRACKING: CollectionName = CollectionName::from_static("annals.tracking");
pub(crate) const PROCESSORS: CollectionName = CollectionName::from_static("annals.processors");
pub(crate) const PARKED: CollectionName = CollectionName::from_static("annals.parked");
pub(crate) const STATUS: CollectionName = CollectionName::from_static("annals.status");
pub(crate) const REQUESTS: CollectionName = CollectionName::from_static("annals.requests");
pub(crate) const EFFECTS: CollectionName = CollectionName::from_static("annals.effects");
pub(crate) const MEMBERS: CollectionName = CollectionName::from_static("annals.members");
pub(crate) const LOCKS: CollectionName = CollectionName::from_static("annals.locks");
pub(crate) const LOCK_HOLDERS: CollectionName = CollectionName::from_static("annals.lock_holders");
pub(crate) const VIEWS: CollectionName = CollectionName::from_static("annals.views");

/// The source of a processor that names none.
const DEFAULT_SOURCE: &str = "log";
/// Two of them and a number fit into the id of a document.
const MAX_NAME_BYTES: usize = 80;

/// What a processor works on: its name, the name of its source, and its part of the streams. There is one tracking for
/// each claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    processor: Box<str>,
    source: Box<str>,
    partition: Partition,
}

impl Claim {
    /// What the processor of this name works on: the source `log`, all streams.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if the name is empty, has more than 80 bytes, a `/` or a control character.
    pub fn new(processor: impl Into<Box<str>>) -> Result<Self> {
        let processor = checked("processor", processor.into())?;
        let source = DEFAULT_SOURCE.into();
        Ok(Self { processor, source, partition: Partition::default() })
    }

    /// Names the source: programs that process several logs tell them apart by it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_source(mut self, source: impl Into<Box<str>>) -> Result<Self> {
        self.source = checked("source", source.into())?;
        Ok(self)
    }

    /// Takes only this part of the streams.
    #[must_use]
    pub fn with_partition(mut self, partition: Partition) -> Self {
        self.partition = partition;
        self
    }

    /// The name of the processor.
    #[must_use]
    pub fn processor(&self) -> &str {
        &self.processor
    }

    /// The name of the source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The part of the streams.
    #[must_use]
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    pub(crate) fn tracking(&self) -> DocumentKey {
        key(TRACKING, self.to_string())
    }

    pub(crate) fn status(&self) -> DocumentKey {
        key(STATUS, self.to_string())
    }

    /// The document that all parts of the processor share.
    pub(crate) fn definition(&self) -> DocumentKey {
        key(PROCESSORS, format!("{}/{}", self.processor, self.source))
    }

    /// A document of this claim's own in a collection where it has several.
    pub(crate) fn own(&self, collection: CollectionName, name: impl fmt::Display) -> DocumentKey {
        key(collection, format!("{}{name}", self.own_prefix()))
    }

    /// How the ids of such documents begin.
    pub(crate) fn own_prefix(&self) -> String {
        format!("{self}/")
    }
}

impl fmt::Display for Claim {
    /// `processor/source/partition`: no two claims have the same text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.processor, self.source, self.partition.id())
    }
}

pub(crate) fn checked(what: &str, name: Box<str>) -> Result<Box<str>> {
    let wrong = |char: char| char == '/' || char.is_control();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(wrong) {
        return Err(ProcessingError::misuse(format!(
            "the name of a {what} has 1 to {MAX_NAME_BYTES} bytes, without `/` and control characters"
        )));
    }
    Ok(name)
}

fn key(collection: CollectionName, id: String) -> DocumentKey {
    // What it is made of is checked, and short.
    let id = DocumentId::new(id).unwrap_or(DocumentId::from_static("annals"));
    DocumentKey { collection, id }
}
