//! Events for tests: valid and random in every field that a test does not give.

use annals::{
    EventId, EventName, InvalidName, Metadata, NewEvent, Payload, Position, SequenceNumber,
    StoredEvent, StreamId, Tags,
};
use serde::Serialize;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::generate::{Generator, valid};

/// Builds an event that is to be appended.
///
/// ```
/// use annals_testkit::NewEventBuilder;
/// let event = NewEventBuilder::new().with_name("order-placed").with_json(&["tea"]).build();
/// assert_eq!(event.name.as_str(), "order-placed");
/// assert_ne!(event.id, NewEventBuilder::new().build().id);
/// assert_eq!(NewEventBuilder::seeded(7).build(), NewEventBuilder::seeded(7).build());
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct NewEventBuilder(NewEvent);

/// Builds an event as a store returns it, for tests of what reads events.
///
/// ```
/// use annals::StreamId;
/// use annals_testkit::StoredEventBuilder;
/// let stream = StreamId::from_static("orders", "o-1");
/// let event = StoredEventBuilder::new().with_stream(stream).with_position(3).build();
/// assert_eq!(event.position.value(), 3);
/// assert!(event.sequence_number.value() > 3);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct StoredEventBuilder {
    event: NewEventBuilder,
    stream: StreamId,
    position: Position,
    sequence_number: Option<SequenceNumber>,
    recorded_at: OffsetDateTime,
    ahead: u64,
}

impl Default for NewEventBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for StoredEventBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// A seed that no other call returns.
pub(crate) fn fresh_seed() -> u64 {
    EventId::generate().as_uuid().as_u64_pair().1
}

impl NewEventBuilder {
    /// An event that is another one each time.
    pub fn new() -> Self {
        Self::seeded(fresh_seed())
    }

    /// The event of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self::drawn(&mut Generator::new(seed))
    }

    /// The next event of `generator`.
    pub fn drawn(generator: &mut Generator) -> Self {
        let payload = valid(Payload::json(&generator.ordinary(100)));
        let actor = (!generator.once_in(3)).then(|| json!({ "actor": generator.email() }));
        let metadata = actor.map(|actor| valid(Metadata::json(&actor)));
        let event = NewEvent::new(generator.event_name(), payload)
            .with_id(generator.event_id())
            .with_metadata(metadata)
            .with_tags(generator.tags())
            .with_occurred_at(generator.time());
        Self(event)
    }

    /// The event.
    #[must_use]
    pub fn build(self) -> NewEvent {
        self.0
    }

    fn event_mut(&mut self) -> &mut NewEvent {
        &mut self.0
    }
}

impl StoredEventBuilder {
    /// An event that is another one each time.
    pub fn new() -> Self {
        Self::seeded(fresh_seed())
    }

    /// The event of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self::drawn(&mut Generator::new(seed))
    }

    /// The next event of `generator`.
    pub fn drawn(generator: &mut Generator) -> Self {
        let event = NewEventBuilder::drawn(generator);
        let delay = i64::try_from(generator.below(3_600_000_000)).unwrap_or_default();
        Self {
            recorded_at: event.0.occurred_at + Duration::microseconds(delay),
            event,
            stream: generator.stream(),
            position: Position::new(generator.below(1_000)),
            sequence_number: None,
            ahead: generator.below(100_000),
        }
    }

    /// Takes everything but the place from `event`.
    pub fn with_event(mut self, event: NewEvent) -> Self {
        self.event = NewEventBuilder(event);
        self
    }

    /// Puts it in this stream.
    pub fn with_stream(mut self, stream: StreamId) -> Self {
        self.stream = stream;
        self
    }

    /// Puts it at this position of its stream, counted from 0.
    pub fn with_position(mut self, position: u64) -> Self {
        self.position = Position::new(position);
        self
    }

    /// Sets this sequence number; otherwise it has one that an event at its position can have.
    pub fn with_sequence_number(mut self, number: u64) -> Self {
        self.sequence_number = Some(SequenceNumber::new(number));
        self
    }

    /// Says when the store appended it; cut to the microsecond.
    pub fn with_recorded_at(mut self, recorded_at: OffsetDateTime) -> Self {
        self.recorded_at = recorded_at;
        self
    }

    /// The event.
    #[must_use]
    pub fn build(self) -> StoredEvent {
        let position = self.position.value();
        let number = self.sequence_number.unwrap_or_else(|| {
            let number = position.saturating_add(1 + self.ahead);
            SequenceNumber::new(number.min(SequenceNumber::MAX.value()))
        });
        StoredEvent::new(self.event.0, self.stream, self.position, number, self.recorded_at)
    }

    fn event_mut(&mut self) -> &mut NewEvent {
        &mut self.event.0
    }
}

macro_rules! fields_of_the_event {
    ($($builder:ident)*) => {$(
        impl $builder {
            /// Sets this id.
            pub fn with_id(mut self, id: EventId) -> Self {
                self.event_mut().id = id;
                self
            }

            /// Sets this name.
            ///
            /// # Panics
            /// When the text is not a valid name.
            #[track_caller]
            pub fn with_name(
                mut self,
                name: impl TryInto<EventName, Error: Into<InvalidName>>,
            ) -> Self {
                match name.try_into() {
                    Ok(name) => self.event_mut().name = name,
                    Err(error) => panic!("{}", error.into()),
                }
                self
            }

            /// Sets this payload.
            pub fn with_payload(mut self, payload: Payload) -> Self {
                self.event_mut().payload = payload;
                self
            }

            /// Sets a JSON payload.
            ///
            /// # Panics
            /// When the value does not serialize.
            #[track_caller]
            pub fn with_json(self, payload: &(impl Serialize + ?Sized)) -> Self {
                match Payload::json(payload) {
                    Ok(payload) => self.with_payload(payload),
                    Err(error) => panic!("{error}"),
                }
            }

            /// Sets this metadata, or none.
            pub fn with_metadata(mut self, metadata: impl Into<Option<Metadata>>) -> Self {
                self.event_mut().metadata = metadata.into();
                self
            }

            /// Sets these tags instead.
            pub fn with_tags(mut self, tags: Tags) -> Self {
                self.event_mut().tags = tags;
                self
            }

            /// Says when it happened; cut to the microsecond.
            pub fn with_occurred_at(mut self, occurred_at: OffsetDateTime) -> Self {
                self.event_mut().occurred_at = annals::adapter::cut_to_micros(occurred_at);
                self
            }
        }
    )*};
}

fields_of_the_event!(NewEventBuilder StoredEventBuilder);
