//! State as a contract of the engine: its rules and its list of checks.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use annals_state::{Commit, Expected, StateCapabilities};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::engine::{self, Class, Contract, Missing, Outcome, Rule};
use crate::state::context::{Context, Open, State};
use crate::state::hook::Hook;
use crate::state::{bounds, commits, disturbed, handles, history, model, races, reads};

/// A check of state stores.
pub type Check = engine::Check<State>;

/// The suite of state stores.
pub type Suite = engine::Suite<State>;

/// How long a check may take: those that race and those with large documents take longer than checks of a log.
const LIMIT: Duration = Duration::from_secs(120);

impl Contract for State {
    const NAME: &'static str = "annals-testkit state";
    const VERSION: u32 = 2;
    const RULES: &'static [Rule] = &[
        Rule::new("ST1", "all or nothing"),
        Rule::new("ST2", "one winner, and Conflict for the others"),
        Rule::new("ST3", "the committer's revision, never again"),
        Rule::new("ST4", "an error made nothing"),
        Rule::new("ST5", "safe to drop"),
        Rule::new("ST6", "a get is of one moment"),
        Rule::new("ST7", "read your commits"),
        Rule::new("ST8", "scans in order, once each"),
        Rule::new("ST9", "entries go with their document"),
        Rule::new("ST10", "bodies and names byte for byte"),
        Rule::new("ST11", "what is too much is Invalid"),
        Rule::new("ST12", "pages hold nothing, closes"),
        Rule::new("ST13", "survives"),
    ];
    type Harness = dyn Open;
    type Capabilities = StateCapabilities;
    type Need = Hook;
    type Shared = ();

    fn checks() -> Vec<Check> {
        [CHECKS, DISTURBED].concat()
    }

    fn declared(context: &engine::Context<Self>) -> BoxFuture<'_, Outcome<StateCapabilities>> {
        async {
            let store = context.harness().open(context.namespace()).await;
            Ok(store.capabilities())
        }
        .boxed()
    }

    fn missing(need: Hook, _: &StateCapabilities, harness: &dyn Open) -> Option<Missing> {
        let text = || Missing::Hook(format!("the harness offers no {need:?}"));
        (!harness.hooks().contains(&need)).then(text)
    }

    /// Servers that start, and connections that are found to be cut, take their time.
    fn is_slow(_: Hook) -> bool {
        true
    }

    fn pace(context: &engine::Context<Self>) -> BoxFuture<'_, Option<Duration>> {
        async {
            let cx = Context::new(context.clone());
            let store = cx.open().await;
            let began = Instant::now();
            for nth in 0..3 {
                let put = cx.put(&format!("measured-{nth}"), Expected::Any);
                store.commit(Commit::new([put])).await.ok()?;
            }
            Some(began.elapsed() / 3)
        }
        .boxed()
    }
}

/// A suite of this name over the stores that `harness` opens.
#[must_use]
pub fn suite(name: impl Into<String>, harness: impl Open) -> Suite {
    Suite::over(name, Arc::new(harness)).with_limit(LIMIT)
}

/// Runs all checks of these suites, as the `main` of a test with `harness = false`. Where there are several, each check is
/// called by the name of its suite and its own.
#[must_use]
pub fn main(suites: impl IntoIterator<Item = Suite>) -> ExitCode {
    engine::main_of_each(suites)
}

/// Checks that need a hook.
const DISTURBED: &[Check] = &[
    Check {
        id: "dur.kill9",
        about: "after kill -9 under load: what was acknowledged is there, the rest whole or absent",
        rules: &["ST1", "ST3", "ST13"],
        class: Class::Stochastic,
        needs: &[Hook::Kill],
        run: |context| disturbed::kill9(Context::new(context)).boxed(),
    },
    Check {
        id: "fault.cut",
        about: "over a way that is cut anywhere a commit is whole or absent, and its outcome is said as it is",
        rules: &["ST1", "ST4"],
        class: Class::Stochastic,
        needs: &[Hook::Cut],
        run: |context| disturbed::cut(Context::new(context)).boxed(),
    },
];

macro_rules! checks {
    ($($id:literal [$($rule:ident)+] $class:ident $module:ident::$function:ident, $about:literal;)*) => {
        /// All checks.
        const CHECKS: &[Check] = &[$(Check {
            id: $id,
            about: $about,
            rules: &[$(stringify!($rule)),+],
            class: Class::$class,
            needs: &[],
            run: |context| async move {
                $module::$function(Context::new(context)).await;
                Ok(())
            }
            .boxed(),
        }),*];
    };
}

checks! {
    "commit.expectations" [ST1 ST2 ST4] Required commits::expectations,
        "each kind of expectation holds or fails as it says, for put, delete and guard";
    "commit.first_conflict" [ST2] Required commits::first_conflict,
        "a conflict names the first document that is not as expected";
    "commit.revisions" [ST3] Required commits::revisions,
        "documents have exactly the revision of their commit, and a deleted one's never passes again";
    "commit.sent_again" [ST1 ST3] Required commits::sent_again,
        "a commit that expects a revision is made once, however often it is sent";
    "commit.guards" [ST1 ST2] Required commits::guards,
        "a guard is judged with the commit and changes nothing";
    "commit.invalid" [ST4 ST11] Required bounds::invalid,
        "what is too much or makes no sense is Invalid, and nothing of it is made";
    "commit.dropped" [ST5] Stochastic handles::dropped,
        "a commit that is dropped at any poll is made whole or not at all";
    "race.one_winner" [ST2] Stochastic races::one_winner,
        "of racing commits on one revision one is made, the others conflict";
    "race.write_skew" [ST1 ST2] Stochastic races::write_skew,
        "of two commits that each guard what the other writes one fails";
    "race.absent" [ST1 ST2] Stochastic races::absent,
        "of racing commits that expect no document one is made";
    "race.counters" [ST1 ST2] Stochastic races::counters,
        "commits that cross over shared documents lose nothing";
    "race.shared_guards" [ST2] Stochastic races::shared_guards,
        "commits that guard one document do not hinder each other";
    "race.serialisable" [ST1 ST2] Stochastic history::serialisable,
        "a history of racing commits has an order that explains it";
    "get.order" [ST6] Required reads::order,
        "a get answers in the order asked, with a gap for what is absent";
    "get.pages" [ST6] Required bounds::pages,
        "what is larger than a page comes in parts";
    "get.whole" [ST1 ST6] Stochastic races::whole,
        "a get beside commits sees each of them whole";
    "get.visible" [ST7] Required handles::visible,
        "what was committed is seen by what begins later, on every handle";
    "scan.equal_keys" [ST8] Required reads::equal_keys,
        "scans lose and repeat nothing over equal keys, in both directions";
    "scan.beside_commits" [ST8] Stochastic reads::beside_commits,
        "documents that stay where they are, are returned once beside commits";
    "scan.entries" [ST9] Required reads::entries,
        "entries change with their document";
    "body.exact" [ST10] Required reads::exact,
        "bodies come back byte for byte with their encoding";
    "name.exact" [ST8 ST10] Required reads::names,
        "names compare by bytes and are never changed";
    "close.ends" [ST12] Required handles::closed,
        "after close everything ends with Closed";
    "scan.holds_nothing" [ST12] Required handles::holds_nothing,
        "scans that nobody polls hold nothing";
    "open.again" [ST3 ST13] Required handles::again,
        "what was acknowledged is there when the store is opened again";
    "model.follows" [ST1 ST3 ST8 ST9] Stochastic model::follows,
        "random commits and scans do what a model says";
}
