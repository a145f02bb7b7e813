//! What checks of state stores share: how a store is opened, and short ways to write and look.

use std::sync::Arc;

use crate::generate::valid;
use crate::state::hook::{Cut, Hook, Work};
use annals::{BoxError, Payload};
use annals_state::{
    CollectionName, Commit, DocumentId, DocumentKey, Expected, IndexName, Revision, Scan, Scanned,
    StateStore, Write, get_all,
};
use async_trait::async_trait;
use futures_util::TryStreamExt;

/// The contract of [`annals_state::StateStore`], whose documentation explains each rule.
#[derive(Debug, Clone, Copy)]
pub struct State;

/// A state store of any kind.
pub type Store = Arc<dyn StateStore>;

/// How checks get at a store. Only [`open`](Self::open) is required; each hook unlocks checks of its own, which are otherwise
/// reported as not run.
#[async_trait]
pub trait Open: Send + Sync + 'static {
    /// A handle to the store of this namespace: each time to the same one, and to what it kept if all handles were
    /// closed. A store that is not `durable` may be empty then. Checks use names of their own, so a store that outlives
    /// its handles may be the same for all namespaces; one that a handle closes for all others may not.
    async fn open(&self, namespace: &str) -> Store;

    /// The hooks that this harness offers.
    fn hooks(&self) -> &[Hook] {
        &[]
    }

    /// Lets `work` commit to the store of its namespace until so many commits were acknowledged, kills what keeps the store
    /// as `kill -9` does, and returns what the work said; for [`Hook::Kill`]. That is the process of a store that lives in
    /// one, see [`Work::kill_child`], or the server of one that has a server: [`Work::run`] ends when that is gone, and it
    /// is started again. [`open`](Self::open) of the same namespace then opens what survived.
    async fn kill(&self, work: &Work, acknowledged: usize) -> Result<Vec<String>, BoxError> {
        let _ = (work, acknowledged);
        Err("the harness kills nothing".into())
    }

    /// Opens the store of a namespace over a way that can be cut; for [`Hook::Cut`]. What [`open`](Self::open) returns has
    /// another way.
    async fn open_cut(&self, namespace: &str) -> Result<(Store, Arc<dyn Cut>), BoxError> {
        let _ = namespace;
        Err("the harness cuts nothing".into())
    }
}

/// What a check works with: a store, and a collection of its own.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) engine: crate::engine::Context<State>,
    pub(super) things: CollectionName,
}

/// The index of all checks.
pub(super) const BY: IndexName = IndexName::from_static("by");

impl Context {
    /// A collection of its own in the store of the check.
    pub(super) fn new(engine: crate::engine::Context<State>) -> Self {
        let name = format!("things-{}", annals::EventId::generate().as_uuid().simple());
        Self { engine, things: valid(CollectionName::new(name)) }
    }

    /// The same with another collection.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.engine.clone())
    }

    pub(super) async fn open(&self) -> Store {
        self.engine.harness().open(self.engine.namespace()).await
    }

    pub(super) fn key(&self, id: &str) -> DocumentKey {
        DocumentKey { collection: self.things.clone(), id: DocumentId::new(id).unwrap() }
    }

    pub(super) fn put(&self, id: &str, expected: Expected) -> Write {
        Write::put(self.key(id), body(id), expected)
    }

    pub(super) fn guard(&self, id: &str, expected: Expected) -> Write {
        Write::guard(self.key(id), expected)
    }

    pub(super) fn delete(&self, id: &str, expected: Expected) -> Write {
        Write::delete(self.key(id), expected)
    }

    pub(super) fn ids(&self) -> Scan {
        Scan::along_ids(self.things.clone())
    }

    pub(super) fn by(&self) -> Scan {
        Scan::along(self.things.clone(), BY)
    }

    pub(super) async fn revision(&self, store: &Store, id: &str) -> Option<Revision> {
        let got = get_all(store, vec![self.key(id)]).await.unwrap();
        got[0].as_ref().map(|document| document.revision)
    }
}

pub(super) fn body(text: &str) -> Payload {
    Payload::bytes(text.as_bytes().to_vec())
}

pub(super) async fn commit(store: &Store, writes: impl IntoIterator<Item = Write>) -> Revision {
    let commit = Commit::new(writes);
    let revision = commit.revision;
    store.commit(commit).await.unwrap();
    revision
}

/// All that a scan returns.
pub(super) async fn scanned(store: &Store, scan: Scan) -> Vec<Scanned> {
    let pages: Vec<Vec<Scanned>> = store.scan(scan).try_collect().await.unwrap();
    assert!(pages.iter().all(|page| !page.is_empty()), "a scan has an empty page");
    pages.into_iter().flatten().collect()
}

/// The ids that a scan returns.
pub(super) async fn found(store: &Store, scan: Scan) -> Vec<String> {
    let found = scanned(store, scan).await;
    found.into_iter().map(|one| one.document.key.id.as_str().to_owned()).collect()
}
