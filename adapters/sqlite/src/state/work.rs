//! What the writer does beside an append or a commit, in their transaction.

use std::fmt;

use annals::StoredEvent;
use annals_state::{Commit, StateError};
use rusqlite::Connection;

use crate::error::Outcome;

pub(super) type Run =
    dyn Fn(&Connection, &[StoredEvent]) -> Outcome<Result<Commit, StateError>> + Send;

/// What the writer does beside an append, in a savepoint: it may be run again in another transaction. It returns the
/// commit to make.
pub(crate) struct Work(Box<Run>);

impl Work {
    pub(super) fn new(run: Box<Run>) -> Self {
        Self(run)
    }

    pub(crate) fn run(
        &self,
        connection: &Connection,
        stored: &[StoredEvent],
    ) -> Outcome<Result<Commit, StateError>> {
        (self.0)(connection, stored)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}
