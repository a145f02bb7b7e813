//! The checks of state stores over PostgreSQL: with pools of several connections, of one, and as behind a pooler of
//! transactions.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use annals_postgres::PostgresOptions;
use annals_testkit::async_trait;
use annals_testkit::state::{Open, Store, suite};

/// Each handle has connections of its own.
struct Database(PostgresOptions);

#[async_trait]
impl Open for Database {
    async fn open(&self, _namespace: &str) -> Store {
        self.0.migrate().await.unwrap();
        Arc::new(self.0.clone().connect().await.unwrap().state())
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
        suite("postgres", Database(options)),
        suite("one_connection", Database(one)),
        suite("pooled", Database(pooled)),
    ])
}
