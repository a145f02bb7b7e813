//! What a find holds in memory: as many documents as the pages up to the one asked for, and a bounded rest, however many
//! documents it looks at and however large they are.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use allocation_counter::measure;
use annals::Payload;
use annals_memory::MemoryState;
use annals_state::{
    By, Collection, Commit, Cursor, DocumentId, DocumentKey, DocumentPages, Documents, Expected,
    Filter, Find, Found, Got, Paging, Result, Scan, Scanned, StateCapabilities, StateStore,
    async_trait,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const SIZE: usize = 20;
/// What a find that sorts may hold of documents that it does not return.
const REST: u64 = 1 << 20;
/// The most documents of a page of the store.
const PAGE: u64 = 256;
/// What a document has beside its text, with its key, and what is small in a find.
const BESIDE: u64 = 1_024;

/// Hands out copies, as a database does: a document in memory is shared by all that hold it.
#[derive(Debug)]
struct Copies(MemoryState);

fn copy(mut one: Scanned) -> Scanned {
    let body = Bytes::copy_from_slice(one.document.body.as_bytes());
    one.document.body = Payload::from_store(one.document.body.encoding().clone(), body);
    one
}

#[async_trait]
impl StateStore for Copies {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> StateCapabilities {
        self.0.capabilities()
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.0.commit(commit).await
    }

    async fn get(&self, keys: Vec<DocumentKey>) -> Result<Got> {
        self.0.get(keys).await
    }

    fn scan(&self, scan: Scan) -> DocumentPages {
        let pages = self.0.scan(scan);
        pages.map_ok(|page| page.into_iter().map(copy).collect()).boxed()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// Documents that are numbered in the order of their ids, each with a text of so many bytes.
struct Large {
    runtime: Runtime,
    documents: Documents<Value>,
    count: usize,
    bytes: u64,
}

impl Large {
    fn new(count: usize, bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let documents = Collection::<Value>::new("large")
            .unwrap()
            .with_index("by_half", [By::ascending("half").unwrap()])
            .unwrap()
            .on(Arc::new(Copies(MemoryState::new())));
        let text = "x".repeat(bytes);
        let numbers: Vec<usize> = (0..count).collect();
        for part in numbers.chunks(100) {
            let put = |nth: &usize| {
                let state = json!({ "nth": nth, "half": nth % 2, "text": text });
                documents.write(id(*nth), &state, Expected::Absent).unwrap()
            };
            runtime.block_on(documents.commit(part.iter().map(put))).unwrap();
        }
        Self { runtime, documents, count, bytes: bytes as u64 }
    }

    /// What is found, and that no more than `kept` documents were held beside the rest.
    fn find(&self, find: &Find, kept: usize) -> Found<Value> {
        let mut found = None;
        let held = measure(|| found = Some(self.runtime.block_on(self.documents.find(find))));
        self.is_bounded(held.bytes_max, kept, &format!("{find:?}"));
        found.unwrap().unwrap()
    }

    fn is_bounded(&self, held: u64, kept: usize, what: &str) {
        let one = self.bytes + BESIDE;
        let page = self.documents.store().capabilities().max_page_bytes.min(PAGE * self.bytes);
        // The documents of the page are read into what is returned one after the other, each beside its body.
        let bound = 2 * kept as u64 * one + REST + page + PAGE * BESIDE + 4 * one;
        assert!(held <= bound, "{held} bytes are held, {bound} may be: {what}");
        // It would hold them all otherwise.
        assert!(bound < self.count as u64 * self.bytes / 3, "the bound proves nothing: {bound}");
    }

    /// Every kind of paging, where no index serves the filter and none the sort.
    fn prove(&self) {
        let id_of = |nth: usize| Cursor::of(DocumentId::new(&*id(nth)).unwrap());
        let middle = self.count / 2;
        let some = || Filter::contains("text", "xx").unwrap();
        let numbers = |found: &Found<Value>| -> Vec<u64> {
            found.documents.iter().map(|one| one.value["nth"].as_u64().unwrap()).collect()
        };
        let up = |from: usize| (from as u64..).take(SIZE).collect::<Vec<_>>();
        let down = |from: usize| (0..=from as u64).rev().take(SIZE).collect::<Vec<_>>();
        let last = self.count - 1;

        // In the order of ids, of which hardly any matches: all are looked at, and nearly all dropped.
        let rare = || Filter::more("nth", last as u64 - 2).unwrap();
        let found = self.find(&Find::default().filter(rare()).paging(Paging::First(SIZE)), SIZE);
        assert_eq!(numbers(&found), [last as u64 - 1, last as u64]);
        let page = Paging::Offset { page: 1, size: SIZE };
        let found = self.find(&Find::default().filter(rare()).paging(page), SIZE);
        assert_eq!(found.documents.len(), 2);
        // All match, and all but the page are skipped.
        let page = Paging::Offset { page: middle / SIZE, size: SIZE };
        let found = self.find(&Find::default().filter(some()).paging(page), SIZE);
        assert_eq!(numbers(&found), up((middle / SIZE - 1) * SIZE));

        // Sorted in memory, each document before all that were looked at: none may be left out.
        let sorted = |by: By| Find::default().filter(some()).sort([by]);
        let falling = || sorted(By::descending("nth").unwrap());
        let found = self.find(&falling().paging(Paging::First(SIZE)), SIZE + 1);
        assert_eq!(numbers(&found), down(last));
        let page = Paging::After(found.next.unwrap(), SIZE);
        assert_eq!(numbers(&self.find(&falling().paging(page), SIZE + 1)), down(last - SIZE));
        let page = Paging::Offset { page: 3, size: SIZE };
        let found = self.find(&falling().paging(page), 3 * SIZE + 1);
        assert_eq!(numbers(&found), down(last - 2 * SIZE));
        let rising = sorted(By::ascending("nth").unwrap());
        let page = Paging::Before(id_of(middle), SIZE);
        assert_eq!(numbers(&self.find(&rising.paging(page), SIZE + 1)), up(middle - SIZE));
        // Along an index that serves the filter, but not the sort.
        let half = Find::default().filter(Filter::is("half", 1).unwrap());
        let find = half.sort([By::descending("nth").unwrap()]).paging(Paging::First(SIZE));
        assert_eq!(self.find(&find, SIZE + 1).documents[0].value["nth"], last | 1);

        let counting = || self.runtime.block_on(self.documents.count(Some(some()))).unwrap();
        let held = measure(|| assert_eq!(counting(), self.count as u64));
        self.is_bounded(held.bytes_max, 0, "count");
    }
}

fn id(nth: usize) -> String {
    format!("n{nth:06}")
}

#[test]
fn many_documents_are_not_held_by_a_find() {
    Large::new(10_000, 2 << 10).prove();
}

#[test]
fn large_documents_are_not_held_by_a_find() {
    Large::new(800, 64 << 10).prove();
}
