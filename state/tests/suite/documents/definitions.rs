//! Definitions: what is found along an index, and how it is made anew while others work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use annals::{Payload, SequenceNumber};
use annals_state::{By, Collection, Commit, Expected, Filter, Find, Paging, StateError};
use futures_util::future;
use serde_json::json;

use super::meddling::Meddling;
use super::{
    Product, Store, along_name, along_price, by_name, by_price, is_changed, names, plain, product,
    put_raw,
};

pub(crate) async fn definitions(store: Store) {
    let old = by_price().on(Arc::clone(&store));
    let new = by_name().on(Arc::clone(&store));
    let unindexed = plain().on(Arc::clone(&store));
    for nth in 0..300 {
        let name = format!("n{:03}", 299 - nth);
        old.put(&*name, &product(&name, f64::from(nth)), Expected::Absent).await.unwrap();
    }
    assert!(
        is_changed(new.put("p", &product("tea", 1.0), Expected::Any).await)
            .contains("index by_name is absent there")
    );
    is_changed(new.find(&along_name()).await);
    is_changed(new.find(&along_price()).await);
    is_changed(unindexed.put("p", &product("tea", 1.0), Expected::Any).await);
    assert_eq!(new.count(None).await.unwrap(), 300, "what needs no index is found");
    assert_eq!(old.get("p").await.unwrap(), None);

    let slept = old.guard().await.unwrap();
    assert_eq!(new.reindex().await.unwrap(), 300);
    let found = names(&new, along_name().paging(Paging::First(2))).await;
    assert_eq!(found, ["n000", "n001"]);
    // The old program knows the old definition well, and must not put what lacks an entry.
    is_changed(old.put("p", &product("tea", 1.0), Expected::Any).await);
    let write = old.write("p", &product("tea", 1.0), Expected::Any).unwrap();
    let error = store.commit(Commit::new([write, slept])).await.unwrap_err();
    assert!(error.conflict().unwrap().key.collection.is_reserved());
    is_changed(old.find(&along_price()).await);
    assert_eq!(new.get("p").await.unwrap(), None);
    new.put("p", &product("a", 1.0), Expected::Absent).await.unwrap();
    // Another program of the new definition goes on, though the definition was put again.
    let other = by_name().on(Arc::clone(&store));
    assert_eq!(names(&other, along_name().paging(Paging::First(1))).await, ["a"]);
    assert_eq!(new.reindex().await.unwrap(), 301);
    other.put("q", &product("0", 1.0), Expected::Absent).await.unwrap();
    assert_eq!(names(&other, along_name().paging(Paging::First(1))).await, ["0"]);
}
pub(crate) async fn documents_without_a_definition(store: Store) {
    let body = Payload::json(&json!({ "v": 1, "at": 5, "s": product("tea", 1.0) })).unwrap();
    put_raw(&store, "p", body).await;
    let products = by_price().on(Arc::clone(&store));
    is_changed(products.find(&along_price()).await);
    is_changed(products.put("q", &product("cup", 1.0), Expected::Any).await);
    assert_eq!(products.reindex().await.unwrap(), 1);
    assert_eq!(names(&products, along_price()).await, ["tea"]);
    assert_eq!(products.get("p").await.unwrap().unwrap().at, SequenceNumber::new(5));
    let empty = Collection::<Product>::new("others").unwrap();
    let empty = empty.with_index("by_price", [By::ascending("price").unwrap()]).unwrap().on(store);
    assert!(names(&empty, along_price()).await.is_empty());
}
/// Programs of one new collection that begin at once agree on its definition.
pub(crate) async fn first_puts(store: Store) {
    let puts = (0..20).map(|nth| {
        let products = by_price().on(Arc::clone(&store));
        tokio::spawn(async move {
            products
                .put(&*format!("p{nth}"), &product("tea", f64::from(nth)), Expected::Absent)
                .await
        })
    });
    for put in future::join_all(puts).await {
        put.unwrap().unwrap();
    }
    assert_eq!(names(&by_price().on(store), along_price()).await.len(), 20);
}
/// Another program of the same definition puts the first document just after this one saw no definition.
pub(crate) async fn first_put_meanwhile(store: Store) {
    let inner = Arc::clone(&store);
    let meddling = Meddling::new(Arc::clone(&store)).before_scan(move || {
        let other = by_price().on(Arc::clone(&inner));
        Box::pin(async move {
            other.put("other", &product("cup", 1.0), Expected::Absent).await.map(drop).unwrap();
        })
    });
    let products = by_price().on(Arc::new(meddling));
    products.put("mine", &product("tea", 2.0), Expected::Absent).await.unwrap();
    assert_eq!(names(&products, along_price()).await, ["cup", "tea"]);
}
/// A reindexing that breaks off leaves finds along indexes rejected, and is done by calling it again.
pub(crate) async fn reindex_broken_off(store: Store) {
    let old = by_price().on(Arc::clone(&store));
    for nth in 0..700 {
        let name = format!("n{nth:03}");
        old.put(&*name, &product(&name, 1.0), Expected::Absent).await.unwrap();
    }
    for commits in 1..4 {
        let failing = Arc::new(Meddling::new(Arc::clone(&store)).failing_after(commits));
        let new = by_name().on(failing);
        assert!(matches!(new.reindex().await, Err(StateError::Unavailable(_))));
        let new = by_name().on(Arc::clone(&store));
        assert!(is_changed(new.find(&along_name()).await).contains("reindexed"));
        is_changed(old.put("p", &product("tea", 1.0), Expected::Any).await);
        // One of the new definition may put meanwhile.
        new.put("n000", &product("n000", 2.0), Expected::Any).await.unwrap();
    }
    let new = by_name().on(Arc::clone(&store));
    assert_eq!(new.reindex().await.unwrap(), 700);
    assert_eq!(names(&new, along_name()).await.len(), 700);
    assert_eq!(new.get("n000").await.unwrap().unwrap().value, product("n000", 2.0));
}
/// Documents that are put and deleted while all are made again are neither lost nor brought back.
pub(crate) async fn reindex_beside_writers(store: Store) {
    let old = by_price().on(Arc::clone(&store));
    for nth in 0..600 {
        let name = format!("n{nth:03}");
        old.put(&*name, &product(&name, 1.0), Expected::Absent).await.unwrap();
    }
    let count = Arc::new(AtomicUsize::new(0));
    let live = Arc::new(Mutex::new(
        (0..600).map(|nth| (format!("n{nth:03}"), 1.0)).collect::<BTreeMap<String, f64>>(),
    ));
    let (seen, model, inner) = (Arc::clone(&count), Arc::clone(&live), Arc::clone(&store));
    // Before every other commit of the reindexing one of its documents is put, one deleted, and one is new.
    let meddling = Meddling::new(Arc::clone(&store)).before_commit(move |commit| {
        let nth = seen.fetch_add(1, Ordering::Relaxed);
        let ids: Vec<_> = commit.writes.iter().map(|write| write.key.id.clone()).collect();
        let (products, model) = (by_name().on(Arc::clone(&inner)), Arc::clone(&model));
        Box::pin(async move {
            if let [first, second, _, ..] = &ids[..]
                && nth % 2 == 1
            {
                let (updated, new) = (first.as_str(), format!("new{nth}"));
                products.put(updated, &product(updated, 2.0), Expected::Any).await.unwrap();
                products.delete(second.clone(), Expected::Any).await.unwrap();
                products.put(&*new, &product(&new, 3.0), Expected::Absent).await.unwrap();
                let mut model = model.lock().unwrap();
                model.insert(updated.to_owned(), 2.0);
                model.remove(second.as_str());
                model.insert(new, 3.0);
            }
        })
    });
    let new = by_name().on(Arc::new(meddling));
    new.reindex().await.unwrap();
    assert!(count.load(Ordering::Relaxed) > 3);
    let live = live.lock().unwrap().clone();
    for find in [along_name(), along_price(), Find::default()] {
        let found = by_name().on(Arc::clone(&store)).find(&find).await.unwrap().documents;
        let found = found.into_iter().map(|one| (one.value.name, one.value.price)).collect();
        assert_eq!(live, found);
    }
}
/// A find during which the definition changes is made again, or rejected.
pub(crate) async fn definition_changes_during_a_find(store: Store) {
    let products = by_price().on(Arc::clone(&store));
    for nth in 0..400 {
        let name = format!("n{nth:03}");
        products.put(&*name, &product(&name, f64::from(nth)), Expected::Absent).await.unwrap();
    }
    let inner = Arc::clone(&store);
    let again = Meddling::new(Arc::clone(&store)).between_pages(move || {
        let products = by_price().on(Arc::clone(&inner));
        Box::pin(async move { products.reindex().await.map(drop).unwrap() })
    });
    let found = by_price().on(Arc::new(again)).find(&along_price()).await.unwrap();
    assert_eq!(found.documents.len(), 400);
    let inner = Arc::clone(&store);
    let gone = Meddling::new(store).between_pages(move || {
        let other = plain().on(Arc::clone(&inner));
        Box::pin(async move { other.reindex().await.map(drop).unwrap() })
    });
    is_changed(by_price().on(Arc::new(gone)).find(&along_price()).await);
}
/// Documents that move along the index between the pages of its scan are in a result once.
pub(crate) async fn documents_that_move(store: Store) {
    let products = by_price().on(Arc::clone(&store));
    for nth in 0..600 {
        let name = format!("n{nth:03}");
        products.put(&*name, &product(&name, f64::from(nth)), Expected::Absent).await.unwrap();
    }
    for sort in [along_price(), Find::default().sort([By::similarity("name", "n1").unwrap()])] {
        let writer = products.clone();
        let moving = Meddling::new(Arc::clone(&store)).between_pages(move || {
            let products = writer.clone();
            Box::pin(async move {
                for nth in 0..50 {
                    let name = format!("n{nth:03}");
                    products.put(&*name, &product(&name, 9_999.0), Expected::Any).await.unwrap();
                }
            })
        });
        let filter = Filter::at_least("price", 0).unwrap();
        let found = by_price().on(Arc::new(moving)).find(&sort.filter(filter)).await.unwrap();
        let mut ids: Vec<_> = found.documents.iter().map(|one| one.id.clone()).collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all, "a document is in the result twice");
        assert!(all >= 550, "a document that kept its entry is missing");
    }
}
