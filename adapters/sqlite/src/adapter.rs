//! The store: what its handles share, and the contract.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use annals::adapter::{Bell, Wake, async_trait, follow, recording_time};
use annals::{
    Append, Capabilities, Error, EventPages, KnownIds, Order, Query, ReadOptions, Result,
    StorageAdapter, StoredEvent,
};
use annals_sql::placing::MAX_BYTES;
use annals_sql::queue::Queue;
use annals_sql::{PageSource, Scan, Turn, pages};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use crate::error::NAME;
use crate::options::SqliteOptions;
use crate::place::Place;
use crate::request::Request;
use crate::threads::{self, Readers, Reads};
use crate::watch::Watch;

/// An event store in an SQLite file or in memory. Clones are handles to the same store; its threads end when the
/// last handle and the last read are gone and what was queued is committed.
#[derive(Clone)]
pub struct SqliteAdapter {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) place: Place,
    pub(crate) options: SqliteOptions,
    pub(crate) queue: Queue<Request>,
    reads: RwLock<Option<Reads>>,
    readers: Readers,
    watch: Watch,
}

impl SqliteAdapter {
    pub(crate) async fn start(place: Place, options: SqliteOptions) -> Result<Self> {
        let bell = Bell::default();
        let started = threads::start(&place, &options, bell.clone(), Arc::default()).await;
        let (queue, reads, readers) = started.map_err(|error| error.at(NAME, "open"))?;
        // A store in memory has no other processes.
        let interval = (place != Place::Memory).then_some(options.watch_interval);
        let watch = Watch::new(bell, queue.clone(), interval);
        let reads = RwLock::new(Some(reads));
        Ok(Self { shared: Arc::new(Shared { place, options, queue, reads, readers, watch }) })
    }

    /// The follow of `query`. It keeps the store open, as every read does.
    fn follow(&self, query: Query, options: ReadOptions) -> EventPages {
        let (reading, watching) = (self.clone(), self.clone());
        let followed = (query.clone(), options);
        let read = move |query, options| reading.read(query, options);
        follow(query, options, read, move || {
            let registered = watching.shared.watch.register(&followed.0, &followed.1);
            async move { Ok(registered?.await) }
        })
    }

    pub(crate) fn reads(&self) -> Result<Reads> {
        let reads = self.shared.reads.read().unwrap_or_else(PoisonError::into_inner);
        reads.clone().ok_or_else(|| Error::closed(NAME))
    }
}

impl fmt::Debug for SqliteAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteAdapter")
            .field("place", &self.shared.place)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StorageAdapter for SqliteAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let in_file = self.shared.place != Place::Memory;
        Capabilities::NONE
            .with_durable(in_file)
            .with_shared(in_file)
            .with_contiguous_sequence(true)
            .with_multi_stream_append(true)
            .with_query_conditions(true)
            .with_custom_conditions(true)
            .with_tags(true)
            .with_exact_payload_bytes(true)
            .with_known_ids(KnownIds::Forever)
            .with_order(Order::Log)
            .with_max_payload_bytes(Some(MAX_BYTES))
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(NAME, &writes)?;
        if self.shared.queue.is_closed() {
            return Err(Error::closed(NAME));
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let recorded_at = recording_time(&*self.shared.options.common.clock)?;
        let stored = self.shared.queue.append(writes, recorded_at).await;
        stored.map_err(|error| error.at(NAME, "append"))
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let capabilities = self.capabilities();
        if let Err(error) = capabilities.check_read(NAME, &query, &options) {
            return stream::iter([Err(error)]).boxed();
        }
        if options.follow {
            return self.follow(query, options);
        }
        let keeps_order = capabilities.keeps_order(&query);
        let page_size = self.shared.options.common.page_size.get();
        pages(self.clone(), Scan::new(query, options, keeps_order, page_size), NAME)
    }

    /// Closes the store for all handles: what is queued is committed and all connections are closed. Without it the
    /// same happens when the last handle is dropped, but nobody can wait for it.
    ///
    /// # Cancel safety
    /// A future that is dropped has closed the store, or done nothing if it was never polled.
    async fn close(&self) {
        self.shared.queue.close();
        drop(self.shared.reads.write().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.watch.ring_all(Wake::Changed);
        self.shared.readers.closed().await;
        // The writer's connection is the last, and leaves the file without the two beside it.
        self.shared.queue.stop(Request::Stop).await;
    }
}

impl PageSource for SqliteAdapter {
    fn ask(&self, scan: Scan, _ahead: bool) -> BoxFuture<'static, Turn> {
        // A thread reads it, polled or not.
        let asked = self.reads().and_then(|reads| reads.ask(scan));
        async move { asked?.await.unwrap_or_else(|_| Err(Error::closed(NAME))) }.boxed()
    }

    fn closed(&self) -> Option<Error> {
        self.shared.queue.is_closed().then(|| Error::closed(NAME))
    }
}
