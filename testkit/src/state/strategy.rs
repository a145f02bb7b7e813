//! Strategies of proptest for what a state store is given. All values are valid, and names come from few most of the
//! time, so that documents, entries and scans meet.

use std::collections::BTreeSet;

use annals::{Direction, Payload};
use annals_state::{
    Along, Change, CollectionName, Commit, Document, DocumentId, DocumentKey, Expected, IndexEntry,
    IndexName, Place, Revision, Scan, Write,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use crate::generate::valid;
use crate::strategy::{names, payloads};

/// The most writes of a commit.
const WRITES: usize = 6;

/// Names of indexes: few, so that entries and scans meet.
pub fn index_names() -> impl Strategy<Value = IndexName> + Clone {
    select(vec!["by", "by_name", "by_price"]).prop_map(IndexName::from_static)
}

/// Names of collections.
pub fn collection_names() -> impl Strategy<Value = CollectionName> + Clone {
    names().prop_map(|name| valid(CollectionName::new(name)))
}

/// Ids of documents.
pub fn document_ids() -> impl Strategy<Value = DocumentId> + Clone {
    names().prop_map(|name| valid(DocumentId::new(name)))
}

/// Keys of documents.
pub fn document_keys() -> impl Strategy<Value = DocumentKey> + Clone {
    (collection_names(), document_ids()).prop_map(|(collection, id)| DocumentKey { collection, id })
}

/// Revisions of any bits.
pub fn revisions() -> impl Strategy<Value = Revision> + Clone {
    any::<u128>().prop_map(|bits| Revision::from_uuid(Uuid::from_u128(bits)))
}

/// Keys of entries: short ones of few bytes, among them the least and the greatest, and any now and then.
pub fn entry_keys() -> impl Strategy<Value = Bytes> + Clone {
    let few = vec(select(vec![0_u8, 1, 0x7F, 0xFF]), 0..3);
    prop_oneof![4 => few, 1 => vec(any::<u8>(), 0..40)].prop_map(Bytes::from)
}

/// Up to three entries, none twice.
pub fn entries() -> impl Strategy<Value = Vec<IndexEntry>> + Clone {
    vec((index_names(), entry_keys()), 0..4).prop_map(|entries| {
        let mut entries: Vec<_> =
            entries.into_iter().map(|(index, key)| IndexEntry { index, key }).collect();
        entries.sort();
        entries.dedup();
        entries
    })
}

/// Documents as a store returns them.
pub fn documents() -> impl Strategy<Value = Document> + Clone {
    (document_keys(), revisions(), payloads()).prop_map(|(key, revision, body)| Document {
        key,
        revision,
        body,
    })
}

/// Expectations of every kind, more often ones that a store without the document meets.
pub fn expectations() -> impl Strategy<Value = Expected> + Clone {
    prop_oneof![
        3 => Just(Expected::Any),
        2 => Just(Expected::Absent),
        1 => revisions().prop_map(Expected::Is),
    ]
}

fn changes() -> impl Strategy<Value = Change> + Clone {
    let put = (payloads(), entries()).prop_map(|(body, entries)| Change::Put { body, entries });
    prop_oneof![4 => put, 1 => Just(Change::Delete), 1 => Just(Change::Guard)]
}

/// Writes of one document.
pub fn writes() -> impl Strategy<Value = Write> + Clone {
    (document_keys(), expectations(), changes()).prop_map(|(key, expected, change)| {
        let mut write = Write::guard(key, expected);
        write.change = change;
        write
    })
}

/// Commits of one to six documents, none twice.
pub fn commits() -> impl Strategy<Value = Commit> + Clone {
    (revisions(), vec(writes(), 1..=WRITES)).prop_map(|(revision, writes)| {
        let mut seen = BTreeSet::new();
        let mut fresh = |write: &Write| seen.insert(write.key.clone());
        Commit::with_revision(revision, writes.into_iter().filter(|write| fresh(write)))
    })
}

/// Scans of every range, place, direction and limit.
pub fn scans() -> impl Strategy<Value = Scan> + Clone {
    let along_ids = (vec(proptest::option::of(document_ids()), 2), Just(Along::Ids)).prop_map(
        |(bounds, along)| {
            let text = |id: DocumentId| Bytes::from(id.as_str().to_owned());
            (along, bounds.into_iter().map(|bound| bound.map(text)).collect::<Vec<_>>())
        },
    );
    let along_index = (index_names(), vec(proptest::option::of(entry_keys()), 2))
        .prop_map(|(index, bounds)| (Along::Index(index), bounds));
    let place = proptest::option::of((entry_keys(), document_ids()));
    let limit = proptest::option::of(0..8_u64);
    (collection_names(), prop_oneof![along_ids, along_index], place, any::<bool>(), limit).prop_map(
        |(collection, (along, bounds), place, backward, limit)| {
            let is_index = along != Along::Ids;
            let mut scan = Scan::new(collection, along);
            let mut bounds = bounds.into_iter();
            (scan.from, scan.to) = (bounds.next().flatten(), bounds.next().flatten());
            scan.after =
                place.map(|(key, id)| Place { key: if is_index { key } else { Bytes::new() }, id });
            scan.limit = limit;
            if backward {
                scan.direction = Direction::Backward;
            }
            scan
        },
    )
}

/// States as documents hold them: JSON with few fields of mixed kinds, so that filters and sorts meet null, numbers of
/// both kinds, texts, lists and what is not there.
pub fn states() -> impl Strategy<Value = serde_json::Value> + Clone {
    let scalar = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-3..4_i64).prop_map(Into::into),
        select(vec![-0.5, 0.0, 0.5, 1e300]).prop_map(Into::into),
        select(vec!["", "a", "B", "b", "é"]).prop_map(Into::into),
    ];
    let value = scalar.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(serde_json::Value::Array),
            fields(inner).prop_map(serde_json::Value::Object),
        ]
    });
    fields(value).prop_map(serde_json::Value::Object)
}

fn fields(
    value: impl Strategy<Value = serde_json::Value> + Clone,
) -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> + Clone {
    vec((select(vec!["a", "b", "c"]), value), 0..4)
        .prop_map(|fields| fields.into_iter().map(|(name, v)| (name.to_owned(), v)).collect())
}

/// Bodies that hold [`states`].
pub fn bodies() -> impl Strategy<Value = Payload> + Clone {
    states().prop_map(|state| valid(Payload::json(&state)))
}

#[cfg(test)]
mod tests {
    use annals_memory::MemoryState;
    use annals_state::{StateStore, get_all};
    use futures_util::{FutureExt, TryStreamExt};
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    fn for_each<S: Strategy>(strategy: &S, test: impl Fn(S::Value)) {
        let config = Config { failure_persistence: None, ..Config::with_cases(100) };
        let run = |value| {
            test(value);
            Ok(())
        };
        TestRunner::new(config).run(strategy, run).unwrap();
    }

    /// What is expected holds or not, and nothing is rejected for another reason.
    #[test]
    fn stores_take_all_commits_and_scans() {
        let store = MemoryState::new();
        let made = std::cell::Cell::new(0);
        for_each(&commits(), |commit| {
            let keys: Vec<_> = commit.writes.iter().map(|write| write.key.clone()).collect();
            let revision = commit.revision;
            match store.commit(commit.clone()).now_or_never().unwrap() {
                Ok(()) => {
                    made.set(made.get() + 1);
                    let found = get_all(&store, keys).now_or_never().unwrap().unwrap();
                    for (write, found) in commit.writes.iter().zip(found) {
                        match &write.change {
                            Change::Put { body, .. } => {
                                let found = found.unwrap();
                                assert_eq!((found.revision, &found.body), (revision, body));
                            }
                            Change::Delete => assert!(found.is_none()),
                            Change::Guard => {
                                assert!(write.expected.holds(found.map(|it| it.revision)));
                            }
                        }
                    }
                }
                Err(error) => assert!(error.is_conflict(), "{error}"),
            }
        });
        assert!(made.get() > 10, "{} of 100 commits were made", made.get());
        let found = std::cell::Cell::new(0);
        for_each(&scans(), |scan| {
            let pages: Vec<_> = store.scan(scan).try_collect().now_or_never().unwrap().unwrap();
            found.set(found.get() + pages.concat().len());
        });
        assert!(found.get() > 0, "no scan found anything");
    }

    #[test]
    fn documents_and_bodies_are_whole() {
        for_each(&documents(), |document| {
            assert!(!document.key.id.as_str().is_empty());
        });
        for_each(&bodies(), |body| {
            let state: serde_json::Value = body.to_json().unwrap();
            assert!(state.is_object());
        });
    }
}
