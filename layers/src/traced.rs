//! The layer that says what happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::adapter::async_trait;
use annals::{
    Append, Capabilities, Error, EventPages, Query, ReadOptions, Result, StorageAdapter,
    StoredEvent,
};
use futures_util::{StreamExt, stream};
use tracing::{Instrument, debug_span, field};

/// Wraps any adapter: a `tracing` span for each append (`annals.append`) and each page (`annals.page`), target
/// `annals_layers::traced` at debug level, and counters. Neither shows what an event says.
///
/// The spans have the fields `adapter`, `events`, `streams` of an append or `query` of a page, and `outcome`: `ok`,
/// `refused` (a condition, or a known id) or `failed`. A subscriber that times spans has latencies.
#[derive(Debug, Clone)]
pub struct Traced<A> {
    inner: A,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    appends: AtomicU64,
    appended: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    reads: AtomicU64,
    pages: AtomicU64,
    read: AtomicU64,
}

/// What passed through a [`Traced`] and its clones so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Appends that ended.
    pub appends: u64,
    /// Events that were appended.
    pub appended: u64,
    /// Appends that a condition or a known id refused.
    pub refused: u64,
    /// Appends and pages that failed otherwise.
    pub failed: u64,
    /// Reads that began.
    pub reads: u64,
    /// Pages that were read.
    pub pages: u64,
    /// Events that were read.
    pub read: u64,
}

impl<A> Traced<A> {
    /// Traces the calls of `inner`.
    pub fn new(inner: A) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// The adapter inside.
    pub const fn inner(&self) -> &A {
        &self.inner
    }

    /// The counters now. Each is right in itself; they are not of one moment.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let it = &self.counters;
        Metrics {
            appends: get(&it.appends),
            appended: get(&it.appended),
            refused: get(&it.refused),
            failed: get(&it.failed),
            reads: get(&it.reads),
            pages: get(&it.pages),
            read: get(&it.read),
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

fn outcome<T>(of: &Result<T>) -> &'static str {
    match of {
        Ok(_) => "ok",
        Err(Error::ConditionFailed(_) | Error::DuplicateEvent(_)) => "refused",
        Err(_) => "failed",
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Traced<A> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        let events: usize = writes.iter().map(|write| write.events.len()).sum();
        let span = debug_span!(
            "annals.append",
            adapter = self.name(),
            streams = writes.len(),
            events,
            outcome = field::Empty
        );
        let stored = self.inner.append(writes).instrument(span.clone()).await;
        span.record("outcome", outcome(&stored));
        let counters = &self.counters;
        add(&counters.appends, 1);
        match &stored {
            Ok(stored) => add(&counters.appended, stored.len()),
            Err(Error::ConditionFailed(_) | Error::DuplicateEvent(_)) => add(&counters.refused, 1),
            Err(_) => add(&counters.failed, 1),
        }
        stored
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let counters = Arc::clone(&self.counters);
        add(&counters.reads, 1);
        let name: Arc<str> = self.name().into();
        let shown: Arc<str> = query.to_string().into();
        let pages = self.inner.read(query, options);
        stream::unfold((pages, counters, name, shown), |(mut pages, counters, name, shown)| async {
            let span = debug_span!(
                "annals.page",
                adapter = &*name,
                query = &*shown,
                events = field::Empty,
                outcome = field::Empty
            );
            let page = pages.next().instrument(span.clone()).await?;
            span.record("outcome", outcome(&page));
            match &page {
                Ok(page) => {
                    span.record("events", page.events.len());
                    add(&counters.pages, 1);
                    add(&counters.read, page.events.len());
                }
                Err(_) => add(&counters.failed, 1),
            }
            Some((page, (pages, counters, name, shown)))
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
