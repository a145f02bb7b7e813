//! Storage as a contract of the engine: its rules, its checks, and how its stores are opened.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use annals::{Capabilities, WriteCondition};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::engine::{self, Contract, Missing, Outcome, Rule};
use crate::harness::{Harness, Hook};
use crate::storage::{Check, Need, Storage, Suite};
use crate::subject::{Context, Start, event};

impl Contract for Storage {
    const NAME: &'static str = "annals-testkit";
    const VERSION: u32 = 6;
    const RULES: &'static [Rule] = &[
        Rule::new("A1", "all or nothing"),
        Rule::new("A2", "positions without holes"),
        Rule::new("A3", "numbers rise in commit order"),
        Rule::new("A4", "conditions hold when it is written"),
        Rule::new("A5", "an error wrote nothing"),
        Rule::new("A6", "safe to drop"),
        Rule::new("A7", "guards and known events"),
        Rule::new("R1", "read your writes"),
        Rule::new("R2", "never skips"),
        Rule::new("R3", "read back equal"),
        Rule::new("R4", "pages hold nothing"),
        Rule::new("R5", "pages say how far"),
        Rule::new("R6", "follows go on"),
        Rule::new("C1", "undeclared is refused"),
        Rule::new("D1", "survives"),
        Rule::new("D2", "goes back with its store"),
        Rule::new("C2", "closes"),
    ];

    const UNPROVEN: &'static [(&'static str, &'static str)] = &[
        ("dur.kill9", "the specimens live in memory: it needs files that are opened again"),
        ("dur.open_race", "the specimens live in memory: it needs files that are opened again"),
        (
            "dur.power_loss",
            "the specimens live in memory: it needs files, and catches faults in copies of the adapters that have them",
        ),
        ("dur.reopen", "the specimens live in memory: it needs files that are opened again"),
        ("fault.connections_cut", "it needs a server and connections to it"),
        ("fault.cut_crowd", "it needs a server and connections to it"),
        ("fault.cut_sweep", "it needs a server and connections to it"),
        ("fault.kill_server", "it needs a server and connections to it"),
        ("fault.lock_held", "it needs a lock that somebody else can hold"),
        ("fault.pool_of_one", "it needs connections"),
        ("fault.restart", "it needs a server and connections to it"),
        ("fault.stall", "it needs a server and connections to it"),
        ("follow.pool_of_one", "it needs connections"),
        ("proc.conditions", "it needs another process that reaches the same data"),
        ("proc.follow", "it needs another process that reaches the same data"),
        ("proc.follow_killed", "it needs another process that reaches the same data"),
        ("proc.never_skips", "it needs another process that reaches the same data"),
        ("r2.items", "its specimens are caught step by step by r2.steps"),
        ("scan.pool_of_one", "it needs connections"),
    ];

    type Harness = dyn Harness;
    type Capabilities = Capabilities;
    type Need = Need;
    type Shared = Start;

    fn checks() -> Vec<Check> {
        crate::checks::all().copied().collect()
    }

    fn declared(context: &Context) -> BoxFuture<'_, Outcome<Capabilities>> {
        async { Ok(context.open().await?.capabilities) }.boxed()
    }

    fn missing(need: Need, capabilities: &Capabilities, harness: &dyn Harness) -> Option<Missing> {
        need.missing(capabilities, harness.hooks())
    }

    /// Servers that start, and connections that are found to be cut, take their time.
    fn is_slow(need: Need) -> bool {
        matches!(need, Need::Disturb(_) | Need::Hook(Hook::Proxy))
    }

    /// The time of an append of one event.
    fn pace(context: &Context) -> BoxFuture<'_, Option<Duration>> {
        async {
            let store = context.open().await.ok()?;
            let stream = store.stream("pace", "pace");
            let began = Instant::now();
            for _ in 0..3 {
                let one = vec![event("measured")];
                store.append(&stream, one, WriteCondition::Always).await.ok()?;
            }
            Some(began.elapsed() / 3)
        }
        .boxed()
    }

    fn usage(context: &Context) -> BoxFuture<'_, Option<BTreeMap<String, u64>>> {
        async {
            if !context.harness().hooks().contains(&Hook::Usage) {
                return None;
            }
            context.harness().usage(context.namespace()).await.ok()
        }
        .boxed()
    }

    fn serve(context: &Context) -> Option<ExitCode> {
        crate::child::serve(context)
    }
}

impl engine::Suite<Storage> {
    /// The suite of storage over a harness, with the quick profile, a random seed and a runtime of two workers.
    pub fn new(name: impl Into<String>, harness: impl Harness) -> Self {
        Self::over(name, std::sync::Arc::new(harness))
    }
}

/// Runs the suite as the `main` of a test binary with `harness = false`: each check is a named test, with the
/// filters and flags of `cargo test`, and works under nextest too. What the adapter does not declare, and what
/// could not be run, is shown as ignored with the reason. Six checks run beside each other, or as many as there are
/// processors if those are more; `--test-threads` changes it.
///
/// The [environment](crate#environment) says how; `ANNALS_TESTKIT_REPORT=FOLDER` leaves a report there. For an example
/// see [the crate](crate#the-conformance-suite).
#[must_use]
pub fn main(name: &str, harness: impl Harness) -> ExitCode {
    engine::main(Suite::new(name, harness))
}
