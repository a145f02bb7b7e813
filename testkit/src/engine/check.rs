//! A check as data: what it proves, what it needs, and the function.

use std::fmt;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::engine::{Context, Contract, Outcome};

/// How binding the verdict of a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Deterministic: a right adapter passes always, a wrong one fails always.
    Required,
    /// Deterministic, of something that a right adapter may lack.
    Optional,
    /// A right adapter passes always; a wrong one fails with high probability in each run.
    Stochastic,
}

/// Why a check was not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It does not apply to what the adapter declares.
    Capability(String),
    /// It would apply, and the harness or the environment lacks something.
    Hook(String),
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

impl<C: Contract> fmt::Debug for Check<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("id", &self.id)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
