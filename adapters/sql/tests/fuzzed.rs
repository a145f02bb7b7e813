//! What holds for any row: it is an event, or corrupt. `fuzz/` runs the same function for longer.

use annals::{CategoryName, Error, EventId, StreamId, StreamName};
use annals_sql::{Lookup, Name, RawEvent, from_micros, to_micros};
use bytes::Bytes;
use uuid::Uuid;

/// Names behind numbers: those from 1 on have one, and all else dangles.
struct Names(Option<Name>);

impl Lookup for Names {
    type Error = Error;

    fn stream(&mut self, id: i64) -> Result<StreamId, Error> {
        let number = u64::try_from(id).map_err(Error::corrupt)?;
        let category = CategoryName::from_static("c");
        let name = StreamName::new(format!("s-{number}")).map_err(Error::corrupt)?;
        Ok(StreamId { category, name })
    }

    fn name(&mut self, id: i64) -> Result<&Name, Error> {
        if id < 1 {
            return Err(Error::corrupt("no such name"));
        }
        Ok(self.0.insert(Name::from_store(&format!("n-{id}"))?))
    }
}

/// A row is read as what is in its columns, or is corrupt; it is never read as something else.
pub(crate) fn row(bytes: &[u8]) {
    let (columns, rest) = bytes.split_at(bytes.len().min(72));
    let mut words = columns.chunks(8).map(|word| {
        let mut eight = [0; 8];
        eight.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
        i64::from_le_bytes(eight)
    });
    let mut next = || words.next().unwrap_or_default();
    let (sequence_number, stream_id, position) = (next(), next(), next());
    let (name_id, encoding_id, occurred_at, recorded_at) = (next(), next(), next(), next());
    let id = Uuid::from_u64_pair(next().cast_unsigned(), next().cast_unsigned());
    let (tags, payload) = rest.split_at(rest.len().min(4));
    let tags: Vec<i64> = tags.iter().map(|tag| i64::from(*tag)).collect();
    let metadata = payload.first().map(|_| Bytes::copy_from_slice(payload));
    let payload = Bytes::copy_from_slice(payload);
    let raw = RawEvent {
        sequence_number,
        stream_id,
        position,
        name_id,
        encoding_id,
        id,
        occurred_at,
        recorded_at,
        payload: payload.clone(),
        metadata: metadata.clone(),
        tags: tags.clone(),
    };
    let numbers = [sequence_number, stream_id, position].into_iter().all(|number| number >= 0);
    let names = [name_id, encoding_id].iter().chain(&tags).all(|id| *id > 0);
    let times = [occurred_at, recorded_at].into_iter().all(|time| from_micros(time).is_ok());
    match raw.decode(&mut Names(None)) {
        Ok(event) => {
            assert!(numbers && names && times);
            assert_eq!(event.sequence_number.value(), sequence_number.cast_unsigned());
            assert_eq!(event.position.value(), position.cast_unsigned());
            assert_eq!(event.id(), EventId::from_uuid(id));
            assert_eq!(event.name().as_str(), format!("n-{name_id}"));
            assert_eq!(event.payload().encoding().as_str(), format!("n-{encoding_id}"));
            assert_eq!(event.payload().as_bytes(), &payload);
            assert_eq!(event.metadata().map(annals::Metadata::as_bytes), metadata.as_ref());
            assert_eq!(to_micros(event.recorded_at), recorded_at);
            assert_eq!(to_micros(event.occurred_at()), occurred_at);
            let written: std::collections::BTreeSet<String> =
                tags.iter().map(|tag| format!("n-{tag}")).collect();
            let read = event.tags().iter().map(|tag| tag.as_str().to_owned());
            assert_eq!(read.collect::<std::collections::BTreeSet<_>>(), written);
        }
        Err(Error::Corrupt(_)) => assert!(!(numbers && names && times), "it is a right row"),
        Err(other) => panic!("neither an event nor corrupt: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A word of a row: small, at an end, or any.
    fn word() -> impl Strategy<Value = i64> {
        let times = -400_000_000_000_000_000..400_000_000_000_000_000_i64;
        prop_oneof![4 => 1..9_i64, 1 => Just(0), 1 => Just(-1), 1 => any::<i64>(), 2 => times]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_row_is_an_event_or_corrupt(words in vec(word(), 9), rest in vec(any::<u8>(), 0..20)) {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.extend(rest);
            super::row(&bytes);
        }

        #[test]
        fn so_are_any_bytes(bytes in vec(any::<u8>(), 0..90)) {
            super::row(&bytes);
        }
    }
}
