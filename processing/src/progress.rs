//! Progress: how far a processor is, wherever it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals::SequenceNumber;
use annals_state::{CollectionName, DocumentId, DocumentKey, Expected, StateStore, Write, get_all};

use crate::claim::{Claim, TRACKING};
use crate::error::{ProcessingError, Result};
use crate::requests::Looks;
use crate::timer::Timer;
use crate::token::Token;
use crate::tracking::{Definition, Tracking, decode, get_one};

const FIRST_POLL: Duration = Duration::from_millis(1);
const LONGEST_POLL: Duration = Duration::from_millis(100);

/// How far all parts of a processor are, as the state store says: the processor may run in another process. In its own,
/// [`Handle`](crate::Handle) learns it earlier.
#[derive(Clone)]
pub struct Progress {
    state: Arc<dyn StateStore>,
    timer: Arc<dyn Timer>,
    claim: Claim,
}

impl Progress {
    /// The progress of the processor that `claim` names; the part of the claim does not matter.
    #[must_use]
    pub fn new(state: Arc<dyn StateStore>, timer: impl Timer, claim: Claim) -> Self {
        Self { state, timer: Arc::new(timer), claim }
    }

    /// Whose progress it is.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(crate) fn timer(&self) -> &dyn Timer {
        &*self.timer
    }

    /// That the processor is not reset, in a commit.
    pub(crate) async fn guard(&self) -> Result<Write> {
        let key = self.claim.definition();
        let found = get_one::<Definition>(&*self.state, key.clone()).await?;
        Ok(Write::guard(key, Expected::from(found.and_then(|held| held.revision))))
    }

    /// In how many parts it works.
    pub(crate) async fn parts(&self) -> Result<u16> {
        let found = get_one::<Definition>(&*self.state, self.claim.definition()).await?;
        Ok(found.map_or(1, |held| held.value.parts))
    }

    /// Up to which number all parts have applied everything. [`SequenceNumber::START`] if one of them never began, or while
    /// the processor is being reset or split.
    ///
    /// # Errors
    /// Those of the state store.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn position(&self) -> Result<SequenceNumber> {
        let found = get_one::<Definition>(&*self.state, self.claim.definition()).await?;
        let is_whole = |found: &Definition| !found.resetting && found.splitting.is_none();
        let Some(definition) = found.map(|held| held.value).filter(is_whole) else {
            return Ok(SequenceNumber::START);
        };
        let mut least = None;
        for document in get_all(&*self.state, trackings(&self.claim, &definition)).await? {
            let after = match document {
                Some(document) => decode::<Tracking>(&document)?.after,
                None => SequenceNumber::START,
            };
            least = Some(least.map_or(after, |least| after.min(least)));
        }
        Ok(least.unwrap_or_default())
    }

    /// Waits until all parts have applied everything up to this number. Returns at once if they have, and if `until` is
    /// `None`. It asks the store after 1 ms, and then less and less often, up to each 100 ms.
    ///
    /// A processor that asks for some events only does not learn at once of the others. If it is not there soon, it is asked
    /// to look: one of a [`Services`](crate::Services) does so at its next beat; any other one looks each second beat.
    ///
    /// # Errors
    /// [`Timeout`](ProcessingError::Timeout) once this much time has passed, and those of the state store.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn wait(
        &self,
        until: impl Into<Option<SequenceNumber>>,
        timeout: Duration,
    ) -> Result<()> {
        let Some(wanted) = until.into() else { return Ok(()) };
        let mut looks = Looks::default();
        let outcome = self.wait_with(wanted, timeout, &mut looks).await;
        looks.withdraw(&*self.state).await;
        outcome
    }

    async fn wait_with(
        &self,
        wanted: SequenceNumber,
        timeout: Duration,
        looks: &mut Looks,
    ) -> Result<()> {
        let begun = self.timer.elapsed();
        let mut pause = FIRST_POLL;
        loop {
            let reached = self.position().await?;
            if reached >= wanted {
                return Ok(());
            }
            let left = timeout.saturating_sub(self.timer.elapsed().saturating_sub(begun));
            if left.is_zero() {
                return Err(ProcessingError::Timeout { wanted, reached, within: timeout });
            }
            if pause == LONGEST_POLL && !looks.are_asked() {
                looks.ask(&*self.state, self.keys().await?).await?;
            }
            self.timer.sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_POLL);
        }
    }

    /// The trackings of all parts.
    async fn keys(&self) -> Result<Vec<DocumentKey>> {
        let found = get_one::<Definition>(&*self.state, self.claim.definition()).await?;
        Ok(found.map(|held| trackings(&self.claim, &held.value)).unwrap_or_default())
    }

    /// Waits until what `token` wants of this processor's source was seen.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_for(&self, token: &Token, timeout: Duration) -> Result<()> {
        self.wait(token.until(self.claim.source()), timeout).await
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("claim", &self.claim).finish_non_exhaustive()
    }
}

/// The trackings of all parts of a processor that is defined like this.
fn trackings(claim: &Claim, definition: &Definition) -> Vec<DocumentKey> {
    let key = |part: String| {
        let id = format!("{}/{}/{part}", claim.processor(), claim.source());
        DocumentId::new(id)
            .map(|id| DocumentKey { collection: CollectionName::clone(&TRACKING), id })
    };
    if definition.partitions == "whole" {
        return key("whole".into()).into_iter().collect();
    }
    let parts = definition.parts;
    (0..parts).filter_map(|nth| key(format!("{nth}-of-{parts}")).ok()).collect()
}
