//! Bounds, and what exceeds them.

use annals::Payload;
use annals_state::{Commit, DocumentId, Expected, Place, StateError, Write, get_all};
use futures_util::{StreamExt, TryStreamExt};

use crate::state::context::{BY, Context, commit, found};

/// ST11: what is too much or makes no sense is `Invalid`, and nothing of it is made.
pub(super) async fn invalid(cx: Context) {
    let store = cx.open().await;
    let bounds = store.capabilities();
    let entries = |count: u32, size: u32| {
        let width = size as usize;
        let write = cx.put("e", Expected::Any);
        (0..count).fold(write, |write, nth| write.with_entry(BY, format!("{nth:0>width$}")))
    };
    let many =
        |count: u32| (0..count).map(|nth| cx.put(&format!("n{nth}"), Expected::Any)).collect();
    let large = |size: u64| {
        let size = usize::try_from(size).unwrap() - cx.things.as_str().len() - "large".len();
        vec![Write::put(cx.key("large"), Payload::bytes(vec![1; size]), Expected::Any)]
    };
    let good: [Vec<Write>; 3] = [
        vec![entries(bounds.max_entries, bounds.max_entry_key_bytes)],
        many(bounds.max_writes),
        large(bounds.max_commit_bytes),
    ];
    for writes in good {
        store.commit(Commit::new(writes)).await.unwrap();
    }
    let all = found(&store, cx.ids()).await.len();
    let bad: Vec<(&str, Vec<Write>)> = vec![
        ("at least one", vec![]),
        ("twice in one commit", vec![cx.put("x", Expected::Any), cx.guard("x", Expected::Any)]),
        (
            "one entry twice",
            vec![cx.put("x", Expected::Any).with_entry(BY, "k").with_entry(BY, "k")],
        ),
        (
            "entries of one document",
            vec![cx.put("x", Expected::Any), entries(bounds.max_entries + 1, 9)],
        ),
        (
            "key of an entry",
            vec![cx.put("x", Expected::Any), entries(1, bounds.max_entry_key_bytes + 1)],
        ),
        ("writes in one commit", many(bounds.max_writes + 1)),
        ("bytes in one commit", large(bounds.max_commit_bytes + 1)),
    ];
    for (text, writes) in bad {
        let error = store.commit(Commit::new(writes)).await.unwrap_err();
        assert!(matches!(&error, StateError::Invalid(_)), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(found(&store, cx.ids()).await.len(), all);
    let keys = vec![cx.key("x"); bounds.max_get_keys as usize + 1];
    assert!(matches!(store.get(keys).await, Err(StateError::Invalid(_))));
    let place = Place { key: "k".into(), id: DocumentId::from_static("x") };
    let scans = [cx.ids().from(&b"\xFF"[..]), cx.ids().to(&b"a\0"[..]), cx.ids().after(place)];
    for scan in scans {
        let found: Vec<_> = store.scan(scan).collect().await;
        assert!(matches!(&found[..], [Err(StateError::Invalid(_))]));
    }
}

/// ST6, ST8: what is larger than a page comes in parts.
pub(super) async fn pages(cx: Context) {
    let store = cx.open().await;
    commit(&store, [cx.put("a", Expected::Any)]).await;
    let page = usize::try_from(store.capabilities().max_page_bytes).unwrap();
    for id in ["big-1", "big-2", "big-3"] {
        let body = Payload::bytes(vec![7; page / 2 + 1]);
        commit(&store, [Write::put(cx.key(id), body, Expected::Any)]).await;
    }
    let keys = ["big-1", "nobody", "big-2", "big-3", "a"].map(|id| cx.key(id)).to_vec();
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
    let all = get_all(&store, vec![cx.key("a"); many]).await.unwrap();
    assert_eq!(all.len(), many);
    assert!(all.iter().all(Option::is_some));
    let pages: Vec<_> = store.scan(cx.ids()).try_collect().await.unwrap();
    assert!(pages.len() >= 3, "a page of a scan holds more than a page's bytes");
}
