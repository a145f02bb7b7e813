//! Typed events in views: the enum of `annals-domain` instead of names and payloads.

use annals::{BoxError, Query, QueryItem, Source, StoredEvent};
use annals_domain::{Event, Kind, decode};
use annals_state::{DocumentId, Documents};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ProcessingError, Result};
use crate::made::View;
use crate::processor::Processor;
use crate::timer::Timer;

/// A [`View`] of the events of an enum: they arrive decoded, under their current names and schema versions. What the
/// enum does not have is passed over; what it has and cannot be decoded is an event that cannot be applied.
///
/// ```
/// use annals::{BoxError, StoredEvent};
/// use annals_domain::Event;
/// use annals_processing::EventView;
/// use annals_state::DocumentId;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event)]
/// enum OrderEvent {
///     #[event(name = "order-placed")]
///     Placed { amount: u64 },
///     #[event(name = "order-paid")]
///     Paid,
/// }
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct Order {
///     amount: u64,
///     is_paid: bool,
/// }
///
/// /// A document for each order.
/// struct Orders;
///
/// impl EventView for Orders {
///     type Event = OrderEvent;
///     type State = Order;
///
///     fn apply(&self, _: &DocumentId, order: &mut Option<Order>, event: OrderEvent, _: &StoredEvent) -> Result<(), BoxError> {
///         let order = order.get_or_insert_default();
///         match event {
///             OrderEvent::Placed { amount } => order.amount = amount,
///             OrderEvent::Paid => order.is_paid = true,
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait EventView: Send + Sync + 'static {
    /// The events.
    type Event: Event;
    /// What a document says.
    type State: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// The documents that the event concerns. The one of the name of its stream, unless overridden.
    ///
    /// # Errors
    /// As [`View::ids`].
    fn ids(&self, _: &Self::Event, stored: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::new(stored.stream.name.as_str())?])
    }

    /// Applies the event to one of its documents, as [`View::apply`] does. `stored` is the event as it was read, with its
    /// stream, its numbers and its metadata.
    ///
    /// # Errors
    /// As [`View::apply`].
    fn apply(
        &self,
        id: &DocumentId,
        state: &mut Option<Self::State>,
        event: Self::Event,
        stored: &StoredEvent,
    ) -> Result<(), BoxError>;
}

/// An [`EventView`] as a [`View`], for all that takes one: a [`ViewSink`](crate::ViewSink), an [`Audit`](crate::Audit).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Typed<V>(pub V);

impl<V: EventView> View for Typed<V> {
    type State = V::State;

    fn ids(&self, stored: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        match decode::<V::Event>(stored)? {
            Some(event) => self.0.ids(&event, stored),
            None => Ok(Vec::new()),
        }
    }

    fn apply(
        &self,
        id: &DocumentId,
        state: &mut Option<V::State>,
        stored: &StoredEvent,
    ) -> Result<(), BoxError> {
        match decode::<V::Event>(stored)? {
            Some(event) => self.0.apply(id, state, event, stored),
            None => Ok(()),
        }
    }
}

/// The events of `E` in this source: of all its names and aliases.
///
/// # Errors
/// [`Misuse`](ProcessingError::Misuse) if `E` has no kind of event.
pub fn events_of<E: Event>(source: impl Into<Source>) -> Result<Query> {
    if E::KINDS.is_empty() {
        return Err(ProcessingError::misuse("there is no event to handle: the enum has none"));
    }
    let item = QueryItem::new(source).with_names(Kind::names_of(E::KINDS));
    Ok(item.map_err(|error| ProcessingError::misuse(error.to_string()))?.into())
}

impl Processor {
    /// A processor of this name that keeps `view` as `documents`. It asks for the events of the view's enum, wherever they
    /// are; [`with_query`](Self::with_query) asks for those of one source, with [`events_of`].
    ///
    /// # Errors
    /// As [`view`](Self::view); [`Misuse`](ProcessingError::Misuse) for an enum without events.
    pub fn event_view<V: EventView>(
        name: impl Into<Box<str>>,
        store: &annals::EventStore,
        documents: Documents<V::State>,
        view: V,
        timer: impl Timer,
    ) -> Result<Self> {
        let query = events_of::<V::Event>(Source::Log)?;
        Self::view(name, store, documents, Typed(view), timer)?.with_query(query)
    }
}
