//! The SQLite adapter of [Annals](annals): the embedded, durable default.
//!
//! A store is one file, and needs no server. Appends that are made at the same time share a transaction, so
//! that they share its sync to the disk as well; each is judged on its own. Reads have connections of their own
//! and neither wait for the writer nor hold it up. All work with the file is done by threads of the adapter: no
//! call blocks an async executor, and any executor will do.
//!
//! Several handles and several processes of one machine may use a file at once. Do not put it on a network file
//! system: SQLite's locks do not work there. Do not remove, rename or replace the file, or the two beside it, while a
//! store is open: appends fail then, and readers go on in the old file.
//!
//! ```
//! # use annals::*;
//! # use annals_sqlite::SqliteAdapter;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("orders.db");
//! let store = EventStore::new(SqliteAdapter::open(&path).await?);
//! let orders = StreamId::new("orders", "o-1")?;
//! let placed = NewEvent::json("order-placed", &serde_json::json!({ "total": 12 }))?;
//! store.stream(orders).append([placed], WriteCondition::StreamIsEmpty).await?;
//! assert_eq!(store.log().read(ReadOptions::default()).into_vec().await?.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Other programs that change the file
//! If another program empties the tables or puts an older state in place, handles forget what they knew: appends are
//! judged on what is there, reads show it under the right names, and a follow that has returned what is gone ends with
//! `AheadOfLog`. A file that was moved, removed or replaced under an open handle takes no append (`Backend`); its readers
//! go on to read the file that they opened, until the store is closed and opened again.
//!
//! # What it costs
//! - An event is one row and an entry in three indexes: by stream, by category, by id. Each tag is one more entry.
//! - Known ids are found by the unique index on them, when a row is inserted. It costs about a tenth of the write
//!   rate, more with random ids in a log that is larger than memory; there is no cheaper proof, as any id may be
//!   any older event's. The ids that [`NewEvent`](annals::NewEvent) makes grow with time, which keeps it compact.
//! - A read goes to a thread and back. A short one, by a caller that makes one after the other, takes about twice
//!   as long for it as SQLite alone does; long ones, and several at the same time, do not.
//! - A query by event name alone looks at every event of its source after the bound; by tag, at events that bear
//!   the first tag.
//!
//! # Limits
//! A payload has at most 16 MiB, which `Capabilities` declare, and so has metadata. More is `Invalid`.
//!
//! # Reading the file with other programs
//! The view `log` shows names instead of numbers, and JSON payloads as text, ready for SQLite's JSON functions.
//! Open the file read-only for it.

mod connect;
mod env;
mod error;
mod listing;
mod migration;
mod options;
mod place;
mod schema;
mod session;
#[cfg(feature = "state")]
mod state;
mod task;
mod threads;
mod wal;
mod watch;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use annals::adapter::{Wake, async_trait, recording_time};
use annals::{
    Append, Capabilities, Error, EventPages, KnownIds, Order, Query, ReadOptions, Result,
    StorageAdapter, StoredEvent,
};
use annals_sql::placing::MAX_BYTES;
use annals_sql::queue::Queue;
pub use annals_sql::schema::{SchemaError, SchemaStatus};
use annals_sql::{PageSource, Scan, Turn, oneshot, pages};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

pub use crate::migration::Schema;
pub use crate::options::{SqliteOptions, Synchronous};
use crate::place::Place;
#[cfg(feature = "state")]
pub use crate::state::SqliteState;
use crate::threads::{Readers, Reads};
use crate::watch::Watch;
use crate::writer::Request;

const NAME: &str = "sqlite";

/// An event store in an SQLite file or in memory. Clones are handles to the same store; its threads end when the
/// last handle and the last read are gone and what was queued is committed.
#[derive(Clone)]
pub struct SqliteAdapter {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    options: SqliteOptions,
    queue: Queue<Request>,
    reads: RwLock<Option<Reads>>,
    readers: Readers,
    watch: Watch,
}

impl SqliteAdapter {
    /// Opens the store in the file `path` with the default options; see [`SqliteOptions::open`].
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    ///
    /// # Cancel safety
    /// As [`SqliteOptions::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        SqliteOptions::new().open(path).await
    }

    /// Opens an empty store in memory, which is gone with its last handle.
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    ///
    /// # Cancel safety
    /// A future that is dropped leaves nothing open.
    pub async fn open_in_memory() -> Result<Self> {
        SqliteOptions::new().open_in_memory().await
    }

    async fn start(place: Place, options: SqliteOptions) -> Result<Self> {
        let watch = Watch::default();
        let started = threads::start(&place, &options, watch.bell.clone(), Arc::default()).await;
        let (queue, reads, readers) = started.map_err(|error| error.at(NAME, "open"))?;
        let reads = RwLock::new(Some(reads));
        Ok(Self { shared: Arc::new(Shared { place, options, queue, reads, readers, watch }) })
    }

    fn reads(&self) -> Result<Reads> {
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
            return watch::pages(self, query, options);
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
        self.shared.watch.bell.ring_all(Wake::Changed);
        self.shared.readers.closed().await;
        // The writer's connection is the last, and leaves the file without the two beside it.
        let (done, ended) = oneshot::channel();
        if self.shared.queue.send(Request::Stop(done)).is_ok() {
            // The writer may have been stopped by another handle: it is gone then as well.
            let _ = ended.await;
        }
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
