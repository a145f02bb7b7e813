//! Typed events: how they are written to the log, and read back.

use annals::{
    BoxError, EventName, InvalidName, InvalidPayload, Metadata, NewEvent, Payload, StoredEvent,
    Tags,
};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Result, Undecodable};
use crate::kind::{Kind, SCHEMA_VERSION};

/// The events of an aggregate or a decision, usually an enum with `#[derive(Event)]`.
///
/// ```
/// use annals_domain::Event;
///
/// #[derive(Event, Debug, PartialEq)]
/// enum CourseEvent {
///     #[event(name = "course-defined", alias = "course-created")]
///     Defined { #[event(tag = "course")] course: String, capacity: u32 },
///     #[event(name = "seat-taken", version = 2, upcast(with_student))]
///     SeatTaken { #[event(tag = "course")] course: String, #[event(tag = "student")] student: String },
/// }
///
/// /// Version 1 called the student `who`.
/// fn with_student(payload: &mut serde_json::Value) {
///     if let Some(who) = payload.get("who").cloned() {
///         payload["student"] = who;
///     }
/// }
///
/// assert_eq!(CourseEvent::KINDS[1].version(), 2);
/// ```
///
/// It can also be written by hand: five items.
pub trait Event: Sized + Send + Sync + 'static {
    /// All kinds of events that a value can be. Fixed at compile time; see [`Kind`].
    const KINDS: &'static [Kind];

    /// The kind of this one: one of [`KINDS`](Self::KINDS).
    fn kind(&self) -> &'static Kind;

    /// What queries can ask for. No tags unless overridden.
    ///
    /// # Errors
    /// [`InvalidName`] if a value makes no tag.
    fn tags(&self) -> Result<Tags, InvalidName> {
        Ok(Tags::NONE)
    }

    /// Writes the payload, and returns the event as well, so that nothing is copied.
    ///
    /// # Errors
    /// [`InvalidPayload`] if it does not serialize.
    fn encode(self) -> Result<(Self, Payload), InvalidPayload>;

    /// Reads an event back: `name` is that of a kind, never an alias, and the payload has its current schema version.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn decode(name: &str, payload: &Payload) -> Result<Self, BoxError>;
}

/// What a typed read does with an event whose name its type does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unknown {
    /// Fails with [`Error::Decode`](crate::Error::Decode): nothing is decided on half of a history.
    #[default]
    Error,
    /// Passes over it. It counts in the version.
    Skip,
}

/// The event as it is appended, beside the event itself. Its id is fresh, and it occurs now.
///
/// # Errors
/// [`Error::Store`](crate::Error::Store) (`Invalid`) if it does not serialize, or if a value makes no tag.
pub fn new_event<E: Event>(event: E) -> Result<(E, NewEvent)> {
    let kind = event.kind();
    let tags = event.tags()?;
    let (event, payload) = event.encode()?;
    let mut new = NewEvent::new(EventName::from_static(kind.name()), payload).with_tags(tags);
    if kind.version() > 1 {
        let version =
            serde_json::Map::from_iter([(SCHEMA_VERSION.to_owned(), kind.version().into())]);
        new = new.with_metadata(Metadata::json(&Value::Object(version))?);
    }
    Ok((event, new))
}

/// Reads a stored event as one of `E`: under its name or an alias, lifted from older schema versions. `None` if `E` has
/// no kind of this name.
///
/// # Errors
/// [`Error::Decode`](crate::Error::Decode) names the event: a higher schema version than this program knows, or a payload that cannot be read.
pub fn decode<E: Event>(stored: &StoredEvent) -> Result<Option<E>> {
    let Some(kind) = Kind::find(E::KINDS, stored.name().as_str()) else { return Ok(None) };
    let read = || -> Result<E, BoxError> {
        match kind.upcast(schema_version(stored)?, stored.payload())? {
            Some(current) => E::decode(kind.name(), &current),
            None => E::decode(kind.name(), stored.payload()),
        }
    };
    read().map(Some).map_err(|source| Undecodable::error(stored, source))
}

/// As [`decode`], with what to do about a name that `E` does not have.
pub(crate) fn decode_or<E: Event>(stored: &StoredEvent, unknown: Unknown) -> Result<Option<E>> {
    match (decode(stored)?, unknown) {
        (None, Unknown::Error) => {
            let reason = "no kind of event has this name";
            Err(Undecodable::error(stored, reason.into()))
        }
        (event, _) => Ok(event),
    }
}

/// The schema version of the event's payload; 1 if its metadata does not say.
pub(crate) fn schema_version(stored: &StoredEvent) -> Result<u64, BoxError> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "$schemaVersion", default = "first")]
        version: u64,
    }
    const fn first() -> u64 {
        1
    }
    stored.metadata().map_or(Ok(1), |metadata| Ok(metadata.to_json::<Version>()?.version))
}
