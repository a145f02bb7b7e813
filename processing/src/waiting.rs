//! What a processor waits for: a rival of its name, a pause, a store that is away.

use std::time::Duration;

use annals::{ReadOptions, SequenceNumber};
use futures_util::TryStreamExt;
use futures_util::future::{Either, select};

use crate::error::{ProcessingError, chain};
use crate::failing::doubled;
use crate::halt::Halt;
use crate::measure;
use crate::runner::{Runner, Session};
use crate::status::Phase;
use crate::tracking::{Tracking, get_one};

/// The first and the longest time between two tries of what failed in a store.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

impl Runner {
    pub(crate) fn is_rivals(&self, session: &Session) -> bool {
        session.tracked().owner.is_some_and(|owner| owner != self.node)
    }

    /// Another processor of this name has taken events: waits until it has ended, or has not taken any for a while
    /// although there are some.
    /// Who only settles waits for no events that may come.
    pub(crate) async fn stand_by(
        &mut self,
        mut session: Session,
        follows: bool,
    ) -> Result<SequenceNumber, Halt> {
        tracing::info!(name: "annals.standby", processor = %self.claim);
        let mut idle_since = None;
        loop {
            self.shared.update(&*self.timer, |status| {
                status.phase = Phase::Standby;
                status.tracked = status.tracked.max(session.tracked().after);
            });
            self.pause(self.options.beat).await?;
            let found = get_one(&*self.state, self.claim.tracking()).await?.unwrap_or_default();
            if found.revision != session.fence.tracking.revision {
                session.fence.tracking = found;
                idle_since = None;
                if !self.is_rivals(&session) {
                    return Err(Halt::Reload);
                }
            } else if self.has_more(&session).await? {
                let now = self.timer.elapsed();
                let since = *idle_since.get_or_insert(now);
                if now.saturating_sub(since) >= self.options.takeover {
                    return Err(Halt::Reload);
                }
            } else if !follows {
                return Ok(session.tracked().after);
            }
        }
    }

    /// Whether there is an event to apply.
    async fn has_more(&self, session: &Session) -> Result<bool, Halt> {
        let options = ReadOptions::default().after(session.tracked().after);
        let mut pages = self.store.pages(self.query.clone(), options);
        let mut looked_at = 0;
        while let Some(page) = pages.try_next().await? {
            if page.events.iter().any(|event| self.wants(event)) {
                return Ok(true);
            }
            looked_at += page.events.len();
            if looked_at > self.options.batch_events {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) async fn wait_paused(&mut self, session: &mut Session) -> Result<(), Halt> {
        self.shared.update(&*self.timer, |status| status.phase = Phase::Paused);
        loop {
            self.answer_asked(session).await?;
            if !session.tracked().paused {
                return Ok(());
            }
            let woken = self.shared.listen();
            if self.shared.is_stopping() {
                return Err(Halt::Stopped);
            }
            if self.shared.has_work() {
                continue;
            }
            if let Either::Right(_) = select(woken, self.timer.sleep(self.options.beat)).await {
                // Somebody else may have resumed it.
                let key = self.claim.tracking();
                let found = get_one::<Tracking>(&*self.state, key).await?;
                if found.as_ref().and_then(|held| held.revision) != session.fence.tracking.revision
                {
                    return Err(Halt::Reload);
                }
            }
        }
    }

    /// Waits before what failed is tried again.
    pub(crate) async fn back_off(&mut self, error: &ProcessingError) {
        self.failures = self.failures.saturating_add(1);
        let most = doubled(FIRST_RETRY, self.failures - 1, LONGEST_RETRY);
        let delay = self.jitter.up_to(most);
        tracing::warn!(name: "annals.processor_retries", processor = %self.claim, error = %chain(error), ?delay);
        measure::retry(&self.claim);
        self.shared.update(&*self.timer, |status| {
            status.phase = Phase::Retrying;
            status.error = Some(chain(error));
            status.retries += 1;
        });
        let _stopped = self.pause(delay).await;
    }

    /// Sleeps, unless it is asked to stop.
    pub(crate) async fn pause(&self, time: Duration) -> Result<(), Halt> {
        let mut over = self.timer.sleep(time);
        loop {
            let woken = self.shared.listen();
            if self.shared.is_stopping() {
                return Err(Halt::Stopped);
            }
            if let Either::Right(_) = select(woken, &mut over).await {
                return Ok(());
            }
        }
    }
}
