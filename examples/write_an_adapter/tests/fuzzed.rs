//! What holds for a file of any bytes: it is a log that goes on, or it is left as it was. `fuzz/` runs the same function
//! for longer.

use std::fs;
use std::path::Path;

use annals::{
    Error, EventStore, NewEvent, Payload, ReadOptions, Result, StoredEvent, StreamId,
    WriteCondition,
};
use annals_file::FileAdapter;
use tokio::runtime::Runtime;

/// The first line of every file.
const MAGIC: &[u8] = b"annals-file 1\n";

/// Opens a file of these bytes. The first byte says whether they are a whole file, what follows the first line, or the
/// body of a batch under a right header, which no damage would make.
pub(crate) fn file(runtime: &Runtime, folder: &Path, bytes: &[u8]) {
    let (how, bytes) = bytes.split_first().map_or((0, bytes), |(how, bytes)| (how % 3, bytes));
    let whole = match how {
        0 => bytes.to_vec(),
        1 => [MAGIC, bytes].concat(),
        _ => {
            let (length, sum) = (bytes.len(), crc32fast::hash(bytes));
            let header = format!("{{\"batch_bytes\":{length},\"crc32\":{sum}}}\n");
            [MAGIC, header.as_bytes(), bytes].concat()
        }
    };
    runtime.block_on(opened(&folder.join("store.log"), &whole));
}

async fn opened(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file");
    let open = || EventStore::new(FileAdapter::open(path).expect("the file opens"));
    match all(&open()).await {
        Ok(found) => {
            let again = all(&open()).await.expect("a log");
            assert_eq!(again, found, "what was recovered stays");
            let numbers = found.iter().map(|event| event.sequence_number.value());
            assert!(numbers.eq(1..=found.len() as u64), "numbers without a hole");
            let next = append(&open()).await.expect("the log goes on");
            assert_eq!(all(&open()).await.expect("a log"), [found, next].concat());
        }
        Err(Error::Corrupt(_)) => {
            assert_eq!(fs::read(path).expect("a file"), bytes, "what is not understood is left");
            assert!(matches!(append(&open()).await, Err(Error::Corrupt(_))));
            assert_eq!(fs::read(path).expect("a file"), bytes);
        }
        Err(other) => panic!("neither a log nor corrupt: {other:?}"),
    }
}

async fn all(store: &EventStore) -> Result<Vec<StoredEvent>> {
    store.log().read(ReadOptions::default()).into_vec().await
}

async fn append(store: &EventStore) -> Result<Vec<StoredEvent>> {
    let event = NewEvent::new("happened".try_into().expect("a name"), Payload::bytes("x"));
    let stream = store.stream(StreamId::new("fuzzed", "next")?);
    Ok(stream.append([event], WriteCondition::Always).await?.into_vec())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::runtime::Runtime;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn any_file_is_a_log_or_left_as_it_was(how in 0..3_u8, pieces in vec(piece(), 0..6)) {
            let folder = tempfile::tempdir().expect("a folder");
            let runtime = Runtime::new().expect("a runtime");
            super::file(&runtime, folder.path(), &[vec![how], pieces.concat()].concat());
        }
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let pieces: &[&[u8]] = &[
            super::MAGIC,
            b"\n",
            b"{\"batch_bytes\":3,\"crc32\":0}\n",
            b"{\"batch_bytes\":18446744073709551615,\"crc32\":0}\n",
            b"{}\n",
            b"null\n",
        ];
        let known = proptest::sample::select(pieces).prop_map(<[u8]>::to_vec);
        prop_oneof![known, vec(any::<u8>(), 0..40)]
    }
}
