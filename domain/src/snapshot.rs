//! Snapshots: state that is kept outside the log, so that a long history need not be folded again. Any of them may be
//! deleted at any time; whatever is wrong with one, the log is folded instead.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};

use annals::{BoxError, EventId, SequenceNumber, StreamId};
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::loaded::{Last, Loaded};
use crate::state::Aggregate;

/// A place for snapshots. What it loses costs time, never correctness: a repository proves each snapshot against the log.
#[async_trait]
pub trait SnapshotStore: Debug + Send + Sync + 'static {
    /// The newest snapshot of a version of at most `at_most`.
    ///
    /// # Errors
    /// Those of the store; the repository logs them, and folds the log.
    async fn load(&self, key: &SnapshotKey, at_most: u64) -> Result<Option<Snapshot>, BoxError>;

    /// Keeps a snapshot. One of a version that is kept already is replaced; an older one never replaces a newer.
    ///
    /// # Errors
    /// Those of the store; the repository logs them.
    async fn save(&self, key: &SnapshotKey, snapshot: Snapshot) -> Result<(), BoxError>;

    /// Removes all snapshots of an aggregate.
    ///
    /// # Errors
    /// Those of the store; the repository logs them.
    async fn forget(&self, key: &SnapshotKey) -> Result<(), BoxError>;
}

/// Whose snapshot it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotKey {
    /// The category of the aggregate.
    pub kind: String,
    /// The text of its id.
    pub id: String,
}

impl SnapshotKey {
    fn of(stream: &StreamId) -> Self {
        Self { kind: stream.category.as_str().to_owned(), id: stream.name.as_str().to_owned() }
    }
}

/// State after `version` events, and the event that proves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which fold and which form the state has: see [`SnapshotPolicy::schema`].
    pub schema: u32,
    /// How many events were folded.
    pub version: u64,
    /// The last of them, by its place in the log.
    pub sequence_number: SequenceNumber,
    /// The same by its id. A read begins at it, so a snapshot that does not belong to the log is found out.
    pub event: EventId,
    /// When the first event occurred.
    pub created_at: OffsetDateTime,
    /// When the last event occurred.
    pub modified_at: OffsetDateTime,
    /// The state, as JSON.
    pub state: Vec<u8>,
}

/// When a repository takes snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    every: Option<NonZeroU64>,
    schema: u32,
}

impl SnapshotPolicy {
    /// After each append that completes `n` more events.
    #[must_use]
    pub const fn every(n: NonZeroU64) -> Self {
        Self { every: Some(n), schema: 1 }
    }

    /// Only by [`Repository::snapshot`](crate::Repository::snapshot).
    #[must_use]
    pub const fn manual() -> Self {
        Self { every: None, schema: 1 }
    }

    /// Raise it with each change of the state's form or of `apply`: snapshots of other numbers are not used. 1 at first.
    #[must_use]
    pub const fn schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// Whether a snapshot is due after the version went from `before` to `after`.
    pub(crate) fn is_due(self, before: u64, after: u64) -> bool {
        self.every.is_some_and(|every| before / every < after / every)
    }
}

/// The snapshots of one type of aggregates.
#[derive(Debug)]
pub(crate) struct Snapshots<A> {
    store: Arc<dyn SnapshotStore>,
    pub(crate) policy: SnapshotPolicy,
    encode: fn(&A) -> serde_json::Result<Vec<u8>>,
    decode: fn(&[u8]) -> serde_json::Result<A>,
}

impl<A: Aggregate> Snapshots<A> {
    pub(crate) fn new(store: Arc<dyn SnapshotStore>, policy: SnapshotPolicy) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        Self {
            store,
            policy,
            encode: serde_json::to_vec,
            decode: |bytes| serde_json::from_slice(bytes),
        }
    }

    /// A state to begin at, not proven yet.
    pub(crate) async fn load(&self, stream: &StreamId, at_most: u64) -> Option<Loaded<A>> {
        let found = self.store.load(&SnapshotKey::of(stream), at_most).await;
        let usable = |snapshot: Snapshot| -> Result<Option<Loaded<A>>, BoxError> {
            if snapshot.schema != self.policy.schema
                || snapshot.version == 0
                || snapshot.version > at_most
            {
                return Ok(None);
            }
            Ok(Some(Loaded {
                state: (self.decode)(&snapshot.state)?,
                version: snapshot.version,
                last: Some(Last { id: snapshot.event, sequence_number: snapshot.sequence_number }),
                created_at: Some(snapshot.created_at),
                modified_at: Some(snapshot.modified_at),
                is_discarded: false,
            }))
        };
        match found.and_then(|found| found.map_or(Ok(None), usable)) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%stream, %error, "annals.snapshot_unusable");
                None
            }
        }
    }

    /// Keeps `loaded`; what goes wrong is logged.
    pub(crate) async fn save(&self, stream: &StreamId, loaded: &Loaded<A>) {
        let (Some(last), Some(created_at), Some(modified_at), false) =
            (loaded.last, loaded.created_at, loaded.modified_at, loaded.is_discarded)
        else {
            return;
        };
        let kept = match (self.encode)(&loaded.state) {
            Ok(state) => {
                let snapshot = Snapshot {
                    schema: self.policy.schema,
                    version: loaded.version,
                    sequence_number: last.sequence_number,
                    event: last.id,
                    created_at,
                    modified_at,
                    state,
                };
                self.store.save(&SnapshotKey::of(stream), snapshot).await
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = kept {
            tracing::warn!(%stream, %error, "annals.snapshot_not_saved");
        }
    }

    pub(crate) async fn forget(&self, stream: &StreamId) {
        if let Err(error) = self.store.forget(&SnapshotKey::of(stream)).await {
            tracing::warn!(%stream, %error, "annals.snapshot_not_forgotten");
        }
    }
}

/// Snapshots in memory, for tests and for one process: the newest of each aggregate. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemorySnapshots(Arc<Mutex<HashMap<SnapshotKey, BTreeMap<u64, Snapshot>>>>);

/// How many snapshots of one aggregate are kept.
pub(crate) const KEPT: usize = 2;

impl MemorySnapshots {
    /// Without snapshots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The versions that are kept of an aggregate, ascending.
    #[must_use]
    pub fn versions(&self, key: &SnapshotKey) -> Vec<u64> {
        self.with(|all| all.get(key).map_or_else(Vec::new, |own| own.keys().copied().collect()))
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut HashMap<SnapshotKey, BTreeMap<u64, Snapshot>>) -> T,
    ) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl SnapshotStore for MemorySnapshots {
    async fn load(&self, key: &SnapshotKey, at_most: u64) -> Result<Option<Snapshot>, BoxError> {
        Ok(self.with(|all| Some(all.get(key)?.range(..=at_most).next_back()?.1.clone())))
    }

    async fn save(&self, key: &SnapshotKey, snapshot: Snapshot) -> Result<(), BoxError> {
        self.with(|all| {
            let own = all.entry(key.clone()).or_default();
            own.insert(snapshot.version, snapshot);
            while own.len() > KEPT {
                own.pop_first();
            }
        });
        Ok(())
    }

    async fn forget(&self, key: &SnapshotKey) -> Result<(), BoxError> {
        self.with(|all| all.remove(key));
        Ok(())
    }
}
