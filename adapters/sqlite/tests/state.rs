//! The checks of state stores over SQLite: in a file with several handles, and in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;

use annals_sqlite::{SqliteAdapter, SqliteState};
use annals_state::StateStore;
use annals_testkit::async_trait;
use annals_testkit::state::{Open, Store, suite};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Each handle has connections of its own.
struct File(TempDir);

#[async_trait]
impl Open for File {
    async fn open(&self, _namespace: &str) -> Store {
        let adapter = SqliteAdapter::open(self.0.path().join("state.db")).await.unwrap();
        Arc::new(adapter.state())
    }
}

/// A store for each namespace, until a check closes it.
#[derive(Default)]
struct Memory(Mutex<HashMap<String, SqliteState>>);

#[async_trait]
impl Open for Memory {
    async fn open(&self, namespace: &str) -> Store {
        let mut kept = self.0.lock().await;
        if let Some(state) = kept.get(namespace)
            && state.get(Vec::new()).await.is_ok()
        {
            return Arc::new(state.clone());
        }
        let state = SqliteAdapter::open_in_memory().await.unwrap().state();
        kept.insert(namespace.to_owned(), state.clone());
        Arc::new(state)
    }
}

fn main() -> ExitCode {
    let file = File(tempfile::tempdir().unwrap());
    annals_testkit::state::main([suite("file", file), suite("memory", Memory::default())])
}
