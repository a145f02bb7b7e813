//! The in-memory adapter of [Annals](annals): the whole contract in the memory of one process.
//!
//! It is the reference for what every adapter does, and fast enough for real work that needs no disk: an append
//! takes one short lock, a read takes a shared one for each page and none between, and events are shared with
//! readers, never copied. Nothing survives the process.
//!
//! ```
//! # use annals::*;
//! # use annals_memory::MemoryAdapter;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let store = EventStore::new(MemoryAdapter::new());
//! let orders = StreamId::new("orders", "o-1")?;
//! let placed = NewEvent::json("order-placed", &serde_json::json!({ "total": 12 }))?;
//! store.stream(orders).append([placed], WriteCondition::StreamIsEmpty).await?;
//! assert_eq!(store.log().read(ReadOptions::default()).into_vec().await?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod ids;
mod log;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use annals::{
    Append, Capabilities, Clock, EventPages, Order, Query, ReadOptions, Result, SequenceNumber,
    StorageAdapter, StoredEvent, SystemClock,
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use crate::log::{Log, Scan};

const NAME: &str = "memory";

/// An event store in memory. Clones are handles to the same store.
#[derive(Clone)]
pub struct MemoryAdapter {
    log: Arc<RwLock<Log>>,
    clock: Arc<dyn Clock>,
    page_size: NonZeroUsize,
}

impl MemoryAdapter {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_after(SequenceNumber::START)
    }

    /// An empty store whose first event gets the sequence number after this one, for tests of large numbers.
    #[must_use]
    pub fn starting_after(last: SequenceNumber) -> Self {
        Self {
            log: Arc::new(RwLock::new(Log::new(last))),
            clock: Arc::new(SystemClock),
            page_size: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// Takes `recorded_at` from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Reads pages of at most so many events (256 unless told otherwise). No result depends on it.
    #[must_use]
    pub fn with_page_size(mut self, events: NonZeroUsize) -> Self {
        self.page_size = events;
        self
    }

    // A panic under the lock can only come from a predicate, which runs before anything is changed:
    // a poisoned log is whole.
    fn shared(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next page that is not empty; `None` when the scan is done. Every lock it takes is short, because a
    /// scan looks at a bounded number of events at a time; in between other tasks run.
    async fn next_page(&self, scan: &mut Scan) -> Option<Vec<StoredEvent>> {
        while !scan.is_done() {
            let page = scan.advance(&self.shared(), self.page_size.get());
            if !page.is_empty() {
                return Some(page);
            }
            yield_now().await;
        }
        None
    }
}

impl Default for MemoryAdapter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAdapter")
            .field("events", &self.shared().len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StorageAdapter for MemoryAdapter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
            .with_contiguous_sequence(true)
            .with_multi_stream_append(true)
            .with_query_conditions(true)
            .with_custom_conditions(true)
            .with_tags(true)
            .with_exact_payload_bytes(true)
            .with_order(Order::Log)
    }

    async fn append(&self, mut writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(NAME, &writes)?;
        let recorded_at = self.clock.now();
        self.exclusive().append(&mut writes, recorded_at)
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        if let Err(error) = self.capabilities().check_read(NAME, &query, &options) {
            return stream::iter([Err(error)]).boxed();
        }
        let state = (self.clone(), query, options, None::<Scan>);
        stream::unfold(state, |(adapter, query, options, scan)| async move {
            // The first poll fixes the head: a read ends there, however fast others append.
            let mut scan = match scan {
                Some(scan) => scan,
                None => Scan::new(&adapter.shared(), query.clone(), &options),
            };
            let page = adapter.next_page(&mut scan).await?;
            Some((Ok(page), (adapter, query, options, Some(scan))))
        })
        .boxed()
    }
}

/// Lets other tasks of the executor run once.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
