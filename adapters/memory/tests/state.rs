//! The checks of state stores over the one in memory, with pages of several sizes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use annals_memory::MemoryState;
use annals_state::StateStore;
use annals_testkit::async_trait;
use annals_testkit::state::{Open, Store};
use futures_util::FutureExt;

/// A store for each way to open it, until a check closes it.
struct Memory(Mutex<MemoryState>, NonZeroUsize);

impl Memory {
    fn flavour(page: usize) -> Arc<dyn Fn() -> Arc<dyn Open> + Send + Sync> {
        let page = NonZeroUsize::new(page).unwrap();
        Arc::new(move || Arc::new(Self(Mutex::new(MemoryState::new().with_page_size(page)), page)))
    }
}

#[async_trait]
impl Open for Memory {
    async fn open(&self) -> Store {
        let mut kept = self.0.lock().unwrap();
        if matches!(kept.get(Vec::new()).now_or_never(), Some(Err(_))) {
            *kept = MemoryState::new().with_page_size(self.1);
        }
        Arc::new(kept.clone())
    }
}

fn main() -> ExitCode {
    annals_testkit::state::main(&[
        ("page_1", Memory::flavour(1), 100),
        ("page_2", Memory::flavour(2), 100),
        ("page_3", Memory::flavour(3), 100),
        ("page_7", Memory::flavour(7), 100),
        ("page_256", Memory::flavour(256), 200),
    ])
}
