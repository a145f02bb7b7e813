//! A store around a store, in which something happens at the worst moment.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use annals_state::{
    Commit, DocumentKey, DocumentPages, Got, Result, Scan, StateCapabilities, StateError,
    StateStore, async_trait,
};
use futures_util::{StreamExt, future, stream};

use super::Store;

type Hook<A> = Box<dyn Fn(A) -> future::BoxFuture<'static, ()> + Send + Sync>;
/// A store around a store, in which something happens at the worst moment.
pub(crate) struct Meddling {
    pub(crate) inner: Store,
    pub(crate) before_commit: Option<Hook<Commit>>,
    pub(crate) before_scan: Arc<Mutex<Option<Hook<()>>>>,
    pub(crate) between_pages: Arc<Mutex<Option<Hook<()>>>>,
    pub(crate) commits_left: AtomicUsize,
    pub(crate) scanned: Arc<AtomicUsize>,
}
impl Meddling {
    pub(crate) fn new(inner: Store) -> Self {
        Self {
            inner,
            before_commit: None,
            before_scan: Arc::default(),
            between_pages: Arc::default(),
            commits_left: AtomicUsize::new(usize::MAX),
            scanned: Arc::default(),
        }
    }

    pub(crate) fn failing_after(self, commits: usize) -> Self {
        Self { commits_left: AtomicUsize::new(commits), ..self }
    }

    pub(crate) fn before_commit(
        self,
        hook: impl Fn(Commit) -> future::BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self { before_commit: Some(Box::new(hook)), ..self }
    }

    /// Once, before the first scan.
    pub(crate) fn before_scan(
        self,
        hook: impl Fn() -> future::BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let hook: Hook<()> = Box::new(move |()| hook());
        Self { before_scan: Arc::new(Mutex::new(Some(hook))), ..self }
    }

    /// Once, after the first page of the first scan that has a second one.
    pub(crate) fn between_pages(
        self,
        hook: impl Fn() -> future::BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let hook: Hook<()> = Box::new(move |()| hook());
        Self { between_pages: Arc::new(Mutex::new(Some(hook))), ..self }
    }
}
impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meddling")
    }
}
#[async_trait]
impl StateStore for Meddling {
    fn name(&self) -> &'static str {
        "meddling"
    }

    fn capabilities(&self) -> StateCapabilities {
        self.inner.capabilities()
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        let left = self.commits_left.fetch_sub(1, Ordering::Relaxed);
        if left == 0 {
            self.commits_left.store(0, Ordering::Relaxed);
            return Err(StateError::unavailable("as the test wants it").at(self.name(), "commit"));
        }
        if let Some(hook) = &self.before_commit {
            hook(commit.clone()).await;
        }
        self.inner.commit(commit).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got> {
        self.inner.get(keys).await
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        let (hook, scanned) = (Arc::clone(&self.between_pages), Arc::clone(&self.scanned));
        let (first, inner) = (self.before_scan.lock().unwrap().take(), Arc::clone(&self.inner));
        let pages = stream::once(async move {
            if let Some(first) = first {
                first(()).await;
            }
            inner.scan(scan)
        })
        .flatten();
        pages
            .enumerate()
            .then(move |(nth, page)| {
                let hook = (nth == 0).then(|| hook.lock().unwrap().take()).flatten();
                scanned.fetch_add(page.as_ref().map_or(0, Vec::len), Ordering::Relaxed);
                async move {
                    if let Some(hook) = hook {
                        hook(()).await;
                    }
                    page
                }
            })
            .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
