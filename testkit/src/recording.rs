//! An adapter that remembers how it was called.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::{
    Append, Capabilities, EventPages, Query, ReadOptions, Result, StorageAdapter, StoredEvent,
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use crate::error::chain;

/// How many calls are kept; of more, the last ones.
const KEPT: usize = 10_000;

/// Wraps any adapter, and records what it is asked and what it answers. Clones share the record.
///
/// ```
/// # use annals::*;
/// # use annals_memory::MemoryAdapter;
/// use annals_testkit::{Recording, Request};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let recording = Recording::new(MemoryAdapter::new());
/// let store = EventStore::new(recording.clone());
/// store.log().latest().await?;
///
/// let calls = recording.calls();
/// assert!(matches!(&calls[0].request, Request::Read(query, _) if query.scope() == Some(Source::Log)));
/// assert_eq!(calls[0].events, []);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Recording<A> {
    inner: A,
    calls: Arc<Mutex<Calls>>,
}

/// What an adapter was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Request {
    /// To append.
    Append(Vec<Append>),
    /// To read.
    Read(Query, ReadOptions),
}

/// A call of an adapter, and what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// What it was asked.
    pub request: Request,
    /// The events that it has given so far.
    pub events: Vec<StoredEvent>,
    /// How many pages they came in; of an append 0.
    pub pages: usize,
    /// How it ended: well, or with an error and its causes as text. `None`: it is under way, or was dropped.
    pub ended: Option<Result<(), String>>,
}

#[derive(Debug, Default)]
struct Calls {
    /// The number of the first call that is kept.
    first: usize,
    kept: VecDeque<Call>,
}

impl<A> Recording<A> {
    /// Records the calls of `inner`.
    pub fn new(inner: A) -> Self {
        Self { inner, calls: Arc::default() }
    }

    /// The adapter inside.
    pub const fn inner(&self) -> &A {
        &self.inner
    }

    /// The calls so far, in the order in which they began; of more than 10 000 the last.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).kept.iter().cloned().collect()
    }

    /// The calls so far, which are then forgotten.
    #[must_use]
    pub fn take(&self) -> Vec<Call> {
        let mut calls = lock(&self.calls);
        calls.first += calls.kept.len();
        calls.kept.drain(..).collect()
    }

    fn begin(&self, request: Request) -> Entry {
        let mut calls = lock(&self.calls);
        if calls.kept.len() == KEPT {
            calls.kept.pop_front();
            calls.first += 1;
        }
        let number = calls.first + calls.kept.len();
        calls.kept.push_back(Call { request, events: Vec::new(), pages: 0, ended: None });
        Entry { calls: Arc::clone(&self.calls), number }
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of a call in the record.
struct Entry {
    calls: Arc<Mutex<Calls>>,
    number: usize,
}

impl Entry {
    /// Changes the call, unless it is forgotten.
    fn note(&self, change: impl FnOnce(&mut Call)) {
        let mut calls = lock(&self.calls);
        let place = self.number.checked_sub(calls.first);
        if let Some(call) = place.and_then(|place| calls.kept.get_mut(place)) {
            change(call);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Recording<A> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        let entry = self.begin(Request::Append(writes.clone()));
        let outcome = self.inner.append(writes).await;
        entry.note(|call| {
            call.events.extend(outcome.iter().flatten().cloned());
            call.ended = Some(outcome.as_ref().map(|_| ()).map_err(|error| chain(error)));
        });
        outcome
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let entry = self.begin(Request::Read(query.clone(), options));
        let pages = self.inner.read(query, options);
        stream::unfold((pages, entry), |(mut pages, entry)| async move {
            let page = pages.next().await;
            entry.note(|call| match &page {
                None => call.ended = call.ended.take().or(Some(Ok(()))),
                Some(Err(error)) => call.ended = Some(Err(chain(error))),
                Some(Ok(page)) => {
                    call.pages += 1;
                    call.events.extend(page.events.iter().cloned());
                }
            });
            Some((page?, (pages, entry)))
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
