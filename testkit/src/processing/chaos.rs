//! Stores that wait and fail at random.

use std::sync::{Arc, Mutex, PoisonError};

use annals::{
    Append, Capabilities, Error, EventPages, Query, ReadOptions, Result, StorageAdapter,
    StoredEvent,
};
use annals_state::{
    Commit, DocumentKey, DocumentPages, Got, Scan, StateCapabilities, StateError, StateStore,
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::interleaving::{Outside, yield_now};

/// How often a call waits or fails. Probabilities are between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odds {
    /// The most times that other tasks run before a call, and again after it.
    pub yields: usize,
    /// That a call fails with `Unavailable` without having done anything.
    pub unavailable: f64,
    /// That the outcome of an append or a commit that was made is unknown.
    pub unknown_made: f64,
    /// That the outcome of an append or a commit that was not made is unknown.
    pub unknown_lost: f64,
}

impl Odds {
    /// Others run meanwhile, and nothing fails.
    pub const CALM: Self =
        Self { yields: 3, unavailable: 0.0, unknown_made: 0.0, unknown_lost: 0.0 };
    /// One call in ten fails, in each way.
    pub const WILD: Self =
        Self { yields: 3, unavailable: 0.04, unknown_made: 0.03, unknown_lost: 0.03 };
}

/// Wraps a state store or an adapter: its calls wait, fail and lose their answers as a seed decides. It keeps the contract
/// that it wraps. Clones share the dice.
#[derive(Debug, Clone)]
pub struct Chaos<S> {
    inner: Arc<S>,
    dice: Arc<Mutex<(StdRng, Odds)>>,
    outside: Outside,
}

impl<S> Chaos<S> {
    /// Wraps `inner`, with dice of this seed.
    pub fn new(inner: S, seed: u64, odds: Odds) -> Self {
        let dice = Arc::new(Mutex::new((StdRng::seed_from_u64(seed), odds)));
        Self { inner: Arc::new(inner), dice, outside: Outside::default() }
    }

    /// Counts the calls that the inner store has not answered: an [`Interleaving`](super::Interleaving) waits for them.
    /// A follow at the head is none.
    #[must_use]
    pub fn with_outside(mut self, outside: Outside) -> Self {
        self.outside = outside;
        self
    }

    /// Changes the odds for all clones.
    pub fn set(&self, odds: Odds) {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).1 = odds;
    }

    /// What it wraps.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The same without what it wraps, for pages.
    fn of_pages(&self) -> Chaos<()> {
        Chaos { inner: Arc::new(()), dice: Arc::clone(&self.dice), outside: self.outside.clone() }
    }

    fn roll<T>(&self, draw: impl FnOnce(&mut StdRng, Odds) -> T) -> T {
        let (random, odds) = &mut *self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        draw(random, *odds)
    }

    async fn wait(&self) {
        for _ in 0..self.roll(|random, odds| random.random_range(0..=odds.yields)) {
            yield_now().await;
        }
    }

    fn is_unavailable(&self) -> bool {
        self.roll(|random, odds| random.random_bool(odds.unavailable))
    }

    fn fate(&self) -> Fate {
        self.roll(|random, odds| {
            if random.random_bool(odds.unavailable) {
                Fate::Unavailable
            } else if random.random_bool(odds.unknown_lost) {
                Fate::Lost
            } else if random.random_bool(odds.unknown_made) {
                Fate::Made
            } else {
                Fate::Answered
            }
        })
    }
}

/// What becomes of a call that changes something.
enum Fate {
    Answered,
    Unavailable,
    /// It is not made, and nobody knows.
    Lost,
    /// It is made, and nobody knows.
    Made,
}

const AWAY: &str = "chaos";

#[async_trait]
impl<S: StateStore> StateStore for Chaos<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> StateCapabilities {
        self.inner.capabilities()
    }

    async fn commit(&self, commit: Commit) -> annals_state::Result<()> {
        self.wait().await;
        let fate = self.fate();
        match fate {
            Fate::Unavailable => return Err(StateError::unavailable(AWAY)),
            Fate::Lost => return Err(StateError::outcome_unknown(AWAY)),
            Fate::Made | Fate::Answered => {}
        }
        let inner = Arc::clone(&self.inner);
        self.outside.answer(async move { inner.commit(commit).await }).await?;
        self.wait().await;
        match fate {
            Fate::Made => Err(StateError::outcome_unknown(AWAY)),
            _ => Ok(()),
        }
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> annals_state::Result<Got> {
        self.wait().await;
        if self.is_unavailable() {
            return Err(StateError::unavailable(AWAY));
        }
        let inner = Arc::clone(&self.inner);
        let got = self.outside.answer(async move { inner.get(keys).await }).await;
        self.wait().await;
        got
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        let pages = self.inner.scan(scan);
        let chaos = self.of_pages();
        stream::unfold((pages, chaos, false), |(mut pages, chaos, ended)| async move {
            if ended {
                return None;
            }
            chaos.wait().await;
            if chaos.is_unavailable() {
                return Some((Err(StateError::unavailable(AWAY)), (pages, chaos, true)));
            }
            let next = async move { (pages.next().await, pages) };
            let (page, pages) = chaos.outside.answer(next).await;
            page.map(|page| (page, (pages, chaos, false)))
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl<A: StorageAdapter> StorageAdapter for Chaos<A> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
        self.wait().await;
        let fate = self.fate();
        match fate {
            Fate::Unavailable => return Err(Error::unavailable(AWAY)),
            Fate::Lost => return Err(Error::outcome_unknown(AWAY)),
            Fate::Made | Fate::Answered => {}
        }
        let inner = Arc::clone(&self.inner);
        let stored = self.outside.answer(async move { inner.append(writes).await }).await?;
        self.wait().await;
        match fate {
            Fate::Made => Err(Error::outcome_unknown(AWAY)),
            _ => Ok(stored),
        }
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        let pages = self.inner.read(query, options);
        let chaos = self.of_pages();
        let follows = options.follow;
        let begin = (pages, chaos, false, false);
        stream::unfold(begin, move |(mut pages, chaos, ended, waits)| async move {
            if ended {
                return None;
            }
            chaos.wait().await;
            if chaos.is_unavailable() {
                return Some((Err(Error::unavailable(AWAY)), (pages, chaos, true, false)));
            }
            let (page, pages) = if waits {
                (pages.next().await, pages)
            } else {
                chaos.outside.answer(async move { (pages.next().await, pages) }).await
            };
            let page = page?;
            let waits = follows && page.as_ref().is_ok_and(|page| page.at_head);
            Some((page, (pages, chaos, false, waits)))
        })
        .boxed()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
