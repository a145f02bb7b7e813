//! Scans: documents of a collection in the order of their ids or of an index.

use annals::Direction;
use bytes::Bytes;

use crate::document::{CollectionName, Document, DocumentId, IndexName};

/// In which order a scan goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Along {
    /// By id: each document once.
    Ids,
    /// By (key of the entry, id): each document once for each entry that it has in this index.
    Index(IndexName),
}

/// A place in a scan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The key of the entry; empty along ids.
    pub key: Bytes,
    /// The document's id.
    pub id: DocumentId,
}

/// A document that a scan returned, and the key of the entry under which it was found (empty along ids).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// The key of the entry.
    pub key: Bytes,
    /// The document.
    pub document: Document,
}

impl Scanned {
    /// Its place: a scan that continues [`after`](Scan::after) it returns what follows.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { key: self.key.clone(), id: self.document.key.id.clone() }
    }
}

/// Which documents to return, in which order.
///
/// The bounds are on the key of the entry, or along ids on the id; they are the same in both directions, `from` is
/// inclusive and `to` exclusive. Along ids they are UTF-8 without U+0000. A range whose end lies before its beginning
/// holds nothing.
///
/// ```
/// use annals_state::{CollectionName, Scan};
/// let mine = Scan::along_ids(CollectionName::from_static("products")).from("a").to("b").limit(10);
/// assert_eq!(mine.limit, Some(10));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scan {
    /// The collection.
    pub collection: CollectionName,
    /// The order.
    pub along: Along,
    /// The least key, itself included; `None`: from the first.
    pub from: Option<Bytes>,
    /// The key before which it ends; `None`: to the last.
    pub to: Option<Bytes>,
    /// Only what comes after this place in the direction of the scan. No document need be there.
    pub after: Option<Place>,
    /// From which end.
    pub direction: Direction,
    /// At most so many, counted after everything else; 0: none.
    pub limit: Option<u64>,
}

impl Scan {
    /// All documents of `collection` along `along`.
    #[must_use]
    pub fn new(collection: CollectionName, along: Along) -> Self {
        Self {
            collection,
            along,
            from: None,
            to: None,
            after: None,
            direction: Direction::Forward,
            limit: None,
        }
    }

    /// All documents of `collection` by id.
    #[must_use]
    pub fn along_ids(collection: CollectionName) -> Self {
        Self::new(collection, Along::Ids)
    }

    /// All entries of `index`.
    #[must_use]
    pub fn along(collection: CollectionName, index: IndexName) -> Self {
        Self::new(collection, Along::Index(index))
    }

    /// Sets [`Self::from`].
    #[must_use]
    pub fn from(mut self, key: impl Into<Bytes>) -> Self {
        self.from = Some(key.into());
        self
    }

    /// Sets [`Self::to`].
    #[must_use]
    pub fn to(mut self, key: impl Into<Bytes>) -> Self {
        self.to = Some(key.into());
        self
    }

    /// Sets [`Self::after`].
    #[must_use]
    pub fn after(mut self, place: Place) -> Self {
        self.after = Some(place);
        self
    }

    /// Goes from the last to the first.
    #[must_use]
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// Sets [`Self::limit`].
    #[must_use]
    pub fn limit(mut self, documents: u64) -> Self {
        self.limit = Some(documents);
        self
    }
}

/// The least text of bytes that is above everything that begins with `prefix`; `None` if nothing is.
///
/// ```
/// # use annals_state::prefix_end;
/// assert_eq!(prefix_end(b"ab\xFF").as_deref(), Some(&b"ac"[..]));
/// ```
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end.into())
}
