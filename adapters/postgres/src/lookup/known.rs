//! What the writer remembers of the log and of its store.

use std::num::NonZeroUsize;

use tokio_postgres::types::Type;

use crate::lookup::history::History;

/// What the writer remembers between transactions.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) log: annals_sql::Known,
    /// The mark of the store that all of it is true of.
    pub(crate) mark: Option<i64>,
    /// The type of a list of rows of events in that store.
    pub(crate) rows: Option<Type>,
}

impl Known {
    pub(crate) fn new(bound: NonZeroUsize) -> Self {
        Self { log: annals_sql::Known::new(bound), mark: None, rows: None }
    }

    /// Takes what was found out of the store.
    pub(crate) fn learn_store(&mut self, of_store: Option<(i64, Type)>) {
        if let Some((mark, rows)) = of_store {
            self.mark = Some(mark);
            self.rows = Some(rows);
        }
    }

    /// Forgets what others may have changed. What a number stands for does not change in one history.
    pub(crate) fn forget(&mut self) {
        self.log.forget();
    }

    /// Forgets all: the store is not the one that it is true of.
    pub(crate) fn forget_all(&mut self) {
        self.log.forget_all();
        self.mark = None;
        self.rows = None;
    }

    pub(crate) fn history(&self) -> History {
        History { mark: self.mark, last: self.log.last }
    }
}
