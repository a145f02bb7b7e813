//! Rows that are to be inserted, as statements take them.

use annals::NewEvent;
use annals_sql::{plan, to_micros};
use time::OffsetDateTime;
use tokio_postgres::types::Type;

use crate::connection::session::Value;
use crate::lookup::values::{Micros, Row, Rows};

/// A statement takes no further event beyond so many bytes: the server holds several copies of them.
const STATEMENT_BYTES: usize = 16 << 20;
/// What a row has beside its payload, its metadata and its tags.
const ROW_BYTES: usize = 192;
/// What a tag takes in its row and in a row of its own.
const TAG_BYTES: usize = 64;

/// The rows of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    parts: Vec<Part>,
}

/// The rows of one statement.
#[derive(Debug, Default)]
pub(crate) struct Part {
    bytes: usize,
    events: Rows,
    name_ids: Vec<i64>,
    names: Vec<Box<str>>,
    stream_ids: Vec<i64>,
    stream_categories: Vec<i64>,
    stream_names: Vec<Box<str>>,
    tag_ids: Vec<i64>,
    tag_numbers: Vec<i64>,
}

impl Draft {
    pub(crate) fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    fn part(&mut self) -> &mut Part {
        if self.parts.is_empty() {
            self.parts.push(Part::default());
        }
        let last = self.parts.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "there is a last one")]
        &mut self.parts[last]
    }
}

impl plan::Draft for Draft {
    fn add_name(&mut self, id: i64, name: &str) {
        let part = self.part();
        part.name_ids.push(id);
        part.names.push(name.into());
    }

    fn add_stream(&mut self, id: i64, category_id: i64, name: &str) {
        let part = self.part();
        part.stream_ids.push(id);
        part.stream_categories.push(category_id);
        part.stream_names.push(name.into());
    }

    fn add_event(
        &mut self,
        numbers: [i64; 6],
        event: &NewEvent,
        recorded_at: OffsetDateTime,
        tags: &[i64],
    ) {
        let payload = &event.payload.as_bytes()[..];
        let metadata = event.metadata.as_ref().map(|metadata| &metadata.as_bytes()[..]);
        let bytes =
            ROW_BYTES + TAG_BYTES * tags.len() + payload.len() + metadata.map_or(0, <[u8]>::len);
        if self
            .parts
            .last()
            .is_some_and(|part| part.bytes > 0 && part.bytes + bytes > STATEMENT_BYTES)
        {
            self.parts.push(Part::default());
        }
        let part = self.part();
        part.bytes += bytes;
        part.events.push(&Row {
            numbers,
            id: event.id.as_uuid(),
            occurred_at: Micros(to_micros(event.occurred_at)),
            recorded_at: Micros(to_micros(recorded_at)),
            tags,
            metadata,
            payload,
        });
        part.tag_ids.extend_from_slice(tags);
        let [number, ..] = numbers;
        part.tag_numbers.extend(tags.iter().map(|_| number));
    }
}

impl Part {
    /// Whether it makes names.
    pub(crate) fn makes_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether there are events only: no new names, streams or tags.
    pub(crate) fn is_plain(&self) -> bool {
        self.names.is_empty() && self.stream_ids.is_empty() && self.tag_ids.is_empty()
    }

    /// The values of the statement that inserts it, behind those that all of them begin with. `row` is the type of
    /// a list of rows.
    pub(crate) fn values<'s>(&'s self, begin: [Value<'s>; 4], row: &Type) -> Vec<Value<'s>> {
        let mut values: Vec<Value<'s>> = Vec::with_capacity(12);
        values.extend(begin);
        values.push((&self.events, row.clone()));
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
