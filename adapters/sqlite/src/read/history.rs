//! What all connections of a store know of its history together.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use annals::EventId;
use annals_sql::to_column;

/// What all connections of a store share of its history: another program may empty the tables or put an older state in
/// place, and then nothing that is remembered is true any more.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Rises when connections must forget all that they remember.
    pub(super) generation: AtomicU64,
    /// An event that was committed no earlier than anything that is remembered: as long as the store has it, all that
    /// was committed before it is there as well.
    witness: Mutex<Option<(i64, EventId)>>,
}

impl History {
    pub(super) fn witness(&self) -> MutexGuard<'_, Option<(i64, EventId)>> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a committed event.
    pub(crate) fn saw(&self, number: u64, id: EventId) {
        let mut witness = self.witness();
        if witness.is_none_or(|(known, _)| known < to_column(number)) {
            *witness = Some((to_column(number), id));
        }
    }
}
