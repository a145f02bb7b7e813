//! An adapter that fails and waits where a test wants it to.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use annals::{
    Append, Capabilities, Error, EventPages, Query, ReadOptions, Result, StorageAdapter,
    StoredEvent,
};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

/// Wraps any adapter, and puts faults into its calls. Clones share the faults.
///
/// ```
/// # use annals::*;
/// # use annals_memory::MemoryAdapter;
/// use annals_testkit::{Fault, Faulty, NewEventBuilder, Point};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let faulty = Faulty::new(MemoryAdapter::new());
/// let stream = EventStore::new(faulty.clone()).stream(StreamId::from_static("orders", "o-1"));
///
/// // The append is made, and its answer is lost.
/// faulty.inject(Point::AfterAppend, Fault::error(Error::outcome_unknown("the line is dead")));
/// let event = NewEventBuilder::new().build();
/// let outcome = stream.append([event.clone()], WriteCondition::StreamIsEmpty).await;
/// assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))));
///
/// // Who tries again with the same id learns that it was made.
/// let again = stream.append([event], WriteCondition::StreamIsEmpty).await;
/// assert!(matches!(again, Err(Error::DuplicateEvent(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Faulty<A> {
    inner: A,
    plan: Arc<Plan>,
}

/// Where a call meets a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Point {
    /// Before an append: after an error nothing is written.
    BeforeAppend,
    /// After an append that was made. To keep rule A5 of the contract, the error is `OutcomeUnknown`.
    AfterAppend,
    /// Before the page of this number of a read, counted from 0; an error ends the read. A read of k pages asks
    /// for page k too, and learns that there is none.
    Page(usize),
}

/// What a call meets: it waits, it fails, or both in this order.
pub struct Fault {
    delay: Option<BoxFuture<'static, ()>>,
    error: Option<Error>,
}

impl Fault {
    /// The call fails.
    #[must_use]
    pub fn error(error: Error) -> Self {
        Self { delay: None, error: Some(error) }
    }

    /// The call waits for `until`, which may be a sleep of your runtime, a signal of your test, or [`polls`].
    pub fn delay(until: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { delay: Some(until.boxed()), error: None }
    }

    /// The call waits for `until` first.
    #[must_use]
    pub fn after(mut self, until: impl Future<Output = ()> + Send + 'static) -> Self {
        self.delay = Some(until.boxed());
        self
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("delays", &self.delay.is_some())
            .field("error", &self.error)
            .finish()
    }
}

/// Is ready when it was polled so many times more: a delay on any runtime.
///
/// # Cancel safety
/// It changes nothing.
pub async fn polls(mut times: usize) {
    std::future::poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The faults to come at each point, in order.
#[derive(Debug, Default)]
struct Plan(Mutex<HashMap<Point, VecDeque<Fault>>>);

impl Plan {
    fn next(&self, point: Point) -> Option<Fault> {
        self.faults().get_mut(&point)?.pop_front()
    }

    fn faults(&self) -> MutexGuard<'_, HashMap<Point, VecDeque<Fault>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the call meet the next fault of this point, if there is one.
    async fn meet(&self, point: Point) -> Result<()> {
        let Some(fault) = self.next(point) else { return Ok(()) };
        if let Some(delay) = fault.delay {
            delay.await;
        }
        fault.error.map_or(Ok(()), Err)
    }
}

impl<A> Faulty<A> {
    /// Calls of `inner`, without faults so far.
    pub fn new(inner: A) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// The adapter inside.
    pub const fn inner(&self) -> &A {
        &self.inner
    }

    /// The next call that comes to `point` meets `fault`, once. A second one is met by the call after that.
    pub fn inject(&self, point: Point, fault: Fault) {
        self.plan.faults().entry(point).or_default().push_back(fault);
    }

    /// How many faults no call has met yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.plan.faults().values().map(VecDeque::len).sum()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<A: StorageAdapter> StorageAdapter for Faulty<A> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.plan.meet(Point::BeforeAppend).await?;
        let stored = self.inner.append(writes).await?;
        self.plan.meet(Point::AfterAppend).await?;
        Ok(stored)
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let pages = self.inner.read(query, options);
        let state = (Arc::clone(&self.plan), Some(pages), 0);
        stream::unfold(state, |(plan, pages, nth)| async move {
            let mut pages = pages?;
            if let Err(error) = plan.meet(Point::Page(nth)).await {
                return Some((Err(error), (plan, None, nth)));
            }
            let page = pages.next().await?;
            let rest = page.is_ok().then_some(pages);
            Some((page, (plan, rest, nth + 1)))
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
