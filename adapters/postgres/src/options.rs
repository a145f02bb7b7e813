//! How a log is opened.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use annals::{BoxError, Order, Result};
use annals_sql::{CommonOptions, check_at_most, check_timeout, common_options};
use rustls::ClientConfig;
use tokio_postgres::Config;

use crate::connection::conninfo::{self, Roots};
use crate::connection::passwords::Passwords;
use crate::schema::tables::Tables;

/// A server of PostgreSQL has at most 262,143 connections, and few bear a tenth of that.
const MOST_CONNECTIONS: usize = 10_000;
const MOST_THREADS: usize = 512;

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
    pub(crate) roots: Option<Roots>,
    pub(crate) passwords: Option<Passwords>,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) order: Order,
    pub(crate) pool_size: NonZeroUsize,
    pub(crate) pool_timeout: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) transaction_pooler: bool,
    pub(crate) threads: NonZeroUsize,
    pub(crate) common: CommonOptions,
}

impl PostgresOptions {
    /// The defaults, as each method says, for the database that `url` names: a URL or a string of keys and values,
    /// as libpq reads them. Several hosts and `target_session_attrs=read-write` find the primary of a cluster.
    ///
    /// These parts are read: `host`, `hostaddr`, `port`, `user`, `password`, `dbname`, `options`, `application_name`,
    /// `fallback_application_name`, `connect_timeout`, `tcp_user_timeout`, `keepalives`, `keepalives_idle`,
    /// `keepalives_interval`, `keepalives_retries`, `load_balance_hosts`, `sslnegotiation`, `channel_binding`, and
    /// - `sslmode`: `disable`, `prefer`, `require`, `verify-full`. Wherever a connection is encrypted, certificate and
    ///   name of the host are checked: `require` means `verify-full`. `allow` and `verify-ca` are not read.
    /// - `sslrootcert`: a file of certificates in PEM, read when connections are opened, or `system`. Without it,
    ///   `require` takes those that the system knows. [`with_tls`](Self::with_tls) wins over it.
    /// - `target_session_attrs`: `any`, `read-write`, `read-only`, and `primary` and `standby`, which mean the two
    ///   before them. `prefer-standby` is not read.
    /// - `gssencmode` (`disable`, `prefer`) and `client_encoding` (`UTF8`, `auto`), which change nothing.
    ///
    /// Any other part is `Invalid`, such as `sslcert`, `sslkey` (use [`with_tls`](Self::with_tls)), `passfile` and
    /// `service`. A host must be named; neither environment variables such as `PGHOST` nor files are looked at.
    ///
    /// # Errors
    /// [`Invalid`](annals::Error::Invalid) if it is neither form, or has a part that is unknown or makes no
    /// sense, which is named.
    pub fn new(url: &str) -> Result<Self> {
        let (config, roots) = conninfo::parse(url)?;
        Ok(Self { roots, ..Self::from_config(config) })
    }

    /// The same for the driver's own form.
    #[must_use]
    pub fn from_config(config: Config) -> Self {
        Self {
            config,
            tls: None,
            roots: None,
            passwords: None,
            schema: "annals".to_owned(),
            table: "events".to_owned(),
            order: Order::Log,
            pool_size: NonZeroUsize::MIN.saturating_add(9),
            pool_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            transaction_pooler: false,
            threads: NonZeroUsize::MIN.saturating_add(1),
            common: CommonOptions::default(),
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

    /// Uses this TLS configuration if the server offers TLS (`sslmode=prefer`, the default) or always (`require`).
    /// Without it, and without `sslrootcert`, connections are encrypted only under `require`, and the server's
    /// certificate must be known to the system; `prefer` then sends plain text, which is logged once.
    #[must_use]
    pub fn with_tls(mut self, tls: ClientConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Asks `provider` for the password of each new connection, such as one that is rotated or that expires. It
    /// replaces the password of the URL.
    ///
    /// A connection waits for it at most as long as [`with_pool_timeout`](Self::with_pool_timeout) says; if it fails
    /// or panics, the call that needed the connection is `Unavailable`, with its error as the source. The caller's own
    /// pool has passwords of its own.
    ///
    /// ```
    /// # use annals_postgres::PostgresOptions;
    /// # fn main() -> annals::Result<()> {
    /// let options = PostgresOptions::new("postgres://shop@db.example/shop")?
    ///     .with_password_provider(async || std::fs::read("/run/secrets/db"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_password_provider<F, P, E>(
        mut self,
        provider: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = std::result::Result<P, E>> + Send + 'static,
        P: Into<Vec<u8>>,
        E: Into<BoxError>,
    {
        self.passwords = Some(Passwords::new(provider));
        self
    }

    /// How many connections there are at most (10; up to 10,000): one that appends and the others, which read, each for a page
    /// only. They are opened when they are needed. With one only, appends and reads take turns. If the server has no
    /// connection left, calls wait for one of those that are open.
    #[must_use]
    pub fn with_pool_size(mut self, connections: NonZeroUsize) -> Self {
        self.pool_size = connections;
        self
    }

    /// How long to wait for a connection, new or in use by others (5 s; from a millisecond to a
    /// day). Then the call is `Unavailable`. The same limit applies to
    /// finding out whether an append on a lost connection was committed.
    #[must_use]
    pub fn with_pool_timeout(mut self, timeout: Duration) -> Self {
        self.pool_timeout = timeout;
        self
    }

    /// How long the server may be at work on one transaction of appends or one page (30 s; from a
    /// millisecond to a day). Then the call is
    /// `Unavailable`; where even the server's refusal is missing, the connection is given up.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Whether a pooler such as `PgBouncer` is before the server and may give each transaction another
    /// session (off). Then no statement stays prepared, which costs speed, and nothing is set for a session. Also for
    /// a pooler of sessions: otherwise the session of a lost connection is ended, which others may have by then.
    #[must_use]
    pub fn with_transaction_pooler(mut self, pooler: bool) -> Self {
        self.transaction_pooler = pooler;
        self
    }

    /// How many threads drive the connections of reads (2; at most 512); appends have one more. If the
    /// caller brings the pool, there are none.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// The name of the schema that holds the log.
    #[must_use]
    pub fn schema_name(&self) -> &str {
        &self.schema
    }

    /// The name of the table of events.
    #[must_use]
    pub fn table_name(&self) -> &str {
        &self.table
    }

    /// The widest scope that readers can follow without skipping.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// How many connections there are at most.
    #[must_use]
    pub fn pool_size(&self) -> NonZeroUsize {
        self.pool_size
    }

    /// How long to wait for a connection.
    #[must_use]
    pub fn pool_timeout(&self) -> Duration {
        self.pool_timeout
    }

    /// How long the server may be at work on one transaction or page.
    #[must_use]
    pub fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Whether a pooler may give each transaction another session.
    #[must_use]
    pub fn transaction_pooler(&self) -> bool {
        self.transaction_pooler
    }

    /// How many threads drive the connections of reads.
    #[must_use]
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
    }

    /// Rejects options out of their bounds.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_limits()?;
        check_at_most("pool size", self.pool_size.get(), MOST_CONNECTIONS)?;
        check_at_most("number of threads", self.threads.get(), MOST_THREADS)
    }

    /// The same for the options that also count with a pool that the caller brought.
    pub(crate) fn check_limits(&self) -> Result<()> {
        self.common.check()?;
        check_timeout("pool timeout", self.pool_timeout)?;
        check_timeout("statement timeout", self.statement_timeout)?;
        Tables::new(&self.schema, &self.table).map(drop)
    }

    /// Whether statements stay prepared, and connections have sessions.
    pub(crate) fn prepares(&self) -> bool {
        !self.transaction_pooler
    }

    /// How long to wait for an answer: the server's own limit, and the way.
    pub(crate) fn answer_limit(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(1)
    }
}

common_options!(PostgresOptions);

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
