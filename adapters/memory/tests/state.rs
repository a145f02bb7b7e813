//! The checks of state stores over the one in memory, with pages of several sizes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use annals_memory::MemoryState;
use annals_state::StateStore;
use annals_testkit::async_trait;
use annals_testkit::state::{Open, Store, suite};
use futures_util::FutureExt;

/// A store for each namespace, until a check closes it.
struct Memory(Mutex<HashMap<String, MemoryState>>, NonZeroUsize);

#[async_trait]
impl Open for Memory {
    async fn open(&self, namespace: &str) -> Store {
        let made = || MemoryState::new().with_page_size(self.1);
        let mut stores = self.0.lock().unwrap();
        let kept = stores.entry(namespace.to_owned()).or_insert_with(made);
        if matches!(kept.get(Vec::new()).now_or_never(), Some(Err(_))) {
            *kept = made();
        }
        Arc::new(kept.clone())
    }
}

fn main() -> ExitCode {
    annals_testkit::state::main([1, 2, 3, 7, 256].map(|page| {
        let size = NonZeroUsize::new(page).unwrap();
        suite(format!("page_{page}"), Memory(Mutex::default(), size))
    }))
}
