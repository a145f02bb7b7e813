//! The conformance suite over memory, with personal values sealed under the keys of their subjects.

mod common;

use std::process::ExitCode;
use std::sync::Arc;

use annals_layers::{Shredding, StoredKeys};
use annals_memory::MemoryState;
use common::{Layered, Memory, ring};

fn main() -> ExitCode {
    let keys = Arc::new(StoredKeys::new(Arc::new(MemoryState::new()), ring()));
    let wrap = move |store, _| Ok(Arc::new(Shredding::new(store, Arc::clone(&keys) as _)?) as _);
    annals_testkit::main("shredding(annals-memory)", Layered::new(Memory::new(), wrap))
}
