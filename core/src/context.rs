//! What caused an event, kept in its metadata.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::event::{NewEvent, StoredEvent, Tags};
use crate::name::Tag;
use crate::payload::Metadata;

/// What led to the events that are appended now: entries for their metadata. A plain value; a handler that reacts to an
/// event makes it with [`caused_by`](Self::caused_by) and [stamps](Self::stamp) what it appends.
///
/// ```
/// use annals::{Context, NewEvent};
/// let context = Context::correlated("request-7").with("actor", "ann");
/// let event = context.stamp(NewEvent::json("order-placed", &12)?)?;
/// let metadata: serde_json::Value = event.metadata.expect("it was stamped").to_json()?;
/// assert_eq!(metadata, serde_json::json!({ "$correlationId": "request-7", "actor": "ann" }));
/// # Ok::<(), annals::BoxError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    entries: BTreeMap<String, Value>,
    tagged: bool,
}

/// The two entries of an event's metadata that say what caused it. Another program may have put anything there.
#[derive(Deserialize)]
struct Causes {
    #[serde(rename = "$correlationId")]
    correlation: Option<Value>,
}

impl Context {
    /// The entry of all events that one request led to: the same value in each of them.
    pub const CORRELATION_ID: &'static str = "$correlationId";
    /// The entry with the id of the event or the command that led to the event at once.
    pub const CAUSATION_ID: &'static str = "$causationId";

    /// No entries: what it stamps stays as it is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a reaction to `event` appends: its correlation is that of `event`, or the id of `event` if it has none, and
    /// its causation is the id of `event`.
    #[must_use]
    pub fn caused_by(event: &StoredEvent) -> Self {
        let causes = event.metadata().and_then(|metadata| metadata.to_json::<Causes>().ok());
        let inherited = causes.and_then(|causes| causes.correlation);
        let id = Value::from(event.id().to_string());
        Self::new()
            .with(Self::CORRELATION_ID, inherited.unwrap_or_else(|| id.clone()))
            .with(Self::CAUSATION_ID, id)
    }

    /// What a request with this id appends.
    #[must_use]
    pub fn correlated(id: impl fmt::Display) -> Self {
        Self::new().with(Self::CORRELATION_ID, id.to_string())
    }

    /// Adds an entry, or replaces it.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.entries.insert(key.into(), value.into());
        self
    }

    /// Also tags each event with its correlation, so that a query finds all that one request led to:
    /// [`correlation_tag`](Self::correlation_tag). Needs [`Capabilities::tags`](crate::Capabilities::tags).
    #[must_use]
    pub fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }

    /// The value of an entry.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// The tag of its correlation, `$correlationId:VALUE`; `None` if it has no correlation.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the value is too long for a tag or holds a control character.
    pub fn correlation_tag(&self) -> Result<Option<Tag>> {
        let Some(value) = self.get(Self::CORRELATION_ID) else { return Ok(None) };
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(Some(Tag::new(format!("{}:{text}", Self::CORRELATION_ID))?))
    }

    /// The event with these entries in its metadata. Entries that it has of its own stay as they are, byte for byte, and
    /// without any entry the metadata stays absent.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`correlation_tag`](Self::correlation_tag), if it [tags](Self::tagged).
    pub fn stamp(&self, mut event: NewEvent) -> Result<NewEvent> {
        if self.tagged
            && let Some(tag) = self.correlation_tag()?
        {
            event.tags = event.tags.iter().cloned().chain([tag]).collect::<Tags>();
        }
        if !self.entries.is_empty() {
            event.metadata = Some(self.extend(event.metadata.as_ref())?);
        }
        Ok(event)
    }

    /// `own` metadata with these entries: those that it has of its own stay as they are, byte for byte.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `own` came from a store as something else than a JSON object.
    pub fn extend(&self, own: Option<&Metadata>) -> Result<Metadata> {
        let Some(own) = own else { return Ok(Metadata::json(&self.entries)?) };
        #[expect(clippy::zero_sized_map_values, reason = "a set does not read an object")]
        let known: BTreeMap<String, IgnoredAny> = own.to_json()?;
        // Written behind what is there: a number of the event's own that no `Value` holds exactly stays what it is.
        let text = std::str::from_utf8(own.as_bytes()).map_err(Error::invalid)?.trim_end();
        let mut text = text.strip_suffix('}').unwrap_or(text).to_owned();
        let mut separator = if known.is_empty() { "" } else { "," };
        for (key, value) in self.entries.iter().filter(|(key, _)| !known.contains_key(*key)) {
            text.push_str(separator);
            let _ = write!(text, "{}:{value}", Value::from(key.as_str()));
            separator = ",";
        }
        text.push('}');
        Ok(Metadata::json_bytes(text)?)
    }
}
