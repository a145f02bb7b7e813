//! What something that is remembered was true of (rule D2).

use annals_sql::{Numbered, to_column};
use uuid::Uuid;

use crate::error::{Failure, Outcome};

/// What something that is remembered was true of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct History {
    /// The mark of the store.
    pub(crate) mark: Option<i64>,
    /// An event that was committed no earlier than anything that is remembered.
    pub(crate) last: Option<Numbered>,
}

impl History {
    /// The event as parameters of statements.
    pub(crate) fn number(&self) -> Option<i64> {
        self.last.map(|(_, number)| to_column(number))
    }

    pub(crate) fn id(&self) -> Option<Uuid> {
        self.last.map(|(id, _)| id.as_uuid())
    }

    /// Checks it against what the store says of itself now: its mark, and whether it has the event.
    ///
    /// # Errors
    /// [`Failure::Outdated`]: it is another store, or another history of it.
    pub(crate) fn check(&self, mark: i64, has_last: bool) -> Outcome<()> {
        if !has_last || self.mark.is_some_and(|known| known != mark) {
            return Err(Failure::Outdated);
        }
        Ok(())
    }
}
