//! What of a repository the environment says.

use std::num::{NonZeroU64, NonZeroUsize};

use crate::env::{Env, EnvError};
use crate::repository::Repository;
use crate::snapshot::SnapshotPolicy;
use crate::state::Aggregate;

impl<A: Aggregate> Repository<A> {
    /// [`cached`](Self::cached) as `AGGREGATE_CACHE` says: a number of aggregates. Without one, or with 0, there is no cache.
    ///
    /// ```
    /// # use annals::EventStore;
    /// # use annals_domain::{Aggregate, Env, EnvError, Event, Repository, SnapshotPolicy};
    /// # use annals_memory::MemoryAdapter;
    /// # #[derive(Event)]
    /// # #[event(name = "opened")]
    /// # struct Opened;
    /// # #[derive(Clone, Default)]
    /// # struct Account;
    /// # impl Aggregate for Account {
    /// #     const CATEGORY: &'static str = "accounts";
    /// #     type Id = String;
    /// #     type Event = Opened;
    /// #     fn apply(&mut self, _: Opened) {}
    /// # }
    /// # let store = EventStore::new(MemoryAdapter::new());
    /// let env = Env::process("Bank").with("BANK_AGGREGATE_CACHE", "1000").with("SNAPSHOT_EVERY", "100");
    /// let accounts = Repository::<Account>::new(store).cached_by(&env)?;
    /// let policy = SnapshotPolicy::from_env(&env)?;
    /// # assert_eq!(Some(policy), std::num::NonZeroU64::new(100).map(SnapshotPolicy::every));
    /// # Ok::<(), EnvError>(())
    /// ```
    ///
    /// # Errors
    /// [`EnvError::Invalid`] if it is no number.
    pub fn cached_by(self, env: &Env) -> Result<Self, EnvError> {
        let most = env.parse("AGGREGATE_CACHE", "a number of aggregates")?;
        Ok(match most.and_then(NonZeroUsize::new) {
            Some(most) => self.cached(most),
            None => self,
        })
    }
}

impl SnapshotPolicy {
    /// [`every`](Self::every) as `SNAPSHOT_EVERY` says: a number of events. Without one, or with 0, it is
    /// [`manual`](Self::manual).
    ///
    /// # Errors
    /// [`EnvError::Invalid`] if it is no number.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        let every = env.parse("SNAPSHOT_EVERY", "a number of events")?;
        Ok(every.and_then(NonZeroU64::new).map_or_else(Self::manual, Self::every))
    }
}
