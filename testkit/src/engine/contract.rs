//! What the engine has to know of a contract.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::engine::{Check, Context, Missing, Outcome, Suite};

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

    /// Does the work of a child process, if a check has started this process as one; its exit code.
    #[must_use]
    fn serve(suite: &Suite<Self>) -> Option<ExitCode> {
        let _ = suite;
        None
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
