//! The conformance suite over SQLite in memory: one store for all checks at once.

#[path = "../../sql/tests/common/part.rs"]
mod part;

use std::process::ExitCode;
use std::sync::Arc;

use annals_sqlite::SqliteAdapter;
use annals_testkit::{Harness, Hook, Opened, Suite, Variant, async_trait};
use part::part;
use tokio::sync::OnceCell;

/// What one connection for all, and one log for all checks, make a difference to.
const OF_ONE_CONNECTION: &[&str] =
    &["cap.", "close.", "cond.", "follow.", "lin.", "model.", "r2.", "res.", "rt.", "vis."];

#[derive(Default)]
struct Memory(OnceCell<SqliteAdapter>);

#[async_trait]
impl Harness for Memory {
    async fn open(&self, _namespace: &str) -> Opened {
        let adapter = self.0.get_or_try_init(SqliteAdapter::open_in_memory).await?;
        Ok(Arc::new(adapter.clone()))
    }

    async fn open_to_close(&self, _namespace: &str) -> Opened {
        Ok(Arc::new(SqliteAdapter::open_in_memory().await?))
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::PoolOfOne]
    }

    async fn open_as(&self, namespace: &str, variant: Variant) -> Opened {
        match variant {
            // It never has another connection.
            Variant::PoolOfOne => self.open(namespace).await,
            other => Err(format!("no {other:?} in memory").into()),
        }
    }
}

fn main() -> ExitCode {
    let suite = Suite::new("annals-sqlite in memory", Memory::default());
    annals_testkit::engine::main(part(suite, OF_ONE_CONNECTION))
}
