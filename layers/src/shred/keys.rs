//! The keys of subjects: the contract, and what was destroyed.

use std::fmt;

use annals::adapter::async_trait;
use annals::{EventId, Result};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::key::Key;
use crate::shred::personal::Subject;

/// What names a subject's key in sealed values. It is never given to a second key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataKeyId(Uuid);

impl DataKeyId {
    /// A fresh id.
    #[must_use]
    pub fn generate() -> Self {
        Self(EventId::generate().as_uuid())
    }

    /// An id that was made elsewhere.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Debug for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKeyId({})", self.0)
    }
}

impl fmt::Display for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a key store knows of a key.
#[derive(Debug, Clone)]
pub enum DataKey {
    /// The key.
    Known(Key),
    /// The key was destroyed: its subject was forgotten.
    Destroyed,
    /// There never was such a key here: the values under it belong to another key store.
    Unknown,
}

/// Evidence that a subject's keys were destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// Who was forgotten.
    pub subject: Subject,
    /// The last key that was destroyed; `None` if the subject never had one.
    pub key: Option<DataKeyId>,
    /// When, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Forgotten {
    /// The evidence that `subject` was forgotten then.
    #[must_use]
    pub fn new(subject: Subject, key: Option<DataKeyId>, at: OffsetDateTime) -> Self {
        Self { subject, key, at }
    }
}

/// Keeps a key for each subject. [`StoredKeys`](crate::StoredKeys) is one over any state store.
///
/// Errors are those of [`annals::Error`]: `Unavailable` if it can be called again, whether or not something was made.
#[async_trait]
pub trait SubjectKeys: fmt::Debug + Send + Sync + 'static {
    /// The key that seals what is about `subject`, made if there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`](annals::Error::Invalid) with [`IsForgotten`] if the subject was forgotten.
    async fn current(&self, subject: &Subject) -> Result<(DataKeyId, Key)>;

    /// What is known of each of these keys, in their order.
    async fn find(&self, ids: &[DataKeyId]) -> Result<Vec<DataKey>>;

    /// Destroys the key of `subject`, and makes no other. Again, it changes nothing and returns the same.
    async fn forget(&self, subject: &Subject) -> Result<Forgotten>;

    /// Permits values about a forgotten subject again, under a new key, which opens none of the old ones.
    async fn readmit(&self, subject: &Subject) -> Result<()>;
}

/// The subject was forgotten, and nothing about it is appended until it is readmitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} was forgotten")]
pub struct IsForgotten(pub Subject);
