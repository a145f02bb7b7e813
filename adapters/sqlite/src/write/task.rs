//! What a transaction of the writer makes: tasks, each judged on its own.

use annals::Append;
use annals_sql::fault::Fault;
use annals_sql::queue::Job;
use time::OffsetDateTime;

use super::made::{Made, Refused};
use crate::error::NAME;

#[derive(Debug)]
pub(crate) enum Task {
    Append(Job),
    /// A commit of documents, alone or with an append.
    #[cfg(feature = "state")]
    Commit(Box<crate::state::Job>),
}

impl Task {
    /// What it appends.
    pub(crate) fn writes(&self) -> &[Append] {
        match self {
            Self::Append(job) => job.writes(),
            #[cfg(feature = "state")]
            Self::Commit(job) => job.writes(),
        }
    }

    /// When the store appends it.
    pub(crate) fn recorded_at(&self) -> OffsetDateTime {
        match self {
            Self::Append(job) => job.recorded_at(),
            #[cfg(feature = "state")]
            Self::Commit(job) => job.recorded_at(),
        }
    }

    /// Sends the caller how it ended; `Ok` only after the commit.
    pub(crate) fn answer(self, made: Made) {
        match self {
            Self::Append(job) => job.answer(made.map_err(|refused| match refused {
                Refused::Append(error) => error,
                #[cfg(feature = "state")]
                Refused::Commit(error) => annals::Error::backend(error),
            })),
            #[cfg(feature = "state")]
            Self::Commit(job) => job.answer(made),
        }
    }

    /// Sends the caller a failure of the database.
    pub(crate) fn refuse(self, fault: &Fault) {
        match self {
            Self::Append(job) => job.answer(Err(fault.error(NAME))),
            #[cfg(feature = "state")]
            Self::Commit(job) => job.refuse(fault),
        }
    }
}
