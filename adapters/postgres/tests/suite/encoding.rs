//! Rows as the adapter encodes them, beside what the driver makes of the same values.

#[allow(dead_code, unreachable_pub, reason = "what the adapter reads with is not needed here")]
#[path = "../../src/lookup/values.rs"]
mod values;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use annals_postgres::tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};
use bytes::{BufMut, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use values::{Micros, Row, Rows};

/// The values of a row, owned.
#[derive(Debug, Clone)]
struct Values {
    numbers: [i64; 6],
    id: u128,
    times: [i64; 2],
    tags: Vec<i64>,
    metadata: Option<Vec<u8>>,
    payload: Vec<u8>,
}

/// A time as the driver takes it; those that a store keeps lie in the years 1 to 9999.
fn system_time(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

fn values() -> impl Strategy<Value = Values> {
    let time = || prop_oneof![-62_135_596_800_000_000..=253_402_300_799_999_999_i64, -2..2_i64];
    let number = || prop_oneof![any::<i64>(), Just(i64::MAX), 0..3_i64];
    let bytes = || vec(any::<u8>(), 0..40);
    (
        [number(), number(), number(), number(), number(), number()],
        any::<u128>(),
        [time(), time()],
        vec(number(), 0..5),
        proptest::option::of(bytes()),
        bytes(),
    )
        .prop_map(|(numbers, id, times, tags, metadata, payload)| Values {
            numbers,
            id,
            times,
            tags,
            metadata,
            payload,
        })
}

/// A row whose every field the driver encodes.
#[derive(Debug)]
struct ByDriver<'a>(&'a Values);

impl ToSql for ByDriver<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let row = self.0;
        let id = Uuid::from_u128(row.id);
        let times = row.times.map(system_time);
        // No tags are NULL.
        let tags = (!row.tags.is_empty()).then_some(&row.tags);
        let mut fields: Vec<(Type, &(dyn ToSql + Sync))> = Vec::new();
        fields.extend(row.numbers.iter().map(|number| (Type::INT8, number as &(dyn ToSql + Sync))));
        fields.push((Type::UUID, &id));
        fields.extend(times.iter().map(|time| (Type::TIMESTAMPTZ, time as &(dyn ToSql + Sync))));
        fields.push((Type::INT8_ARRAY, &tags));
        fields.push((Type::BYTEA, &row.metadata));
        fields.push((Type::BYTEA, &row.payload));
        // The head of a composite value: how many fields, and for each its type and length, −1 for NULL.
        out.put_i32(i32::try_from(fields.len())?);
        for (ty, field) in fields {
            let mut bytes = BytesMut::new();
            let null = matches!(field.to_sql_checked(&ty, &mut bytes)?, IsNull::Yes);
            out.put_u32(ty.oid());
            out.put_i32(if null { -1 } else { i32::try_from(bytes.len())? });
            out.extend_from_slice(&bytes);
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn list_of_rows() -> Type {
    let element = Type::new("row".into(), 54_321, Kind::Simple, "annals".into());
    Type::new("_row".into(), 54_322, Kind::Array(element), "annals".into())
}

/// The driver says of an empty list that it has one dimension of length 0, the server that it has none, as we do.
#[test]
fn no_rows_are_encoded_as_the_server_encodes_an_empty_list() {
    let mut ours = BytesMut::new();
    Rows::default().to_sql_checked(&list_of_rows(), &mut ours).unwrap();
    assert_eq!(ours, [0_i32, 0, 54_321].map(i32::to_be_bytes).concat());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_encoded_as_the_driver_encodes_them(all in vec(values(), 1..5)) {
        let list = list_of_rows();
        let mut rows = Rows::default();
        for row in &all {
            rows.push(&Row {
                numbers: row.numbers,
                id: Uuid::from_u128(row.id),
                occurred_at: Micros(row.times[0]),
                recorded_at: Micros(row.times[1]),
                tags: &row.tags,
                metadata: row.metadata.as_deref(),
                payload: &row.payload,
            });
        }
        let (mut ours, mut drivers) = (BytesMut::new(), BytesMut::new());
        rows.to_sql_checked(&list, &mut ours).unwrap();
        let by_driver: Vec<ByDriver<'_>> = all.iter().map(ByDriver).collect();
        by_driver.to_sql_checked(&list, &mut drivers).unwrap();
        prop_assert_eq!(ours, drivers);
    }
}
