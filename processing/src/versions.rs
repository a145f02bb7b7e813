//! Versions: a view is built again beside the old one, and readers are switched over once it has caught up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals_state::{CollectionName, DocumentId, DocumentKey, StateError, StateStore};
use serde::{Deserialize, Serialize};

use crate::claim::{VIEWS, checked};
use crate::error::{ProcessingError, Result};
use crate::progress::Progress;
use crate::tracking::{commit, get_one, put};

/// How often a switch is tried again because others switch, too, or reset the processor meanwhile.
const MAX_TRIES: u32 = 8;

/// Which version of a view its readers read.
///
/// The new version is a processor and a collection of another name, such as `prices@2`, which run beside the old ones. A
/// reader asks for the [`current`](Self::current) name; [`switch`](Self::switch) changes it in one commit. Afterwards the
/// old processor is stopped and its collection cleared.
#[derive(Clone)]
pub struct Versions {
    state: Arc<dyn StateStore>,
    key: DocumentKey,
}

/// The document `annals.views` / name.
#[derive(Debug, Serialize, Deserialize)]
struct Current {
    current: String,
}

impl Versions {
    /// The versions of the view of this name.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if the name is none.
    pub fn new(state: Arc<dyn StateStore>, name: impl Into<Box<str>>) -> Result<Self> {
        let name = checked("view", name.into())?;
        let id = DocumentId::new(&*name).map_err(StateError::from)?;
        Ok(Self { state, key: DocumentKey { collection: CollectionName::clone(&VIEWS), id } })
    }

    /// The name of the version that is read; until the first switch it is the name of the view.
    ///
    /// # Errors
    /// Those of the state store.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn current(&self) -> Result<String> {
        let found = get_one::<Current>(&*self.state, self.key.clone()).await?;
        Ok(found.map_or_else(|| self.key.id.as_str().to_owned(), |held| held.value.current))
    }

    /// Waits until the processor of the new version has come as far as that of the old one, and makes the new one current
    /// in a commit that is guarded by the new one's definition: it was not reset meanwhile. The version has the name of its
    /// processor.
    ///
    /// # Errors
    /// [`Timeout`](ProcessingError::Timeout) if it has not caught up in time, and those of the state store: the old
    /// version is still current.
    ///
    /// # Cancel safety
    /// If it is dropped, it was switched or not.
    pub async fn switch(&self, next: &Progress, old: &Progress, timeout: Duration) -> Result<()> {
        let begun = next.timer().elapsed();
        for _ in 0..MAX_TRIES {
            let left = timeout.saturating_sub(next.timer().elapsed().saturating_sub(begun));
            let wanted = old.position().await?;
            next.wait(wanted, left).await?;
            let found = get_one::<Current>(&*self.state, self.key.clone()).await?;
            let revision = found.and_then(|held| held.revision);
            let current = Current { current: next.claim().processor().to_owned() };
            // The guard is of before the position: a reset in between fails the commit.
            let guard = next.guard().await?;
            if next.position().await? < wanted {
                continue;
            }
            let write = put(self.key.clone(), &current, revision)?;
            match commit(&*self.state, [write, guard]).await {
                Ok(_) => return Ok(()),
                Err(StateError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ProcessingError::misuse("the version is switched or reset by others all the time"))
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions").field("view", &self.key.id).finish_non_exhaustive()
    }
}
