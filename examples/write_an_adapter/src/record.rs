//! How batches look in the file: JSON, a line for each event, so that people and other tools can read it.
//!
//! ```text
//! {"batch_bytes":612,"crc32":2839461730}
//! {"number":1,"stream":{"category":"orders","name":"o-1"},"position":0,...}
//! {"number":2,"stream":{"category":"orders","name":"o-1"},"position":1,...}
//! ```

use std::io::{self, BufRead, Read};

use annals::{
    Encoding, EventId, EventName, Metadata, NewEvent, Payload, Position, SequenceNumber,
    StoredEvent, StreamId, Tags,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

/// The line before a batch. A batch counts when it is all there.
#[derive(Serialize, Deserialize)]
struct Header {
    batch_bytes: u64,
    crc32: u32,
}

#[derive(Serialize, Deserialize)]
struct Record {
    number: SequenceNumber,
    stream: StreamId,
    position: Position,
    #[serde(with = "rfc3339")]
    recorded_at: OffsetDateTime,
    id: EventId,
    name: EventName,
    #[serde(with = "rfc3339")]
    occurred_at: OffsetDateTime,
    tags: Tags,
    encoding: Encoding,
    payload: Content,
    metadata: Option<Content>,
}

/// How every header begins, and nothing else: in the line of an event such text is escaped.
pub(crate) const HEADER: &[u8] = b"{\"batch_bytes\":";

/// Bytes, as text where they are: JSON stays readable, and comes back byte for byte.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    Text(String),
    /// Other bytes, as the letters U+0000 to U+00FF.
    Bytes(String),
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes.iter().copied().map(char::from).collect()),
        }
    }
}

impl From<Content> for Vec<u8> {
    fn from(content: Content) -> Self {
        match content {
            Content::Text(text) => text.into_bytes(),
            // A batch is what was written, by its checksum: no other letters are in it.
            Content::Bytes(text) => text.chars().filter_map(|it| u8::try_from(it).ok()).collect(),
        }
    }
}

/// The bytes of a batch of events.
pub(crate) fn encode(events: &[StoredEvent]) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for stored in events {
        let event = &stored.event;
        let record = Record {
            number: stored.sequence_number,
            stream: stored.stream.clone(),
            position: stored.position,
            recorded_at: stored.recorded_at,
            id: event.id,
            name: event.name.clone(),
            occurred_at: event.occurred_at,
            tags: event.tags.clone(),
            encoding: event.payload.encoding().clone(),
            payload: event.payload.as_bytes().as_ref().into(),
            metadata: event.metadata.as_ref().map(|metadata| metadata.as_bytes().as_ref().into()),
        };
        serde_json::to_writer(&mut lines, &record)?;
        lines.push(b'\n');
    }
    let header = Header { batch_bytes: lines.len() as u64, crc32: crc32fast::hash(&lines) };
    let mut batch = serde_json::to_vec(&header)?;
    batch.push(b'\n');
    batch.extend(lines);
    Ok(batch)
}

/// The event of a line.
pub(crate) fn decode(line: &[u8]) -> serde_json::Result<StoredEvent> {
    let record: Record = serde_json::from_slice(line)?;
    let payload = Payload::from_store(record.encoding, Vec::from(record.payload));
    let metadata = record.metadata.map(|metadata| Metadata::from_store(Vec::from(metadata)));
    let event = NewEvent::from_parts(record.id, record.name, payload, record.occurred_at)
        .with_metadata(metadata)
        .with_tags(record.tags);
    let (position, number) = (record.position, record.number);
    Ok(StoredEvent::new(event, record.stream, position, number, record.recorded_at))
}

/// A batch as it was found.
pub(crate) struct Batch {
    /// How many bytes its header has.
    pub(crate) header: usize,
    /// The lines of its events.
    pub(crate) lines: Vec<u8>,
}

/// The batch that comes next; `None` when what comes next is no whole batch.
pub(crate) fn next_batch(file: &mut impl BufRead) -> io::Result<Option<Batch>> {
    let mut header = Vec::new();
    file.read_until(b'\n', &mut header)?;
    let Ok(Header { batch_bytes, crc32 }) = serde_json::from_slice(&header) else {
        return Ok(None);
    };
    let mut lines = Vec::new();
    file.take(batch_bytes).read_to_end(&mut lines)?;
    let whole = lines.len() as u64 == batch_bytes && crc32fast::hash(&lines) == crc32;
    Ok(whole.then_some(Batch { header: header.len(), lines }))
}
