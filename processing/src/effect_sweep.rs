//! Erasure: what the ledger of effects keeps of a person.

use std::fmt;
use std::sync::Arc;

use annals_state::{Commit, DocumentKey, Scan, StateError, StateStore, Sweep, Swept};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::claim::EFFECTS;
use crate::reaction::Entry;
use crate::tracking::{get_one, put};

/// How often a result that changes meanwhile is looked at again.
const TRIES: u32 = 8;

type Redact<T> = Arc<dyn Fn(&str, &mut T) -> bool + Send + Sync>;

/// Removes from the ledger of [`Effects`](crate::Effects) what the results of effects say of a person, once their keys are
/// destroyed. An effect stays done and is not made again.
///
/// The ledger belongs to all processors of a state store, and its results are of several types: take a sweep for each type
/// that may say something of a person. Every result that can be read as `T` is taken for one.
///
/// An effect that is under way while the sweep goes on may be recorded after it: call it again once that is done.
///
/// ```
/// # use std::sync::Arc;
/// # use annals::BoxError;
/// # use annals_memory::MemoryState;
/// # use annals_processing::EffectSweep;
/// # use annals_state::Sweep;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let state = Arc::new(MemoryState::new());
/// let sweep = EffectSweep::new(state, |subject, receipt: &mut String| {
///     let says = receipt.contains(subject);
///     if says {
///         "forgotten".clone_into(receipt);
///     }
///     says
/// });
/// sweep.forget("c-1").await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a sweep does nothing until it is asked to forget"]
pub struct EffectSweep<T> {
    state: Arc<dyn StateStore>,
    redact: Redact<T>,
}

impl<T: Serialize + DeserializeOwned + 'static> EffectSweep<T> {
    /// Sweeps the ledger in `state`. `redact` removes from a result what it says of a subject, and returns whether it said
    /// anything.
    pub fn new(
        state: Arc<dyn StateStore>,
        redact: impl Fn(&str, &mut T) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { state, redact: Arc::new(redact) }
    }

    /// The entry without what its result says of the subject; `None` if that is nothing.
    fn redacted(&self, subject: &str, entry: &Entry) -> Result<Option<Entry>, StateError> {
        let Some(Ok(mut result)) = entry.done.clone().map(serde_json::from_value::<T>) else {
            return Ok(None);
        };
        if !(self.redact)(subject, &mut result) {
            return Ok(None);
        }
        let done = Some(serde_json::to_value(&result).map_err(StateError::backend)?);
        Ok(Some(Entry { done, ..entry.clone() }))
    }

    /// Whether something was removed.
    async fn sweep(&self, subject: &str, key: DocumentKey) -> Result<bool, StateError> {
        for _ in 0..TRIES {
            let found = get_one::<Entry>(&*self.state, key.clone()).await?;
            let Some(held) = found else { return Ok(false) };
            let Some(next) = self.redacted(subject, &held.value)? else { return Ok(false) };
            match self.state.commit(Commit::new([put(key.clone(), &next, held.revision)?])).await {
                Err(StateError::Conflict(_)) => {}
                outcome => return outcome.map(|()| true),
            }
        }
        Err(StateError::unavailable("an effect changes all the time"))
    }
}

#[async_trait]
impl<T: Serialize + DeserializeOwned + 'static> Sweep for EffectSweep<T> {
    async fn forget(&self, subject: &str) -> Result<Swept, StateError> {
        let mut swept = Swept::default();
        let mut pages = self.state.scan(Scan::along_ids(EFFECTS));
        while let Some(page) = pages.try_next().await? {
            for scanned in page {
                swept.looked_at += 1;
                swept.removed += u64::from(self.sweep(subject, scanned.document.key).await?);
            }
        }
        Ok(swept)
    }
}

impl<T> fmt::Debug for EffectSweep<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EffectSweep").field("state", &self.state).finish_non_exhaustive()
    }
}
