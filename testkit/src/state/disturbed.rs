//! Stores that are killed, and connections to them that are cut: what was acknowledged is there, and each outcome is said
//! as it is.

use std::pin::pin;
use std::time::Duration;

use annals_state::{Commit, Expected, Revision, StateError};

use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::proxy::Side;
use crate::state::context::{BY, Context, Store, found};
use crate::state::hook::Work;

/// How long a commit over a way that was cut is left alone before the way is healed.
const ALONE: Duration = Duration::from_millis(100);
/// Before so many packets of each side the way is cut.
const PACKETS: u64 = 8;

/// ST13, ST1: what was acknowledged survives a kill, whole, and no revision of before passes again.
pub(super) async fn kill9(cx: Context) -> Outcome {
    let harness = cx.engine.harness();
    let work = Work::new(cx.engine.namespace());
    let mut acknowledged = [0; Work::TASKS];
    let mut stale: Vec<Commit> = Vec::new();
    for case in cx.engine.cases(3) {
        let most = 1 + usize::try_from(case % 40).unwrap_or_default();
        let said = harness.kill(&work, most).await;
        let said = said.map_err(|error| Failure::not_opened(&error))?;
        let failed = said.iter().find(|line| line.starts_with("failed"));
        ensure!(failed.is_none(), "before the kill: {failed:?}");
        for (task, round) in said.iter().filter_map(|line| Work::heard(line)) {
            acknowledged[task] = acknowledged[task].max(round);
        }
        let store = cx.open().await;
        for old in stale.drain(..) {
            let result = store.commit(old).await;
            ensure!(
                matches!(&result, Err(error) if error.is_conflict()),
                "a revision of before the kill passed: {result:?}"
            );
        }
        for (task, acknowledged) in acknowledged.iter_mut().enumerate() {
            let held = work.whole(&store, task).await;
            let held = held.map_err(|error| Failure::new(format!("after a kill: {error}")))?;
            let round = held.map_or(0, |(round, _)| round);
            // One commit of each task was under way.
            ensure!(
                (*acknowledged..=*acknowledged + 1).contains(&round),
                "round {acknowledged} of task {task} was acknowledged, and round {round} is there"
            );
            let from = held.map_or(Expected::Absent, |(_, revision)| Expected::Is(revision));
            let next = work.step(task, round + 1, from);
            let going_on = store.commit(next).await;
            going_on.map_err(|error| Failure::new(format!("a commit after a kill: {error}")))?;
            *acknowledged = round + 1;
            stale.push(work.step(task, round + 1, from));
        }
    }
    Ok(())
}

/// ST4, ST1: over a way that is cut anywhere, a commit is made whole or not at all, and its outcome is said as it is.
pub(super) async fn cut(cx: Context) -> Outcome {
    let opened = cx.engine.harness().open_cut(cx.engine.namespace()).await;
    let (store, way) = opened.map_err(|error| Failure::not_opened(&error))?;
    let beside = cx.open().await;
    let mut base: Option<Revision> = None;
    for side in [Side::Client, Side::Server] {
        for packets in 0..PACKETS {
            // It is connected before it is cut.
            cx.revision(&store, "a").await;
            let expected = Expected::from(base);
            let put = |id| cx.put(id, expected).with_entry(BY, format!("{side:?} {packets}"));
            let attempt = Commit::new([put("a"), put("b")]);
            let revision = attempt.revision;
            way.cut_after(side, packets);
            let mut committing = pin!(store.commit(attempt));
            let outcome = loop {
                match tokio::time::timeout(ALONE, &mut committing).await {
                    Ok(outcome) => break outcome,
                    Err(_) => way.heal(),
                }
            };
            way.heal();
            let (before, after) = settled(&cx, &beside).await?;
            let at = format!("cut after {packets} packets of the {side:?}");
            match outcome {
                Ok(()) => {
                    ensure_eq!(before, Some(revision), "{at}: it was acknowledged");
                }
                Err(StateError::OutcomeUnknown(_)) => ensure!(
                    before == base || before == Some(revision),
                    "{at}: the documents have the revision of neither commit"
                ),
                Err(error) if error.is_conflict() => {
                    return Err(Failure::new(format!("{at}: nobody else committed: {error}")));
                }
                Err(error) => ensure!(
                    before == base,
                    "{at}: it was made, and the error promises that it was not: {error}"
                ),
            }
            ensure_eq!(cx.revision(&beside, "a").await, Some(after), "{at}: it came later");
            base = Some(after);
        }
    }
    ensure_eq!(found(&beside, cx.ids()).await, ["a", "b"], "what is there at the end");
    Ok(())
}

/// The revision of both documents once nothing is under way that could change them, and that of the commit that made
/// sure.
async fn settled(cx: &Context, store: &Store) -> Outcome<(Option<Revision>, Revision)> {
    loop {
        let keys = vec![cx.key("a"), cx.key("b")];
        let got = store.get(keys).await;
        let got = got.map_err(|error| Failure::new(format!("a get after a cut: {error}")))?;
        let revisions: Vec<_> =
            got.documents.iter().map(|one| one.as_ref().map(|one| one.revision)).collect();
        ensure!(revisions.len() == 2, "a get of two documents returned {}", revisions.len());
        ensure_eq!(revisions[0], revisions[1], "half of a commit is there");
        let expected = Expected::from(revisions[0]);
        let touch = Commit::new([cx.put("a", expected), cx.put("b", expected)]);
        let made = touch.revision;
        match store.commit(touch).await {
            Ok(()) => return Ok((revisions[0], made)),
            // It was made between two looks.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(Failure::new(format!("a commit after a cut: {error}"))),
        }
    }
}
