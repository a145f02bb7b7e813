//! Stores of all kinds, each empty.

use std::sync::Arc;

use annals::StorageAdapter;
use annals_memory::{MemoryAdapter, MemoryState};
use annals_postgres::PostgresOptions;
use annals_servers::PostgresServer;
use annals_sqlite::SqliteAdapter;
use annals_state::StateStore;
use futures_executor::block_on;
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Sqlite,
    Postgres,
}

/// A log and a state store of one adapter; in memory there is no such adapter.
#[derive(Debug, Clone)]
pub struct Both {
    pub log: Arc<dyn StorageAdapter>,
    pub state: Arc<dyn StateStore>,
}

/// Where stores are made: files go with it.
#[derive(Debug)]
pub struct Ground {
    folder: TempDir,
    url: Option<String>,
}

impl Ground {
    /// For stores of these kinds. `None`: there is no server for them, which is said aloud.
    pub fn of(kinds: &[Kind]) -> Option<Self> {
        let mut url = None;
        if kinds.contains(&Kind::Postgres) {
            url = Some(PostgresServer::shared_or_not_run()?);
        }
        Some(Self { folder: tempfile::tempdir().unwrap(), url })
    }

    pub fn open(&self, kind: Kind) -> Both {
        let name = annals::EventId::generate().as_uuid().simple().to_string();
        match kind {
            Kind::Memory => {
                Both { log: Arc::new(MemoryAdapter::new()), state: Arc::new(MemoryState::new()) }
            }
            Kind::Sqlite => {
                let file = self.folder.path().join(name).with_extension("db");
                let adapter = block_on(SqliteAdapter::open(file)).unwrap();
                Both { state: Arc::new(adapter.state()), log: Arc::new(adapter) }
            }
            Kind::Postgres => {
                let options = self.postgres(&format!("p{name}"));
                block_on(options.migrate()).unwrap();
                let adapter = block_on(options.connect()).unwrap();
                Both { state: Arc::new(adapter.state()), log: Arc::new(adapter) }
            }
        }
    }

    pub fn url(&self) -> &str {
        self.url.as_deref().unwrap()
    }

    pub fn postgres(&self, schema: &str) -> PostgresOptions {
        let url = self.url();
        // The machine may be busy with other tests.
        let patient = std::time::Duration::from_secs(20);
        PostgresOptions::new(url).unwrap().with_schema(schema).with_pool_timeout(patient)
    }

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}
