//! Rows that are to be inserted, column by column, as one statement takes them.

use annals::NewEvent;
use annals_sql::to_micros;
use time::OffsetDateTime;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::session::Value;
use crate::values::{Micros, NumberList, Secret};

/// A statement takes no further event beyond so many bytes: the server holds several copies of them.
const STATEMENT_BYTES: usize = 16 << 20;

/// The rows of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Draft<'a> {
    parts: Vec<Part<'a>>,
}

/// The rows of one statement.
#[derive(Debug, Default)]
pub(crate) struct Part<'a> {
    bytes: usize,
    /// Sequence number, stream, position, category, name, encoding.
    ids: [Vec<i64>; 6],
    event_ids: Vec<Uuid>,
    occurred_at: Vec<Micros>,
    recorded_at: Vec<Micros>,
    tags: Vec<Option<NumberList>>,
    metadata: Vec<Option<Secret<'a>>>,
    payloads: Vec<Secret<'a>>,
    name_ids: Vec<i64>,
    names: Vec<&'a str>,
    stream_ids: Vec<i64>,
    stream_categories: Vec<i64>,
    stream_names: Vec<&'a str>,
    tag_ids: Vec<i64>,
    tag_numbers: Vec<i64>,
}

impl<'a> Draft<'a> {
    pub(crate) fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    pub(crate) fn add_name(&mut self, id: i64, name: &'a str) {
        let part = self.part();
        part.name_ids.push(id);
        part.names.push(name);
    }

    pub(crate) fn add_stream(&mut self, id: i64, category_id: i64, name: &'a str) {
        let part = self.part();
        part.stream_ids.push(id);
        part.stream_categories.push(category_id);
        part.stream_names.push(name);
    }

    /// `ids`: sequence number, stream, position, category, name, encoding.
    pub(crate) fn add_event(
        &mut self,
        ids: [i64; 6],
        event: &'a NewEvent,
        recorded_at: OffsetDateTime,
        tags: &[i64],
    ) {
        let payload = event.payload.as_bytes();
        let metadata = event.metadata.as_ref().map(|metadata| &metadata.as_bytes()[..]);
        let bytes = payload.len() + metadata.map_or(0, <[u8]>::len);
        if self
            .parts
            .last()
            .is_some_and(|part| part.bytes > 0 && part.bytes + bytes > STATEMENT_BYTES)
        {
            self.parts.push(Part::default());
        }
        let part = self.part();
        part.bytes += bytes;
        for (column, id) in part.ids.iter_mut().zip(ids) {
            column.push(id);
        }
        part.event_ids.push(event.id.as_uuid());
        part.occurred_at.push(Micros(to_micros(event.occurred_at)));
        part.recorded_at.push(Micros(to_micros(recorded_at)));
        part.tags.push((!tags.is_empty()).then(|| NumberList::new(tags)));
        part.metadata.push(metadata.map(Secret));
        part.payloads.push(Secret(payload));
        part.tag_ids.extend_from_slice(tags);
        let [number, ..] = ids;
        part.tag_numbers.extend(tags.iter().map(|_| number));
    }

    fn part(&mut self) -> &mut Part<'a> {
        if self.parts.is_empty() {
            self.parts.push(Part::default());
        }
        let last = self.parts.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "there is a last one")]
        &mut self.parts[last]
    }
}

impl Part<'_> {
    /// Whether there are events only: no new names, streams or tags.
    pub(crate) fn is_plain(&self) -> bool {
        self.names.is_empty() && self.stream_ids.is_empty() && self.tag_ids.is_empty()
    }

    /// The values of the statement that inserts it, behind `lock`.
    pub(crate) fn values<'s>(&'s self, lock: &'s i64) -> Vec<Value<'s>> {
        let mut values: Vec<Value<'s>> = Vec::with_capacity(20);
        values.push((lock, Type::INT8));
        values.extend(self.ids.iter().map(|ids| -> Value<'s> { (ids, Type::INT8_ARRAY) }));
        values.push((&self.event_ids, Type::UUID_ARRAY));
        values.push((&self.occurred_at, Type::TIMESTAMPTZ_ARRAY));
        values.push((&self.recorded_at, Type::TIMESTAMPTZ_ARRAY));
        values.push((&self.tags, Type::TEXT_ARRAY));
        values.push((&self.metadata, Type::BYTEA_ARRAY));
        values.push((&self.payloads, Type::BYTEA_ARRAY));
        if !self.is_plain() {
            values.push((&self.name_ids, Type::INT8_ARRAY));
            values.push((&self.names, Type::TEXT_ARRAY));
            values.push((&self.stream_ids, Type::INT8_ARRAY));
            values.push((&self.stream_categories, Type::INT8_ARRAY));
            values.push((&self.stream_names, Type::TEXT_ARRAY));
            values.push((&self.tag_ids, Type::INT8_ARRAY));
            values.push((&self.tag_numbers, Type::INT8_ARRAY));
        }
        values
    }
}
