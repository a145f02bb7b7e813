//! The rules of the contract, each over any store; here over the in-memory one, with several page sizes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use annals::{Encoding, Payload};
use annals_memory::MemoryState;
use annals_state::{
    Along, Change, CollectionName, Commit, Document, DocumentId, DocumentKey, Expected, IndexEntry,
    IndexName, Place, Revision, Scan, Scanned, StateError, StateStore, Write, get_all, judge,
};
use futures_util::{StreamExt, TryStreamExt, future};
use proptest::prelude::*;

type Store = Arc<dyn StateStore>;

const THINGS: CollectionName = CollectionName::from_static("things");
const BY: IndexName = IndexName::from_static("by");

fn key(id: &str) -> DocumentKey {
    DocumentKey { collection: THINGS, id: DocumentId::new(id).unwrap() }
}

fn body(text: &str) -> Payload {
    Payload::bytes(text.as_bytes().to_vec())
}

fn put(id: &str, expected: Expected) -> Write {
    Write::put(key(id), body(id), expected)
}

async fn commit(store: &Store, writes: impl IntoIterator<Item = Write>) -> Revision {
    let commit = Commit::new(writes);
    let revision = commit.revision;
    store.commit(commit).await.unwrap();
    revision
}

async fn revision(store: &Store, id: &str) -> Option<Revision> {
    let got = get_all(store, vec![key(id)]).await.unwrap();
    got[0].as_ref().map(|document| document.revision)
}

async fn scanned(store: &Store, scan: Scan) -> Vec<Scanned> {
    let pages: Vec<Vec<Scanned>> = store.scan(scan).try_collect().await.unwrap();
    assert!(pages.iter().all(|page| !page.is_empty()), "an empty page");
    pages.into_iter().flatten().collect()
}

async fn ids(store: &Store, scan: Scan) -> Vec<String> {
    let found = scanned(store, scan).await;
    found.into_iter().map(|one| one.document.key.id.as_str().to_owned()).collect()
}

/// ST1, ST2: every expectation against every change, on a document that is there and one that is not; with a second
/// write that holds, which must not be made without the first.
async fn expectations(store: Store) {
    let other = Revision::generate();
    for (nth, present) in [(0, true), (1, false)] {
        for (mth, expected) in ["any", "absent", "is", "other"].into_iter().enumerate() {
            for change in 0..3 {
                let (id, beside) =
                    (format!("{nth}-{mth}-{change}"), format!("b-{nth}-{mth}-{change}"));
                let held = if present {
                    Some(commit(&store, [put(&id, Expected::Any)]).await)
                } else {
                    None
                };
                let expected = match expected {
                    "any" => Expected::Any,
                    "absent" => Expected::Absent,
                    "is" => Expected::Is(held.unwrap_or(other)),
                    _ => Expected::Is(other),
                };
                let write = match change {
                    0 => Write::put(key(&id), body("new"), expected),
                    1 => Write::delete(key(&id), expected),
                    _ => Write::guard(key(&id), expected),
                };
                let commit = Commit::new([put(&beside, Expected::Absent), write]);
                let made = commit.revision;
                let result = store.commit(commit).await;
                assert_eq!(result.is_ok(), expected.holds(held), "{expected} of {held:?}");
                let after = revision(&store, &id).await;
                if let Err(error) = result {
                    let conflict = error.conflict().expect("a conflict");
                    assert_eq!((&conflict.key, conflict.found), (&key(&id), held));
                    assert_eq!(conflict.expected, expected);
                    assert_eq!(after, held);
                    assert_eq!(revision(&store, &beside).await, None);
                } else {
                    let wanted = [Some(made), None, held][change];
                    assert_eq!(after, wanted);
                    assert_eq!(revision(&store, &beside).await, Some(made));
                }
            }
        }
    }
}

/// ST2: of several expectations that fail, the first in the order of keys is named.
async fn first_conflict(store: Store) {
    let writes = ["m", "a", "z"].map(|id| put(id, Expected::Is(Revision::generate())));
    let error = store.commit(Commit::new(writes)).await.unwrap_err();
    assert_eq!(error.conflict().unwrap().key, key("a"));
}

/// ST3: the documents have exactly the committer's revision, and no revision comes back with a document of that name.
async fn revisions(store: Store) {
    let all_bits = Revision::from_uuid(uuid::Uuid::from_u128(u128::MAX - 5));
    let writes = [put("a", Expected::Any), put("b", Expected::Any)];
    store.commit(Commit::with_revision(all_bits, writes)).await.unwrap();
    assert_eq!(revision(&store, "a").await, Some(all_bits));
    assert_eq!(revision(&store, "b").await, Some(all_bits));
    commit(&store, [Write::delete(key("a"), Expected::Is(all_bits))]).await;
    let second = commit(&store, [put("a", Expected::Absent)]).await;
    assert_ne!(second, all_bits);
    let stale = store.commit(Commit::new([put("a", Expected::Is(all_bits))])).await;
    assert!(stale.unwrap_err().is_conflict(), "a deleted document's revision passed");
    let gone = Write::delete(key("a"), Expected::Is(second));
    store.commit(Commit::new([gone.clone()])).await.unwrap();
    assert!(store.commit(Commit::new([gone])).await.unwrap_err().is_conflict());
}

/// Sent again, a commit with `Is` on what it writes is made at most once.
async fn sent_again(store: Store) {
    let first = commit(&store, [put("a", Expected::Any)]).await;
    let again = Commit::new([put("a", Expected::Is(first)), put("b", Expected::Any)]);
    store.commit(again.clone()).await.unwrap();
    assert!(store.commit(again).await.unwrap_err().is_conflict());
}

/// ST1: of two commits that each guard what the other writes, one fails; ST2: of many that expect one revision, all
/// but one.
async fn races(store: Store) {
    for round in 0..20 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let skew = |mine: &str, other: &str| {
            Commit::new([put(mine, Expected::Absent), Write::guard(key(other), Expected::Absent)])
        };
        let (one, two) = future::join(store.commit(skew(&a, &b)), store.commit(skew(&b, &a))).await;
        assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1);
        let start = commit(&store, [put("shared", Expected::Any)]).await;
        let tries = (0..8).map(|_| {
            let store = Arc::clone(&store);
            let commit = Commit::new([put("shared", Expected::Is(start))]);
            tokio::spawn(async move { store.commit(commit).await })
        });
        let mut made = 0;
        for result in future::join_all(tries).await {
            match result.unwrap() {
                Ok(()) => made += 1,
                Err(error) => assert!(error.is_conflict(), "{error}"),
            }
        }
        assert_eq!(made, 1);
    }
}

/// ST6: the order of the keys, twice the same key, absent ones; and what is larger than a page comes in parts.
async fn gets(store: Store) {
    commit(&store, [put("a", Expected::Any), put("b", Expected::Any)]).await;
    let keys = ["b", "nobody", "a", "b"].map(key).to_vec();
    let got = store.get(keys).await.unwrap();
    let found: Vec<_> =
        got.documents.iter().map(|d| d.as_ref().map(|d| d.key.id.as_str())).collect();
    assert_eq!(found, [Some("b"), None, Some("a"), Some("b")]);
    assert!(got.rest.is_empty());
    assert!(store.get(Vec::new()).await.unwrap().documents.is_empty());

    let page = usize::try_from(store.capabilities().max_page_bytes).unwrap();
    for id in ["big-1", "big-2", "big-3"] {
        let body = Payload::bytes(vec![7; page / 2 + 1]);
        commit(&store, [Write::put(key(id), body, Expected::Any)]).await;
    }
    let keys = ["big-1", "nobody", "big-2", "big-3", "a"].map(key).to_vec();
    let got = store.get(keys.clone()).await.unwrap();
    assert_eq!(got.documents.len() + got.rest.len(), 5);
    assert_eq!(got.rest, keys[got.documents.len()..]);
    assert!(got.documents.len() < 4, "the answer holds more than a page");
    let all = get_all(&store, keys.clone()).await.unwrap();
    assert_eq!(
        all.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, false, true, true, true]
    );
    let many = store.capabilities().max_get_keys as usize + 1;
    let all = get_all(&store, vec![key("a"); many]).await.unwrap();
    assert_eq!(all.len(), many);
    assert!(all.iter().all(Option::is_some));
    let pages: Vec<_> = store.scan(Scan::along_ids(THINGS)).try_collect().await.unwrap();
    assert!(pages.len() >= 3, "a page of a scan holds more than a page's bytes");
}

/// ST9: entries go with their document.
async fn entries(store: Store) {
    let by = |k: &'static str| {
        Scan::along(THINGS, BY).from(k).to(annals_state::prefix_end(k.as_bytes()).unwrap())
    };
    commit(&store, [put("a", Expected::Any).with_entry(BY, "x").with_entry(BY, "y")]).await;
    assert_eq!(ids(&store, Scan::along(THINGS, BY)).await, ["a", "a"]);
    commit(&store, [put("a", Expected::Any).with_entry(BY, "z")]).await;
    assert!(ids(&store, by("x")).await.is_empty());
    assert_eq!(ids(&store, by("z")).await, ["a"]);
    let failed = put("a", Expected::Absent).with_entry(BY, "failed");
    store.commit(Commit::new([failed])).await.unwrap_err();
    assert!(ids(&store, by("failed")).await.is_empty());
    commit(&store, [Write::guard(key("a"), Expected::Any)]).await;
    assert_eq!(ids(&store, by("z")).await, ["a"]);
    commit(&store, [put("a", Expected::Any)]).await;
    assert!(ids(&store, Scan::along(THINGS, BY)).await.is_empty());
    commit(&store, [put("a", Expected::Any).with_entry(BY, "")]).await;
    assert_eq!(ids(&store, Scan::along(THINGS, BY)).await, ["a"]);
    commit(&store, [Write::delete(key("a"), Expected::Any)]).await;
    assert!(ids(&store, Scan::along(THINGS, BY)).await.is_empty());
    assert!(ids(&store, Scan::along_ids(THINGS)).await.is_empty());
}

/// ST10: bodies of any bytes with their encoding; names that differ in case or in form are different.
async fn exact(store: Store) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies = [
        Payload::bytes(every_byte.clone()),
        Payload::bytes(Vec::new()),
        Payload::json_bytes(&br#" { "b":1.0, "a" : "\u0000" } "#[..]).unwrap(),
        Payload::new(Encoding::from_static("my/own"), every_byte.clone()).unwrap(),
    ];
    for body in bodies {
        let write =
            Write::put(key("body"), body.clone(), Expected::Any).with_entry(BY, every_byte.clone());
        commit(&store, [write]).await;
        let found = scanned(&store, Scan::along(THINGS, BY)).await;
        assert_eq!(found[0].document.body, body);
        assert_eq!(found[0].key, every_byte);
    }
    commit(&store, [Write::delete(key("body"), Expected::Any)]).await;
    // Case, an accent as one or two characters, spaces at the ends, what wildcards and quotes mean elsewhere.
    let mut names =
        vec!["A", "a", "\u{e9}", "e\u{301}", " a", "a ", "a/b", "%", "_", "'", "\\", "é"];
    names.dedup();
    names.sort_unstable();
    names.dedup();
    commit(&store, names.iter().map(|name| put(name, Expected::Absent))).await;
    assert_eq!(ids(&store, Scan::along_ids(THINGS)).await, names);
    let other = CollectionName::from_static("Things");
    assert!(ids(&store, Scan::along_ids(other)).await.is_empty());
}

/// ST11: what is too much or makes no sense is `Invalid`, and nothing of it is made.
async fn invalid(store: Store) {
    let bounds = store.capabilities();
    let entries = |count: u32, size: u32| {
        let width = size as usize;
        let write = put("e", Expected::Any);
        (0..count).fold(write, |write, nth| write.with_entry(BY, format!("{nth:0>width$}")))
    };
    let many = |count: u32| (0..count).map(|nth| put(&format!("n{nth}"), Expected::Any)).collect();
    let large = |size: u64| {
        let size = usize::try_from(size).unwrap() - "things".len() - "large".len();
        vec![Write::put(key("large"), Payload::bytes(vec![1; size]), Expected::Any)]
    };
    let good: [Vec<Write>; 3] = [
        vec![entries(bounds.max_entries, bounds.max_entry_key_bytes)],
        many(bounds.max_writes),
        large(bounds.max_commit_bytes),
    ];
    for writes in good {
        store.commit(Commit::new(writes)).await.unwrap();
    }
    let all = ids(&store, Scan::along_ids(THINGS)).await.len();
    let bad: Vec<(&str, Vec<Write>)> = vec![
        ("at least one", vec![]),
        (
            "twice in one commit",
            vec![put("x", Expected::Any), Write::guard(key("x"), Expected::Any)],
        ),
        ("one entry twice", vec![put("x", Expected::Any).with_entry(BY, "k").with_entry(BY, "k")]),
        (
            "entries of one document",
            vec![put("x", Expected::Any), entries(bounds.max_entries + 1, 9)],
        ),
        (
            "key of an entry",
            vec![put("x", Expected::Any), entries(1, bounds.max_entry_key_bytes + 1)],
        ),
        ("writes in one commit", many(bounds.max_writes + 1)),
        ("bytes in one commit", large(bounds.max_commit_bytes + 1)),
    ];
    for (text, writes) in bad {
        let error = store.commit(Commit::new(writes)).await.unwrap_err();
        assert!(matches!(&error, StateError::Invalid(_)), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(ids(&store, Scan::along_ids(THINGS)).await.len(), all);
    let keys = vec![key("x"); bounds.max_get_keys as usize + 1];
    assert!(matches!(store.get(keys).await, Err(StateError::Invalid(_))));
    let place = Place { key: "k".into(), id: DocumentId::from_static("x") };
    let scans = [
        Scan::along_ids(THINGS).from(&b"\xFF"[..]),
        Scan::along_ids(THINGS).to(&b"a\0"[..]),
        Scan::along_ids(THINGS).after(place),
    ];
    for scan in scans {
        let found: Vec<_> = store.scan(scan).collect().await;
        assert!(matches!(&found[..], [Err(StateError::Invalid(_))]));
    }
}

/// ST12: after `close` everything ends with `Closed`, an open scan too.
async fn closed(store: Store) {
    let many = (0..600).map(|nth| put(&format!("n{nth:03}"), Expected::Any));
    commit(&store, many).await;
    let mut open = store.scan(Scan::along_ids(THINGS));
    let mut unpolled = store.scan(Scan::along_ids(THINGS));
    open.next().await.unwrap().unwrap();
    store.close().await;
    store.close().await;
    assert!(matches!(open.next().await, Some(Err(StateError::Closed { .. }))));
    assert!(open.next().await.is_none());
    assert!(matches!(unpolled.next().await, Some(Err(StateError::Closed { .. }))));
    let result = store.commit(Commit::new([put("a", Expected::Any)])).await;
    assert!(matches!(result, Err(StateError::Closed { .. })));
    assert!(matches!(store.get(vec![key("a")]).await, Err(StateError::Closed { .. })));
}

/// ST8: documents that keep their entry are returned exactly once, whatever is put and deleted between the pages.
async fn scan_beside_commits(store: Store) {
    let name = |nth: u32| format!("n{nth:04}");
    commit(&store, (0..900).map(|nth| put(&name(nth * 2), Expected::Any))).await;
    for scan in [Scan::along_ids(THINGS), Scan::along_ids(THINGS).backward()] {
        let mut pages = store.scan(scan);
        let mut found = Vec::new();
        let mut nth = 0;
        while let Some(page) = pages.next().await {
            found.extend(
                page.unwrap().into_iter().map(|one| one.document.key.id.as_str().to_owned()),
            );
            // Odd ones come and go on both sides of the place of the scan.
            for at in [1, 601, 1_201, 1_799] {
                let id = name(((at + nth * 2) % 1_800) | 1);
                commit(&store, [put(&id, Expected::Any)]).await;
                commit(&store, [Write::delete(key(&id), Expected::Any)]).await;
            }
            nth += 1;
        }
        found.sort_unstable();
        assert_eq!(found, (0..900).map(|nth| name(nth * 2)).collect::<Vec<_>>());
    }
}

macro_rules! over_memory {
    ($($check:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            for page in [1, 7, 256] {
                let store = MemoryState::new().with_page_size(NonZeroUsize::new(page).unwrap());
                super::$check(Arc::new(store)).await;
            }
        }
    )*};
}

mod memory {
    use super::*;

    over_memory! {
        expectations first_conflict revisions sent_again races gets entries exact invalid closed scan_beside_commits
    }
}

#[test]
fn a_store_that_looks_nothing_up_is_invalid() {
    let writes = [put("a", Expected::Any)];
    assert!(matches!(judge(&writes, &[]), Err(StateError::Invalid(_))));
    assert!(judge(&writes, &[None]).is_ok());
}

/// What a store must hold after some commits, kept in the simplest way.
#[derive(Default)]
struct Model(BTreeMap<String, (Revision, Payload, Vec<IndexEntry>)>);

impl Model {
    fn commit(&mut self, commit: &Commit) -> bool {
        let found = |write: &Write| self.0.get(write.key.id.as_str()).map(|held| held.0);
        if !commit.writes.iter().all(|write| write.expected.holds(found(write))) {
            return false;
        }
        for write in &commit.writes {
            let id = write.key.id.as_str().to_owned();
            match &write.change {
                Change::Guard => {}
                Change::Delete => drop(self.0.remove(&id)),
                Change::Put { body, entries } => {
                    self.0.insert(id, (commit.revision, body.clone(), entries.clone()));
                }
            }
        }
        true
    }

    fn scan(&self, scan: &Scan) -> Vec<Scanned> {
        let mut found = Vec::new();
        for (id, (revision, body, entries)) in &self.0 {
            let document = Document { key: key(id), revision: *revision, body: body.clone() };
            match &scan.along {
                Along::Ids => {
                    found.push((id.as_bytes().to_vec(), Scanned { key: "".into(), document }));
                }
                Along::Index(index) => {
                    for entry in entries.iter().filter(|entry| entry.index == *index) {
                        let one = Scanned { key: entry.key.clone(), document: document.clone() };
                        found.push((entry.key.to_vec(), one));
                    }
                }
            }
        }
        found.sort_by(|(a, x), (b, y)| (a, &x.document.key.id).cmp(&(b, &y.document.key.id)));
        let backward = scan.direction == annals::Direction::Backward;
        if backward {
            found.reverse();
        }
        found.retain(|(at, one)| {
            let inside = scan.from.as_ref().is_none_or(|from| at[..] >= from[..])
                && scan.to.as_ref().is_none_or(|to| at[..] < to[..]);
            let beyond = scan.after.as_ref().is_none_or(|after| {
                if backward { one.place() < *after } else { one.place() > *after }
            });
            inside && beyond
        });
        found.truncate(scan.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap()));
        found.into_iter().map(|(_, one)| one).collect()
    }
}

fn ids_of_a_small_world() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "B", "b", "bb", "é", "z"]).prop_map(str::to_owned)
}

fn keys_of_a_small_world() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0_u8, 1, 0x7F, 0xFF]), 0..3)
}

/// What one step expects: 0 anything, 1 absent, 2 what is there, 3 another revision.
type Step = Vec<(String, u8, u8, Vec<Vec<u8>>)>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (
        ids_of_a_small_world(),
        0..4_u8,
        0..4_u8,
        prop::collection::vec(keys_of_a_small_world(), 0..3),
    );
    prop::collection::vec(prop::collection::vec(write, 1..4), 1..12)
}

prop_compose! {
    fn scans()(
        index in any::<bool>(),
        bounds in prop::array::uniform2(prop::option::of(keys_of_a_small_world())),
        texts in prop::array::uniform2(prop::option::of(ids_of_a_small_world())),
        after in prop::option::of((keys_of_a_small_world(), ids_of_a_small_world())),
        backward in any::<bool>(),
        limit in prop::option::of(0..8_u64),
    ) -> Scan {
        let mut scan = if index { Scan::along(THINGS, BY) } else { Scan::along_ids(THINGS) };
        let [from, to] = bounds;
        let [first, last] = texts;
        let bytes = |text: String| text.into_bytes();
        scan.from = if index { from } else { first.map(bytes) }.map(Into::into);
        scan.to = if index { to } else { last.map(bytes) }.map(Into::into);
        scan.after = after.map(|(key, id)| {
            let key = if index { key.into() } else { "".into() };
            Place { key, id: DocumentId::new(id).unwrap() }
        });
        scan.limit = limit;
        if backward { scan.backward() } else { scan }
    }
}

async fn follows_the_model(store: Store, steps: Vec<Step>, scans: Vec<Scan>) {
    let mut model = Model::default();
    for step in steps {
        let mut writes: Vec<Write> = Vec::new();
        for (id, expected, change, entries) in step {
            if writes.iter().any(|write| write.key == key(&id)) {
                continue;
            }
            let held = model.0.get(&id).map(|held| held.0);
            let expected = match expected {
                0 => Expected::Any,
                1 => Expected::Absent,
                2 => Expected::from(held),
                _ => Expected::Is(Revision::generate()),
            };
            let mut write = match change {
                0 => Write::delete(key(&id), expected),
                1 => Write::guard(key(&id), expected),
                _ => put(&id, expected),
            };
            let mut entries = entries;
            entries.sort();
            entries.dedup();
            for entry in entries {
                write = write.with_entry(BY, entry);
            }
            writes.push(write);
        }
        let commit = Commit::new(writes);
        let made = model.commit(&commit);
        assert_eq!(store.commit(commit).await.is_ok(), made);
        for scan in &scans {
            assert_eq!(scanned(&store, scan.clone()).await, model.scan(scan), "{scan:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn memory_follows_the_model(
        steps in steps(), scans in prop::collection::vec(scans(), 1..6), page in 1..4_usize,
    ) {
        let store = MemoryState::new().with_page_size(NonZeroUsize::new(page).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follows_the_model(Arc::new(store), steps, scans));
    }
}
