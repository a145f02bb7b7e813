//! Documents: what they are called, what they hold, and which commit put them.

use std::fmt;

use annals::{EventId, InvalidName, Payload, StreamName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// A name by the same rule as those of the log: non-empty UTF-8 of at most
        /// [`MAX_NAME_BYTES`](annals::MAX_NAME_BYTES) bytes without control characters. It is compared by bytes,
        /// case-sensitive and never normalised. A clone costs a reference count.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(StreamName);

        impl $name {
            /// Checks and shares `text`.
            ///
            /// # Errors
            /// [`InvalidName`] says which rule the text breaks.
            pub fn new(text: impl Into<std::sync::Arc<str>>) -> Result<Self, InvalidName> {
                StreamName::new(text).map(Self)
            }

            /// A name from a literal; in a `const` an invalid one does not compile.
            ///
            /// # Panics
            /// If `text` is not a valid name.
            #[must_use]
            #[track_caller]
            pub const fn from_static(text: &'static str) -> Self {
                Self(StreamName::from_static(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    )*};
}

names! {
    /// The name of a collection of documents, such as `products`.
    CollectionName;
    /// What identifies a document in its collection.
    DocumentId;
    /// The name of an index of a collection, such as `by_price`.
    IndexName;
}

impl CollectionName {
    /// Whether it is one that Annals keeps for itself: it begins with `annals.`.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.as_str().starts_with("annals.")
    }
}

/// A document's collection and its id. The order is that of the collection, then of the id, by bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentKey {
    /// The collection that the document belongs to.
    pub collection: CollectionName,
    /// The document's id in its collection.
    pub id: DocumentId,
}

impl DocumentKey {
    /// Checks both names.
    ///
    /// # Errors
    /// [`InvalidName`] for the first invalid one.
    pub fn new(
        collection: impl TryInto<CollectionName, Error: Into<InvalidName>>,
        id: impl TryInto<DocumentId, Error: Into<InvalidName>>,
    ) -> Result<Self, InvalidName> {
        Ok(Self {
            collection: collection.try_into().map_err(Into::into)?,
            id: id.try_into().map_err(Into::into)?,
        })
    }
}

impl fmt::Display for DocumentKey {
    /// For people: `collection/id`. Not a key, since names may hold a `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.id)
    }
}

/// The id of the commit that put a document: a UUID that the committer makes with the commit.
///
/// Only equality means something. As no store draws it, it never returns: not after a delete, a failure, a restart,
/// or a restore that lost commits. So a revision that still matches proves that nothing happened in between.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(Uuid);

impl Revision {
    /// A fresh revision: a `UUIDv7`, which keeps what is sorted by it compact.
    #[must_use]
    pub fn generate() -> Self {
        Self(EventId::generate().as_uuid())
    }

    /// A revision that was made elsewhere. All of its 128 bits count.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The revision as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({})", self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A document as the store keeps it: a body under a key, with the revision of the commit that put it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it is.
    pub key: DocumentKey,
    /// The commit that put it.
    pub revision: Revision,
    /// What it says, byte for byte as it was put.
    pub body: Payload,
}
