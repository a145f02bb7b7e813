//! The log as a policy may see it: up to its input.

use annals::{
    Error, EventStore, Events, Projection, Projector, Query, QueryItem, ReadOptions, Result,
    Source, StoredEvent,
};
use time::OffsetDateTime;

/// The log up to the input of a decision, itself included. Whenever the decision is made again it shows the same events,
/// however far the log is by then.
#[derive(Debug, Clone)]
pub struct LogUpTo {
    store: EventStore,
    input: StoredEvent,
}

impl LogUpTo {
    /// The log of `store` up to `input`: processors make it, and tests of policies.
    #[must_use]
    pub fn new(store: &EventStore, input: &StoredEvent) -> Self {
        Self { store: store.clone(), input: input.clone() }
    }

    /// The time of the decision: when the input was recorded. A policy has no other clock.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.input.recorded_at
    }

    /// Reads what `query` matches up to the input.
    ///
    /// # Errors
    /// [`Unsupported`](Error::Unsupported) if the log keeps no order over the query and the input together: what comes
    /// before the input would not be the same at each look.
    pub fn read(&self, query: impl Into<Query>, options: ReadOptions) -> Result<Events> {
        let query = query.into();
        self.check(&query)?;
        Ok(self.store.read(query, options.until(self.input.sequence_number)))
    }

    /// The last event that `query` matches up to the input, or `None`.
    ///
    /// # Errors
    /// As [`read`](Self::read), and those of the adapter's read.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn latest(&self, query: impl Into<Query>) -> Result<Option<StoredEvent>> {
        self.read(query, ReadOptions::last(1))?.next().await.transpose()
    }

    /// What `projector` makes of the events that `query` matches up to the input.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`Projection`](Error::Projection) if the projector cannot apply an event.
    ///
    /// # Cancel safety
    /// Reads only: nothing is lost if it is dropped.
    pub async fn project<P: Projector>(
        &self,
        query: impl Into<Query>,
        projector: &P,
    ) -> Result<P::State> {
        let query = query.into();
        self.check(&query)?;
        let events = self.store.query(query);
        let mut projection = Projection::new(projector, events.source());
        let options = ReadOptions::default().until(self.input.sequence_number);
        projection.fold(projector, &events, options).await?;
        Ok(projection.state)
    }

    fn check(&self, query: &Query) -> Result<()> {
        let input = QueryItem::new(Source::Stream(self.input.stream.clone()));
        let both = Query::any_of(query.items().iter().cloned().chain([input]));
        let is_kept = query.scope().is_none() || self.store.capabilities().keeps_order(&both);
        if is_kept {
            return Ok(());
        }
        let what = "a decision on events outside the order of its input";
        Err(Error::unsupported(self.store.adapter().name(), what))
    }
}
