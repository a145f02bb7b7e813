//! Snapshots in a state store.

use std::fmt;
use std::sync::Arc;

use annals::{BoxError, Payload};
use annals_state::{
    CollectionName, Document, DocumentId, DocumentKey, Expected, Scan, StateStore, Sweep, Swept,
    Write, prefix_end,
};
use async_trait::async_trait;
use bytes::{BufMut, BytesMut};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::snapshot::{KEPT, Snapshot, SnapshotKey, SnapshotStore};

const COLLECTION: CollectionName = CollectionName::from_static("annals.snapshots");
/// Namespaces the hashes in ids of documents.
const NAMESPACE: Uuid = Uuid::from_u128(0x1e5c_8f0e_44d1_5c0a_9b1d_2f8b_76a5_c3d2);

type Belongs = Arc<dyn Fn(&SnapshotKey, &str) -> bool + Send + Sync>;

/// Snapshots as documents of any [`StateStore`], in the collection `annals.snapshots`: the two newest of each aggregate.
///
/// As a [`Sweep`] it removes the snapshots of a subject, by default all of them: a snapshot is never needed.
#[derive(Clone)]
pub struct StateSnapshots<S> {
    store: S,
    belongs: Belongs,
}

/// What precedes the state in a document's body.
#[derive(Serialize, Deserialize)]
struct Head {
    key: SnapshotKey,
    snapshot: Snapshot,
}

impl<S: StateStore> StateSnapshots<S> {
    /// Snapshots in `store`.
    pub fn new(store: S) -> Self {
        Self { store, belongs: Arc::new(|_, _| true) }
    }

    /// Says which aggregates hold data of a subject, so that a sweep leaves the others' snapshots.
    #[must_use]
    pub fn with_subjects(
        mut self,
        belongs: impl Fn(&SnapshotKey, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.belongs = Arc::new(belongs);
        self
    }

    /// Removes all snapshots of one category.
    ///
    /// # Errors
    /// Those of the store. What was removed before the error stays removed.
    ///
    /// # Cancel safety
    /// Some may be removed and others not; call it again.
    pub async fn forget_kind(&self, kind: &str) -> Result<(), BoxError> {
        self.delete_all(&hash(kind)).await
    }

    /// The newest documents of an aggregate before `below`, the newest first.
    async fn newest(
        &self,
        prefix: &str,
        below: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Document>, BoxError> {
        let mut scan = Scan::along_ids(COLLECTION).from(prefix.to_owned()).backward().limit(limit);
        scan.to = match below {
            Some(version) => Some(format!("{prefix}{version:020}").into()),
            None => prefix_end(prefix.as_bytes()),
        };
        let pages: Vec<_> = self.store.scan(scan).try_collect().await?;
        Ok(pages.into_iter().flatten().map(|scanned| scanned.document).collect())
    }

    async fn delete_all(&self, prefix: &str) -> Result<(), BoxError> {
        loop {
            let most = u64::from(self.store.capabilities().max_writes).clamp(1, 100);
            let found = self.newest(prefix, None, most).await?;
            if found.is_empty() {
                return Ok(());
            }
            let deletes =
                found.into_iter().map(|document| Write::delete(document.key, Expected::Any));
            self.store.commit(annals_state::Commit::new(deletes)).await?;
        }
    }
}

/// What begins the ids of the documents of an aggregate. Names may be as long as an id, so they are hashed.
fn prefix(key: &SnapshotKey) -> String {
    format!("{}.{}.", hash(&key.kind), hash(&key.id))
}

fn hash(text: &str) -> String {
    Uuid::new_v5(&NAMESPACE, text.as_bytes()).simple().to_string()
}

/// The head as JSON behind its length in 4 bytes, then the state.
fn encode(key: &SnapshotKey, mut snapshot: Snapshot) -> Result<Payload, BoxError> {
    let state = std::mem::take(&mut snapshot.state);
    let head = serde_json::to_vec(&Head { key: key.clone(), snapshot })?;
    let mut body = BytesMut::with_capacity(4 + head.len() + state.len());
    body.put_u32(u32::try_from(head.len())?);
    body.put_slice(&head);
    body.put_slice(&state);
    Ok(Payload::bytes(body.freeze()))
}

fn decode(document: &Document) -> Result<Head, BoxError> {
    let cut = || format!("snapshot {} is cut", document.key);
    let body = document.body.as_bytes();
    let (length, rest) = body.split_first_chunk().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length))?;
    let (head, state) = rest.split_at_checked(length).ok_or_else(cut)?;
    let mut head: Head = serde_json::from_slice(head)?;
    head.snapshot.state = state.to_vec();
    Ok(head)
}

#[async_trait]
impl<S: StateStore> SnapshotStore for StateSnapshots<S> {
    async fn load(&self, key: &SnapshotKey, at_most: u64) -> Result<Option<Snapshot>, BoxError> {
        let newest = self.newest(&prefix(key), at_most.checked_add(1), 1).await?;
        let head = newest.first().map(decode).transpose()?;
        Ok(head.filter(|head| head.key == *key).map(|head| head.snapshot))
    }

    async fn save(&self, key: &SnapshotKey, snapshot: Snapshot) -> Result<(), BoxError> {
        let prefix = prefix(key);
        let id = DocumentId::new(format!("{prefix}{:020}", snapshot.version))?;
        let kept = self.newest(&prefix, None, u64::try_from(KEPT)? + 8).await?;
        let newer = kept.iter().filter(|one| one.key.id > id).count();
        if newer >= KEPT {
            return Ok(());
        }
        let place = DocumentKey { collection: COLLECTION, id };
        let old = kept.into_iter().filter(|one| one.key.id < place.id).skip(KEPT - 1 - newer);
        let mut writes: Vec<_> = old.map(|one| Write::delete(one.key, Expected::Any)).collect();
        writes.push(Write::put(place, encode(key, snapshot)?, Expected::Any));
        self.store.commit(annals_state::Commit::new(writes)).await?;
        Ok(())
    }

    async fn forget(&self, key: &SnapshotKey) -> Result<(), BoxError> {
        self.delete_all(&prefix(key)).await
    }
}

#[async_trait]
impl<S: StateStore> Sweep for StateSnapshots<S> {
    async fn forget(&self, subject: &str) -> annals_state::Result<Swept> {
        let (mut looked_at, mut removed) = (0, 0);
        let mut pages = self.store.scan(Scan::along_ids(COLLECTION));
        while let Some(page) = pages.try_next().await? {
            for found in page {
                looked_at += 1;
                // One that cannot be read may hold anything.
                if decode(&found.document).is_ok_and(|head| !(self.belongs)(&head.key, subject)) {
                    continue;
                }
                let delete = Write::delete(found.document.key, Expected::Any);
                self.store.commit(annals_state::Commit::new([delete])).await?;
                removed += 1;
            }
        }
        Ok(Swept::new(looked_at, removed))
    }
}

impl<S: fmt::Debug> fmt::Debug for StateSnapshots<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateSnapshots").field("store", &self.store).finish_non_exhaustive()
    }
}
