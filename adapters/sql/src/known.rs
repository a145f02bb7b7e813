//! What a writer remembers of the log.

use std::num::NonZeroUsize;

use annals::{EventId, StreamId};
use hashbrown::HashMap;

use crate::cache::Cache;
use crate::names::NameIds;

/// An event and its number.
pub type Numbered = (EventId, u64);

/// What is known of a stream with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub stream_id: i64,
    /// Its last position.
    pub last: u64,
    /// The id of its last event.
    pub last_id: EventId,
}

/// What a writer remembers between transactions. It is true of the log whose last sequence number is `head`, and says
/// nothing of any later one.
#[derive(Debug)]
pub struct Known {
    /// The last sequence number.
    pub head: Option<u64>,
    /// The last event of the log then: as long as the store has it, all that was committed before it is there as well.
    pub last: Option<Numbered>,
    /// The last number of a name.
    pub last_name: i64,
    /// The ends of streams; `None`: without events.
    pub streams: Cache<StreamId, Option<Head>>,
    /// The numbers of names.
    pub names: NameIds,
    /// Rises when all is forgotten.
    generation: u64,
}

impl Known {
    /// Nothing yet; at most `bound` streams and names later.
    #[must_use]
    pub fn new(bound: NonZeroUsize) -> Self {
        let (streams, names) = (Cache::new(bound), NameIds::new(bound));
        Self { head: None, last: None, last_name: 0, streams, names, generation: 0 }
    }

    /// What it is as long as nothing made it forget all; see [`learn_names`](Self::learn_names).
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Forgets what others may have changed. What a number stands for does not change in one history.
    pub fn forget(&mut self) {
        self.head = None;
        self.streams.clear();
    }

    /// Forgets all: the store is not the one that it is true of.
    pub fn forget_all(&mut self) {
        self.forget();
        self.last = None;
        self.names.clear();
        self.generation += 1;
    }

    /// Whether the number of a name is remembered.
    pub fn has_name(&mut self, name: &str) -> bool {
        self.names.get(name).is_some()
    }

    /// Takes the numbers of names that are committed, if it has not forgotten all since it was of this
    /// [generation](Self::generation), when they were judged: they may be of a history that is gone.
    pub fn learn_names(&mut self, generation: u64, names: HashMap<Box<str>, Option<i64>>) {
        if generation != self.generation {
            return;
        }
        for (name, id) in names {
            if let Some(id) = id {
                self.names.learn(&name, id);
            }
        }
    }
}
