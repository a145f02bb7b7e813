//! How a log is opened.

use std::error::Error as _;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use annals::{Clock, Error, Order, Result, SystemClock};
use annals_sql::queue::QUEUE_BOUND;
use annals_sql::schema::SchemaStatus;
use annals_sql::{CACHE_BOUND, PAGE_SIZE};
use deadpool_postgres::Pool;
use rustls::ClientConfig;
use tokio_postgres::Config;

use crate::{PostgresAdapter, connect, schema};

/// How a log is opened, and the bounds of what its adapter holds.
///
/// ```no_run
/// # async fn example() -> annals::Result<()> {
/// use annals_postgres::PostgresOptions;
/// let options = PostgresOptions::new("postgres://shop@db.example/shop?sslmode=require")?.with_schema("orders");
/// options.migrate().await?;
/// let adapter = options.connect().await?;
/// # Ok(())
/// # }
/// ```
///
/// `Debug` shows no password.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(crate) config: Config,
    pub(crate) tls: Option<ClientConfig>,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) order: Order,
    pub(crate) immutable_log: bool,
    pub(crate) pool_size: NonZeroUsize,
    pub(crate) pool_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) transaction_pooler: bool,
    pub(crate) page_size: NonZeroUsize,
    pub(crate) queue_bound: NonZeroU32,
    pub(crate) cache_bound: NonZeroUsize,
    pub(crate) threads: NonZeroUsize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl PostgresOptions {
    /// The defaults, as each method tells them, for the database that `url` names: a URL or a string of keys and
    /// values, as libpq reads them. Several hosts and `target_session_attrs=read-write` find the primary of a cluster.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is neither, or has an option that is unknown or makes no sense, which is named.
    pub fn new(url: &str) -> Result<Self> {
        let parsed: std::result::Result<Config, _> = url.parse();
        // The reason does not quote the text, which has the password.
        let config = parsed.map_err(|error| match error.source() {
            Some(cause) => Error::invalid(format!("{error}: {cause}")),
            None => Error::invalid(error),
        })?;
        Ok(Self::from_config(config))
    }

    /// The same for the driver's own form.
    #[must_use]
    pub fn from_config(config: Config) -> Self {
        Self {
            config,
            tls: None,
            schema: "annals".to_owned(),
            table: "events".to_owned(),
            order: Order::Log,
            immutable_log: false,
            pool_size: NonZeroUsize::MIN.saturating_add(9),
            pool_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            transaction_pooler: false,
            page_size: PAGE_SIZE,
            queue_bound: QUEUE_BOUND,
            cache_bound: CACHE_BOUND,
            threads: NonZeroUsize::MIN.saturating_add(1),
            clock: Arc::new(SystemClock),
        }
    }

    /// The schema that holds the log (`annals`). Any name of up to 63 bytes.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// The table of events (`events`); the names of the others begin with it. Any name of up to 52 bytes. Logs in
    /// one database do not block each other, be they in one schema or in several.
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// The widest scope that readers can follow without skipping ([`Order::Log`]). A log keeps the order that it was
    /// made with; a handle with another one is refused.
    ///
    /// A weaker order lets several processes append to different categories or streams without waiting for each
    /// other. It costs contiguous numbers, query conditions and reads of the whole log without skips. Within one
    /// process the order of the log is the fastest.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Has [`migrate`](Self::migrate) make the database refuse every change and removal of what was appended, by any
    /// program (off). It stays: a later `migrate` without this option does not undo it.
    #[must_use]
    pub fn with_immutable_log(mut self, immutable_log: bool) -> Self {
        self.immutable_log = immutable_log;
        self
    }

    /// Encrypts connections so, where the server can (`sslmode=prefer`, the default) or must (`require`). Without it,
    /// connections are encrypted only under `require`, and the server's certificate must be known to the system.
    #[must_use]
    pub fn with_tls(mut self, tls: ClientConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How many connections there are at most (10): one that appends and the others, which read, each for a page
    /// only. They are opened when they are needed. With one only, appends and reads take turns.
    #[must_use]
    pub fn with_pool_size(mut self, connections: NonZeroUsize) -> Self {
        self.pool_size = connections;
        self
    }

    /// How long to wait for a connection, new or in use by others (5 s). Then the call is `Unavailable`. As long a lost
    /// connection's append is looked for, before its outcome is unknown.
    #[must_use]
    pub fn with_pool_timeout(mut self, timeout: Duration) -> Self {
        self.pool_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// How long an append waits for other processes that append to the same log (5 s). Then it is `Unavailable`, and
    /// so is all that was queued behind it.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// How long the server may be at work on one transaction of appends or one page (30 s). Then the call is
    /// `Unavailable`; where even the server's refusal is missing, the connection is given up.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Whether a pooler such as `PgBouncer` stands before the server and may give each transaction another
    /// session (off). Then no statement stays prepared, which costs speed, and nothing is set for a session. Also for
    /// a pooler of sessions: otherwise the session of a lost connection is ended, which others may have by then.
    #[must_use]
    pub fn with_transaction_pooler(mut self, pooler: bool) -> Self {
        self.transaction_pooler = pooler;
        self
    }

    /// How many events a page of a read has at most (2,048). Pages are smaller at the beginning of a read, and
    /// where events are large. No result depends on it.
    #[must_use]
    pub fn with_page_size(mut self, events: NonZeroUsize) -> Self {
        self.page_size = events;
        self
    }

    /// How many events may be queued or in the making at a time, where an append counts as one more than it has
    /// (262,144). Beyond that an append is `Unavailable`.
    #[must_use]
    pub fn with_queue_bound(mut self, events: NonZeroU32) -> Self {
        self.queue_bound = events;
        self
    }

    /// How many streams, and as many names, are remembered in each of several places (65,536).
    #[must_use]
    pub fn with_cache_bound(mut self, streams: NonZeroUsize) -> Self {
        self.cache_bound = streams;
        self
    }

    /// How many threads drive the connections of reads (2); appends have one more. With a pool of the caller's there
    /// are none.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Takes `recorded_at` from `clock` (the machine's).
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Whether statements stay prepared, and connections have sessions.
    pub(crate) fn prepares(&self) -> bool {
        !self.transaction_pooler
    }

    /// How long to wait for an answer: the server's own limit, and the way.
    pub(crate) fn answer_limit(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(1)
    }

    /// Opens the log with connections of its own. It must have been made by [`migrate`](Self::migrate).
    ///
    /// Connections are driven by threads of the adapter: any executor can use it.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: the log is not there, waits for its migration, is of a later release or of another order (a
    ///   [`SchemaError`](crate::SchemaError) or a text is the cause); names that are none; TLS that cannot be set up.
    /// - [`Error::Unavailable`]: the server cannot be reached, or has no connection left.
    /// - [`Error::Backend`]: the server refuses this user, password or database.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves nothing open.
    pub async fn connect(self) -> Result<PostgresAdapter> {
        PostgresAdapter::start(self, None).await
    }

    /// The same with a pool of the caller's, whose connections the adapter has for one transaction or page at a time.
    /// The options of connections and TLS do not count; timeouts do. Statements are planned best where the pool sets
    /// `plan_cache_mode = force_generic_plan` and `jit = off`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`Error::Invalid`] also outside of a runtime of tokio.
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    pub async fn connect_with(self, pool: Pool) -> Result<PostgresAdapter> {
        PostgresAdapter::start(self, Some(pool)).await
    }

    /// Makes the log or brings it up to date, in one transaction. Of several that do it at once one does the work. The
    /// schema is made if it is not there; a schema that is there needs the right to create in it only.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a later release made it, when tables of that name are not of Annals, or when it has
    /// another order; otherwise as [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// A future that is dropped leaves the schema as it was, or up to date.
    pub async fn migrate(&self) -> Result<()> {
        connect::once(self, async |session, store| schema::migrate(session, store).await).await
    }

    /// The version of the log's schema, which is not changed.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), except that any version is told, not refused.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn schema_status(&self) -> Result<SchemaStatus> {
        connect::once(self, async |session, store| schema::status(session, store).await).await
    }

    /// All statements that [`migrate`](Self::migrate) runs for a log at version `found` (0: there is none), to be read
    /// or run by somebody else. Run them in one transaction.
    ///
    /// # Errors
    /// [`Error::Invalid`] for names that are none, or a version that this release does not know.
    pub fn migration_sql(&self, found: u32) -> Result<String> {
        schema::sql(self, found)
    }

    /// The statements that give `role` the rights to append and read: to insert into the tables and to select from
    /// them, and no other.
    ///
    /// # Errors
    /// [`Error::Invalid`] for names that are none.
    pub fn grant_sql(&self, role: &str) -> Result<String> {
        schema::grants(self, role)
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver hides the password; TLS may hold a key.
        f.debug_struct("PostgresOptions")
            .field("config", &self.config)
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("order", &self.order)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}
