//! Handles: what they see, what they leave behind, and how they end.

use std::task::Poll;

use annals_state::{Commit, Expected, Revision, StateError, get_all};
use futures_util::{FutureExt, StreamExt};

use crate::state::context::{BY, Context, Store, commit, found};

/// ST12: after `close` everything ends with `Closed`, an open scan too.
pub(super) async fn closed(cx: Context) {
    let store = cx.open().await;
    let many = (0..600).map(|nth| cx.put(&format!("n{nth:03}"), Expected::Any));
    commit(&store, many).await;
    let mut open = store.scan(cx.ids());
    let mut unpolled = store.scan(cx.ids());
    open.next().await.unwrap().unwrap();
    store.close().await;
    store.close().await;
    assert!(matches!(open.next().await, Some(Err(StateError::Closed { .. }))));
    assert!(open.next().await.is_none());
    assert!(matches!(unpolled.next().await, Some(Err(StateError::Closed { .. }))));
    let result = store.commit(Commit::new([cx.put("a", Expected::Any)])).await;
    assert!(matches!(result, Err(StateError::Closed { .. })));
    assert!(matches!(store.get(vec![cx.key("a")]).await, Err(StateError::Closed { .. })));
}

/// ST7: what was committed is seen by gets and scans that begin later, on every handle.
pub(super) async fn visible(cx: Context) {
    let (one, other) = (cx.open().await, cx.open().await);
    for round in 0..50 {
        let id = format!("n{round:02}");
        let made = commit(&one, [cx.put(&id, Expected::Absent).with_entry(BY, "k")]).await;
        assert_eq!(cx.revision(&other, &id).await, Some(made), "another handle does not see it");
        assert_eq!(found(&other, cx.by()).await.len(), round + 1);
        assert_eq!(found(&one, cx.ids()).await.len(), round + 1);
        let moved = commit(&other, [cx.put(&id, Expected::Is(made)).with_entry(BY, "k")]).await;
        assert_eq!(cx.revision(&one, &id).await, Some(moved));
    }
}

/// ST5: a commit that is dropped at any poll is made whole or not at all, and holds nothing that others need.
pub(super) async fn dropped(cx: Context) {
    let store = cx.open().await;
    let mut base: Option<Revision> = None;
    for at in 0..40_usize {
        let expected = Expected::from(base);
        let writes = [
            cx.put("a", expected).with_entry(BY, format!("{at}")),
            cx.put("b", expected),
            cx.guard("guarded", Expected::Absent),
        ];
        let attempt = Commit::new(writes);
        let revision = attempt.revision;
        let mut left = at;
        let mut committing = Box::pin(store.commit(attempt));
        std::future::poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            match committing.poll_unpin(context) {
                Poll::Ready(result) => {
                    result.unwrap();
                    left = 0;
                    Poll::Ready(())
                }
                Poll::Pending => {
                    // The next poll may come before there is a reason for it.
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await;
        drop(committing);
        // What follows waits for what it left, if anything.
        let found = loop {
            let both = get_all(&store, vec![cx.key("a"), cx.key("b")]).await.unwrap();
            let revision = |nth: usize| both[nth].as_ref().map(|document| document.revision);
            let found = revision(0);
            // What was dropped may be made at last between two looks.
            let touch = [cx.put("a", found.into()), cx.put("b", revision(1).into())];
            let touch = Commit::new(touch);
            let made = touch.revision;
            match store.commit(touch).await {
                Ok(()) => {
                    assert_eq!(found, revision(1), "half of a dropped commit is there");
                    break (found, made);
                }
                Err(error) => assert!(error.is_conflict(), "after a dropped commit: {error}"),
            }
        };
        let (before, made) = found;
        assert!(before == base || before == Some(revision), "dropped after {at} polls");
        assert_eq!(cx.revision(&store, "b").await, Some(made), "it came after what followed it");
        assert_eq!(found_ids(&cx, &store).await, ["a", "b"]);
        base = Some(made);
    }
    // Gets and scans may be dropped as well.
    for _ in 0..20 {
        let _ = store.get(vec![cx.key("a")]).now_or_never();
        let _ = store.scan(cx.ids()).next().now_or_never();
    }
    assert_eq!(found_ids(&cx, &store).await, ["a", "b"]);
}

async fn found_ids(cx: &Context, store: &Store) -> Vec<String> {
    found(store, cx.ids()).await
}

/// ST12: scans that nobody polls hold nothing that a commit or a get could need.
pub(super) async fn holds_nothing(cx: Context) {
    let store = cx.open().await;
    commit(&store, (0..600).map(|nth| cx.put(&format!("n{nth:03}"), Expected::Any))).await;
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut scan = store.scan(cx.ids());
        assert!(!scan.next().await.unwrap().unwrap().is_empty());
        open.push(scan);
    }
    // Where a scan holds what these need, they fail or hang.
    commit(&store, [cx.put("n000", Expected::Any), cx.put("z", Expected::Absent)]).await;
    assert!(cx.revision(&store, "z").await.is_some());
    for mut scan in open {
        let mut rest = 0;
        while let Some(page) = scan.next().await {
            rest += page.unwrap().len();
        }
        assert!(rest > 0, "a scan that waited ends early");
    }
}

/// ST3, ST13: what was acknowledged is there when the store is opened again, and a revision that was deleted before does
/// not come back.
pub(super) async fn again(cx: Context) {
    let store = cx.open().await;
    let gone = commit(&store, [cx.put("a", Expected::Absent)]).await;
    let kept = commit(&store, [cx.put("b", Expected::Absent).with_entry(BY, "k")]).await;
    commit(&store, [cx.delete("a", Expected::Is(gone))]).await;
    let durable = store.capabilities().durable;
    store.close().await;
    drop(store);
    let store = cx.open().await;
    if durable {
        assert_eq!(cx.revision(&store, "b").await, Some(kept), "what was acknowledged is gone");
        assert_eq!(found(&store, cx.by()).await, ["b"]);
    }
    let stale = store.commit(Commit::new([cx.put("a", Expected::Is(gone))])).await;
    assert!(stale.unwrap_err().is_conflict(), "a deleted document's revision passed");
    let new = commit(&store, [cx.put("a", Expected::Absent)]).await;
    assert_ne!(new, gone);
    let stale = store.commit(Commit::new([cx.put("a", Expected::Is(gone))])).await;
    assert!(stale.unwrap_err().is_conflict(), "the revision before a delete passed");
}
