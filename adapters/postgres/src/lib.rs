//! The PostgreSQL adapter of [Annals](annals): appends share commits, and no reader skips an event.
//!
//! Appends that are made at the same time share a transaction, so that they share its round trip and its sync to
//! the disk; each is judged on its own and told its own outcome. Sequence numbers are given under one lock of the log
//! as the last one and one: they have no holes and rise in commit order, whoever appends, from however many
//! processes. So a reader that was given a number has seen all below it.
//!
//! ```no_run
//! # use annals::*;
//! # use annals_postgres::PostgresOptions;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = PostgresOptions::new("postgres://shop@localhost/shop")?.with_schema("orders");
//! options.migrate().await?;
//! let store = EventStore::new(options.connect().await?);
//! let orders = StreamId::new("orders", "o-1")?;
//! let placed = NewEvent::json("order-placed", &serde_json::json!({ "total": 12 }))?;
//! store.stream(orders).append([placed], WriteCondition::StreamIsEmpty).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs
//! - An event is one row and an entry in four indexes: by number, by stream and position, by category, by id. Each
//!   tag is one more row with an entry.
//! - Known ids are found by the unique index on them, when a row is inserted. It costs about a tenth of the write
//!   rate; there is no cheaper proof, as any id may be any older event's. The ids that
//!   [`NewEvent`](annals::NewEvent) makes grow with time, which keeps it compact.
//! - A tag costs the server about 2 µs: a row of a table by tag and number. A GIN index over the lists of tags costs a
//!   fourth of that, but with a million events the planner then reads the log to learn that nobody bears a tag: 130 to
//!   210 ms under the lock, where the table tells it within 0.5 ms, whatever the tag and the bound.
//! - A query by event name alone looks at every event of its source after the bound; by tag, at events that bear
//!   the first tag.
//!
//! # Fail-over and restore under open handles
//! A handle believes nothing that it remembers without asking the server in the same statement: each append carries the
//! last event that it was judged on and a mark of the store, and each page of a read is checked before it is returned.
//! After a fail-over that lost commits, a restore, or tables that were emptied or made again, a handle forgets what it
//! knew. Appends are judged on what is there: a condition on what was lost is `ConditionFailed`. Reads return what is
//! there under the right names. A follow that has returned what was lost ends with `AheadOfLog`. What was acknowledged
//! and then lost by an asynchronous fail-over stays lost: use synchronous replication where that must not be.
//!
//! # Following
//! A follow is woken at once by appends through the same adapter. For those of other processes the adapter keeps one
//! connection more, for LISTEN and NOTIFY and one look at the log a second while something follows; it is opened by the
//! first append or follow. Behind a pooler of transactions, and with a pool that the caller brought, nothing listens, and
//! the look finds the appends of others: within 20 ms to a second.
//!
//! # Locks
//! The lock of a log is an advisory lock: a key of 64 bits, which is a hash of the schema and the table. Other
//! programs that use advisory locks of one 64-bit key in the same database could by chance choose the same; they
//! would then wait for each other.
//!
//! # Roles
//! A role that appends and reads needs the rights of [`Schema::grants`] and no more. Row-level security
//! that applies to it would hide events without an error: connecting is `Invalid` then, and a policy that is made later
//! makes reads and appends fail (`Backend`), except behind a pooler of transactions and with a pool that it did not open,
//! which should set `row_security = off` itself.
//!
//! # Limits
//! A payload has at most 16 MiB, which `Capabilities` declare, and so has metadata. More is `Invalid`.
//!
//! # Reading the log with SQL
//! The view `events_log` (behind the name of the table) shows names instead of numbers, and JSON as `jsonb`. Sequence
//! numbers below the largest one that a query has seen are all there; in a weaker order, see
//! [`PostgresOptions::with_order`], those of its category or stream.

mod append_in;
mod backend;
mod connect;
mod conninfo;
mod decode;
mod dial;
mod draft;
mod env;
mod error;
mod facts;
mod flight;
mod listing;
mod migration;
mod options;
mod pipeline;
mod plan;
mod reader;
mod runtime;
mod schema;
mod session;
#[cfg(feature = "state")]
mod state;
mod statements;
mod store;
mod tables;
mod transact;
mod values;
mod watch;
mod writer;

use std::fmt;
use std::sync::Arc;

use annals::adapter::{async_trait, follow, recording_time};
use annals::{
    Append, Capabilities, Error, EventPages, KnownIds, Order, Query, ReadOptions, Result,
    StorageAdapter, StoredEvent,
};
use annals_sql::placing::MAX_BYTES;
use annals_sql::queue::{Intake, Queue, queue};
pub use annals_sql::schema::{SchemaError, SchemaStatus};
use annals_sql::{Scan, oneshot, pages};
use deadpool_postgres::Pool;
use futures_util::{StreamExt, stream};
pub use {deadpool_postgres, rustls, tokio_postgres};

use crate::connect::Connections;
use crate::facts::Work;
pub use crate::migration::Schema;
pub use crate::options::PostgresOptions;
use crate::reader::{Pages, Reader};
use crate::runtime::Engine;
use crate::session::Session;
#[cfg(feature = "state")]
pub use crate::state::PostgresState;
use crate::store::Store;
use crate::writer::{Request, Writer};

const NAME: &str = "postgres";

/// An event store in a PostgreSQL database. Clones are handles to the same store; its threads and connections end
/// when the last handle and the last read are gone and what was queued is committed.
#[derive(Clone)]
pub struct PostgresAdapter {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    queue: Queue<Request>,
    source: Pages,
    pools: [Connections; 2],
    #[cfg(feature = "state")]
    state: state::Part,
    /// A pool of the caller's stays open.
    owns_pools: bool,
}

impl PostgresAdapter {
    /// Opens the log in the schema `annals` of the database that `url` names; see [`PostgresOptions::connect`].
    ///
    /// # Errors
    /// As [`PostgresOptions::connect`].
    ///
    /// # Cancel safety
    /// A future that is dropped leaves nothing open.
    pub async fn connect(url: &str) -> Result<Self> {
        PostgresOptions::new(url)?.connect().await
    }

    async fn start(options: PostgresOptions, pool: Option<Pool>) -> Result<Self> {
        let owns_pools = pool.is_none();
        if owns_pools { options.check() } else { options.check_limits() }?;
        let engine =
            if owns_pools { Engine::own(options.threads.get()) } else { Engine::of_caller() };
        let engine = Arc::new(engine?);
        let (writing, reading) = match pool {
            Some(pool) => {
                let connections = Connections::of(pool, &options);
                (connections.clone(), connections)
            }
            None => connect::pools(&options)?,
        };
        let owns_sessions = owns_pools && options.prepares();
        let store = Store::new(options, owns_sessions)?;
        let check = async {
            let client = reading.get().await?;
            let session = Session::new(&client, store.options.prepares());
            if owns_sessions {
                connect::check_session(session).await?;
            }
            schema::check(session, &store).await
        };
        engine.enter(check).await?;
        let store = Arc::new(store);
        let (queue, intake) = queue(NAME, store.options.common.queue_bound.get());
        let writer = Writer::new(Arc::clone(&store), writing.clone(), owns_pools);
        if owns_pools {
            on_thread(writer, intake)?;
        } else {
            engine.handle().spawn(writer.run(intake));
        }
        let reader = Arc::new(Reader::new(Arc::clone(&store), reading.clone()));
        #[cfg(feature = "state")]
        let state = state::Part::start(&store, &reading, &engine);
        let source = Pages { reader, engine };
        let pools = [writing, reading];
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                queue,
                source,
                pools,
                #[cfg(feature = "state")]
                state,
                owns_pools,
            }),
        })
    }

    fn check_open(&self) -> Result<()> {
        if self.shared.queue.is_closed() { Err(Error::closed(NAME)) } else { Ok(()) }
    }

    /// Starts the task that wakes follows, here and in other processes.
    fn notify(&self) {
        let Shared { store, source, pools: [pool, _], owns_pools, .. } = &*self.shared;
        watch::start(store, source.engine.handle(), (!owns_pools).then_some(pool));
    }

    /// The follow of `query`. It keeps the store open, as every read does.
    fn follow(&self, query: Query, options: ReadOptions) -> EventPages {
        let (reading, watching) = (self.clone(), self.clone());
        let followed = (query.clone(), options);
        let read = move |query, options| reading.read(query, options);
        follow(query, options, read, move || {
            let store = &watching.shared.store;
            // In a weaker order the head is that of what is followed.
            let ring = match store.order() {
                Order::Log => store.watch.bell.register_follow(&followed.0, &followed.1),
                Order::Category | Order::Stream => store.watch.bell.register(&followed.0),
            };
            watching.notify();
            watching.shared.store.watch.has_follower();
            async move { Ok(ring.await) }
        })
    }

    /// Appends inside a transaction of the caller's, such as one that writes tables of its own: all of it is committed
    /// or none. The transaction takes the lock of the log, and holds up all other appends until it ends: append last.
    /// How long it waits for that lock is bounded by [`PostgresOptions::with_lock_timeout`].
    ///
    /// # Errors
    /// As [`StorageAdapter::append`]. After `ConditionFailed`, `DuplicateEvent`, `Invalid` and `Unsupported` the
    /// transaction goes on, otherwise it can only be rolled back; what it wrote is gone then. Above the isolation level
    /// `READ COMMITTED` a transaction keeps the view that it has of the log: the append is judged on that, and
    /// `Unavailable` if the log has gone on since. There appends of guards alone, and all appends in the weaker
    /// orders, are `Invalid`: nothing would tell that the log has gone on.
    ///
    /// # Cancel safety
    /// After a future was dropped, roll the transaction back.
    pub async fn append_in(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        writes: Vec<Append>,
    ) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(NAME, &writes)?;
        self.check_open()?;
        let store = &self.shared.store;
        let recorded_at = recording_time(&*store.options.common.clock)?;
        let session = Session::unprepared(transaction.client());
        let work = Work { writes: &writes, recorded_at };
        let placement = append_in::append_in(store, session, work).await.map_err(Error::from);
        let placement = placement.flatten().map_err(|error| error.at(NAME, "append"))?;
        Ok(placement.events(writes, recorded_at))
    }
}

/// The writer has a thread for itself, which drives its connection as well: one change of tasks less per append.
fn on_thread(writer: Writer, intake: Intake<Request>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::unavailable)?;
    let work = move || runtime.block_on(writer.run(intake));
    let thread = std::thread::Builder::new().name("annals-writer".to_owned()).spawn(work);
    thread.map(drop).map_err(Error::unavailable)
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.store.watch.end());
    }
}

impl fmt::Debug for PostgresAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresAdapter")
            .field("options", &self.shared.store.options)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StorageAdapter for PostgresAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let order = self.shared.store.order();
        let is_ordered = order == Order::Log;
        Capabilities::NONE
            .with_durable(true)
            .with_shared(true)
            .with_contiguous_sequence(is_ordered)
            .with_multi_stream_append(true)
            .with_query_conditions(is_ordered)
            .with_custom_conditions(true)
            .with_tags(true)
            .with_exact_payload_bytes(true)
            .with_known_ids(KnownIds::Forever)
            .with_order(order)
            .with_max_payload_bytes(Some(MAX_BYTES))
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.capabilities().check_append(NAME, &writes)?;
        self.check_open()?;
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        self.notify();
        let recorded_at = recording_time(&*self.shared.store.options.common.clock)?;
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
        let page_size = self.shared.store.options.common.page_size.get();
        let scan = Scan::new(query, options, keeps_order, page_size);
        pages(self.shared.source.clone(), scan, NAME)
    }

    /// Closes the store for all handles: what is queued is committed, and all connections of its own are closed. Without
    /// it the same happens when the last handle is dropped, but nobody can wait for it.
    ///
    /// # Cancel safety
    /// A future that is dropped has closed the store, or done nothing if it was never polled.
    async fn close(&self) {
        self.shared.queue.close();
        let watcher = self.shared.store.watch.close();
        let (done, ended) = oneshot::channel();
        if self.shared.queue.send(Request::Stop(done)).is_ok() {
            // The writer may have been stopped by another handle: it is gone then as well.
            let _ = ended.await;
        }
        #[cfg(feature = "state")]
        self.shared.state.close().await;
        if let Some(watcher) = watcher {
            // It was aborted: nothing of it is left to wait for but its end.
            let _ = watcher.await;
        }
        if self.shared.owns_pools {
            self.shared.pools.iter().for_each(Connections::close);
        }
    }
}
