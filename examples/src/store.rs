//! Opens the store that the command line names.

use annals::{BoxError, EventStore};
use annals_memory::MemoryAdapter;

/// The store of that name: `memory`, which lasts as long as the program.
///
/// # Errors
/// Names what can be given, when it is something else.
pub fn open(store: &str) -> Result<EventStore, BoxError> {
    match store {
        "memory" => Ok(EventStore::new(MemoryAdapter::new())),
        other => Err(format!("there is no store {other:?}; give: memory").into()),
    }
}
