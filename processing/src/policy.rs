//! Policies: events lead to events, each exactly once.

mod log;
mod out;
mod sink;
mod tracked;

use std::sync::Arc;

use annals::{Append, BoxError, NewEvent, Position, StoredEvent, StreamId};
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

    /// Decides what follows from an event that this policy appends itself, to `stream`: it is appended with it, together or
    /// not at all. It is called for each event of a decision, also for those that it adds, in the order of the calls of
    /// [`Out::append`]; `log` shows the log up to the input. Nothing follows by default.
    ///
    /// What follows has the ids and causes that it would have if `event` were the input. A policy that also reacts to such
    /// an event when it comes from the log must decide the same there: then nothing is appended twice.
    ///
    /// # Errors
    /// As [`react`](Self::react). A decision of more than 1,000 events that are added here is one, too: it may have no end.
    ///
    /// # Cancel safety
    /// As [`react`](Self::react).
    async fn react_to_own(
        &self,
        stream: &StreamId,
        event: &NewEvent,
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        let _ = (stream, event, log, out);
        Ok(())
    }
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

    async fn react_to_own(
        &self,
        stream: &StreamId,
        event: &NewEvent,
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        (**self).react_to_own(stream, event, log, out).await
    }
}

/// How many events may follow from those that a decision appends itself.
const MOST_OWN: usize = 1_000;

/// What `policy` decides on `input`, as a processor of the name `name` appends it: what it reacts to the input, and to its
/// own events. For tests of policies.
///
/// # Errors
/// Those of the policy.
///
/// # Cancel safety
/// It appends nothing: nothing is lost if it is dropped.
pub async fn decided(
    policy: &(impl Policy + ?Sized),
    name: &str,
    input: &StoredEvent,
    log: &LogUpTo,
) -> Result<Vec<Append>, BoxError> {
    let mut out = Out::new(name, input);
    policy.react(input, log, &mut out).await?;
    let (mut nth, mut added) = (0, 0);
    while let Some((stream, event)) = out.made(nth) {
        // Only its id and its metadata say what it causes: it has no place in the log yet.
        let (position, number) = (Position::new(0), input.sequence_number);
        let as_input =
            StoredEvent::new(event.clone(), stream.clone(), position, number, input.recorded_at);
        let mut own = Out::new(name, &as_input);
        policy.react_to_own(stream, event, log, &mut own).await?;
        added += out.join(own)?;
        if added > MOST_OWN {
            let text = format!("more than {MOST_OWN} events follow from those of one decision");
            return Err(text.into());
        }
        nth += 1;
    }
    Ok(out.into_appends())
}
