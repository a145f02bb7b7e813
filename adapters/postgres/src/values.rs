//! Values as the wire carries them. Their `Debug` shows no content: the driver logs parameters.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// Microseconds between 1970 and 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;

type Converted<T> = Result<T, Box<dyn StdError + Sync + Send>>;

/// A time, in microseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Micros(pub(crate) i64);

impl ToSql for Micros {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Converted<IsNull> {
        out.put_i64(self.0.saturating_sub(EPOCH));
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

/// Bytes of a payload or of metadata.
#[derive(Clone, Copy)]
pub(crate) struct Secret<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl ToSql for Secret<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Converted<IsNull> {
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }

    to_sql_checked!();
}

/// A list of numbers as text, to be cast where it arrives: lists of lists of different lengths are no array.
#[derive(Debug, Clone)]
pub(crate) struct NumberList(Box<str>);

impl NumberList {
    pub(crate) fn new(numbers: &[i64]) -> Self {
        let numbers: Vec<_> = numbers.iter().map(i64::to_string).collect();
        Self(format!("{{{}}}", numbers.join(",")).into())
    }
}

impl ToSql for NumberList {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Converted<IsNull> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT
    }

    to_sql_checked!();
}
