//! How a suite runs its checks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long the random checks go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Few cases: for every run of the tests.
    Quick,
    /// Twenty times as many: for CI.
    Full,
    /// Each random check for this long.
    Soak(Duration),
}

/// The tokio runtime that a check runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Everything on one thread.
    CurrentThread,
    /// So many worker threads.
    MultiThread(usize),
}
