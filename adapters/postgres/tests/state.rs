//! The checks of state stores over PostgreSQL: with pools of several connections, of one, and as behind a pooler of
//! transactions.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use annals::BoxError;
use annals_postgres::PostgresOptions;
use annals_postgres::tokio_postgres::Config;
use annals_servers::PostgresServer;
use annals_testkit::state::{Cut, Hook, Open, Store, Work, suite};
use annals_testkit::{Proxy, async_trait};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// Each handle has connections of its own.
struct Database(PostgresOptions);

#[async_trait]
impl Open for Database {
    async fn open(&self, _namespace: &str) -> Store {
        self.0.migrate().await.unwrap();
        Arc::new(self.0.clone().connect().await.unwrap().state())
    }
}

/// The same, with a way that can be cut, and servers of their own for what kills them.
struct Disturbed {
    url: String,
    database: Database,
    own: Mutex<HashMap<String, Arc<PostgresServer>>>,
}

impl Disturbed {
    /// The server of its own that a namespace has, if it has one.
    fn own(&self, namespace: &str) -> Option<Arc<PostgresServer>> {
        self.own.lock().unwrap().get(namespace).cloned()
    }
}

#[async_trait]
impl Open for Disturbed {
    async fn open(&self, namespace: &str) -> Store {
        let Some(server) = self.own(namespace) else { return self.database.open(namespace).await };
        Database(common::options(&server.url(), "state_checks").unwrap()).open(namespace).await
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::Kill, Hook::Cut]
    }

    async fn kill(&self, work: &Work, acknowledged: usize) -> Result<Vec<String>, BoxError> {
        let server = if let Some(server) = self.own(work.namespace()) {
            server
        } else {
            let server = Arc::new(spawn_blocking(PostgresServer::start).await??);
            let own = Arc::clone(&server);
            self.own.lock().unwrap().insert(work.namespace().to_owned(), own);
            server
        };
        let store = self.open(work.namespace()).await;
        let (said, due) = (Mutex::new(Vec::new()), Notify::new());
        let say = |line| {
            let mut said = said.lock().unwrap();
            said.push(line);
            if said.len() >= acknowledged {
                due.notify_one();
            }
            true
        };
        let working = async {
            work.run(store, &say).await;
            // If it failed before, nobody else asks for the kill.
            due.notify_one();
        };
        let killed = Arc::clone(&server);
        let killing = async {
            due.notified().await;
            spawn_blocking(move || killed.kill()).await
        };
        let ((), killed) = tokio::join!(working, killing);
        killed??;
        spawn_blocking(move || server.start_again()).await??;
        Ok(said.into_inner().unwrap())
    }

    async fn open_cut(&self, namespace: &str) -> Result<(Store, Arc<dyn Cut>), BoxError> {
        let config: Config = self.url.parse()?;
        let port = config.get_ports().first().copied().unwrap_or(5_432);
        let way = Arc::new(Proxy::start(([127, 0, 0, 1], port).into()).await?);
        let mut proxied = Config::new();
        proxied.host("127.0.0.1").port(way.addr().port()).application_name("state_checks");
        proxied.user(config.get_user().ok_or("no user")?);
        proxied.dbname(config.get_dbname().ok_or("no database")?);
        if let Some(password) = config.get_password() {
            proxied.password(password);
        }
        let options = PostgresOptions::from_config(proxied).with_schema("state_checks");
        Ok((Database(options).open(namespace).await, way))
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(url) = runtime.block_on(common::server()) else { return ExitCode::SUCCESS };
    let options = common::options(&url, "state_checks").unwrap();
    let one = common::options(&url, "state_checks_one").unwrap();
    let one = one.with_pool_size(NonZeroUsize::MIN);
    let pooled =
        common::options(&url, "state_checks_pooled").unwrap().with_transaction_pooler(true);
    annals_testkit::state::main([
        suite("postgres", Disturbed { url, database: Database(options), own: Mutex::default() }),
        suite("one_connection", Database(one)),
        suite("pooled", Database(pooled)),
    ])
}
