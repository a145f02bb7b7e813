//! The documents that are stored in `tests/fixtures` of each SQL adapter, as its release wrote them: every later release
//! reads the same, and goes on to commit.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use annals::{Encoding, Payload};
use annals_state::{
    Commit, DocumentKey, Expected, IndexName, Revision, Scan, StateError, StateStore, Write,
};
use futures_util::TryStreamExt;
use uuid::Uuid;

fn revision(nth: u128) -> Revision {
    Revision::from_uuid(Uuid::from_u128(0xf193_0000_0000_7000_8000_0000_0000_0000 + nth))
}

fn key(collection: &str, id: &str) -> DocumentKey {
    DocumentKey::new(collection, id).unwrap()
}

fn index(name: &'static str) -> IndexName {
    IndexName::from_static(name)
}

fn json(text: &'static str) -> Payload {
    Payload::json_bytes(text).unwrap()
}

fn longest() -> String {
    "\u{e9}".repeat(127)
}

/// The documents in the order of collection and id, each with the entries that it is found by.
fn stored() -> Vec<(Write, Revision)> {
    let longest = longest();
    let put = |key: DocumentKey, body: Payload| Write::put(key, body, Expected::Absent);
    vec![
        (put(key("carts", "c-1"), json(r#" {"total": 1.50, "total": -0} "#)), revision(2)),
        // Keys of entries are bytes of any value: in order, as a prefix of another, the longest.
        (
            put(key("teas", "assam"), json(r#"{"price":5}"#))
                .with_entry(index("price"), &[0x00][..])
                .with_entry(index("name"), &b"assam"[..]),
            revision(1),
        ),
        (
            put(key("teas", "ceylon"), json("null"))
                .with_entry(index("price"), &[0xff; 1_000][..])
                .with_entry(index("name"), &[][..]),
            revision(1),
        ),
        (
            put(key("teas", "darjeeling"), Payload::bytes(&[0xff, 0, 0x80, b'\\'][..]))
                .with_entry(index("price"), &[0x00, 0x01][..])
                .with_entry(index("price"), &[0xff][..]),
            revision(3),
        ),
        (
            put(
                key(&longest, &longest),
                Payload::new(Encoding::new("json+zstd").unwrap(), Vec::new()).unwrap(),
            ),
            Revision::from_uuid(Uuid::from_u128(u128::MAX)),
        ),
    ]
}

/// What a scan of `teas` along `price` returns: the key and the id, in order.
fn along_price() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (vec![0x00], "assam"),
        (vec![0x00, 0x01], "darjeeling"),
        (vec![0xff], "darjeeling"),
        (vec![0xff; 1_000], "ceylon"),
    ]
}

/// Makes the stored documents in an empty store: also one that is changed, and one that is deleted.
pub(crate) async fn write(state: &impl StateStore) {
    let early = Write::put(key("teas", "darjeeling"), json("\"early\""), Expected::Absent)
        .with_entry(index("price"), &[0x77][..])
        .with_entry(index("old"), &[0x00][..]);
    let gone = Write::put(key("teas", "gone"), json("1"), Expected::Absent)
        .with_entry(index("price"), &[0x01][..]);
    state.commit(Commit::with_revision(revision(0), [early, gone])).await.unwrap();
    let delete = Write::delete(key("teas", "gone"), Expected::Is(revision(0)));
    state.commit(Commit::new([delete])).await.unwrap();
    let mut left = stored();
    left.sort_by_key(|(_, revision)| revision.as_uuid());
    for writes in left.chunk_by(|one, other| one.1 == other.1) {
        let writes_of = writes.iter().map(|(write, _)| {
            let mut write = write.clone();
            if write.key == key("teas", "darjeeling") {
                write.expected = Expected::Is(revision(0));
            }
            write
        });
        state.commit(Commit::with_revision(writes[0].1, writes_of)).await.unwrap();
    }
}

/// Reads everything from a store that holds the stored documents, and goes on with it. Changes it.
pub(crate) async fn assert_goes_on(state: &impl StateStore) {
    let stored = stored();
    let mut keys: Vec<DocumentKey> = stored.iter().map(|(write, _)| write.key.clone()).collect();
    keys.push(key("teas", "gone"));
    let got = state.get(keys).await.unwrap();
    assert!(got.rest.is_empty());
    for ((write, revision), document) in stored.iter().zip(&got.documents) {
        let document = document.as_ref().unwrap();
        let annals_state::Change::Put { body, .. } = &write.change else { unreachable!() };
        assert_eq!((&document.key, &document.revision), (&write.key, revision));
        assert_eq!(&document.body, body);
    }
    assert!(got.documents[5].is_none(), "it was deleted");
    assert_eq!(scan(state, "price").await, along_price());
    assert_eq!(scan(state, "old").await, [], "entries went with the change");
    assert_eq!(scan(state, "name").await, [(Vec::new(), "ceylon"), (b"assam".to_vec(), "assam")]);

    // Every document goes on from its revision, and from no other.
    for (write, found) in &stored {
        let outdated = Write::put(write.key.clone(), json("2"), Expected::Is(revision(99)));
        let error = state.commit(Commit::new([outdated])).await.unwrap_err();
        let StateError::Conflict(conflict) = error else { panic!("{error:?}") };
        assert_eq!((conflict.key, conflict.found), (write.key.clone(), Some(*found)));
    }
    let next = Write::put(key("teas", "darjeeling"), json("3"), Expected::Is(revision(3)))
        .with_entry(index("price"), &[0x02][..]);
    let new = Write::put(key("teas", "gone"), json("4"), Expected::Absent)
        .with_entry(index("price"), &[0x00, 0x00][..]);
    let guard = Write::guard(key("carts", "c-1"), Expected::Is(revision(2)));
    let delete = Write::delete(key("teas", "ceylon"), Expected::Is(revision(1)));
    state.commit(Commit::new([next, new, guard, delete])).await.unwrap();
    let left = [(vec![0x00], "assam"), (vec![0x00, 0x00], "gone"), (vec![0x02], "darjeeling")];
    assert_eq!(scan(state, "price").await, left);
}

async fn scan(state: &impl StateStore, along: &'static str) -> Vec<(Vec<u8>, &'static str)> {
    let scan = Scan::along(key("teas", "assam").collection, index(along));
    let pages: Vec<_> = state.scan(scan).try_collect().await.unwrap();
    let ids = ["assam", "ceylon", "darjeeling", "gone"];
    let found = pages.into_iter().flatten().map(|scanned| {
        let id = ids.iter().find(|id| **id == scanned.document.key.id.as_str()).unwrap();
        (scanned.key.to_vec(), *id)
    });
    found.collect()
}
