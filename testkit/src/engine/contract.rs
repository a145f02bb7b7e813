//! What the engine has to know of a contract, its checks, and what each of them is given: three types that name one
//! another.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::engine::{Class, Missing, Outcome, Profile};

/// A contract that stores can be proven to keep; [the module](crate::engine#a-contract-of-your-own) has an example.
pub trait Contract: fmt::Debug + Clone + Copy + Send + Sync + Sized + 'static {
    /// What reports call the suite, such as `annals-testkit`.
    const NAME: &'static str;

    /// The version of the list of checks. It rises when a check is added, removed or made stricter, so that two
    /// claims with the same version mean the same.
    const VERSION: u32;

    /// The rules, in the order of reports.
    const RULES: &'static [Rule];

    /// The checks that are not known to catch any specimen of the contract's [`Zoo`](crate::engine::Zoo), each with the
    /// reason. Reports mark them, and the zoo fails if the list is not right or a reason is missing.
    const UNPROVEN: &'static [(&'static str, &'static str)] = &[];

    /// How the suite opens stores, usually a `dyn` trait that adapters' authors implement.
    type Harness: ?Sized + Send + Sync + 'static;

    /// What a store declares of itself; a report shows it as JSON. `()` if there is nothing to declare.
    type Capabilities: Serialize + Send + 'static;

    /// Something that must be given for a check to apply. [`Never`] if every check applies to every store.
    type Need: fmt::Debug + Copy + Send + Sync + 'static;

    /// What all openings of one run of a check share; `()` if nothing.
    type Shared: Default + Send + Sync + 'static;

    /// The checks, in the order of reports.
    fn checks() -> Vec<Check<Self>>;

    /// Opens the store of the namespace, and returns what it declares. The first thing that happens in a run of a check.
    ///
    /// # Errors
    /// When the store does not open; see [`Failure::not_opened`](crate::engine::Failure::not_opened).
    fn declared(context: &Context<Self>) -> BoxFuture<'_, Outcome<Self::Capabilities>>;

    /// Why a check with this need does not apply to such a store, if it does not.
    fn missing(
        need: Self::Need,
        capabilities: &Self::Capabilities,
        harness: &Self::Harness,
    ) -> Option<Missing>;

    /// Whether a check with this need may take four times as long as others.
    fn is_slow(need: Self::Need) -> bool {
        let _ = need;
        false
    }

    /// How long an ordinary call takes on the store of the namespace, which no check uses. The limits of checks grow with
    /// it, and what is late where it is long is inconclusive. `None` if it cannot be measured.
    #[must_use]
    fn pace(context: &Context<Self>) -> BoxFuture<'_, Option<Duration>> {
        let _ = context;
        Box::pin(std::future::ready(None))
    }

    /// What the store of the namespace uses now, such as connections. After a check that passed, every count must be
    /// back at or below what it was before it. `None` if nothing is counted.
    #[must_use]
    fn usage(context: &Context<Self>) -> BoxFuture<'_, Option<BTreeMap<String, u64>>> {
        let _ = context;
        Box::pin(std::future::ready(None))
    }

    /// Does the work of a child process, if a check has started this process as one; its exit code. The store is that
    /// of a [namespace](Context::in_namespace) which the check has told it.
    #[must_use]
    fn serve(context: &Context<Self>) -> Option<ExitCode> {
        let _ = context;
        None
    }
}

/// Something that a store must get right, and how to find out.
#[derive(Clone, Copy)]
pub struct Check<C: Contract> {
    /// Its stable name, `group.what`.
    pub id: &'static str,
    /// What it proves, in words.
    pub about: &'static str,
    /// The rules of the contract that it proves: ids of [`Contract::RULES`].
    pub rules: &'static [&'static str],
    /// How binding its verdict is.
    pub class: Class,
    /// What must be given for it to apply.
    pub needs: &'static [C::Need],
    /// Finds out. It runs on a task of a runtime of its own, and is dropped with that runtime if it hangs.
    pub run: fn(Context<C>) -> BoxFuture<'static, Outcome>,
}

impl<C: Contract> Check<C> {
    /// Whether it may take four times as long as others.
    pub(super) fn is_slow(&self) -> bool {
        self.needs.iter().any(|need| C::is_slow(*need))
    }
}

impl<C: Contract> fmt::Debug for Check<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("id", &self.id)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// What a check is given: a namespace of its own, a seed, and the harness that opens stores.
pub struct Context<C: Contract> {
    pub(crate) harness: Arc<C::Harness>,
    pub(crate) namespace: String,
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) cases: Arc<AtomicU64>,
    pub(crate) shared: Arc<C::Shared>,
}

impl<C: Contract> Context<C> {
    /// The harness, which opens stores and has the hooks.
    #[must_use]
    pub fn harness(&self) -> &C::Harness {
        self.harness.as_ref()
    }

    /// The random namespace of this run of the check: ASCII letters and digits, at most 16 of them. All names that the
    /// check uses begin with it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What all randomness of the check comes from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What all openings of this run of the check share.
    #[must_use]
    pub fn shared(&self) -> &C::Shared {
        &self.shared
    }

    /// The same, but that it shares nothing with what was opened before.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { shared: Arc::default(), ..self.clone() }
    }

    /// Seeds for the cases of a check with many: `quick` of them in the quick profile, more in the others. Each
    /// case is counted for the report.
    pub fn cases(&self, quick: u64) -> impl Iterator<Item = u64> + use<C> {
        let (most, until) = match self.profile {
            Profile::Quick => (quick, None),
            Profile::Full => (quick.saturating_mul(20), None),
            Profile::Soak(duration) => (u64::MAX, Some(Instant::now() + duration)),
        };
        let (seed, counter) = (self.seed, Arc::clone(&self.cases));
        // Steps of the golden ratio keep the seeds of all cases apart, as in SplitMix64 (Steele, Lea, Flood 2014).
        (0..most).take_while(move |_| until.is_none_or(|end| Instant::now() < end)).map(
            move |nth| {
                counter.fetch_add(1, Ordering::Relaxed);
                seed.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            },
        )
    }

    /// The same check in a namespace of its own, for a case that needs a fresh one.
    #[must_use]
    pub fn nested(&self, name: impl fmt::Display) -> Self {
        let namespace = format!("{}{name}", self.namespace);
        self.in_namespace(namespace)
    }

    /// The way to the store of another namespace, such as the one that a child process was started for.
    #[must_use]
    pub fn in_namespace(&self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self.apart() }
    }
}

impl<C: Contract> Clone for Context<C> {
    fn clone(&self) -> Self {
        Self {
            harness: Arc::clone(&self.harness),
            namespace: self.namespace.clone(),
            seed: self.seed,
            profile: self.profile,
            cases: Arc::clone(&self.cases),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C: Contract> fmt::Debug for Context<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("namespace", &self.namespace)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A numbered rule of a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rule {
    /// Its number, such as `A1`.
    pub id: std::borrow::Cow<'static, str>,
    /// The rule in few words, for headings.
    pub title: std::borrow::Cow<'static, str>,
}

impl Rule {
    /// A rule with this number and title.
    #[must_use]
    pub const fn new(id: &'static str, title: &'static str) -> Self {
        use std::borrow::Cow::Borrowed;
        Self { id: Borrowed(id), title: Borrowed(title) }
    }
}

/// The need of a contract whose checks need nothing: it has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Never {}
