//! How binding the verdict of a check is, and why it was not run.

use serde::{Deserialize, Serialize};

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
