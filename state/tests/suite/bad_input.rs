//! Bad input: each kind is rejected with what is wrong, and nothing is lost or half made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;
use std::sync::Arc;

use annals::Payload;
use annals_memory::MemoryState;
use annals_state::{
    By, Collection, Commit, Cursor, DocumentId, DocumentKey, Documents, Expected, Filter, Find,
    IndexName, MAX_FILTER_DEPTH, Paging, Result, Scan, Scanned, StateError, StateStore, Write,
};
use futures_util::TryStreamExt;

type Numbers = Documents<u32>;

/// A store with two documents, and how it is found again.
struct Kept {
    numbers: Numbers,
    before: Vec<Scanned>,
}

impl Kept {
    async fn new() -> Self {
        let numbers = Collection::new("numbers")
            .unwrap()
            .with_index("by_itself", [By::ascending("$").unwrap()])
            .unwrap()
            .on(Arc::new(MemoryState::new()));
        numbers.put("one", &1, Expected::Absent).await.unwrap();
        numbers.put("two", &2, Expected::Absent).await.unwrap();
        let before = all(&numbers).await;
        assert_eq!(before.len(), 4, "two documents, each by its id and along the index");
        Self { numbers, before }
    }

    fn key(&self, id: &str) -> DocumentKey {
        DocumentKey {
            collection: self.numbers.collection().name().clone(),
            id: id.parse().unwrap(),
        }
    }

    fn put(&self, id: &str, body: Payload) -> Write {
        Write::put(self.key(id), body, Expected::Any)
    }

    /// Commits beside a write that is right.
    async fn commit(&self, mut writes: Vec<Write>) -> Result<()> {
        writes.insert(0, self.put("one", Payload::bytes("changed")));
        self.numbers.store().commit(Commit::new(writes)).await
    }

    /// The call is `Invalid` and says so, and the store holds what it held.
    async fn rejects<T: fmt::Debug>(&self, result: Result<T>, text: &str) {
        match result {
            Err(StateError::Invalid(reason)) => {
                assert!(reason.to_string().contains(text), "{reason} does not say {text}");
            }
            other => panic!("not invalid: {other:?}"),
        }
        assert_eq!(all(&self.numbers).await, self.before, "something was lost or half made");
        assert_eq!(self.numbers.get("one").await.unwrap().unwrap().value, 1);
    }
}

/// All that is in the collection and along its index.
async fn all(numbers: &Numbers) -> Vec<Scanned> {
    let name = numbers.collection().name();
    let mut found = Vec::new();
    for scan in [
        Scan::along_ids(name.clone()),
        Scan::along(name.clone(), IndexName::from_static("by_itself")),
    ] {
        let pages: Vec<_> = numbers.store().scan(scan).try_collect().await.unwrap();
        found.extend(pages.into_iter().flatten());
    }
    found
}

#[tokio::test]
async fn an_id_or_a_name_that_is_none() {
    let kept = Kept::new().await;
    for bad in ["", "a\nb", &"x".repeat(256)] {
        assert!(DocumentId::new(bad).is_err() && IndexName::new(bad).is_err(), "{bad:?}");
        assert!(DocumentKey::new(bad, "one").is_err() && DocumentKey::new("numbers", bad).is_err());
        kept.rejects(kept.numbers.put(bad, &3, Expected::Any).await, "").await;
        kept.rejects(kept.numbers.get(bad).await, "").await;
        kept.rejects(kept.numbers.delete(bad, Expected::Any).await, "").await;
        kept.rejects(Collection::<u32>::new(bad), "").await;
    }
    kept.rejects(kept.numbers.get("").await, "name").await;
    kept.rejects(kept.numbers.get("a\nb").await, "control character").await;
}

#[tokio::test]
async fn one_document_twice_in_a_commit() {
    let kept = Kept::new().await;
    let again = kept.put("one", Payload::bytes("again"));
    kept.rejects(kept.commit(vec![again]).await, "numbers/one is twice in one commit").await;
    let guard = Write::guard(kept.key("one"), Expected::Any);
    kept.rejects(kept.commit(vec![guard]).await, "twice in one commit").await;
}

#[tokio::test]
async fn no_write_and_too_many() {
    let kept = Kept::new().await;
    let store = kept.numbers.store();
    kept.rejects(store.commit(Commit::new([])).await, "at least one").await;
    let most = store.capabilities().max_writes;
    let many = (0..most).map(|nth| kept.put(&format!("n{nth}"), Payload::bytes("x"))).collect();
    kept.rejects(kept.commit(many).await, "writes in one commit").await;
}

#[tokio::test]
async fn a_body_that_is_too_large() {
    let kept = Kept::new().await;
    let most = usize::try_from(kept.numbers.store().capabilities().max_commit_bytes).unwrap();
    let large = kept.put("large", Payload::bytes(vec![1; most]));
    kept.rejects(kept.commit(vec![large]).await, "bytes in one commit").await;
}

#[tokio::test]
async fn a_filter_that_nests_too_deep() {
    let kept = Kept::new().await;
    let nested = |depth: usize| (1..depth).fold(Filter::is("$", 1).unwrap(), |inner, _| !inner);
    let find = Find::default().filter(nested(MAX_FILTER_DEPTH));
    assert!(kept.numbers.find(&find).await.unwrap().documents.len() <= 2);
    let find = Find::default().filter(nested(MAX_FILTER_DEPTH + 1));
    kept.rejects(kept.numbers.find(&find).await, "nests at most").await;
    let counted = kept.numbers.count(Some(nested(MAX_FILTER_DEPTH + 1))).await;
    kept.rejects(counted, "nests at most").await;
}

#[tokio::test]
async fn a_regex_that_does_not_parse() {
    let kept = Kept::new().await;
    for bad in ["(", "[a", "a{2,1}", "(?=ahead)", "*"] {
        kept.rejects(Filter::matches("name", bad), "regex").await;
    }
}

#[tokio::test]
async fn a_page_of_size_0() {
    let kept = Kept::new().await;
    let first = kept.numbers.find(&Find::default().paging(Paging::First(1))).await.unwrap();
    let next = first.next.unwrap();
    for paging in [
        Paging::First(0),
        Paging::Offset { page: 1, size: 0 },
        Paging::After(next.clone(), 0),
        Paging::Before(next, 0),
    ] {
        let find = Find::default().paging(paging);
        kept.rejects(kept.numbers.find(&find).await, "size of at least 1").await;
    }
}

#[tokio::test]
async fn a_cursor_of_another_find() {
    let kept = Kept::new().await;
    let first = kept.numbers.find(&Find::default().paging(Paging::First(1))).await.unwrap();
    let next = first.next.unwrap();
    let sorted = Find::default().sort([By::descending("$").unwrap()]);
    for paging in [Paging::After(next.clone(), 1), Paging::Before(next.clone(), 1)] {
        let other = kept.numbers.find(&sorted.clone().paging(paging)).await;
        kept.rejects(other, "another find").await;
    }
    let text = next.to_string();
    for broken in ["", "!", "AA", text.get(1..).unwrap()] {
        kept.rejects(broken.parse::<Cursor>(), "no cursor").await;
    }
    let find = Find::default().paging(Paging::After(text.parse().unwrap(), 1));
    let found = kept.numbers.find(&find).await.unwrap().documents;
    assert_eq!(found.first().unwrap().id.as_str(), "two", "what travelled as text goes on");
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded() {
    let kept = Kept::new().await;
    let bad = kept.put("bad", Payload::bytes("no envelope"));
    kept.numbers.store().commit(Commit::new([bad])).await.unwrap();
    for error in [
        kept.numbers.get("bad").await.unwrap_err(),
        kept.numbers.find(&Find::default()).await.unwrap_err(),
    ] {
        match error {
            StateError::Undecodable { key, .. } => assert_eq!(*key, kept.key("bad")),
            other => panic!("{other:?}"),
        }
    }
    // The others can be read, and the bad one be deleted.
    assert_eq!(kept.numbers.get("two").await.unwrap().unwrap().value, 2);
    kept.numbers.delete("bad", Expected::Any).await.unwrap();
    assert_eq!(all(&kept.numbers).await, kept.before);
}
