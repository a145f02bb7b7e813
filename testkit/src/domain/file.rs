//! The file of released payloads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use annals::{BoxError, Encoding, EventName, Metadata, NewEvent, Payload, StoredEvent, StreamId};
use annals::{Position, SequenceNumber, Tag, Tags};
use annals_domain::SCHEMA_VERSION;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The payloads of all releases, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoldenFile {
    /// Each of them.
    pub events: Vec<GoldenEvent>,
}

/// A payload as a release wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenEvent {
    /// Where such events are: the text of a [`Source`](annals::Source).
    pub source: String,
    /// The name under which it was appended.
    pub name: String,
    /// The schema version of the payload.
    pub version: u64,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its encoding; JSON if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The bytes in hexadecimal, unless they are JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// The payload as JSON.
    pub payload: Value,
    /// What it reads as at each later schema version, once that is released.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reads_as: BTreeMap<u64, Value>,
}

impl GoldenFile {
    /// Without payloads.
    #[must_use]
    pub const fn new() -> Self {
        Self { events: Vec::new() }
    }

    /// Reads a file; one that is not there has no payloads.
    ///
    /// # Errors
    /// It cannot be read, or is no golden file.
    pub fn read(path: &Path) -> Result<Self, BoxError> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::new()),
            read => read?,
        };
        Ok(serde_json::from_slice(&text)?)
    }

    /// Writes the file: all of it or nothing.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> Result<(), BoxError> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        Ok(std::fs::rename(&new, path)?)
    }
}

impl GoldenEvent {
    /// What `event`, of schema version `version` and with this value as its payload, leaves in a file.
    pub(super) fn of(source: &str, version: u64, event: &NewEvent, payload: Value) -> Self {
        let encoding = event.payload.encoding();
        let other = (*encoding != Encoding::JSON).then(|| encoding.to_string());
        let bytes = other.as_ref().map(|_| {
            event.payload.as_bytes().iter().fold(String::new(), |mut text, byte| {
                // A `String` takes all.
                let _ = write!(text, "{byte:02x}");
                text
            })
        });
        Self {
            source: source.to_owned(),
            name: event.name.as_str().to_owned(),
            version,
            tags: event.tags.iter().map(ToString::to_string).collect(),
            encoding: other,
            bytes,
            payload,
            reads_as: BTreeMap::new(),
        }
    }

    /// Whether both are the same payload of one kind and version.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (&self.source, &self.name, self.version, &self.tags, &self.payload)
            == (&other.source, &other.name, other.version, &other.tags, &other.payload)
            && self.encoding == other.encoding
    }

    /// The event as a store would return it.
    pub(super) fn stored(&self, stream: StreamId) -> Result<StoredEvent, BoxError> {
        let payload = match &self.encoding {
            None => Payload::json(&self.payload)?,
            Some(encoding) => {
                let text = self.bytes.as_deref().unwrap_or_default();
                Payload::new(Encoding::new(encoding.as_str())?, bytes(text)?)?
            }
        };
        let tags =
            self.tags.iter().map(|tag| Tag::new(tag.as_str())).collect::<Result<Vec<_>, _>>()?;
        let version = serde_json::json!({ SCHEMA_VERSION: self.version });
        let event = NewEvent::new(EventName::new(self.name.as_str())?, payload)
            .with_tags(Tags::parse(tags)?)
            .with_metadata(Metadata::json(&version)?);
        let at = event.occurred_at;
        Ok(StoredEvent::new(event, stream, Position::new(0), SequenceNumber::new(1), at))
    }
}

/// The bytes of a text of hexadecimal digits.
fn bytes(text: &str) -> Result<Vec<u8>, BoxError> {
    let digits: Vec<char> = text.chars().collect();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16));
    Ok(pairs.collect::<Result<_, _>>()?)
}
