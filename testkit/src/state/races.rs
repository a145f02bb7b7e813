//! Commits that race.

use std::sync::Arc;

use annals::Payload;
use annals_state::{Commit, Expected, StateError, Write, get_all};
use futures_util::future::{join, join_all};

use crate::state::context::{Context, Store, commit};

/// Several handles, taken in turn.
async fn handles(cx: &Context) -> [Store; 2] {
    [cx.open().await, cx.open().await]
}

/// Whether it was made; anything but a conflict is no answer to a lost race.
fn made(result: Result<(), StateError>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            assert!(error.is_conflict(), "a lost race is {error:?}");
            false
        }
    }
}

async fn race(handles: &[Store; 2], commits: Vec<Commit>) -> Vec<bool> {
    let tries = commits.into_iter().enumerate().map(|(nth, commit)| {
        let store = Arc::clone(&handles[nth % 2]);
        tokio::spawn(async move { store.commit(commit).await })
    });
    join_all(tries).await.into_iter().map(|result| made(result.unwrap())).collect()
}

/// ST2: of many that expect one revision, one is made.
pub(super) async fn one_winner(cx: Context) {
    let handles = handles(&cx).await;
    for _ in 0..20 {
        let start = commit(&handles[0], [cx.put("shared", Expected::Any)]).await;
        let commits = (0..8).map(|nth| {
            let other = cx.put(&format!("other-{nth}"), Expected::Any);
            Commit::new([cx.put("shared", Expected::Is(start)), other])
        });
        let made = race(&handles, commits.collect()).await;
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "of 8 that expect one revision");
    }
}

/// ST1, ST2: of many that expect a document to be absent, one is made; also where others guard its absence.
pub(super) async fn absent(cx: Context) {
    let handles = handles(&cx).await;
    for round in 0..20 {
        let id = format!("new-{round}");
        let commits: Vec<_> =
            (0..6).map(|_| Commit::new([cx.put(&id, Expected::Absent)])).collect();
        let revisions: Vec<_> = commits.iter().map(|commit| commit.revision).collect();
        let made = race(&handles, commits).await;
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "of 6 that expect no document");
        let winner = made.iter().position(|made| *made).map(|nth| revisions[nth]);
        assert_eq!(cx.revision(&handles[1], &id).await, winner);
    }
}

/// ST1: of two commits that each guard what the other writes, one fails.
pub(super) async fn write_skew(cx: Context) {
    let handles = handles(&cx).await;
    for round in 0..20 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let absent = |mine: &str, other: &str| {
            Commit::new([cx.put(mine, Expected::Absent), cx.guard(other, Expected::Absent)])
        };
        let commits = vec![absent(&a, &b), absent(&b, &a)];
        let won = race(&handles, commits).await;
        assert_eq!(
            won.iter().filter(|won| **won).count(),
            1,
            "each guards that the other is absent"
        );
        let (a, b) = (format!("c{round}"), format!("d{round}"));
        let there =
            commit(&handles[0], [cx.put(&a, Expected::Any), cx.put(&b, Expected::Any)]).await;
        let there = Expected::Is(there);
        let crossed =
            |mine: &str, other: &str| Commit::new([cx.put(mine, there), cx.guard(other, there)]);
        let (one, two) =
            join(handles[0].commit(crossed(&a, &b)), handles[1].commit(crossed(&b, &a))).await;
        assert_eq!(
            u8::from(made(one)) + u8::from(made(two)),
            1,
            "each guards what the other writes"
        );
    }
}

/// ST2: a commit whose expectations hold is made: guards of one document do not exclude each other.
pub(super) async fn shared_guards(cx: Context) {
    let handles = handles(&cx).await;
    let shared = commit(&handles[0], [cx.put("m", Expected::Absent)]).await;
    for round in 0..10 {
        let commits = (0..8).map(|nth| {
            let mine = cx.put(
                &format!("{}{round}-{nth}", if nth % 2 == 0 { "a" } else { "z" }),
                Expected::Absent,
            );
            Commit::new([cx.guard("m", Expected::Is(shared)), mine])
        });
        let made = race(&handles, commits.collect()).await;
        assert!(made.iter().all(|made| *made), "commits that guard one document: {made:?}");
    }
}

fn count(body: &Payload) -> u64 {
    std::str::from_utf8(body.as_bytes()).unwrap().parse().unwrap()
}

/// ST1, ST2: clients that add to shared documents, in any order and by twos, lose no addition and meet conflicts only.
pub(super) async fn counters(cx: Context) {
    let handles = handles(&cx).await;
    let number = |text: u64| Payload::bytes(text.to_string().into_bytes());
    let ids = ["k0", "k1", "k2", "k3"];
    commit(&handles[0], ids.map(|id| Write::put(cx.key(id), number(0), Expected::Absent))).await;
    let clients = (0..6_usize).map(|client| {
        let (cx, store) = (cx.clone(), Arc::clone(&handles[client % 2]));
        tokio::spawn(async move {
            for round in 0..10_usize {
                let (a, b) = (ids[(client + round) % 4], ids[(client + 2 * round + 1) % 4]);
                if a == b {
                    continue;
                }
                let mark = cx.put(&format!("mark-{client}"), Expected::Any);
                loop {
                    let keys = vec![cx.key(a), cx.key(b)];
                    let got = get_all(&store, keys).await.unwrap();
                    let add = got.into_iter().flatten().map(|found| {
                        let next = number(count(&found.body) + 1);
                        Write::put(found.key, next, Expected::Is(found.revision))
                    });
                    // `Any` and `Is` together: locks are taken in one order for both.
                    if made(store.commit(Commit::new(add.chain([mark.clone()]))).await) {
                        break;
                    }
                }
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    let added: usize = (0..6_usize)
        .flat_map(|client| (0..10_usize).map(move |round| (client, round)))
        .filter(|(client, round)| (client + round) % 4 != (client + 2 * round + 1) % 4)
        .count();
    let got = get_all(&handles[1], ids.map(|id| cx.key(id)).to_vec()).await.unwrap();
    let sum: u64 = got.iter().flatten().map(|found| count(&found.body)).sum();
    assert_eq!(sum, 2 * added as u64, "additions were lost");
}

/// ST6: a get sees a commit whole, beside a writer.
pub(super) async fn whole(cx: Context) {
    let handles = handles(&cx).await;
    let ids: Vec<String> = (0..20).map(|nth| format!("w{nth:02}")).collect();
    let writer = {
        let (cx, ids, store) = (cx.clone(), ids.clone(), Arc::clone(&handles[0]));
        tokio::spawn(async move {
            for _ in 0..60 {
                commit(&store, ids.iter().map(|id| cx.put(id, Expected::Any))).await;
            }
        })
    };
    let mut looks = 0;
    while !writer.is_finished() || looks < 20 {
        let keys = ids.iter().map(|id| cx.key(id)).collect();
        let got = handles[1].get(keys).await.unwrap();
        let revisions: Vec<_> =
            got.documents.iter().map(|found| found.as_ref().map(|d| d.revision)).collect();
        assert!(revisions.windows(2).all(|pair| pair[0] == pair[1]), "a get saw half of a commit");
        looks += 1;
        // A store that is always ready leaves no turn to the writer.
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
