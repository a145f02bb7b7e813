//! Policies: events lead to events, each exactly once.

mod log;
mod out;
mod sink;
mod tracked;

use std::sync::Arc;

use annals::{BoxError, StoredEvent};
use async_trait::async_trait;

pub use log::LogUpTo;
pub use out::Out;
pub use sink::PolicySink;
pub(crate) use sink::failed;

/// What follows from an event: events of other streams.
///
/// A policy decides; the processor appends. The events that it appends have ids that follow from the id of the input and
/// from the name of the processor, so the log recognises those of a decision that is made again: after a kill, an
/// unknown outcome or by a second processor of the name, nothing is appended twice and nothing is missing. That is exact
/// if a decision is a function of the event and of what [`LogUpTo`] shows, and of nothing else: no clock, no random
/// number, no other store. A policy that needs these is [`tracked in the log`](PolicySink::tracked_in_log).
///
/// ```
/// use annals::{BoxError, NewEvent, StoredEvent, StreamId, WriteCondition};
/// use annals_processing::{LogUpTo, Out, Policy, async_trait};
///
/// /// Reserves what is ordered.
/// struct Reserve;
///
/// #[async_trait]
/// impl Policy for Reserve {
///     async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
///         if *event.name() == "order-placed" {
///             let stream = StreamId::new("reservations", event.stream.name.as_str())?;
///             out.append(stream, [NewEvent::json("seat-reserved", &1)?], WriteCondition::Always)?;
///         }
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Policy: Send + Sync + 'static {
    /// Decides what follows from `event`, and says so with [`Out::append`]. It may be called again for the same event.
    ///
    /// # Errors
    /// If it cannot decide: the event is one that cannot be applied. An error of the log that says that a store is away is
    /// tried again by the processor, and is no failure of the policy.
    ///
    /// # Cancel safety
    /// It may be dropped at any await: nothing of it was made.
    async fn react(
        &self,
        event: &StoredEvent,
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError>;
}

#[async_trait]
impl<P: Policy + ?Sized> Policy for Arc<P> {
    async fn react(
        &self,
        event: &StoredEvent,
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        (**self).react(event, log, out).await
    }
}
