//! Storage as a contract of the engine: its rules, and what its checks can need.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use annals::{Capabilities, Order, WriteCondition};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::engine::{self, Contract, Missing, Outcome, Rule, ensure};
use crate::error::chain;
use crate::harness::{Disturbance, Harness, Hook};
use crate::subject::{Context, Start, event};

/// The contract of [`annals::StorageAdapter`], whose documentation explains each rule.
#[derive(Debug, Clone, Copy)]
pub struct Storage;

impl Contract for Storage {
    const NAME: &'static str = "annals-testkit";
    const VERSION: u32 = 3;
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
        (
            "cond.counter",
            "what loses updates is caught by cond.one_winner, which races for the same condition",
        ),
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
        (
            "follow.race",
            "follows that skip are caught without a race, by follow.switch and follow.gated",
        ),
        (
            "lin.contended",
            "it looks for what the checks of single rules do not name, and no specimen breaks only that",
        ),
        (
            "lin.history",
            "it looks for what the checks of single rules do not name, and no specimen breaks only that",
        ),
        (
            "lin.multi",
            "it looks for what the checks of single rules do not name, and no specimen breaks only that",
        ),
        (
            "lin.reads",
            "it looks for what the checks of single rules do not name, and no specimen breaks only that",
        ),
        (
            "lin.two_handles",
            "it looks for what the checks of single rules do not name, and no specimen breaks only that",
        ),
        ("multi.disjoint", "no specimen refuses appends to different streams only in a race"),
        ("proc.conditions", "it needs another process that reaches the same data"),
        ("proc.follow", "it needs another process that reaches the same data"),
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

    fn serve(suite: &Suite) -> Option<ExitCode> {
        crate::child::serve(suite)
    }
}

/// A check of the contract of storage.
pub type Check = engine::Check<Storage>;

/// The conformance suite of storage adapters; see [`engine::Suite`].
///
/// ```
/// use annals_memory::MemoryAdapter;
/// use annals_testkit::{Harness, Opened, Suite, async_trait};
/// use std::sync::Arc;
///
/// struct Memory(MemoryAdapter);
///
/// #[async_trait]
/// impl Harness for Memory {
///     async fn open(&self, _namespace: &str) -> Opened {
///         Ok(Arc::new(self.0.clone()))
///     }
/// }
///
/// let suite = Suite::new("memory", Memory(MemoryAdapter::new()));
/// let report = suite.with_filter("append.").run();
/// assert!(report.is_pass(), "{}", report.to_markdown());
/// ```
pub type Suite = engine::Suite<Storage>;

impl engine::Suite<Storage> {
    /// The suite of storage over a harness, with the quick profile, a random seed and a runtime of two workers.
    pub fn new(name: impl Into<String>, harness: impl Harness) -> Self {
        Self::over(name, std::sync::Arc::new(harness))
    }
}

/// Runs the suite as the `main` of a test binary with `harness = false`: each check is a named test, with the
/// filters and flags of `cargo test`, and works under nextest too. What the adapter does not declare, and what
/// could not be run, is shown as ignored with the reason.
///
/// The [environment](crate#environment) says how; `ANNALS_TESTKIT_REPORT=FOLDER` leaves a report there. For an example
/// see [the crate](crate#the-conformance-suite).
#[must_use]
pub fn main(name: &str, harness: impl Harness) -> ExitCode {
    engine::main(Suite::new(name, harness))
}

/// A capability that a check can depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the capability of that name, declared or limited")]
pub enum Feature {
    Durable,
    Shared,
    ContiguousSequence,
    MultiStreamAppend,
    QueryConditions,
    CustomConditions,
    Tags,
    ExactPayloadBytes,
    LogOrder,
    CategoryOrder,
    MaxEventsPerAppend,
    MaxPayloadBytes,
    MaxAppendBytes,
    MaxQueryParts,
    /// [`annals::KnownIds::Forever`].
    KnownIds,
}

impl Feature {
    /// Whether `capabilities` declare it.
    #[must_use]
    pub fn is_declared(self, capabilities: &Capabilities) -> bool {
        match self {
            Self::Durable => capabilities.durable,
            Self::Shared => capabilities.shared,
            Self::ContiguousSequence => capabilities.contiguous_sequence,
            Self::MultiStreamAppend => capabilities.multi_stream_append,
            Self::QueryConditions => capabilities.query_conditions,
            Self::CustomConditions => capabilities.custom_conditions,
            Self::Tags => capabilities.tags,
            Self::ExactPayloadBytes => capabilities.exact_payload_bytes,
            Self::LogOrder => capabilities.order >= Order::Log,
            Self::CategoryOrder => capabilities.order >= Order::Category,
            Self::MaxEventsPerAppend => capabilities.max_events_per_append.is_some(),
            Self::MaxPayloadBytes => capabilities.max_payload_bytes.is_some(),
            Self::MaxAppendBytes => capabilities.max_append_bytes.is_some(),
            Self::MaxQueryParts => capabilities.max_query_parts.is_some(),
            Self::KnownIds => capabilities.known_ids == annals::KnownIds::Forever,
        }
    }
}

/// What must be given for a check to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The capability is declared.
    Has(Feature),
    /// The capability is not declared: the check proves that it is refused.
    Lacks(Feature),
    /// The harness offers the hook.
    Hook(Hook),
    /// The harness offers this disturbance.
    Disturb(Disturbance),
    /// A child process can reach the same data: `durable`, `shared` or [`Hook::Processes`].
    Processes,
}

impl Need {
    /// Why the check does not apply, if it does not.
    #[must_use]
    pub fn missing(&self, capabilities: &Capabilities, hooks: &[Hook]) -> Option<Missing> {
        let hooked = |hook| hooks.contains(&hook);
        match *self {
            Self::Has(feature) if !feature.is_declared(capabilities) => {
                Some(Missing::Capability(format!("{feature:?} is not declared")))
            }
            Self::Lacks(feature) if feature.is_declared(capabilities) => {
                Some(Missing::Capability(format!("{feature:?} is declared")))
            }
            Self::Hook(hook) if !hooked(hook) => {
                Some(Missing::Hook(format!("the harness offers no {hook:?}")))
            }
            Self::Disturb(disturbance) if !hooked(Hook::Disturb(disturbance)) => {
                Some(Missing::Hook(format!("the harness offers no {disturbance:?}")))
            }
            Self::Processes
                if !capabilities.durable && !capabilities.shared && !hooked(Hook::Processes) =>
            {
                let text = "no other process can reach the data";
                Some(Missing::Capability(text.to_owned()))
            }
            _ => None,
        }
    }
}

/// Fails the check if a store-side error does not name an adapter and the operation.
pub(crate) fn is_named(error: &annals::Error, operation: &str) -> Outcome {
    let Some(failure) = error.failure() else { return Ok(()) };
    ensure!(
        !failure.adapter.is_empty() && failure.operation == operation,
        "an error of {operation} names the adapter {:?} and the operation {:?}: {}",
        failure.adapter,
        failure.operation,
        chain(error)
    );
    Ok(())
}

/// A row of the list of checks.
macro_rules! check {
    ($id:literal, [$($rule:ident)+], $class:ident, [$($need:expr),*], $run:path, $about:literal) => {
        $crate::storage::Check {
            id: $id,
            about: $about,
            rules: &[$(stringify!($rule)),+],
            class: $crate::engine::Class::$class,
            needs: &[$($need),*],
            run: |context| Box::pin($run(context)),
        }
    };
}

pub(crate) use check;
