//! Whatever became of the file: what a store returns was acknowledged, in its order, and what it rejects it leaves as
//! it was. `PROPTEST_CASES` makes the run longer.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use annals::{
    Error, EventStore, NewEvent, Payload, ReadOptions, Result, StoredEvent, StreamId,
    WriteCondition,
};
use annals_file::FileAdapter;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Runtime;

/// What becomes of a file; places are taken within its length.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Zeros(Index, usize),
    Insert(Index, Vec<u8>),
    /// The bytes between two places, once more at a third.
    Repeat(Index, Index, Index),
    Remove(Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    let text = prop_oneof![
        vec(any::<u8>(), 1..40),
        Just(b"\n".to_vec()),
        Just(b"{\"batch_bytes\":1,\"crc32\":1}\n".to_vec()),
        Just(b"{\"batch_bytes\":18446744073709551615,\"crc32\":0}\n".to_vec()),
        Just(b"{\"batch_bytes\":0,\"crc32\":0}\n".to_vec()),
    ];
    prop_oneof![
        at().prop_map(Damage::Cut),
        (at(), 1_u8..).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        (at(), 1..300_usize).prop_map(|(at, len)| Damage::Zeros(at, len)),
        (at(), text).prop_map(|(at, text)| Damage::Insert(at, text)),
        (at(), at(), at()).prop_map(|(from, to, at)| Damage::Repeat(from, to, at)),
        (at(), 1..300_usize).prop_map(|(at, len)| Damage::Remove(at, len)),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match damage {
        Damage::Cut(at) => bytes.truncate(at.index(len)),
        Damage::Flip(at, mask) => bytes[at.index(len)] ^= mask,
        Damage::Zeros(at, count) => {
            bytes.iter_mut().skip(at.index(len)).take(*count).for_each(|byte| *byte = 0);
        }
        Damage::Insert(at, text) => {
            let at = at.index(len);
            bytes.splice(at..at, text.iter().copied());
        }
        Damage::Repeat(from, to, at) => {
            let (from, to) = (from.index(len), to.index(len));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            let at = at.index(len);
            bytes.splice(at..at, part);
        }
        Damage::Remove(at, count) => {
            let at = at.index(len);
            bytes.drain(at..len.min(at + count));
        }
    }
}

fn open(path: &Path) -> EventStore {
    EventStore::new(FileAdapter::open(path).expect("the file opens"))
}

async fn append(store: &EventStore, stream: &str, sizes: &[usize]) -> Result<Vec<StoredEvent>> {
    let event = |size: &usize| {
        NewEvent::new("happened".try_into().expect("a name"), Payload::bytes(vec![b'\n'; *size]))
    };
    let events: Vec<NewEvent> = sizes.iter().map(event).collect();
    let stream = store.stream(StreamId::new("orders", stream)?);
    Ok(stream.append(events, WriteCondition::Always).await?.into_vec())
}

async fn all(store: &EventStore) -> Result<Vec<StoredEvent>> {
    store.log().read(ReadOptions::default()).into_vec().await
}

async fn survives(batches: &[Vec<usize>], damages: &[Damage]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.log");
    let store = open(&path);
    let mut known = Vec::new();
    // How many events, and how long the file, after each batch.
    let mut ends = vec![(0, b"annals-file 1\n".len())];
    for (nth, sizes) in batches.iter().enumerate() {
        known.extend(append(&store, &format!("o-{}", nth % 2), sizes).await.expect("an append"));
        ends.push((known.len(), fs::read(&path).expect("a file").len()));
    }
    drop(store);

    let whole = fs::read(&path).expect("a file");
    let mut bytes = whole.clone();
    for damage in damages {
        apply(damage, &mut bytes);
    }
    fs::write(&path, &bytes).expect("a file");
    // Batches before the first byte that changed are as they were.
    let same = whole.iter().zip(&bytes).take_while(|(one, other)| one == other).count();
    let untouched = ends.iter().rev().find(|(_, end)| *end <= same).map_or(0, |(count, _)| *count);

    match all(&open(&path)).await {
        Ok(found) => {
            assert!(known.starts_with(&found), "a batch is whole or gone, and none is made up");
            assert!(
                ends.iter().any(|(count, _)| *count == found.len()),
                "a part of a batch is no batch"
            );
            assert!(found.len() >= untouched, "batches before the damage are there");
            let next = append(&open(&path), "o-9", &[3, 4]).await.expect("the log goes on");
            assert_eq!(all(&open(&path)).await.expect("a log"), [found, next].concat());
        }
        Err(Error::Corrupt(_)) => {
            let kept = fs::read(&path).expect("a file");
            assert_eq!(kept, bytes, "what is not understood is left as it was");
            assert!(matches!(append(&open(&path), "o-1", &[1]).await, Err(Error::Corrupt(_))));
            assert_eq!(fs::read(&path).expect("a file"), bytes);
        }
        Err(other) => panic!("neither a log nor corrupt: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_yields_what_was_acknowledged_or_is_corrupt(
        batches in vec(vec(0..80_usize, 1..4), 0..5),
        damages in vec(damage(), 1..3),
    ) {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(survives(&batches, &damages));
    }
}
