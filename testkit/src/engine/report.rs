//! What a run of the suite found out.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{Class, Flavour, Profile, Rule};

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "detail")]
pub enum Verdict {
    /// The adapter does it right.
    Pass,
    /// It does not: what was expected and found, and what reproduces it.
    Fail(String, Option<String>),
    /// The check does not apply to what the adapter declares.
    Skipped(String),
    /// The check applies, and the harness or the environment lacks something.
    NotRun(String),
    /// Something was late on a machine that was too busy for a verdict: what, and how busy.
    Inconclusive(String),
}

/// One check of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The check's name.
    pub id: String,
    /// What it proves.
    pub about: String,
    /// The rules that it proves.
    pub rules: Vec<String>,
    /// How binding it is.
    pub class: Class,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How many cases it tried.
    pub cases: u64,
    /// The seed of the run.
    pub seed: u64,
    /// How long it took.
    pub time: Duration,
}

impl Entry {
    /// The failure as a text that says how to repeat it; `None` when it did not fail.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let Verdict::Fail(message, counterexample) = &self.verdict else { return None };
        let mut text = format!("{} ({}): {message}", self.id, self.rules(", "));
        if let Some(counterexample) = counterexample {
            let _ = write!(text, "\n\n{counterexample}");
        }
        let _ = write!(text, "\n\nrepeat with ANNALS_TESTKIT_SEED={}", self.seed);
        Some(text)
    }

    /// What the check's name begins with, up to the dot.
    #[must_use]
    pub fn group(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }

    pub(crate) fn rules(&self, separator: &str) -> String {
        self.rules.join(separator)
    }
}

/// How some checks ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// They passed.
    pub passed: usize,
    /// They failed.
    pub failed: usize,
    /// They do not apply to what the adapter declares.
    pub not_applicable: usize,
    /// The harness or the environment lacks something.
    pub not_run: usize,
    /// The machine was too busy for a verdict.
    pub inconclusive: usize,
}

impl Tally {
    /// How many were run to a verdict.
    #[must_use]
    pub const fn run(&self) -> usize {
        self.passed + self.failed
    }
}

impl<'a> FromIterator<&'a Entry> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a Entry>>(entries: I) -> Self {
        let mut tally = Self::default();
        for entry in entries {
            let count = match entry.verdict {
                Verdict::Pass => &mut tally.passed,
                Verdict::Fail(..) => &mut tally.failed,
                Verdict::Skipped(_) => &mut tally.not_applicable,
                Verdict::NotRun(_) => &mut tally.not_run,
                Verdict::Inconclusive(_) => &mut tally.inconclusive,
            };
            *count += 1;
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (run, Self { passed, not_applicable, not_run, .. }) = (self.run(), self);
        write!(f, "{passed} of {run} passed, {not_applicable} not applicable, {not_run} not run")?;
        match self.inconclusive {
            0 => Ok(()),
            count => write!(f, ", {count} inconclusive"),
        }
    }
}

/// What a run of the suite found out about an adapter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// What the suite is called; see [`Contract::NAME`](crate::engine::Contract::NAME).
    pub suite: String,
    /// The version of its list of checks; see [`Contract::VERSION`](crate::engine::Contract::VERSION).
    pub suite_version: u32,
    /// How many checks of their own the adapter's authors added.
    pub own_checks: usize,
    /// The adapter, as its author calls it.
    pub adapter: String,
    /// The rules of the contract, in order.
    pub rules: Vec<Rule>,
    /// The checks of the contract that are not known to catch any specimen of its zoo; see
    /// [`Contract::UNPROVEN`](crate::engine::Contract::UNPROVEN).
    pub unproven: Vec<String>,
    /// What it declares; `None` when its store did not open.
    pub capabilities: Option<serde_json::Value>,
    /// How long the random checks went on.
    pub profile: Profile,
    /// The runtime that the checks ran on.
    pub runtime: Flavour,
    /// Repeats the run: `ANNALS_TESTKIT_SEED`.
    pub seed: u64,
    /// How many checks of the suite a filter left out.
    pub left_out: usize,
    /// The checks, in order.
    pub checks: Vec<Entry>,
}

impl Report {
    /// Whether no check failed and at least one passed.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        let tally = self.tally();
        tally.passed > 0 && tally.failed == 0
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Entry> {
        self.checks.iter().filter(|entry| matches!(entry.verdict, Verdict::Fail(..)))
    }

    /// The check of this name.
    #[must_use]
    pub fn check(&self, id: &str) -> Option<&Entry> {
        self.checks.iter().find(|entry| entry.id == id)
    }

    /// How its checks ended.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.checks.iter().collect()
    }

    /// How the checks of the rule with this id ended.
    #[must_use]
    pub fn tally_of(&self, rule: &str) -> Tally {
        self.checks.iter().filter(|entry| entry.rules.iter().any(|id| id == rule)).collect()
    }

    /// What to claim in a README: `annals-testkit suite 3: 96 of 96 passed, 12 not applicable, 3 not run`. It
    /// says so if it is of a part of the suite, or has checks of the author's own.
    #[must_use]
    pub fn badge(&self) -> String {
        let mut badge = format!("{} suite {}: {}", self.suite, self.suite_version, self.tally());
        for (count, what) in [(self.left_out, "left out"), (self.own_checks, "of its own")] {
            if count > 0 {
                let _ = write!(badge, ", {count} {what}");
            }
        }
        badge
    }

    /// The report as JSON, for machines.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| error.to_string())
    }
}

impl Verdict {
    /// Its name, and what it adds.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Pass => ("pass", ""),
            Self::Fail(message, _) => ("FAIL", message),
            Self::Skipped(reason) => ("not applicable", reason),
            Self::NotRun(reason) => ("not run", reason),
            Self::Inconclusive(reason) => ("inconclusive", reason),
        }
    }
}

impl Class {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Stochastic => "stochastic",
        }
    }
}
