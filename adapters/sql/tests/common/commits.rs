//! Commits whose outcome is judged while processes die and connections are lost, for the tests of every adapter.

use std::time::Duration;

use annals::Payload;
use annals_state::{
    Commit, DocumentKey, Expected, IndexName, Revision, Scan, StateError, StateStore, Write,
    get_all,
};
use futures_util::TryStreamExt;

const BY: IndexName = IndexName::from_static("by");

fn key(kind: &str, task: usize) -> DocumentKey {
    DocumentKey::new("pairs", format!("{kind}-{task}")).unwrap()
}

/// A commit that moves both documents of `task` to `round`, each with an entry that says the round.
pub(crate) fn step(task: usize, round: u64, from: Expected) -> Commit {
    let put = |kind| {
        let put = Write::put(key(kind, task), Payload::json(&round).unwrap(), from);
        put.with_entry(BY, format!("{kind}-{task}-{round:06}"))
    };
    Commit::new([put("a"), put("b")])
}

/// How often a commit ended how.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) unavailable: usize,
    pub(crate) unknown: usize,
    /// Of those that were unknown, it turned out that they had been made.
    pub(crate) found_made: usize,
}

/// Makes a commit for certain: sends it again until it is known to be made. An error that promises that nothing was made
/// is held to it: only after `OutcomeUnknown` may the documents have its revision already.
pub(crate) async fn certainly(state: &impl StateStore, commit: Commit, tally: &mut Tally) {
    let mut unknown = false;
    loop {
        match state.commit(commit.clone()).await {
            Ok(()) => return,
            Err(StateError::OutcomeUnknown(_)) => {
                tally.unknown += 1;
                unknown = true;
            }
            Err(StateError::Unavailable(_)) => tally.unavailable += 1,
            Err(StateError::Conflict(conflict)) if conflict.found == Some(commit.revision) => {
                assert!(unknown, "it was made, and every error said that it was not: {conflict}");
                tally.found_made += 1;
                return;
            }
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Moves the documents of `task` from round 1 to `rounds`, and reports how the commits ended.
pub(crate) async fn moves(state: &impl StateStore, task: usize, rounds: u64) -> Tally {
    let (mut tally, mut from) = (Tally::default(), Expected::Absent);
    for round in 1..=rounds {
        let commit = step(task, round, from);
        from = Expected::Is(commit.revision);
        certainly(state, commit, &mut tally).await;
    }
    tally
}

/// The round and the revision that the documents of `task` have. Both are of one commit, and along the index are these
/// two alone.
pub(crate) async fn whole(state: &impl StateStore, task: usize) -> Option<(u64, Revision)> {
    let got = get_all(state, vec![key("a", task), key("b", task)]).await.unwrap();
    let round = |nth: usize| {
        let document = got[nth].as_ref()?;
        Some((document.body.to_json::<u64>().unwrap(), document.revision))
    };
    assert_eq!(round(0), round(1), "half of a commit is there");
    let along = Scan::along(key("a", task).collection, BY);
    let pages: Vec<_> = state.scan(along).try_collect().await.unwrap();
    let mine = |key: &str| {
        key.starts_with(&format!("a-{task}-")) || key.starts_with(&format!("b-{task}-"))
    };
    let keys = pages.iter().flatten().map(|one| String::from_utf8(one.key.to_vec()).unwrap());
    let keys: Vec<_> = keys.filter(|key| mine(key)).collect();
    let expected: Vec<_> = round(0)
        .into_iter()
        .flat_map(|(round, _)| ["a", "b"].map(|kind| format!("{kind}-{task}-{round:06}")))
        .collect();
    assert_eq!(keys, expected, "entries are not those of the documents");
    round(0)
}
