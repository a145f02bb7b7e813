//! Rows of the events table.

use annals::{
    Error, EventId, Metadata, NewEvent, Payload, Position, Result, SequenceNumber, StoredEvent,
    Tags,
};
use bytes::Bytes;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::names::Lookup;

/// The columns of a [`RawEvent`], in its order, of a table called `e`.
pub const COLUMNS: &str = "e.sequence_number, e.stream_id, e.position, e.name_id, e.encoding_id, \
                           e.id, e.occurred_at, e.recorded_at, e.payload, e.metadata, e.tags";

/// One row, with numbers for names.
#[derive(Debug)]
pub struct RawEvent {
    /// The place in the log.
    pub sequence_number: i64,
    /// The stream, by number.
    pub stream_id: i64,
    /// The place in the stream.
    pub position: i64,
    /// The event's name, by number.
    pub name_id: i64,
    /// The payload's encoding, by number.
    pub encoding_id: i64,
    /// The event's id.
    pub id: Uuid,
    /// Microseconds since 1970 in UTC.
    pub occurred_at: i64,
    /// Microseconds since 1970 in UTC.
    pub recorded_at: i64,
    /// The payload's bytes.
    pub payload: Bytes,
    /// The metadata's bytes.
    pub metadata: Option<Bytes>,
    /// The event's tags, by number.
    pub tags: Vec<i64>,
}

impl RawEvent {
    /// The event, with the names behind its numbers.
    ///
    /// # Errors
    /// Those of `lookup`; [`Error::Corrupt`] when a number is out of range.
    pub fn decode<L: Lookup>(self, lookup: &mut L) -> Result<StoredEvent, L::Error> {
        let tags = if self.tags.is_empty() {
            Tags::NONE
        } else {
            let tags = self.tags.into_iter().map(|tag| Ok(lookup.name(tag)?.tag.clone()));
            tags.collect::<Result<_, L::Error>>()?
        };
        let name = lookup.name(self.name_id)?.event.clone();
        let encoding = lookup.name(self.encoding_id)?.encoding.clone();
        let payload = Payload::from_store(encoding, self.payload);
        let occurred_at = from_micros(self.occurred_at)?;
        let event = NewEvent::from_parts(EventId::from_uuid(self.id), name, payload, occurred_at)
            .with_metadata(self.metadata.map(Metadata::from_store))
            .with_tags(tags);
        Ok(StoredEvent::new(
            event,
            lookup.stream(self.stream_id)?,
            Position::new(from_column(self.position)?),
            SequenceNumber::new(from_column(self.sequence_number)?),
            from_micros(self.recorded_at)?,
        ))
    }
}

/// A sequence number or position as a signed column holds it; above [`i64::MAX`] there are no events.
#[must_use]
pub fn to_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The other way round.
///
/// # Errors
/// [`Error::Corrupt`] for a number below 0.
pub fn from_column(column: i64) -> Result<u64> {
    u64::try_from(column).map_err(|_| Error::corrupt("a number is negative"))
}

/// Microseconds since 1970 in UTC, cut, never rounded up.
#[must_use]
pub fn to_micros(time: OffsetDateTime) -> i64 {
    // Years of four digits are far inside 64 bits.
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(i64::MAX)
}

/// The time of a column.
///
/// # Errors
/// [`Error::Corrupt`] when it lies outside the years −9999 to 9999.
pub fn from_micros(micros: i64) -> Result<OffsetDateTime> {
    let second = OffsetDateTime::from_unix_timestamp(micros.div_euclid(1_000_000));
    let micro = u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or_default();
    second.and_then(|second| second.replace_microsecond(micro)).map_err(Error::corrupt)
}
