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

mod append;
mod candidates;
mod env;
mod ids;
#[cfg(feature = "views")]
mod inline;
mod log;
mod scan;
#[cfg(feature = "state")]
mod state;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use annals::adapter::{Bell, Wake, async_trait, check_list, follow, recording_time};
use annals::{
    Append, Capabilities, CategoryName, CategorySummary, Clock, Error, EventPages, KnownIds, Order,
    Page, Query, ReadOptions, Result, SequenceNumber, StorageAdapter, StoredEvent, StreamName,
    StreamSummary, SystemClock,
};
use futures_util::{StreamExt, stream};

#[cfg(feature = "views")]
pub use crate::inline::InlineView;
use crate::log::Log;
use crate::scan::Scan;
#[cfg(feature = "state")]
pub use crate::state::MemoryState;

const NAME: &str = "memory";

/// An event store in memory. Clones are handles to the same store.
#[derive(Clone)]
pub struct MemoryAdapter {
    log: Arc<RwLock<Log>>,
    bell: Bell,
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
            bell: Bell::default(),
            clock: Arc::new(SystemClock),
            page_size: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// Takes `recorded_at` from `clock`. An append at a time outside the years 1 to 9999 of UTC is `Invalid`.
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

    /// The streams of `category` whose names come after `after`, sorted by the bytes of their names: at most `limit`,
    /// and fewer only at the end. All of it is of one moment; what is appended between two pages may be in the second.
    ///
    /// # Errors
    /// [`Invalid`](annals::Error::Invalid) for a limit above 65,536, [`Closed`](annals::Error::Closed) after
    /// [`close`](StorageAdapter::close).
    ///
    /// # Cancel safety
    /// Changes nothing.
    #[expect(clippy::unused_async, reason = "as of the adapters of databases")]
    pub async fn streams(
        &self,
        category: &CategoryName,
        after: Option<&StreamName>,
        limit: NonZeroUsize,
    ) -> Result<Vec<StreamSummary>> {
        check_list(limit)?;
        Ok(self.open()?.list_streams(category, after, limit))
    }

    /// The categories whose names come after `after`, sorted by the bytes of their names: at most `limit`, and fewer
    /// only at the end. All of it is of one moment.
    ///
    /// # Errors
    /// As [`streams`](Self::streams).
    ///
    /// # Cancel safety
    /// Changes nothing.
    #[expect(clippy::unused_async, reason = "as of the adapters of databases")]
    pub async fn categories(
        &self,
        after: Option<&CategoryName>,
        limit: NonZeroUsize,
    ) -> Result<Vec<CategorySummary>> {
        check_list(limit)?;
        Ok(self.open()?.list_categories(after, limit))
    }

    fn open(&self) -> Result<RwLockReadGuard<'_, Log>> {
        let log = self.shared();
        if log.is_closed { Err(Error::closed(NAME)) } else { Ok(log) }
    }

    // A panic under the lock can only come from a predicate, which runs before anything is changed:
    // a poisoned log is whole.
    fn shared(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those that follow what was appended.
    fn ring(&self, stored: &[StoredEvent]) {
        let written = stored.chunk_by(|a, b| a.stream == b.stream);
        self.bell.ring(written.filter_map(|events| events.first()).map(|event| &event.stream));
    }

    /// The next page; `None` after the last. Every lock it takes is short, because a scan looks at a bounded number of
    /// events at a time.
    fn next_page(
        &self,
        scan: &mut Option<Scan>,
        read: &(Query, ReadOptions),
    ) -> Option<Result<Page>> {
        let log = match self.open() {
            Ok(log) => log,
            Err(closed) => return Some(Err(closed)),
        };
        // The first page fixes the head: a read ends there, however fast others append.
        let scan = scan.get_or_insert_with(|| Scan::new(&log, read.0.clone(), read.1));
        scan.advance(&log, self.page_size.get()).map(Ok)
    }

    fn follow(&self, query: Query, options: ReadOptions) -> EventPages {
        let adapter = self.clone();
        let (bell, followed) = (self.bell.clone(), (query.clone(), options));
        let read = move |query, options| adapter.read(query, options);
        follow(query, options, read, move || {
            let ring = bell.register_follow(&followed.0, &followed.1);
            async move { Ok(ring.await) }
        })
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
    fn name(&self) -> &str {
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
            .with_known_ids(KnownIds::Forever)
            .with_order(Order::Log)
    }

    async fn append(&self, mut writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(NAME, &writes)?;
        let recorded_at = recording_time(&*self.clock)?;
        let stored = self.exclusive().append(&mut writes, recorded_at)?;
        self.ring(&stored);
        Ok(stored)
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        if let Err(error) = self.capabilities().check_read(NAME, &query, &options) {
            return stream::iter([Err(error)]).boxed();
        }
        if options.follow {
            return self.follow(query, options);
        }
        let state = (self.clone(), (query, options), None::<Scan>, false);
        stream::unfold(state, |(adapter, read, mut scan, ended)| async move {
            if ended {
                return None;
            }
            let page = adapter.next_page(&mut scan, &read)?;
            if page.as_ref().is_ok_and(|page| page.events.is_empty() && !page.at_head) {
                yield_now().await;
            }
            let ended = page.is_err();
            Some((page, (adapter, read, scan, ended)))
        })
        .boxed()
    }

    async fn close(&self) {
        self.exclusive().is_closed = true;
        self.bell.ring_all(Wake::Changed);
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
