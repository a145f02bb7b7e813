//! The stores of the conformance suite: one schema per namespace, on one server.

#[path = "../../../sql/tests/common/part.rs"]
pub(crate) mod part;

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use annals::{Append, BoxError, NewEvent, Order, SequenceNumber, StreamId, WriteCondition};
use annals_postgres::tokio_postgres::config::Host;
use annals_postgres::tokio_postgres::types::{ToSql, Type};
use annals_postgres::tokio_postgres::{Client, Config};
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_servers::PostgresServer;
use annals_testkit::{
    Disturbance, Gate, Harness, Hook, Opened, Store, Suite, Variant, async_trait,
};
use tokio::runtime::Runtime;

use crate::common::{TABLES, admin, options, truncate};
use part::part;

struct Postgres {
    order: Order,
    /// Servers of their own for namespaces whose check kills them.
    own: Mutex<HashMap<String, Arc<PostgresServer>>>,
    /// The logs that are there, by server and namespace: each further look would cost a connection.
    there: Mutex<HashSet<(String, String)>>,
    /// A connection to the shared server, for what each check asks of it.
    asked: tokio::sync::OnceCell<Client>,
}

/// What drives the connection that outlives the runtimes of checks.
static DRIVER: LazyLock<Runtime> = LazyLock::new(|| {
    let mut driver = tokio::runtime::Builder::new_multi_thread();
    driver.worker_threads(1).enable_all().build().expect("a runtime")
});

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BoxError> + Send + 'static,
) -> Result<T, BoxError> {
    tokio::task::spawn_blocking(work).await?
}

async fn shared_url() -> Result<String, BoxError> {
    blocking(PostgresServer::shared_url).await
}

impl Postgres {
    fn own(&self, namespace: &str) -> Option<Arc<PostgresServer>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    async fn url(&self, namespace: &str) -> Result<String, BoxError> {
        match self.own(namespace) {
            Some(server) => Ok(server.url()),
            None => shared_url().await,
        }
    }

    async fn options(&self, namespace: &str) -> Result<PostgresOptions, BoxError> {
        Ok(options(&self.url(namespace).await?, namespace)?.with_order(self.order))
    }

    async fn migrate(&self, namespace: &str, options: &PostgresOptions) -> Result<(), BoxError> {
        let log = (self.url(namespace).await?, namespace.to_owned());
        let there = || self.there.lock().unwrap_or_else(PoisonError::into_inner);
        if !there().contains(&log) {
            options.migrate().await?;
            there().insert(log);
        }
        Ok(())
    }

    async fn asked(&self) -> Result<&Client, BoxError> {
        let url = shared_url().await?;
        let connect = || async { DRIVER.spawn(async move { admin(&url).await }).await? };
        self.asked.get_or_try_init(connect).await
    }

    async fn make(
        &self,
        namespace: &str,
        options: PostgresOptions,
    ) -> Result<PostgresAdapter, BoxError> {
        self.migrate(namespace, &options).await?;
        Ok(options.connect().await?)
    }
}

#[async_trait]
impl Harness for Postgres {
    async fn open(&self, namespace: &str) -> Opened {
        let options = self.options(namespace).await?;
        Ok(Arc::new(self.make(namespace, options).await?))
    }

    fn hooks(&self) -> &[Hook] {
        &[
            Hook::PageSize,
            Hook::StartAfter,
            Hook::PoolOfOne,
            Hook::Proxy,
            Hook::TakeBack,
            Hook::Gate,
            Hook::Disturb(Disturbance::CutConnections),
            Hook::Disturb(Disturbance::RestartServer),
            Hook::Disturb(Disturbance::KillServer),
            Hook::Disturb(Disturbance::HoldLock),
            Hook::HoldScope,
            Hook::Usage,
        ]
    }

    async fn open_as(&self, namespace: &str, variant: Variant) -> Opened {
        let options = self.options(namespace).await?;
        let options = match variant {
            Variant::PageSize(events) => options.with_page_size(events),
            Variant::PoolOfOne => options.with_pool_size(std::num::NonZeroUsize::MIN),
            Variant::Via(addr) => {
                impatient(&self.url(namespace).await?, namespace, addr)?.with_order(self.order)
            }
            Variant::StartAfter(last) => {
                self.migrate(namespace, &options).await?;
                start_after(&self.url(namespace).await?, namespace, last).await?;
                options
            }
            Variant::OwnServer => {
                let server = Arc::new(blocking(PostgresServer::start).await?);
                let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
                own.insert(namespace.to_owned(), Arc::clone(&server));
                crate::common::options(&server.url(), namespace)?.with_order(self.order)
            }
            other => return Err(format!("no {other:?} on PostgreSQL").into()),
        };
        Ok(Arc::new(self.make(namespace, options).await?))
    }

    async fn open_gated(&self, namespace: &str) -> Result<(Store, Arc<dyn Gate>), BoxError> {
        let options = self.options(namespace).await?.with_lock_timeout(Duration::from_secs(60));
        let store = self.make(namespace, options).await?;
        let url = self.url(namespace).await?;
        let client = admin(&url).await?;
        // One append stops at the gate: others that come by meanwhile go on.
        let sql = format!(
            "CREATE FUNCTION {namespace}.gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF pg_try_advisory_xact_lock(hashtext('{namespace}'), 2) THEN \
             PERFORM pg_advisory_xact_lock_shared(hashtext('{namespace}'), 1); END IF; RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON {namespace}.events \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {namespace}.gate()"
        );
        client.batch_execute(&sql).await?;
        Ok((Arc::new(store), Arc::new(CommitGate::new(url, namespace.to_owned())?)))
    }

    async fn disturb(
        &self,
        namespace: &str,
        disturbance: Disturbance,
    ) -> Result<Box<dyn Any + Send>, BoxError> {
        let restart = |kill: bool| {
            let server = self.own(namespace).ok_or("the namespace has no server of its own");
            blocking(move || {
                let server = server?;
                if kill {
                    server.kill()?;
                } else {
                    server.stop()?;
                }
                server.start_again()
            })
        };
        match disturbance {
            Disturbance::RestartServer => restart(false).await?,
            Disturbance::KillServer => restart(true).await?,
            Disturbance::CutConnections => {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
                admin(&self.url(namespace).await?).await?.query(sql, &[&namespace]).await?;
            }
            Disturbance::HoldLock => {
                // In the weaker orders no lock is one that all appends need.
                let table = format!("LOCK TABLE {namespace}.events IN EXCLUSIVE MODE");
                let lock = (self.order != Order::Log).then_some(table);
                let stream = StreamId::new("holder", "lock")?;
                return Ok(Box::new(hold(self, namespace, stream, lock).await?));
            }
            other => return Err(format!("no {other:?} on PostgreSQL").into()),
        }
        Ok(Box::new(()))
    }

    async fn hold_scope(
        &self,
        namespace: &str,
        stream: &StreamId,
    ) -> Result<Box<dyn Any + Send>, BoxError> {
        Ok(Box::new(hold(self, namespace, stream.clone(), None).await?))
    }

    async fn remember(&self, namespace: &str) -> Result<(), BoxError> {
        let copies = TABLES.map(|table| {
            format!(
                "DROP TABLE IF EXISTS {namespace}.kept{table}; \
                 CREATE TABLE {namespace}.kept{table} AS SELECT * FROM {namespace}.events{table};"
            )
        });
        Ok(admin(&self.url(namespace).await?).await?.batch_execute(&copies.concat()).await?)
    }

    /// Another connection puts the copied rows in place of the store's, in one transaction.
    async fn take_back(&self, namespace: &str) -> Result<(), BoxError> {
        let rows = TABLES.map(|table| {
            format!("INSERT INTO {namespace}.events{table} SELECT * FROM {namespace}.kept{table};")
        });
        let sql = format!("BEGIN; {}; {} COMMIT", truncate(namespace), rows.concat());
        Ok(admin(&self.url(namespace).await?).await?.batch_execute(&sql).await?)
    }

    async fn server(&self) -> Result<SocketAddr, BoxError> {
        let config: Config = shared_url().await?.parse()?;
        let port = config.get_ports().first().copied().unwrap_or(5_432);
        match config.get_hosts().first() {
            Some(Host::Tcp(host)) => Ok(tokio::net::lookup_host((host.as_str(), port))
                .await?
                .next()
                .ok_or("no address")?),
            other => Err(format!("no address of TCP: {other:?}").into()),
        }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let url = PostgresServer::shared_url().ok();
        url.map(|url| ("ANNALS_POSTGRES_URL".to_owned(), url)).into_iter().collect()
    }

    async fn usage(&self, namespace: &str) -> Result<BTreeMap<String, u64>, BoxError> {
        let sql = "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%'), \
                   (SELECT count(*) FROM pg_locks l JOIN pg_stat_activity b USING (pid) \
                   WHERE b.application_name = $1 AND l.locktype = 'advisory') \
                   FROM pg_stat_activity WHERE application_name = $1";
        let values: &[(&(dyn ToSql + Sync), Type)] = &[(&namespace, Type::TEXT)];
        let own = match self.own(namespace) {
            Some(server) => Some(admin(&server.url()).await?),
            None => None,
        };
        let client = match &own {
            Some(own) => own,
            None => self.asked().await?,
        };
        let rows = client.query_typed(sql, values).await?;
        let row = rows.first().ok_or("no row")?;
        let mut usage = BTreeMap::new();
        for (nth, what) in ["connections", "open transactions", "locks"].into_iter().enumerate() {
            usage.insert(what.to_owned(), u64::try_from(row.try_get::<_, i64>(nth)?)?);
        }
        Ok(usage)
    }
}

/// Options that soon give up waiting, through another address.
fn impatient(url: &str, namespace: &str, addr: SocketAddr) -> Result<PostgresOptions, BoxError> {
    let parsed: Config = url.parse()?;
    let mut config = Config::new();
    config.user(parsed.get_user().unwrap_or("postgres")).application_name(namespace);
    config.host(addr.ip().to_string()).port(addr.port());
    if let Some(password) = parsed.get_password() {
        config.password(password);
    }
    if let Some(database) = parsed.get_dbname() {
        config.dbname(database);
    }
    Ok(PostgresOptions::from_config(config)
        .with_schema(namespace)
        .with_pool_timeout(Duration::from_secs(1))
        .with_lock_timeout(Duration::from_secs(1))
        .with_statement_timeout(Duration::from_secs(2)))
}

/// Puts one event of nobody's at the number `last`, so that the log goes on behind it.
async fn start_after(url: &str, namespace: &str, last: SequenceNumber) -> Result<(), BoxError> {
    let last = i64::try_from(last.value())?;
    let sql = format!(
        "WITH n AS (INSERT INTO {namespace}.events_names VALUES (1, 'json'), (2, 'nobody') RETURNING 1), \
         s AS (INSERT INTO {namespace}.events_streams VALUES ({last}, 2, 'nobody') RETURNING 1) \
         INSERT INTO {namespace}.events SELECT {last}, {last}, 0, 2, 2, 1, gen_random_uuid(), now(), now(), \
         NULL, NULL, '{{}}' FROM n, s LIMIT 1"
    );
    if last > 0 {
        // The sequence is what the weaker orders go on from.
        let next = format!("SELECT setval('{namespace}.events_numbers', {last})");
        admin(url).await?.batch_execute(&format!("{sql}; {next}")).await?;
    }
    Ok(())
}

/// Holds what an append to `stream` needs in a transaction that does not end, after the statement `before`. Dropped, it
/// is rolled back.
async fn hold(
    harness: &Postgres,
    namespace: &str,
    stream: StreamId,
    before: Option<String>,
) -> Result<tokio::sync::oneshot::Sender<()>, BoxError> {
    let options = harness.options(namespace).await?;
    let adapter = harness.make(namespace, options).await?;
    let mut client = admin(&harness.url(namespace).await?).await?;
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let transaction = client.transaction().await?;
        if let Some(statement) = before {
            transaction.batch_execute(&statement).await?;
        }
        let event = NewEvent::json("held", &())?;
        adapter
            .append_in(&transaction, vec![Append::new(stream, [event], WriteCondition::Always)])
            .await?;
        let _ = held.send(());
        let _ = released.await;
        transaction.rollback().await?;
        Ok::<_, BoxError>(())
    });
    is_held.await?;
    Ok(release)
}

/// Holds appends at their commit, by a lock that a deferred trigger asks for.
#[derive(Debug)]
struct CommitGate {
    url: String,
    namespace: String,
    orders: std::sync::mpsc::Sender<(bool, std::sync::mpsc::Sender<()>)>,
}

impl CommitGate {
    /// The lock is held by a session of a thread of its own: a gate is armed outside of async code.
    fn new(url: String, namespace: String) -> Result<Self, BoxError> {
        let (orders, taken) = std::sync::mpsc::channel::<(bool, std::sync::mpsc::Sender<()>)>();
        let gate = Self { url: url.clone(), namespace: namespace.clone(), orders };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        std::thread::spawn(move || {
            let Ok(client) = runtime.block_on(admin(&url)) else { return };
            for (lock, done) in taken {
                let what = if lock { "lock" } else { "unlock" };
                let sql = format!("SELECT pg_advisory_{what}(hashtext('{namespace}'), 1)");
                if runtime.block_on(client.batch_execute(&sql)).is_ok() {
                    let _ = done.send(());
                }
            }
        });
        Ok(gate)
    }

    fn order(&self, lock: bool) {
        let (done, is_done) = std::sync::mpsc::channel();
        let has_ended = self.orders.send((lock, done)).is_err() || is_done.recv().is_err();
        assert!(!has_ended, "the session that holds the gate is gone");
    }

    async fn is_waited_for(&self, client: &Client) -> bool {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND classid = (hashtext($1)::bigint & 4294967295)::oid AND objid = 1 AND objsubid = 2";
        let waiting = client.query_one(sql, &[&self.namespace]).await;
        waiting.is_ok_and(|row| row.get::<_, i64>(0) > 0)
    }
}

#[async_trait]
impl Gate for CommitGate {
    fn arm(&self) {
        self.order(true);
    }

    async fn held(&self) {
        let client = admin(&self.url).await.expect("a session");
        while !self.is_waited_for(&client).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn release(&self) {
        self.order(false);
    }

    /// The server holds it.
    async fn pass(&self) {}
}

/// Stores of logs of this order.
pub(crate) fn stores(order: Order) -> impl Harness {
    Postgres {
        order,
        own: Mutex::default(),
        there: Mutex::default(),
        asked: tokio::sync::OnceCell::new(),
    }
}

/// What the order of a log changes; all else is as in the order of the log.
const OF_ORDERS: &[&str] = &[
    "cap.",
    "cond.",
    "fault.cut_sweep",
    "follow.",
    "lin.",
    "model.",
    "multi.",
    "order.",
    "pos.",
    "r2.",
    "seq.",
    "through.",
    "vis.",
];

/// What differs in the order of categories from that of streams: the scope whose appends take turns.
const OF_CATEGORIES: &[&str] = &[
    "cap.",
    "cond.gated",
    "cond.one_winner",
    "cond.scope",
    "follow.",
    "lin.",
    "order.",
    "r2.",
    "through.",
    "vis.",
];

/// Runs the suite over logs of this order.
pub(crate) fn run(name: &str, order: Order) -> ExitCode {
    let suite = Suite::new(name, stores(order));
    annals_testkit::engine::main(match order {
        Order::Log => suite,
        Order::Category => part(suite, OF_CATEGORIES),
        Order::Stream => part(suite, OF_ORDERS),
    })
}
