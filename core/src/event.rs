//! Events: what a caller proposes, and where it landed.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::clock::{self, Clock, SystemClock};
use crate::name::{EventName, InvalidName, StreamId, Tag};
use crate::payload::{Metadata, Payload};
use crate::position::{Position, SequenceNumber};

/// What identifies an event in its log. It is made with the event, so an append whose outcome is unknown
/// can be looked up, or repeated without doubling it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A fresh id: a UUIDv7, which grows with time within a process.
    #[must_use]
    pub fn generate() -> Self {
        Self(clock::fresh_uuid())
    }

    /// An id from elsewhere, such as one that a caller derives from its own key.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id of the `nth` event that follows from this one, or from the command with this id, counted from 0: a UUID
    /// of version 5 with this id as its namespace. Who does the same work again draws the same ids, so the log recognises the repeat.
    ///
    /// Several workers that follow the same events each begin with [`derived_for`](Self::derived_for):
    ///
    /// ```
    /// # use annals::EventId;
    /// let input = EventId::generate();
    /// assert_eq!(input.derived_for("invoices").derived(0), input.derived_for("invoices").derived(0));
    /// assert_ne!(input.derived_for("invoices").derived(0), input.derived_for("letters").derived(0));
    /// ```
    #[must_use]
    pub fn derived(&self, nth: u64) -> Self {
        Self(Uuid::new_v5(&self.0, &nth.to_be_bytes()))
    }

    /// The id that the worker of this name derives the ids of its events from. No name without control characters draws
    /// the id of any [`derived`](Self::derived) event.
    #[must_use]
    pub fn derived_for(&self, name: &str) -> Self {
        Self(Uuid::new_v5(&self.0, name.as_bytes()))
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for EventId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<EventId> for Uuid {
    fn from(id: EventId) -> Self {
        id.0
    }
}

impl FromStr for EventId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({})", self.0)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A set of tags: sorted, without repeats, cheap to clone.
///
/// ```
/// use annals::Tags;
/// let tags = Tags::parse(["student:7", "course:42", "course:42"])?;
/// assert_eq!(tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["course:42", "student:7"]);
/// # Ok::<(), annals::InvalidName>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Tags(Option<Arc<[Tag]>>);

impl Tags {
    /// No tags; allocates nothing.
    pub const NONE: Self = Self(None);

    /// Checks each text as a tag.
    ///
    /// # Errors
    /// [`InvalidName`] for the first invalid tag.
    pub fn parse<T: TryInto<Tag, Error: Into<InvalidName>>>(
        tags: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidName> {
        tags.into_iter().map(|tag| tag.try_into().map_err(Into::into)).collect()
    }

    /// The tags as a sorted slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Tag] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The tags in ascending order.
    pub fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.as_slice().iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Whether `tag` is among these.
    #[must_use]
    pub fn contains(&self, tag: &Tag) -> bool {
        self.as_slice().binary_search(tag).is_ok()
    }

    /// Whether every tag of `wanted` is among these.
    #[must_use]
    pub fn contains_all(&self, wanted: &Self) -> bool {
        wanted.iter().all(|tag| self.contains(tag))
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        let mut tags: Vec<Tag> = tags.into_iter().collect();
        tags.sort_unstable();
        tags.dedup();
        Self((!tags.is_empty()).then(|| tags.into()))
    }
}

impl From<Tag> for Tags {
    fn from(tag: Tag) -> Self {
        Self(Some(Arc::new([tag])))
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = &'a Tag;
    type IntoIter = std::slice::Iter<'a, Tag>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Tags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Tag>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// An event that is to be appended.
///
/// ```
/// use annals::{Metadata, NewEvent, Tags};
/// let event = NewEvent::json("date-of-birth-set", &serde_json::json!({ "dob": "1992-07-10" }))?
///     .with_metadata(Metadata::json(&serde_json::json!({ "actor": "user-123" }))?)
///     .with_tags(Tags::parse(["profile:joe.bloggs"])?);
/// assert_eq!(event.name.as_str(), "date-of-birth-set");
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NewEvent {
    /// Unique in the log.
    pub id: EventId,
    /// What kind of event it is.
    pub name: EventName,
    /// What it says.
    pub payload: Payload,
    /// What is known beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// What queries can ask for.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// When it happened, as the caller says. A store keeps years 1 to 9999, in UTC, cut to the microsecond. An import
    /// puts the original time here; `recorded_at` is always the time at which the store appended the event.
    #[serde(with = "time::serde::rfc3339")]
    pub occurred_at: OffsetDateTime,
}

impl NewEvent {
    /// An event with a fresh id that occurs now, without metadata and tags. The id is a UUIDv7.
    #[must_use]
    pub fn new(name: EventName, payload: Payload) -> Self {
        let occurred_at = clock::cut_to_micros(SystemClock.now());
        Self::from_parts(EventId::generate(), name, payload, occurred_at)
    }

    /// For adapters and layers: an event from what is known of it, without metadata and tags. Reads no clock and draws
    /// no id.
    #[must_use]
    pub fn from_parts(
        id: EventId,
        name: EventName,
        payload: Payload,
        occurred_at: OffsetDateTime,
    ) -> Self {
        Self { id, name, payload, metadata: None, tags: Tags::NONE, occurred_at }
    }

    /// Sets the id.
    #[must_use]
    pub fn with_id(mut self, id: EventId) -> Self {
        self.id = id;
        self
    }

    /// Sets the metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<Option<Metadata>>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Sets when it happened, cut to the microsecond.
    #[must_use]
    pub fn with_occurred_at(mut self, occurred_at: OffsetDateTime) -> Self {
        self.occurred_at = clock::cut_to_micros(occurred_at);
        self
    }
}

/// An event of the log: a shared handle to its [`EventRecord`], whose fields it derefs to.
///
/// A clone or a move costs a pointer, so pages, layers and folds never copy an event. It is immutable: a layer that
/// changes what an event says takes the [record](Self::into_record) and makes a new handle from it.
///
/// Two are equal when all fields are.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEvent(Arc<EventRecord>);

/// What a store knows of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventRecord {
    /// The event as it was proposed.
    pub event: NewEvent,
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// Its place in the stream.
    pub position: Position,
    /// Its place in the log.
    pub sequence_number: SequenceNumber,
    /// When the store appended it, by the store's clock, also of an imported event. Never use it for order.
    pub recorded_at: OffsetDateTime,
}

impl StoredEvent {
    /// For adapters: an event at its place. Both times are cut to the microsecond here, in UTC.
    #[must_use]
    pub fn new(
        mut event: NewEvent,
        stream: StreamId,
        position: Position,
        sequence_number: SequenceNumber,
        recorded_at: OffsetDateTime,
    ) -> Self {
        event.occurred_at = clock::cut_to_micros(event.occurred_at);
        let recorded_at = clock::cut_to_micros(recorded_at);
        Self(Arc::new(EventRecord { event, stream, position, sequence_number, recorded_at }))
    }

    /// What identifies the event.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.0.event.id
    }

    /// What kind of event it is.
    #[must_use]
    pub fn name(&self) -> &EventName {
        &self.0.event.name
    }

    /// What it says.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.0.event.payload
    }

    /// What is known beside it.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.0.event.metadata.as_ref()
    }

    /// What queries can ask for.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.0.event.tags
    }

    /// When it happened, as the caller said.
    #[must_use]
    pub fn occurred_at(&self) -> OffsetDateTime {
        self.0.event.occurred_at
    }

    /// The record, moved out, or copied if another handle shares it.
    #[must_use]
    pub fn into_record(self) -> EventRecord {
        Arc::unwrap_or_clone(self.0)
    }
}

impl Deref for StoredEvent {
    type Target = EventRecord;

    fn deref(&self) -> &EventRecord {
        &self.0
    }
}

impl From<EventRecord> for StoredEvent {
    fn from(record: EventRecord) -> Self {
        Self(Arc::new(record))
    }
}

impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for StoredEvent {
    /// A summary for logs, without payload and metadata: `#12 profiles/joe.bloggs@0 profile-created`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}@{} {}", self.sequence_number, self.stream, self.position, self.event.name)
    }
}
