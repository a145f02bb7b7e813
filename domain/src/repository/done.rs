//! What a command has made.

use std::fmt;
use std::sync::Arc;

use annals::StoredEvent;

use crate::loaded::Loaded;

/// A command that was carried out.
#[non_exhaustive]
pub struct Done<A> {
    /// The events of the command, as stored; none if it decided that nothing happens.
    pub events: Vec<StoredEvent>,
    /// How many decisions were made.
    pub attempts: u32,
    /// Whether the command had been carried out before: [`events`](Self::events) are then those of the first time.
    pub repeated: bool,
    pub(super) loaded: Arc<Loaded<A>>,
}

impl<A> Done<A> {
    /// The state after the command.
    #[must_use]
    pub fn state(&self) -> &A {
        &self.loaded.state
    }

    /// How many events the aggregate has.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.loaded.version
    }
}

impl<A> Clone for Done<A> {
    fn clone(&self) -> Self {
        Self {
            events: self.events.clone(),
            attempts: self.attempts,
            repeated: self.repeated,
            loaded: Arc::clone(&self.loaded),
        }
    }
}

impl<A> fmt::Debug for Done<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done")
            .field("events", &self.events)
            .field("attempts", &self.attempts)
            .field("repeated", &self.repeated)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
