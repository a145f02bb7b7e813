//! State stores that are known to be wrong, each with a check that must catch it; and one that is right.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broken;

use std::sync::{Arc, Mutex};

use annals_state::{StateStore, async_trait};
use annals_testkit::state::{CHECKS, Open, Store};
use broken::{Broken, Fault};
use futures_util::FutureExt;

/// All faults with the check that must catch each.
const ZOO: &[(Fault, &str)] = &[
    (Fault::InventsRevisions, "commit.revisions"),
    (Fault::CutsRevisions, "commit.revisions"),
    (Fault::RevisionPerDocument, "commit.revisions"),
    (Fault::RevisionPerDocumentCounted, "commit.revisions"),
    (Fault::ForgetsDeletes, "commit.revisions"),
    (Fault::TwoTransactions, "commit.expectations"),
    (Fault::JudgesBefore, "race.one_winner"),
    (Fault::IgnoresGuards, "commit.guards"),
    (Fault::GuardsOutside, "race.write_skew"),
    (Fault::AbsentGuardNotJudged, "commit.guards"),
    (Fault::PutsOnIsOfAbsent, "commit.expectations"),
    (Fault::DriverErrorForLostRace, "race.one_winner"),
    (Fault::NamesTheLastConflict, "commit.first_conflict"),
    (Fault::RefusesSharedGuards, "race.shared_guards"),
    (Fault::GuardMovesDocument, "commit.guards"),
    (Fault::KeepsOldEntries, "scan.entries"),
    (Fault::DeleteLeavesEntries, "scan.entries"),
    (Fault::LosesEqualKeys, "scan.equal_keys"),
    (Fault::AfterInclusive, "scan.equal_keys"),
    (Fault::LimitBeforeRange, "model.follows"),
    (Fault::BackwardNotMirrored, "scan.equal_keys"),
    (Fault::FoldsOrder, "name.exact"),
    (Fault::OpenUpperBoundInclusive, "model.follows"),
    (Fault::GetOutOfOrder, "get.order"),
    (Fault::GetDropsAbsent, "get.order"),
    (Fault::GetInTwoMoments, "get.whole"),
    (Fault::StaleReads, "get.visible"),
    (Fault::NormalisesJson, "body.exact"),
    (Fault::DropsEncoding, "body.exact"),
    (Fault::FoldsIds, "name.exact"),
    (Fault::TakesTwiceInCommit, "commit.invalid"),
    (Fault::CutsLongKeys, "commit.invalid"),
    (Fault::GoesOnAfterClose, "close.ends"),
    (Fault::HalfOnDrop, "commit.dropped"),
    (Fault::EmptyPages, "scan.entries"),
    (Fault::SentAgainIsMade, "commit.sent_again"),
];

/// One store until it is closed.
struct Opener(Mutex<Arc<Broken>>, Fault);

#[async_trait]
impl Open for Opener {
    async fn open(&self) -> Store {
        let mut kept = self.0.lock().unwrap();
        if matches!(kept.inner.get(Vec::new()).now_or_never(), Some(Err(_))) {
            *kept = Arc::new(Broken::new(self.1));
        }
        Arc::clone(&kept) as Store
    }
}

fn opener(fault: Fault) -> Arc<dyn Open> {
    Arc::new(Opener(Mutex::new(Arc::new(Broken::new(fault))), fault))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_right_passes_every_check() {
    for check in CHECKS {
        let checked = check.run(opener(Fault::Nothing), 50).await;
        assert_eq!(checked, Ok(()), "{}", check.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_caught() {
    let mut missed = Vec::new();
    for (fault, id) in ZOO {
        let check = CHECKS.iter().find(|check| check.id == *id).unwrap();
        let limit = std::time::Duration::from_secs(60);
        match tokio::time::timeout(limit, check.run(opener(*fault), 200)).await {
            Ok(Err(_)) => {}
            Ok(Ok(())) | Err(_) => missed.push((*fault, *id)),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
