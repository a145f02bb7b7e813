//! State stores that are known to be wrong, each with a check that must catch it; and one that is right.

#![allow(clippy::unwrap_used, reason = "a broken store may panic")]

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use annals::BoxError;
use annals_state::StateStore;
use annals_state::async_trait;
use annals_testkit::engine::{Specimen, Zoo};
use annals_testkit::state::{Cut, Hook, Open, State, Store, Work, suite};
use futures_util::FutureExt;

mod broken;
#[path = "../zoo/page.rs"]
mod page;
mod parts;

use broken::Broken;
use page::Page;
use parts::Way;

/// Faults, each with what it does and the checks that must catch it.
macro_rules! faults {
    ($($fault:ident, $about:literal, [$($check:literal),*];)*) => {
        /// What is wrong with a store around one that is right.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($fault),*
        }

        const SPECIMENS: &[Specimen<State>] = &[$(
            Specimen::new(stringify!($fault), $about, &[$($check),*], |name| {
                suite(name, Opener(Mutex::default(), Fault::$fault))
            })
        ),*];
    };
}

faults! {
    Nothing, "It is right.", [];
    InventsRevisions, "Gives documents revisions of its own.", ["commit.revisions"];
    CutsRevisions, "Keeps half of a revision's bits.", ["commit.revisions"];
    RevisionPerDocument, "Gives each document of a commit another revision.", ["commit.revisions"];
    RevisionPerDocumentCounted, "Counts revisions for each document, so that they come back after a delete.", ["commit.revisions"];
    ForgetsDeletes, "Judges a deleted document by its last revision.", ["commit.revisions"];
    TwoTransactions, "Makes each write in a transaction of its own.", ["commit.expectations"];
    JudgesBefore, "Judges expectations before it holds the lock.", ["race.one_winner"];
    IgnoresGuards, "Judges no guards.", ["commit.guards"];
    GuardsOutside, "Judges guards in a transaction before.", ["race.write_skew"];
    AbsentGuardNotJudged, "Does not judge guards that expect no document.", ["commit.guards"];
    PutsOnIsOfAbsent, "Puts a document whose expected revision is gone.", ["commit.expectations"];
    DriverErrorForLostRace, "Returns the driver's error for a lost race.", ["race.one_winner"];
    NamesTheLastConflict, "Names the last conflict instead of the first.", ["commit.first_conflict"];
    RefusesSharedGuards, "Lets one commit at a time guard a document.", ["race.shared_guards"];
    GuardMovesDocument, "Gives a guarded document a new revision.", ["commit.guards"];
    KeepsOldEntries, "Keeps the entries that a put replaces.", ["scan.entries"];
    DeleteLeavesEntries, "Keeps the entries of a deleted document.", ["scan.entries"];
    LosesEqualKeys, "Goes on after the key of a page's last entry, and loses those that are equal.", ["scan.equal_keys"];
    AfterInclusive, "Returns the place again that a scan goes on after.", ["scan.equal_keys"];
    LimitBeforeRange, "Counts the limit before the range.", ["model.follows"];
    BackwardNotMirrored, "Orders equal keys forward in both directions.", ["scan.equal_keys"];
    FoldsOrder, "Orders ids without regard to case.", ["name.exact"];
    OpenUpperBoundInclusive, "Returns what is at the upper bound.", ["model.follows"];
    GetOutOfOrder, "Answers a get in the order of keys.", ["get.order"];
    GetDropsAbsent, "Leaves out what is not there.", ["get.order"];
    GetInTwoMoments, "Reads each document of a get at another moment.", ["get.whole"];
    StaleReads, "Answers with what an earlier get found.", ["get.visible"];
    NormalisesJson, "Writes JSON anew.", ["body.exact"];
    DropsEncoding, "Forgets the encoding of bodies.", ["body.exact"];
    FoldsIds, "Trims ids.", ["name.exact"];
    TakesTwiceInCommit, "Takes one document twice in a commit.", ["commit.invalid"];
    CutsLongKeys, "Cuts keys of entries that are too long.", ["commit.invalid"];
    GoesOnAfterClose, "Works on after it was closed.", ["close.ends"];
    HalfOnDrop, "Leaves half of a commit that is dropped.", ["commit.dropped"];
    EmptyPages, "Ends a scan with an empty page.", ["scan.entries"];
    SentAgainIsMade, "Makes a commit that it knows once more.", ["commit.sent_again"];
    AbsentJudgedBefore, "Judges that a document is absent before it holds the lock.", ["race.absent"];
    GuardsOfManyOutside, "Judges guards in a transaction before, where a commit has more than two writes.", ["race.serialisable"];
    DeadlockSurfaced, "Locks documents in the order of the writes, and returns the deadlock that comes of it.", ["race.counters"];
    ForgetsTheRest, "Leaves out the keys that an answer had no room for.", ["get.pages"];
    NeverCuts, "Answers a get with all documents, however large they are.", ["get.pages"];
    PagesByNumber, "Counts how many documents a scan has returned, and leaves out so many of those that are there.", ["scan.beside_commits"];
    ScanHoldsConnection, "Holds one of eight connections from a scan's first page to its last.", ["scan.holds_nothing"];
    LosesOnClose, "Declares that it survives, and forgets everything when it is closed.", ["open.again"];
    AcknowledgesBeforeSync, "Acknowledges a commit before it is durable.", ["dur.kill9"];
    HalfOnCut, "Makes half of a commit whose connection is cut.", ["fault.cut"];
    PromisesNothingOnCut, "Promises that nothing was made when the connection is cut before the answer.", ["fault.cut"];
    AcknowledgesOnCut, "Takes a commit for made that did not reach the store.", ["fault.cut"];
}

/// A store for each namespace, until it is closed.
struct Opener(Mutex<HashMap<String, Arc<Broken>>>, Fault);

#[async_trait]
impl Open for Opener {
    async fn open(&self, namespace: &str) -> Store {
        let made = || Arc::new(Broken::new(self.1));
        let mut stores = self.0.lock().unwrap();
        let kept = stores.entry(namespace.to_owned()).or_insert_with(made);
        if matches!(kept.inner.get(Vec::new()).now_or_never(), Some(Err(_))) {
            *kept = made();
        }
        Arc::clone(kept) as Store
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::Kill, Hook::Cut]
    }

    async fn kill(&self, work: &Work, acknowledged: usize) -> Result<Vec<String>, BoxError> {
        let said = Mutex::new(Vec::new());
        let say = |line| {
            let mut said = said.lock().unwrap();
            said.push(line);
            said.len() < acknowledged
        };
        work.run(self.open(work.namespace()).await, &say).await;
        let mut stores = self.0.lock().unwrap();
        if let Some(kept) = stores.get_mut(work.namespace()) {
            *kept = Arc::new(kept.crashed());
        }
        Ok(said.into_inner().unwrap())
    }

    async fn open_cut(&self, namespace: &str) -> Result<(Store, Arc<dyn Cut>), BoxError> {
        let way = Arc::new(Way::new(self.open(namespace).await, self.1));
        Ok((Arc::clone(&way) as Store, way))
    }
}

const HEAD: &str = "\
# The promises of state stores, and what proves them

<!-- Made by testkit/tests/state_zoo/main.rs from the contract and the list of checks. Do not edit: run
ANNALS_UPDATE_DOCS=1 cargo test -p annals-testkit --features state --test state_zoo -- promises -->

Each rule of the contract (`StateStore` in `annals-state`) has checks in the suite of state stores
(`annals_testkit::state`) that prove it on any store. [promises.md](promises.md) is the same of the log, and says what
the columns mean.
";

fn page() -> Page<State> {
    Page {
        name: "promises-state.md",
        test: "-p annals-testkit --features state --test state_zoo -- promises",
        head: HEAD,
        contract: include_str!("../../../state/src/store.rs"),
        specimens: SPECIMENS.to_vec(),
        words: |need| format!("the hook `{need:?}`"),
    }
}

/// The checks of each version of the suite, as a digest of what the page says of them.
const VERSIONS: &[(u32, &str)] =
    &[(1, "9b87e5ec-d77e-5aa4-80d3-2fe49f4702c7"), (2, "8424f9a4-c293-5630-906a-1d67e44ff808")];

fn main() -> ExitCode {
    Zoo::new(SPECIMENS.iter().copied())
        .with_test("promises::the_page_is_as_the_contract_and_the_checks_say", || {
            page().is_up_to_date();
        })
        .with_test("promises::the_contract_has_no_rule_without_checks", || page().has_every_rule())
        .with_test("promises::the_version_rises_with_the_checks", || {
            page::the_version_rises_with_the_checks::<State>(VERSIONS);
        })
        .main()
}
