//! Values as the wire carries them. Their `Debug` shows no content: the driver logs parameters.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use uuid::Uuid;

/// Microseconds between 1970 and 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;

type Converted<T> = Result<T, Box<dyn StdError + Sync + Send>>;

/// A time, in microseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Micros(pub(crate) i64);

impl Micros {
    fn on_the_wire(self) -> i64 {
        self.0.saturating_sub(EPOCH)
    }
}

impl ToSql for Micros {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Converted<IsNull> {
        out.put_i64(self.on_the_wire());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Converted<Self> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?).saturating_add(EPOCH)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

/// A row of events, in the order of the type that the log has for it.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Sequence number, stream, position, category, name, encoding.
    pub(crate) numbers: [i64; 6],
    pub(crate) id: Uuid,
    pub(crate) occurred_at: Micros,
    pub(crate) recorded_at: Micros,
    pub(crate) tags: &'a [i64],
    pub(crate) metadata: Option<&'a [u8]>,
    pub(crate) payload: &'a [u8],
}

/// Rows as one list of that type. The server takes it apart with a sixth less work than a list for each column, and
/// than rows of single values.
#[derive(Default)]
pub(crate) struct Rows {
    count: usize,
    bytes: BytesMut,
}

impl Rows {
    pub(crate) fn push(&mut self, row: &Row<'_>) {
        let out = &mut self.bytes;
        sized(out, |out| {
            out.put_i32(12);
            for number in row.numbers {
                field(out, &Type::INT8, |out| out.put_i64(number));
            }
            field(out, &Type::UUID, |out| out.put_slice(row.id.as_bytes()));
            for time in [row.occurred_at, row.recorded_at] {
                field(out, &Type::TIMESTAMPTZ, |out| out.put_i64(time.on_the_wire()));
            }
            if row.tags.is_empty() {
                null(out, &Type::INT8_ARRAY);
            } else {
                field(out, &Type::INT8_ARRAY, |out| {
                    list(out, &Type::INT8, row.tags.len());
                    row.tags.iter().for_each(|tag| sized(out, |out| out.put_i64(*tag)));
                });
            }
            match row.metadata {
                None => null(out, &Type::BYTEA),
                Some(metadata) => field(out, &Type::BYTEA, |out| out.put_slice(metadata)),
            }
            field(out, &Type::BYTEA, |out| out.put_slice(row.payload));
        });
        self.count += 1;
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.count)
    }
}

impl ToSql for Rows {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Converted<IsNull> {
        let Kind::Array(row) = ty.kind() else { return Err("rows are sent as a list".into()) };
        list(out, row, self.count);
        out.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

/// The head of a list of one dimension, counted from 1, without NULL.
fn list(out: &mut BytesMut, of: &Type, len: usize) {
    let dimensions = i32::from(len > 0);
    out.put_i32(dimensions);
    out.put_i32(0);
    out.put_u32(of.oid());
    if len > 0 {
        out.put_i32(length(len));
        out.put_i32(1);
    }
}

/// A field of a row.
fn field(out: &mut BytesMut, ty: &Type, value: impl FnOnce(&mut BytesMut)) {
    out.put_u32(ty.oid());
    sized(out, value);
}

fn null(out: &mut BytesMut, ty: &Type) {
    out.put_u32(ty.oid());
    out.put_i32(-1);
}

/// A value behind its length in bytes.
fn sized(out: &mut BytesMut, value: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_i32(0);
    value(out);
    let length = length(out.len() - at - 4).to_be_bytes();
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "payloads and metadata have some MiB, and a statement ends soon after as many"
)]
fn length(length: usize) -> i32 {
    length as i32
}
