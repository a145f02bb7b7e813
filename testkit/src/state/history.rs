//! Histories of racing commits, and an order that explains them.
//!
//! The revisions are the witness: each commit says which revisions it replaced and which it guarded. Commits are
//! serialisable if the order that this demands has no circle (the graph of direct serialisation of Adya, *Weak
//! Consistency*, 1999).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use annals_state::{Commit, Expected, Revision, get_all};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::state::context::Context;

/// A commit that was made: for each document what it found, and whether it replaced it.
#[derive(Debug, Clone)]
struct Made {
    revision: Revision,
    documents: Vec<(String, Option<Revision>, bool)>,
}

/// What is wrong with a history, if anything is.
fn fault(history: &[Made]) -> Option<String> {
    // Who replaced a version of a document.
    let mut next: BTreeMap<(&str, Option<u128>), usize> = BTreeMap::new();
    let number = |revision: Option<Revision>| revision.map(|revision| revision.as_uuid().as_u128());
    for (nth, made) in history.iter().enumerate() {
        for (id, before, writes) in &made.documents {
            if *writes && next.insert((id, number(*before)), nth).is_some() {
                return Some(format!("two commits replaced {id} at {before:?}"));
            }
        }
    }
    let by_revision: BTreeMap<u128, usize> = history
        .iter()
        .enumerate()
        .map(|(nth, made)| (made.revision.as_uuid().as_u128(), nth))
        .collect();
    let mut later: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); history.len()];
    for (nth, made) in history.iter().enumerate() {
        for (id, before, writes) in &made.documents {
            if let Some(first) = number(*before).and_then(|before| by_revision.get(&before)) {
                later[*first].insert(nth);
            }
            // What replaced that which it only guarded comes after it.
            if !writes && let Some(after) = next.get(&(id.as_str(), number(*before))) {
                later[nth].insert(*after);
            }
        }
    }
    let mut before = vec![0_usize; history.len()];
    later.iter().flatten().for_each(|nth| before[*nth] += 1);
    let mut free: Vec<usize> = (0..history.len()).filter(|nth| before[*nth] == 0).collect();
    let mut placed = 0;
    while let Some(nth) = free.pop() {
        placed += 1;
        for after in &later[nth] {
            before[*after] -= 1;
            if before[*after] == 0 {
                free.push(*after);
            }
        }
    }
    (placed < history.len()).then(|| "no order explains the commits".to_owned())
}

/// How many commits each client makes at least, and at most.
const COMMITS: std::ops::Range<usize> = 50..2_000;
/// A store that is done sooner makes more commits: few of them meet.
const TIME: Duration = Duration::from_millis(200);

/// ST1, ST2: an order explains all commits that were made by clients that read, guard and write a few documents.
pub(super) async fn serialisable(cx: Context) {
    for seed in cx.engine.cases(1) {
        race(cx.fresh(), seed).await;
    }
}

async fn race(cx: Context, seed: u64) {
    let enough = Instant::now() + TIME;
    let clients = (0..6_u64).map(|client| {
        let cx = cx.clone();
        tokio::spawn(async move {
            let store = cx.open().await;
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(client));
            let mut history = Vec::new();
            for nth in 0..COMMITS.end {
                if nth >= COMMITS.start && Instant::now() >= enough {
                    break;
                }
                let ids = ["a", "b", "c", "d", "e", "f"];
                let mut chosen: Vec<&str> =
                    ids.into_iter().filter(|_| random.random_bool(0.5)).collect();
                if chosen.is_empty() {
                    chosen.push("a");
                }
                let keys = chosen.iter().map(|id| cx.key(id)).collect();
                let got = get_all(&store, keys).await.unwrap();
                // A store that is always ready would let a client do all of its commits in one turn.
                tokio::task::yield_now().await;
                let mut documents = Vec::new();
                let mut writes = Vec::new();
                for (nth, (id, found)) in chosen.iter().zip(got).enumerate() {
                    let found = found.map(|found| found.revision);
                    let replaces = nth == 0 || random.random_bool(0.4);
                    let expected = Expected::from(found);
                    writes.push(if replaces {
                        cx.put(id, expected)
                    } else {
                        cx.guard(id, expected)
                    });
                    documents.push(((*id).to_owned(), found, replaces));
                }
                let commit = Commit::new(writes);
                let revision = commit.revision;
                match store.commit(commit).await {
                    Ok(()) => history.push(Made { revision, documents }),
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
            }
            history
        })
    });
    let mut history = Vec::new();
    for client in join_all(clients).await {
        history.extend(client.unwrap());
    }
    assert!(!history.is_empty(), "no commit was made");
    if let Some(fault) = fault(&history) {
        panic!("{fault}: {history:?}");
    }
    let store = cx.open().await;
    let last: BTreeMap<&str, Revision> = {
        let replaced: BTreeSet<_> = history
            .iter()
            .flat_map(|made| &made.documents)
            .filter(|(_, before, writes)| *writes && before.is_some())
            .map(|(id, before, _)| (id.as_str(), before.map(|before| before.as_uuid())))
            .collect();
        let puts = history.iter().flat_map(|made| {
            made.documents
                .iter()
                .filter(|(.., writes)| *writes)
                .map(|(id, ..)| (id.as_str(), made.revision))
        });
        puts.filter(|(id, made)| !replaced.contains(&(*id, Some(made.as_uuid())))).collect()
    };
    for (id, revision) in last {
        assert_eq!(cx.revision(&store, id).await, Some(revision), "the end of the history of {id}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(documents: &[(&str, Option<Revision>, bool)]) -> Made {
        let documents = documents.iter().map(|(id, r, w)| ((*id).to_owned(), *r, *w)).collect();
        Made { revision: Revision::generate(), documents }
    }

    #[test]
    fn lost_updates_and_write_skew_are_found() {
        let first = made(&[("a", None, true), ("b", None, true)]);
        let at = Some(first.revision);
        let fine = made(&[("a", at, true), ("b", at, false)]);
        assert_eq!(fault(&[first.clone(), fine.clone()]), None);
        let lost = made(&[("a", at, true)]);
        assert!(fault(&[first.clone(), fine.clone(), lost]).is_some());
        let skew = made(&[("b", at, true), ("a", at, false)]);
        assert!(fault(&[first, fine, skew]).is_some());
    }
}
