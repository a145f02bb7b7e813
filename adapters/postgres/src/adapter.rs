//! The adapter: appends go to the writer, reads to the pool of readers.

use std::fmt;
use std::sync::Arc;

use annals::adapter::{async_trait, follow, recording_time};
use annals::{
    Append, Capabilities, Error, EventPages, KnownIds, Order, Query, ReadOptions, Result,
    StorageAdapter, StoredEvent,
};
use annals_sql::facts::Work;
use annals_sql::placing::MAX_BYTES;
use annals_sql::queue::{Intake, Queue, queue};
use annals_sql::{Scan, pages};
use deadpool_postgres::Pool;
use futures_util::{StreamExt, stream};

use crate::append::append_in::append_in;
use crate::append::writer::{Request, Writer};
use crate::connection::dial;
use crate::connection::pool::{Connections, check_session, pools};
use crate::connection::runtime::Engine;
use crate::connection::session::Session;
use crate::error::NAME;
use crate::follow::watcher;
use crate::options::PostgresOptions;
use crate::read::reader::{Pages, Reader};
use crate::schema::steps;
#[cfg(feature = "state")]
use crate::state::part::Part;
use crate::store::Store;

/// An event store in a PostgreSQL database. Clones are handles to the same store; its threads and connections end
/// when the last handle and the last read are gone and what was queued is committed.
#[derive(Clone)]
pub struct PostgresAdapter {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) queue: Queue<Request>,
    pub(crate) source: Pages,
    pub(crate) pools: [Connections; 2],
    #[cfg(feature = "state")]
    pub(crate) state: Part,
    /// The caller's own pool stays open.
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

    pub(crate) async fn start(options: PostgresOptions, pool: Option<Pool>) -> Result<Self> {
        let owns_pools = pool.is_none();
        if owns_pools { dial::check(&options) } else { options.check_limits() }?;
        let engine =
            if owns_pools { Engine::own(options.threads.get()) } else { Engine::of_caller() };
        let engine = Arc::new(engine?);
        let (writing, reading) = match pool {
            Some(pool) => {
                let connections = Connections::of(pool, &options);
                (connections.clone(), connections)
            }
            None => pools(&options)?,
        };
        let owns_sessions = owns_pools && options.prepares();
        let store = Store::new(options, owns_sessions)?;
        let check = async {
            let client = reading.get().await?;
            let session = Session::new(&client, store.options.prepares());
            if owns_sessions {
                check_session(session).await?;
            }
            steps::check(session, &store).await
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
        let state = Part::start(&store, &reading, &engine);
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

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.shared.queue.is_closed() { Err(Error::closed(NAME)) } else { Ok(()) }
    }

    /// Starts the task that wakes follows, here and in other processes.
    pub(crate) fn notify(&self) {
        let Shared { store, source, pools: [pool, _], owns_pools, .. } = &*self.shared;
        watcher::start(store, source.engine.handle(), (!owns_pools).then_some(pool));
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

    /// Connections that no caller can hold while it waits for one of them.
    pub(crate) fn beside(&self) -> Option<&Connections> {
        let [_, reading] = &self.shared.pools;
        self.shared.owns_pools.then_some(reading)
    }

    /// Appends inside the caller's own transaction, such as one that writes tables of its own: all of it is committed
    /// or none. The transaction takes the lock of the log, and holds up all other appends until it ends: append last.
    /// How long it waits for that lock is bounded by [`PostgresOptions::with_lock_timeout`]. In a weaker order it takes the
    /// lock of its categories or streams, and holds up appends to these alone; with a pool that the caller brought also
    /// those of names that are new to the log.
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
        let placement = append_in(store, session, work, self.beside()).await.map_err(Error::from);
        let placement = placement.flatten().map_err(|error| error.at(NAME, "append"))?;
        Ok(placement.events(writes, recorded_at))
    }
}

impl PostgresOptions {
    /// Opens the log with connections of its own. It must have been made by [`Schema::migrate`](crate::Schema::migrate).
    ///
    /// Connections are driven by threads of the adapter: any executor can use it.
    ///
    /// # Errors
    /// - [`Invalid`](annals::Error::Invalid): the log is not there, waits for its migration, is of a later release or of another order (a
    ///   [`SchemaError`](crate::SchemaError) or a text is the cause); an option is out of its bounds, a name is none, or
    ///   the connection string makes no sense, before anything is sent; a pooler of transactions without
    ///   [`with_transaction_pooler`](Self::with_transaction_pooler).
    /// - [`Unavailable`](annals::Error::Unavailable): the server cannot be reached, or has no connection left; the password provider failed.
    /// - [`Backend`](annals::Error::Backend): the server rejects this user, password or database, wants a password and there is none,
    ///   or does not encrypt as it must; its certificate is not known.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves nothing open.
    pub async fn connect(self) -> Result<PostgresAdapter> {
        PostgresAdapter::start(self, None).await
    }

    /// The same with the caller's own pool, whose connections the adapter has for one transaction or page at a time.
    /// The options of connections and TLS do not count; timeouts do. Statements are planned best where the pool sets
    /// `plan_cache_mode = force_generic_plan`, `jit = off` and `max_parallel_workers_per_gather = 0`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`Invalid`](annals::Error::Invalid) also outside of a runtime of tokio.
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    pub async fn connect_with(self, pool: Pool) -> Result<PostgresAdapter> {
        PostgresAdapter::start(self, Some(pool)).await
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
        self.shared.queue.stop(Request::Stop).await;
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
