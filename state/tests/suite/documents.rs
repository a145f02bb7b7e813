//! Documents of a collection: what is put and got, definitions, schemas, bounds, and what is rejected.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod definitions;
mod meddling;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals::{Encoding, Payload, SequenceNumber};
use annals_memory::MemoryState;
use annals_state::{
    By, Collection, CollectionName, Commit, Cursor, DocumentId, DocumentKey, Documents, Expected,
    Filter, Find, MAX_FILTER_DEPTH, MAX_FILTER_PARTS, Paging, Result, Revision, Scan, StateError,
    StateStore, Write, get_all,
};
use definitions::{
    definition_changes_during_a_find, definitions, documents_that_move,
    documents_without_a_definition, first_put_meanwhile, first_puts, reindex_beside_writers,
    reindex_broken_off,
};
use futures_util::TryStreamExt;
use meddling::Meddling;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Store = Arc<dyn StateStore>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Product {
    name: String,
    price: f64,
}

fn product(name: &str, price: f64) -> Product {
    Product { name: name.into(), price }
}

fn plain() -> Collection<Product> {
    Collection::new("products").unwrap()
}

fn by_price() -> Collection<Product> {
    plain().with_index("by_price", [By::ascending("price").unwrap()]).unwrap()
}

fn by_name() -> Collection<Product> {
    by_price().with_index("by_name", [By::ascending("name").unwrap()]).unwrap()
}

fn along_price() -> Find {
    Find::default().sort([By::ascending("price").unwrap()])
}

fn along_name() -> Find {
    Find::default().sort([By::ascending("name").unwrap()])
}

async fn names(products: &Documents<Product>, find: Find) -> Vec<String> {
    let found = products.find(&find).await.unwrap();
    found.documents.into_iter().map(|one| one.value.name).collect()
}

fn is_changed<T: fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(error @ StateError::DefinitionChanged { .. }) => error.to_string(),
        other => panic!("not a changed definition: {other:?}"),
    }
}

fn is_invalid<T: fmt::Debug>(result: Result<T>, text: &str) {
    match result {
        Err(StateError::Invalid(reason)) => {
            assert!(reason.to_string().contains(text), "{reason} does not say {text}");
        }
        other => panic!("not invalid: {other:?}"),
    }
}

fn key(id: &str) -> DocumentKey {
    DocumentKey::new("products", id).unwrap()
}

async fn put_raw(store: &Store, id: &str, body: Payload) {
    store.commit(Commit::new([Write::put(key(id), body, Expected::Any)])).await.unwrap();
}

async fn put_get_delete(store: Store) {
    let products = by_price().on(store);
    assert_eq!(products.get("p").await.unwrap(), None);
    let first = products.put("p", &product("tea", 4.5), Expected::Absent).await.unwrap();
    let got = products.get("p").await.unwrap().unwrap();
    assert_eq!((got.id.as_str(), got.revision, &got.value), ("p", first, &product("tea", 4.5)));
    assert_eq!(got.at, SequenceNumber::START);
    // Two that read the same revision: the second update is a conflict, and the first one stays.
    let second = products.put("p", &product("tea", 5.0), Expected::Is(first)).await.unwrap();
    let lost = products.put("p", &product("tea", 6.0), Expected::Is(first)).await.unwrap_err();
    let conflict = lost.conflict().unwrap();
    assert_eq!((conflict.key.id.as_str(), conflict.found), ("p", Some(second)));
    assert_eq!(products.get("p").await.unwrap().unwrap().value, product("tea", 5.0));
    assert!(products.delete("p", Expected::Is(first)).await.unwrap_err().is_conflict());
    products.delete("p", Expected::Is(second)).await.unwrap();
    assert_eq!(products.get("p").await.unwrap(), None);
    assert!(names(&products, along_price()).await.is_empty());
    let write =
        products.write_at("q", &product("cup", 1.0), Expected::Absent, SequenceNumber::new(7));
    let log = Write::put(
        DocumentKey::new("annals.tracking", "p").unwrap(),
        Payload::bytes("7"),
        Expected::Absent,
    );
    let both = products.commit([write.unwrap(), log.clone()]).await.unwrap();
    let got = products.get("q").await.unwrap().unwrap();
    assert_eq!((got.at, got.revision), (SequenceNumber::new(7), both));
    // What belongs to another collection fails the whole.
    let write = products.write("r", &product("pot", 9.0), Expected::Absent).unwrap();
    assert!(products.commit([write, log]).await.unwrap_err().is_conflict());
    assert_eq!(products.get("r").await.unwrap(), None);
}

async fn numbers_of_all_sizes(store: Store) {
    let wide = Collection::<(u128, i128, f64)>::new("wide").unwrap().on(store);
    let value = (u128::MAX, i128::MIN, 0.1 + 0.2);
    wide.put("w", &value, Expected::Absent).await.unwrap();
    assert_eq!(wide.get("w").await.unwrap().unwrap().value, value);
}

async fn one_and_many(store: Store) {
    let products = by_price().on(store);
    for nth in 0..600 {
        let name = format!("n{nth:03}");
        products.put(&*name, &product(&name, f64::from(nth % 3)), Expected::Absent).await.unwrap();
    }
    let name = |name: &str| Filter::is("name", name).unwrap();
    let one = products.find_one(name("n005")).await.unwrap().unwrap();
    assert_eq!(one.value, product("n005", 2.0));
    assert_eq!(products.find_one(name("nobody")).await.unwrap(), None);
    let several = products.find_one(Filter::is("price", 1).unwrap()).await;
    assert!(matches!(several, Err(StateError::Several(_))));
    assert_eq!(products.count(None).await.unwrap(), 600);
    assert_eq!(products.count(Some(Filter::less("price", 2).unwrap())).await.unwrap(), 400);
    assert_eq!(products.clear().await.unwrap(), 600);
    assert_eq!(products.clear().await.unwrap(), 0);
    assert_eq!(products.count(None).await.unwrap(), 0);
    assert!(names(&products, along_price()).await.is_empty());
}

async fn schemas(store: Store) {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        title: String,
        cents: u32,
    }
    let old = Collection::<Old>::new("products").unwrap().on(Arc::clone(&store));
    old.put("p", &Old { title: "tea".into(), cents: 450 }, Expected::Absent).await.unwrap();
    let new = || {
        plain().with_schema(2, |from, state| {
            assert_eq!(from, 1);
            let cents = state["cents"].as_f64().ok_or("no cents")?;
            Ok(json!({ "name": state["title"], "price": cents / 100.0 }))
        })
    };
    let products = new().unwrap().on(Arc::clone(&store));
    assert_eq!(products.get("p").await.unwrap().unwrap().value, product("tea", 4.5));
    // Filters see the new form.
    assert_eq!(products.count(Some(Filter::is("price", 4.5).unwrap())).await.unwrap(), 1);
    products.put("q", &product("cup", 1.0), Expected::Absent).await.unwrap();
    let newer = old.get("q").await.unwrap_err();
    assert!(matches!(&newer, StateError::Undecodable { key, .. } if **key == self::key("q")));
    // An index is made from the new form.
    let indexed = new().unwrap().with_index("by_price", [By::ascending("price").unwrap()]).unwrap();
    let indexed = indexed.on(Arc::clone(&store));
    is_changed(indexed.find(&along_price()).await);
    assert_eq!(indexed.reindex().await.unwrap(), 2);
    assert_eq!(names(&indexed, along_price()).await, ["cup", "tea"]);
    // A schema makes an indexed collection another one: entries come from the states.
    let third = plain().with_schema(3, |_, state| Ok(state)).unwrap();
    let third = third.with_index("by_price", [By::ascending("price").unwrap()]).unwrap().on(store);
    assert!(is_changed(third.find(&along_price()).await).contains("schema is 2 there, 3 here"));
}

async fn undecodable(store: Store) {
    let products = plain().on(Arc::clone(&store));
    let envelope =
        |v: u32, state: Value| Payload::json(&json!({ "v": v, "at": 0, "s": state })).unwrap();
    let bodies = [
        Payload::bytes("x"),
        Payload::new(Encoding::from_static("annals-zstd"), "x").unwrap(),
        Payload::json(&json!([1])).unwrap(),
        Payload::json(&json!({ "v": 1, "s": {} })).unwrap(),
        envelope(0, json!({ "name": "a", "price": 1 })),
        envelope(2, json!({ "name": "a", "price": 1 })),
        envelope(1, json!({ "name": "a" })),
    ];
    for body in bodies {
        put_raw(&store, "bad", body).await;
        let errors = [products.get("bad").await.err(), products.find(&Find::default()).await.err()];
        for error in errors {
            let error = error.unwrap();
            assert!(
                matches!(&error, StateError::Undecodable { key, .. } if **key == self::key("bad")),
                "{error}"
            );
            assert!(std::error::Error::source(&error).is_some());
        }
    }
    let bad = plain().with_schema(2, |_, _| Err("cannot".into())).unwrap().on(Arc::clone(&store));
    put_raw(&store, "bad", envelope(1, json!({}))).await;
    assert!(matches!(bad.get("bad").await, Err(StateError::Undecodable { .. })));
    assert!(matches!(bad.reindex().await, Err(StateError::Undecodable { .. })));
}

async fn invalid_calls(store: Store) {
    let products = by_price().on(Arc::clone(&store));
    for nth in 0..3 {
        products
            .put(&*format!("p{nth}"), &product("tea", f64::from(nth)), Expected::Any)
            .await
            .unwrap();
    }
    let find = |find: Find| {
        let products = products.clone();
        async move { products.find(&find).await }
    };
    is_invalid(find(along_price().paging(Paging::First(0))).await, "size of at least 1");
    is_invalid(find(along_price().paging(Paging::Offset { page: 0, size: 1 })).await, "from 1");
    is_invalid(
        find(along_price().paging(Paging::Offset { page: 2, size: 50_001 })).await,
        "after a cursor",
    );
    is_invalid(
        find(along_price().paging(Paging::Offset { page: usize::MAX, size: 2 })).await,
        "after a cursor",
    );
    is_invalid(find(along_price().paging(Paging::First(usize::MAX))).await, "after a cursor");
    let next = find(along_price().paging(Paging::First(1))).await.unwrap().next.unwrap();
    is_invalid(find(along_name().paging(Paging::After(next.clone(), 1))).await, "another find");
    is_invalid(find(Find::default().paging(Paging::Before(next.clone(), 1))).await, "another find");
    let other = Collection::<Product>::new("others").unwrap().on(store);
    is_invalid(
        other.find(&along_price().paging(Paging::After(next.clone(), 1))).await,
        "another find",
    );
    let text = next.to_string();
    for broken in ["", "!", "AA", &text[..text.len() / 2], &format!("{text}AAAA")] {
        is_invalid(broken.parse::<Cursor>(), "no cursor");
    }
    let nested = |depth: usize| (1..depth).fold(Filter::is("a", 1).unwrap(), |inner, _| !inner);
    find(Find::default().filter(nested(MAX_FILTER_DEPTH))).await.unwrap();
    is_invalid(find(Find::default().filter(nested(MAX_FILTER_DEPTH + 1))).await, "nests at most");
    is_invalid(products.count(Some(nested(MAX_FILTER_DEPTH + 1))).await, "nests at most");
    let many = |count: usize| Filter::is_in("a", vec![1; count]).unwrap();
    find(Find::default().filter(many(MAX_FILTER_PARTS - 1))).await.unwrap();
    is_invalid(find(Find::default().filter(many(MAX_FILTER_PARTS))).await, "parts");
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    is_invalid(find(Find::default().filter(Filter::is("a", deep).unwrap())).await, "128 deep");
    let sorts = (0..17).map(|nth| By::ascending(&*format!("a{nth}")).unwrap());
    is_invalid(find(Find::default().sort(sorts)).await, "16 fields");
    let similar = By::similarity("name", "x".repeat(1_001)).unwrap();
    is_invalid(find(Find::default().sort([similar])).await, "1000 bytes");
    is_invalid(Filter::matches("name", "("), "regex");
    is_invalid(Filter::is("a[", 1), "path");
    is_invalid(products.get("").await, "name");
    is_invalid(products.put("a\nb", &product("x", 1.0), Expected::Any).await, "control character");
    is_invalid(Collection::<Product>::new("annals.mine"), "reserved");
    is_invalid(Collection::<Product>::new(""), "name");
    is_invalid(plain().with_index("i", []), "1 to 16 fields");
    let by = |path: &str| By::ascending(path).unwrap();
    is_invalid(plain().with_index("i", [by("a"), by("a")]), "twice");
    is_invalid(plain().with_index("i", [By::similarity("a", "b").unwrap()]), "similarity");
    is_invalid(by_price().with_index("by_price", [by("a")]), "declared twice");
    is_invalid(plain().with_schema(0, |_, state| Ok(state)), "from 1");
    let full =
        (0..64).fold(plain(), |all, nth| all.with_index(&*format!("i{nth}"), [by("a")]).unwrap());
    is_invalid(full.with_index("more", [by("a")]), "one too many");
    let maps = Collection::<std::collections::BTreeMap<(u8, u8), u8>>::new("maps").unwrap();
    let bad =
        maps.on(Arc::clone(products.store())).put("m", &[((1, 2), 3)].into(), Expected::Any).await;
    is_invalid(bad, "");
    assert_eq!(products.count(None).await.unwrap(), 3, "nothing was half made");
}

/// Above the bound a find names the index that it needs, and does with it what it could not do without.
async fn bounds(store: Store) {
    let products = by_price().on(store);
    for batch in 0..101 {
        let write = |nth: u32| {
            let id = format!("n{nth:06}");
            products
                .write(&*id, &product(&format!("n{nth}"), nth.into()), Expected::Absent)
                .unwrap()
        };
        products.commit((batch * 1_000..(batch + 1) * 1_000).map(write)).await.unwrap();
    }
    let cheap = Filter::less("price", 3).unwrap();
    let cheapest = || Find::default().sort([By::ascending("price").unwrap()]);
    let none = Filter::is("name", "nobody").unwrap();
    let without = plain().on(Arc::clone(products.store()));
    is_invalid(
        without.find(&cheapest().filter(none.clone())).await,
        "declare an index on (name, price)",
    );
    is_invalid(without.count(Some(none.clone())).await, "declare an index on (name)");
    assert_eq!(without.count(None).await.unwrap(), 101_000);
    let first = Find::default().paging(Paging::First(3));
    assert_eq!(without.find(&first).await.unwrap().documents.len(), 3);
    assert_eq!(names(&products, cheapest().paging(Paging::First(3))).await, ["n0", "n1", "n2"]);
    assert_eq!(names(&products, cheapest().filter(cheap.clone())).await, ["n0", "n1", "n2"]);
    assert_eq!(products.count(Some(cheap)).await.unwrap(), 3);
    // However many there are, a page along an index reads about what it returns.
    let counting = Arc::new(Meddling::new(Arc::clone(products.store())));
    let counted = by_price().on(Arc::<Meddling>::clone(&counting));
    let found = names(&counted, cheapest().paging(Paging::First(20))).await;
    assert_eq!(found.len(), 20);
    assert!(counting.scanned.load(Ordering::Relaxed) <= 21);
}

/// Calls are futures that any executor may move between threads.
async fn on_any_thread(store: Store) {
    let products = by_price().on(store);
    let task = tokio::spawn(async move {
        products.put("p", &product("tea", 1.0), Expected::Any).await?;
        products.reindex().await?;
        products.count(Some(Filter::is("price", 1)?)).await?;
        products.find_one(Filter::is("price", 1)?).await?;
        let found = products.find(&along_price()).await?;
        products.clear().await?;
        Ok::<_, StateError>(found.documents.len())
    });
    assert_eq!(task.await.unwrap().unwrap(), 1);
}

macro_rules! over_memory {
    ($($check:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            super::$check(Arc::new(MemoryState::new())).await;
        }
    )*};
}

mod memory {
    use super::*;

    over_memory! {
        put_get_delete numbers_of_all_sizes one_and_many schemas undecodable definitions
        documents_without_a_definition first_puts first_put_meanwhile reindex_broken_off reindex_beside_writers
        definition_changes_during_a_find documents_that_move invalid_calls bounds on_any_thread
    }
}

/// What every page of this crate says: errors name the store and the operation, and nothing of a body.
#[tokio::test]
async fn errors_say_where() {
    let store: Store = Arc::new(Meddling::new(Arc::new(MemoryState::new())).failing_after(0));
    let error =
        store.commit(Commit::new([Write::guard(key("p"), Expected::Any)])).await.unwrap_err();
    assert_eq!(error.to_string(), "meddling is unavailable");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "commit: as the test wants it");
    assert!(error.is_retryable());
    let memory: Store = Arc::new(MemoryState::new());
    let unknown = Revision::from_uuid(uuid::Uuid::nil());
    let commit =
        Commit::new([Write::put(key("p"), Payload::bytes("secret"), Expected::Is(unknown))]);
    let error = memory.commit(commit).await.unwrap_err();
    let text = "products/p does not exist, expected revision 00000000-0000-0000-0000-000000000000";
    assert_eq!(error.to_string(), text);
    assert!(get_all(&memory, vec![]).await.unwrap().is_empty());
    let none: Vec<_> =
        memory.scan(Scan::along_ids(CollectionName::from_static("c"))).try_collect().await.unwrap();
    assert!(none.is_empty());
    let id = DocumentId::from_static("x");
    assert_eq!(
        Cursor::of(id).to_string().parse::<Cursor>().unwrap(),
        Cursor::of(DocumentId::from_static("x"))
    );
}
