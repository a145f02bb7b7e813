//! What the writer remembers of the log.

use std::num::NonZeroUsize;

use annals::{EventId, StreamId};
use annals_sql::{Cache, NameIds};
use hashbrown::HashMap;
use tokio_postgres::types::Type;

use crate::lookup::history::{History, Numbered};

/// What is known of a stream with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) stream_id: i64,
    pub(crate) last: u64,
    pub(crate) last_id: EventId,
}

/// What the writer remembers between transactions. It is true of the log whose last sequence number is `head`, and
/// says nothing of any later one.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) head: Option<u64>,
    /// The last event of the log then: as long as the store has it, all that was committed before it is there as well.
    pub(crate) last: Option<Numbered>,
    /// The mark of the store that all of it is true of.
    pub(crate) mark: Option<i64>,
    /// The type of a list of rows of events in that store.
    pub(crate) rows: Option<Type>,
    pub(crate) last_name: i64,
    pub(crate) streams: Cache<StreamId, Option<Head>>,
    pub(crate) names: NameIds,
}

impl Known {
    pub(crate) fn new(bound: NonZeroUsize) -> Self {
        Self {
            head: None,
            last: None,
            mark: None,
            rows: None,
            last_name: 0,
            streams: Cache::new(bound),
            names: NameIds::new(bound),
        }
    }

    /// Forgets what others may have changed. What a number stands for does not change in one history.
    pub(crate) fn forget(&mut self) {
        self.head = None;
        self.streams.clear();
    }

    /// Forgets all: the store is not the one that it is true of.
    pub(crate) fn forget_all(&mut self) {
        self.forget();
        self.last = None;
        self.mark = None;
        self.rows = None;
        self.names.clear();
    }

    pub(crate) fn history(&self) -> History {
        History { mark: self.mark, last: self.last }
    }

    /// Whether the number of a name is remembered.
    pub(crate) fn has_name(&mut self, name: &str) -> bool {
        self.names.get(name).is_some()
    }

    /// Takes the numbers of names that are committed.
    pub(crate) fn learn_names(&mut self, names: HashMap<Box<str>, Option<i64>>) {
        for (name, id) in names {
            if let Some(id) = id {
                self.names.learn(&name, id);
            }
        }
    }
}
