//! Stores around a store: one that counts what a former owner is refused, and one that does not refuse it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use annals_state::{
    Commit, DocumentKey, DocumentPages, Got, Scan, StateCapabilities, StateError, StateStore,
};

/// Counts the commits that were refused because another node has the part.
#[derive(Debug, Clone)]
pub(crate) struct Refusals {
    pub(crate) inner: Arc<dyn StateStore>,
    pub(crate) count: Arc<AtomicUsize>,
}
#[annals_state::async_trait]
impl StateStore for Refusals {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> StateCapabilities {
        self.inner.capabilities()
    }

    async fn commit(&self, commit: Commit) -> annals_state::Result<()> {
        // A view's commit, not the claim of a node.
        let is_view = commit.writes.iter().any(|one| one.key.collection.as_str() == "numbers");
        let outcome = self.inner.commit(commit).await;
        if let Err(StateError::Conflict(conflict)) = &outcome
            && is_view
            && conflict.key.collection.as_str() == "annals.tracking"
        {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        outcome
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> annals_state::Result<Got> {
        self.inner.get(keys).await
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        self.inner.scan(scan)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
/// A store that is broken so that groups over it are: it takes what a former owner commits, as one does that looks at the
/// owner's name and not at the revision, and it lets two nodes take one part.
#[derive(Debug, Clone)]
pub(crate) struct Bent(pub(crate) Arc<dyn StateStore>);
#[annals_state::async_trait]
impl StateStore for Bent {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> StateCapabilities {
        self.0.capabilities()
    }

    async fn commit(&self, mut commit: Commit) -> annals_state::Result<()> {
        for write in &mut commit.writes {
            if write.key.collection.as_str() == "annals.tracking" {
                write.expected = annals_state::Expected::Any;
            }
        }
        self.0.commit(commit).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> annals_state::Result<Got> {
        self.0.get(keys).await
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        self.0.scan(scan)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
