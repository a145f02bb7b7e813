//! What a commit does, and what it refuses.

use annals_state::{Commit, Expected, Revision, Write};

use crate::state::context::{BY, Context, body, commit, found};

/// ST1, ST2: every expectation against every change, on a document that is there and one that is not; with a second
/// write that holds, which must not be made without the first.
pub(super) async fn expectations(cx: Context) {
    let store = cx.open().await;
    let other = Revision::generate();
    for (nth, present) in [(0, true), (1, false)] {
        for (mth, expected) in ["any", "absent", "is", "other"].into_iter().enumerate() {
            for change in 0..3 {
                let (id, beside) =
                    (format!("{nth}-{mth}-{change}"), format!("b-{nth}-{mth}-{change}"));
                let held = if present {
                    Some(commit(&store, [cx.put(&id, Expected::Any)]).await)
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
                    0 => Write::put(cx.key(&id), body("new"), expected),
                    1 => cx.delete(&id, expected),
                    _ => cx.guard(&id, expected),
                };
                let commit = Commit::new([cx.put(&beside, Expected::Absent), write]);
                let made = commit.revision;
                let result = store.commit(commit).await;
                assert_eq!(result.is_ok(), expected.holds(held), "{expected} of {held:?}");
                let after = cx.revision(&store, &id).await;
                if let Err(error) = result {
                    let conflict = error.conflict().expect("a conflict");
                    assert_eq!((&conflict.key, conflict.found), (&cx.key(&id), held));
                    assert_eq!(conflict.expected, expected);
                    assert_eq!(after, held);
                    assert_eq!(cx.revision(&store, &beside).await, None);
                } else {
                    let wanted = [Some(made), None, held][change];
                    assert_eq!(after, wanted);
                    assert_eq!(cx.revision(&store, &beside).await, Some(made));
                }
            }
        }
    }
}

/// ST2: of several expectations that fail, the first in the order of keys is named.
pub(super) async fn first_conflict(cx: Context) {
    let store = cx.open().await;
    let writes = ["m", "a", "z"].map(|id| cx.put(id, Expected::Is(Revision::generate())));
    let error = store.commit(Commit::new(writes)).await.unwrap_err();
    assert_eq!(error.conflict().unwrap().key, cx.key("a"));
}

/// ST3: the documents have exactly the committer's revision, and no revision comes back with a document of that name.
pub(super) async fn revisions(cx: Context) {
    let store = cx.open().await;
    let all_bits = Revision::from_uuid(uuid::Uuid::from_u128(u128::MAX - 5));
    let writes = [cx.put("a", Expected::Any), cx.put("b", Expected::Any)];
    store.commit(Commit::with_revision(all_bits, writes)).await.unwrap();
    assert_eq!(cx.revision(&store, "a").await, Some(all_bits));
    assert_eq!(cx.revision(&store, "b").await, Some(all_bits));
    commit(&store, [cx.delete("a", Expected::Is(all_bits))]).await;
    let second = commit(&store, [cx.put("a", Expected::Absent)]).await;
    assert_ne!(second, all_bits);
    let stale = store.commit(Commit::new([cx.put("a", Expected::Is(all_bits))])).await;
    assert!(stale.unwrap_err().is_conflict(), "a deleted document's revision passed");
    let gone = cx.delete("a", Expected::Is(second));
    store.commit(Commit::new([gone.clone()])).await.unwrap();
    assert!(store.commit(Commit::new([gone])).await.unwrap_err().is_conflict());
}

/// Sent again, a commit with `Is` on what it writes is made at most once.
pub(super) async fn sent_again(cx: Context) {
    let store = cx.open().await;
    let first = commit(&store, [cx.put("a", Expected::Any)]).await;
    let again = Commit::new([cx.put("a", Expected::Is(first)), cx.put("b", Expected::Any)]);
    store.commit(again.clone()).await.unwrap();
    assert!(store.commit(again).await.unwrap_err().is_conflict());
}

/// ST1, ST2: a guard that holds changes nothing of its document, and one that does not fails the whole commit.
pub(super) async fn guards(cx: Context) {
    let store = cx.open().await;
    let first = commit(&store, [cx.put("a", Expected::Absent).with_entry(BY, "k")]).await;
    let guarded = [cx.guard("a", Expected::Is(first)), cx.guard("nobody", Expected::Absent)];
    commit(&store, guarded.clone()).await;
    let beside = commit(&store, guarded.into_iter().chain([cx.put("b", Expected::Absent)])).await;
    assert_eq!(cx.revision(&store, "a").await, Some(first), "a guard moved its document");
    assert_eq!(cx.revision(&store, "b").await, Some(beside));
    assert_eq!(cx.revision(&store, "nobody").await, None, "a guard made a document");
    assert_eq!(found(&store, cx.ids()).await, ["a", "b"], "a guard left something behind");
    assert_eq!(found(&store, cx.by()).await, ["a"], "a guard took the entries");
    for wrong in [cx.guard("a", Expected::Absent), cx.guard("nobody", Expected::Is(first))] {
        let writes = [wrong, cx.put("c", Expected::Any), cx.delete("b", Expected::Any)];
        assert!(store.commit(Commit::new(writes)).await.unwrap_err().is_conflict());
        assert_eq!(found(&store, cx.ids()).await, ["a", "b"]);
    }

    // Beside several documents at their revisions, before and behind which the guard comes.
    let both = |expected| ["m", "n"].map(|id| cx.put(id, expected));
    let made = commit(&store, both(Expected::Absent)).await;
    for (guarded, wrong) in [("a", made), ("nobody", first), ("z", first)] {
        let guard = cx.guard(guarded, Expected::Is(wrong));
        let writes = both(Expected::Is(made)).into_iter().chain([guard]);
        let error = store.commit(Commit::new(writes)).await.unwrap_err();
        assert_eq!(error.conflict().map(|conflict| &conflict.key), Some(&cx.key(guarded)));
        for id in ["m", "n"] {
            assert_eq!(cx.revision(&store, id).await, Some(made), "it was put all the same");
        }
    }
    let guard = cx.guard("a", Expected::Is(first));
    let moved = commit(&store, both(Expected::Is(made)).into_iter().chain([guard])).await;
    assert_eq!(cx.revision(&store, "n").await, Some(moved));
    assert_eq!(cx.revision(&store, "a").await, Some(first), "a guard moved its document");
}
