//! Audits that go on beside the work of an application, and take next to nothing from it.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::audit::{Audit, Audited};
use crate::error::Result;
use crate::made::View;
use crate::stopping::Stopping;

/// How much of the time it works if nothing else is said.
const SHARE: f64 = 0.01;
/// The least time between two buckets: an empty log earns no rest.
const BETWEEN: Duration = Duration::from_secs(1);

impl<V: View> Audit<V> {
    /// Audits bucket after bucket, sweep after sweep, until it is asked to stop: a member of
    /// [`Services`](crate::Services). It works one hundredth of the time, or [another share](Audit::with_share). It
    /// begins with one bucket, and takes twice as many if one has too many documents. `found` receives what each bucket has
    /// shown, right or wrong. If a store is away, it tries the bucket again.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use annals::EventStore;
    /// # use annals_memory::{MemoryAdapter, MemoryState};
    /// # use annals_processing::*;
    /// # use annals_state::Collection;
    /// # fn services(view: impl View<State = u64>) -> Result<Services, Box<dyn std::error::Error>> {
    /// # let store = EventStore::new(MemoryAdapter::new());
    /// # let documents = Collection::new("totals")?.on(Arc::new(MemoryState::new()));
    /// let timer = SystemTimer::new();
    /// let audit = Audit::new(&store, view, documents, Claim::new("totals")?, timer);
    /// let services = Services::new(timer).add("audit", |stopping| async move {
    ///     let report = |found: &Audited| {
    ///         for wrong in &found.differences {
    ///             eprintln!("{} is not what its events make, from {:?} on", wrong.id, wrong.first);
    ///         }
    ///     };
    ///     Ok(audit.keep_on(stopping, report).await?)
    /// })?;
    /// # Ok(services)
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`run`](Audit::run), but for stores that are away and buckets that are too large.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn keep_on(
        mut self,
        stopping: Stopping,
        mut found: impl FnMut(&Audited),
    ) -> Result<()> {
        self.share.get_or_insert(SHARE);
        let mut stopped = pin!(stopping.wait());
        self.bucket = (0, 1);
        loop {
            let (nth, of) = self.bucket;
            let outcome = match select(&mut stopped, pin!(self.compare())).await {
                Either::Left(_) => return Ok(()),
                Either::Right((outcome, _)) => outcome,
            };
            self.bucket = match outcome {
                Ok(Some(audited)) => {
                    found(&audited);
                    ((nth + 1) % of, of)
                }
                Ok(None) => (0, of.saturating_mul(2)),
                Err(error) if error.passes() => (nth, of),
                Err(error) => return Err(error),
            };
            if let Either::Left(_) = select(&mut stopped, self.timer().sleep(BETWEEN)).await {
                return Ok(());
            }
        }
    }
}
