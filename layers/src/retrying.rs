//! The layer that calls again.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use annals::adapter::async_trait;
use annals::{
    Append, Capabilities, Direction, Error, EventId, EventPages, KnownIds, Page, Query, QueryItem,
    ReadOptions, Result, SequenceNumber, StorageAdapter, StoredEvent,
};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use crate::decode::of_append;

/// How to wait: the sleep of the application's runtime. A function that returns a boxed future is one.
pub trait Sleep: Send + Sync + 'static {
    /// Completes after `time`.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

impl<F: Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static> Sleep for F {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self(time)
    }
}

/// How often to call, and how long to wait in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// How often a call is made, the first time included.
    pub attempts: NonZeroU32,
    /// The wait before the second attempt. It doubles with each; between half and all of it is waited, by chance.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
}

impl Backoff {
    /// So many attempts, with waits from 50 ms to 5 s.
    #[must_use]
    pub const fn new(attempts: NonZeroU32) -> Self {
        Self { attempts, first: Duration::from_millis(50), most: Duration::from_secs(5) }
    }

    /// Waits from `first` to `most`.
    #[must_use]
    pub const fn with_waits(mut self, first: Duration, most: Duration) -> Self {
        self.first = first;
        self.most = most;
        self
    }

    fn wait(&self, failed: u32) -> Duration {
        let full = self.first.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
        let half = full.min(self.most) / 2;
        // Seeded anew each time: callers that failed at one moment do not call again at one moment.
        let chance = u32::try_from(RandomState::new().build_hasher().finish() & 0xFF).unwrap_or(0);
        half + half * chance / 0xFF
    }
}

/// Wraps any adapter, and makes a call again that failed for a time.
///
/// - An append that was `Unavailable` is made again. After `OutcomeUnknown` it is made again with the same ids: if the
///   first one was written, the store recognises them, and what it stored is returned.
/// - A read goes on behind what it has returned, after a look whether the last event that it returned is still there; if
///   not, it ends with `AheadOfLog`. Each page makes the attempts full again.
///
/// Out of attempts, a call returns the last error; an append whose outcome was once unknown stays `OutcomeUnknown`.
pub struct Retrying<A> {
    inner: Arc<A>,
    sleep: Arc<dyn Sleep>,
    waits: Backoff,
}

impl<A> Clone for Retrying<A> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), sleep: Arc::clone(&self.sleep), waits: self.waits }
    }
}

impl<A: fmt::Debug> fmt::Debug for Retrying<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Retrying");
        shown.field("inner", &self.inner).field("waits", &self.waits).finish_non_exhaustive()
    }
}

impl<A: StorageAdapter> Retrying<A> {
    /// Calls `inner` as often as `waits` says.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if `inner` does not recognise the ids of all its events: an append that is repeated late
    /// could be written twice.
    pub fn new(inner: A, sleep: impl Sleep, waits: Backoff) -> Result<Self> {
        if inner.capabilities().known_ids < KnownIds::Forever {
            return Err(Error::unsupported(inner.name(), "retries: it forgets ids of events"));
        }
        Ok(Self { inner: Arc::new(inner), sleep: Arc::new(sleep), waits })
    }

    /// The adapter inside.
    #[must_use]
    pub fn inner(&self) -> &A {
        &self.inner
    }

    async fn wait(&self, failed: u32) {
        self.sleep.sleep(self.waits.wait(failed)).await;
    }

    /// What an earlier attempt of this call stored; `None` if the ids are those of other events.
    async fn stored(&self, writes: &[Append]) -> Result<Option<Vec<StoredEvent>>> {
        let events = || {
            writes
                .iter()
                .flat_map(|write| write.events.iter().map(move |event| (&write.stream, event)))
        };
        let ids: Vec<EventId> = events().map(|(_, event)| event.id).collect();
        let query = QueryItem::new(annals::Source::Log).with_ids(ids).into();
        let mut pages = self.inner.read(query, ReadOptions::default());
        let mut found = std::collections::HashMap::new();
        while let Some(page) = pages.next().await {
            found.extend(page?.events.into_iter().map(|event| (event.id(), event)));
        }
        let own = |(stream, event): (&annals::StreamId, &annals::NewEvent)| {
            let stored = found.remove(&event.id)?;
            let at = annals::adapter::cut_to_micros(event.occurred_at);
            let mut event = event.clone();
            event.occurred_at = at;
            (stored.stream == *stream && stored.event == event).then_some(stored)
        };
        Ok(events().map(own).collect())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Retrying<A> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        let mut unknown = None;
        // Whether an earlier attempt may be what the store recognises now.
        let mut looks_up = false;
        let mut failed = 0;
        loop {
            let outcome = if looks_up {
                self.stored(&writes).await.map_err(of_append)
            } else {
                self.inner.append(writes.clone()).await.map(Some)
            };
            let error = match outcome {
                Ok(Some(stored)) => return Ok(stored),
                // The ids are somebody else's.
                Ok(None) => return self.inner.append(writes).await,
                Err(Error::DuplicateEvent(_)) if unknown.is_some() && !looks_up => {
                    looks_up = true;
                    continue;
                }
                Err(error @ (Error::Unavailable(_) | Error::OutcomeUnknown(_))) => error,
                // Not written now; nor before, or the store would have recognised the ids.
                Err(error @ (Error::ConditionFailed(_) | Error::DuplicateEvent(_))) => {
                    return Err(error);
                }
                Err(error) => return Err(unknown.unwrap_or(error)),
            };
            failed += 1;
            if failed >= self.waits.attempts.get() {
                return Err(unknown.unwrap_or(error));
            }
            if error.is_outcome_unknown() {
                unknown = Some(error);
            }
            self.wait(failed).await;
        }
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let reading = Reading {
            layer: self.clone(),
            query,
            options,
            pages: None,
            last: None,
            failed: 0,
            is_done: false,
        };
        stream::unfold(reading, |mut reading| async {
            let page = reading.next().await?;
            reading.is_done = page.is_err();
            Some((page, reading))
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct Reading<A> {
    layer: Retrying<A>,
    query: Query,
    /// What is left to read.
    options: ReadOptions,
    pages: Option<EventPages>,
    last: Option<StoredEvent>,
    failed: u32,
    is_done: bool,
}

impl<A: StorageAdapter> Reading<A> {
    async fn next(&mut self) -> Option<Result<Page>> {
        while !self.is_done {
            let error = match self.step().await {
                Ok(page) => return page.map(Ok),
                Err(error) => error,
            };
            self.pages = None;
            self.failed += 1;
            if !error.is_retryable() || self.failed >= self.layer.waits.attempts.get() {
                return Some(Err(error));
            }
            self.layer.wait(self.failed).await;
        }
        None
    }

    /// The next page of the read that is under way, or of one that goes on behind what was returned.
    async fn step(&mut self) -> Result<Option<Page>> {
        let pages = match &mut self.pages {
            Some(pages) => pages,
            none => {
                if self.failed > 0 {
                    check_last(&*self.layer.inner, self.last.as_ref(), &self.options).await?;
                }
                none.insert(self.layer.inner.read(self.query.clone(), self.options))
            }
        };
        let Some(page) = pages.next().await.transpose()? else { return Ok(None) };
        self.failed = 0;
        match self.options.direction {
            Direction::Forward => self.options.after = page.through,
            // It has returned everything down to this number.
            Direction::Backward => {
                self.options.until = Some(page.through.prev().unwrap_or(SequenceNumber::START));
            }
        }
        let left = |left: u64| left.saturating_sub(page.events.len() as u64);
        self.options.limit = self.options.limit.map(left);
        self.last = page.events.last().cloned().or_else(|| self.last.take());
        self.is_done = self.options.limit == Some(0) || (page.at_head && !self.options.follow);
        Ok(Some(page))
    }
}

/// Looks for the last event that a read returned, at its place: what a store has after a restore is another log.
async fn check_last(
    inner: &dyn StorageAdapter,
    last: Option<&StoredEvent>,
    options: &ReadOptions,
) -> Result<()> {
    let Some(last) = last else { return Ok(()) };
    let place = ReadOptions::default().from_position(last.position).until_position(last.position);
    let mut pages = inner.read(last.stream.clone().into(), place);
    let mut head = SequenceNumber::START;
    while let Some(page) = pages.next().await {
        let page = page?;
        head = page.through;
        let same = |event: &StoredEvent| {
            event.id() == last.id() && event.sequence_number == last.sequence_number
        };
        if page.events.iter().any(same) {
            return Ok(());
        }
    }
    let after = options.after.max(last.sequence_number);
    Err(Error::AheadOfLog { after, head: head.min(after) })
}
