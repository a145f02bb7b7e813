//! The checks of state stores over SQLite: in a file with several handles, and in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use annals::BoxError;
use annals_sqlite::{SqliteAdapter, SqliteState};
use annals_state::StateStore;
use annals_testkit::async_trait;
use annals_testkit::state::{Hook, Open, Store, Work, suite};
use tokio::sync::Mutex;

/// Names the folder of the file to a child process.
const FOLDER: &str = "ANNALS_STATE_FOLDER";

/// Each handle has connections of its own.
struct File(PathBuf);

#[async_trait]
impl Open for File {
    async fn open(&self, _namespace: &str) -> Store {
        let adapter = SqliteAdapter::open(self.0.join("state.db")).await.unwrap();
        Arc::new(adapter.state())
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::Kill]
    }

    async fn kill(&self, work: &Work, acknowledged: usize) -> Result<Vec<String>, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(FOLDER, &self.0);
        work.kill_child(command, acknowledged).await
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
    if let (Some(work), Some(folder)) = (Work::of_child(), std::env::var_os(FOLDER)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = File(folder.into()).open(work.namespace()).await;
            work.run_as_child(store).await;
        });
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = File(folder.path().to_owned());
    annals_testkit::state::main([suite("file", file), suite("memory", Memory::default())])
}
