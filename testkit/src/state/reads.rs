//! What gets and scans return.

use annals::{Encoding, Payload};
use annals_state::{CollectionName, Commit, DocumentId, Expected, Place, Scan, Write, prefix_end};
use futures_util::StreamExt;

use crate::state::context::{BY, Context, commit, found, scanned};

/// ST6: the order of the keys, twice the same key, absent ones; and what is larger than a page comes in parts.
pub(super) async fn order(cx: Context) {
    let store = cx.open().await;
    commit(&store, [cx.put("a", Expected::Any), cx.put("b", Expected::Any)]).await;
    let keys = ["b", "nobody", "a", "b"].map(|id| cx.key(id)).to_vec();
    let got = store.get(keys).await.unwrap();
    let found: Vec<_> =
        got.documents.iter().map(|d| d.as_ref().map(|d| d.key.id.as_str())).collect();
    assert_eq!(found, [Some("b"), None, Some("a"), Some("b")]);
    assert!(got.rest.is_empty());
    assert!(store.get(Vec::new()).await.unwrap().documents.is_empty());
}

/// ST9: entries go with their document.
pub(super) async fn entries(cx: Context) {
    let store = cx.open().await;
    let by = |k: &'static str| cx.by().from(k).to(prefix_end(k.as_bytes()).unwrap());
    commit(&store, [cx.put("a", Expected::Any).with_entry(BY, "x").with_entry(BY, "y")]).await;
    assert_eq!(found(&store, cx.by()).await, ["a", "a"]);
    commit(&store, [cx.put("a", Expected::Any).with_entry(BY, "z")]).await;
    assert!(found(&store, by("x")).await.is_empty());
    assert_eq!(found(&store, by("z")).await, ["a"]);
    let failed = cx.put("a", Expected::Absent).with_entry(BY, "failed");
    store.commit(Commit::new([failed])).await.unwrap_err();
    assert!(found(&store, by("failed")).await.is_empty());
    commit(&store, [cx.guard("a", Expected::Any)]).await;
    assert_eq!(found(&store, by("z")).await, ["a"]);
    commit(&store, [cx.put("a", Expected::Any)]).await;
    assert!(found(&store, cx.by()).await.is_empty());
    commit(&store, [cx.put("a", Expected::Any).with_entry(BY, "")]).await;
    assert_eq!(found(&store, cx.by()).await, ["a"]);
    commit(&store, [cx.delete("a", Expected::Any)]).await;
    assert!(found(&store, cx.by()).await.is_empty());
    assert!(found(&store, cx.ids()).await.is_empty());

    // Several documents of one commit, each at its revision, with other entries, with more of them, and without any.
    let all = |expected| ["a", "b", "c"].map(|id| cx.put(id, expected));
    let one = |write: Write, key: &'static str| write.with_entry(BY, key);
    let made = commit(&store, all(Expected::Absent).map(|write| one(write, "x"))).await;
    let [a, b, c] = all(Expected::Is(made));
    let moved = commit(&store, [one(a, "y"), one(one(b, "x"), "y"), one(c, "z")]).await;
    assert_eq!(found(&store, by("x")).await, ["b"]);
    assert_eq!(found(&store, by("y")).await, ["a", "b"]);
    let [a, b, c] = all(Expected::Is(moved));
    let fewer = commit(&store, [a, one(b, "y"), one(c, "z")]).await;
    assert_eq!(found(&store, cx.by()).await, ["b", "c"]);
    commit(&store, all(Expected::Is(fewer))).await;
    assert!(found(&store, cx.by()).await.is_empty());
}

/// ST10: bodies of any bytes with their encoding; names that differ in case or in form are different.
pub(super) async fn exact(cx: Context) {
    let store = cx.open().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies = [
        Payload::bytes(every_byte.clone()),
        Payload::bytes(Vec::new()),
        Payload::json_bytes(&br#" { "b":1.0, "a" : "\u0000" } "#[..]).unwrap(),
        Payload::new(Encoding::from_static("my/own"), every_byte.clone()).unwrap(),
    ];
    for body in bodies {
        let write = Write::put(cx.key("body"), body.clone(), Expected::Any)
            .with_entry(BY, every_byte.clone());
        commit(&store, [write]).await;
        let found = scanned(&store, cx.by()).await;
        assert_eq!(found[0].document.body, body);
        assert_eq!(found[0].key, every_byte);
    }
}

/// ST10: names that differ in case, in form or in spaces are different, and are sorted by their bytes.
pub(super) async fn names(cx: Context) {
    let store = cx.open().await;
    // Case, an accent as one or two characters, spaces at the ends, what wildcards and quotes mean elsewhere.
    let mut names =
        vec!["A", "a", "\u{e9}", "e\u{301}", " a", "a ", "a/b", "%", "_", "'", "\\", "é"];
    names.dedup();
    names.sort_unstable();
    names.dedup();
    commit(&store, names.iter().map(|name| cx.put(name, Expected::Absent))).await;
    assert_eq!(found(&store, cx.ids()).await, names);
    let other = CollectionName::new(cx.things.as_str().to_uppercase()).unwrap();
    assert!(
        found(&store, Scan::along_ids(other)).await.is_empty(),
        "names of collections are folded"
    );
}

/// ST8: documents that keep their entry are returned exactly once, whatever is put and deleted between the pages.
pub(super) async fn beside_commits(cx: Context) {
    let store = cx.open().await;
    let name = |nth: u32| format!("n{nth:04}");
    commit(&store, (0..900).map(|nth| cx.put(&name(nth * 2), Expected::Any))).await;
    for scan in [cx.ids(), cx.ids().backward()] {
        let mut pages = store.scan(scan);
        let (mut found, mut beside) = (Vec::new(), Vec::new());
        let mut nth = 0;
        while let Some(page) = pages.next().await {
            found.extend(
                page.unwrap().into_iter().map(|one| one.document.key.id.as_str().to_owned()),
            );
            // Odd ones come on both sides of the place of the scan, and go when it has its next page.
            let odd = [1, 601, 1_201, 1_799].map(|at| name(((at + nth * 2) % 1_800) | 1));
            let gone = std::mem::replace(&mut beside, odd.to_vec());
            if !gone.is_empty() {
                commit(&store, gone.iter().map(|id| cx.delete(id, Expected::Any))).await;
            }
            commit(&store, odd.iter().map(|id| cx.put(id, Expected::Any))).await;
            nth += 1;
        }
        commit(&store, beside.iter().map(|id| cx.delete(id, Expected::Any))).await;
        let is_odd = |id: &String| id.ends_with(['1', '3', '5', '7', '9']);
        found.retain(|id| !is_odd(id));
        found.sort_unstable();
        let kept: Vec<_> = (0..900).map(|nth| name(nth * 2)).collect();
        let differs = found.iter().zip(&kept).find(|(found, kept)| found != kept);
        assert!(
            found == kept,
            "{} of 900 documents, the first that is twice or not there: {differs:?}",
            found.len()
        );
    }
}

/// ST8: documents under equal keys come by id, none twice and none left out at the end of a page, in both directions and
/// from any place.
pub(super) async fn equal_keys(cx: Context) {
    let store = cx.open().await;
    let key = |nth: usize| if nth % 300 == 299 { "zz" } else { "k" };
    let writes =
        (0..600).map(|nth| cx.put(&format!("n{nth:03}"), Expected::Any).with_entry(BY, key(nth)));
    commit(&store, writes).await;
    let mut wanted: Vec<(String, String)> =
        (0..600).map(|nth| (key(nth).to_owned(), format!("n{nth:03}"))).collect();
    wanted.sort_unstable();
    let ids = |wanted: &[(String, String)]| -> Vec<String> {
        wanted.iter().map(|(_, id)| id.clone()).collect()
    };
    assert_eq!(found(&store, cx.by()).await, ids(&wanted));
    for nth in [0, 1, 255, 256, 257, 597, 598, 599] {
        let (key, id) = wanted[nth].clone();
        let place = Place { key: key.into(), id: DocumentId::new(id).unwrap() };
        let after = found(&store, cx.by().after(place.clone())).await;
        assert_eq!(after, ids(&wanted[nth + 1..]), "after {place:?}");
        let mut before = ids(&wanted[..nth]);
        before.reverse();
        assert_eq!(found(&store, cx.by().after(place.clone()).backward()).await, before);
        let limited = found(&store, cx.by().after(place).limit(300)).await;
        assert_eq!(limited, after[..after.len().min(300)]);
    }
    assert!(found(&store, cx.by().limit(0)).await.is_empty());
}
