//! What a run of the suite found out.

use std::fmt::Write as _;
use std::time::Duration;

use annals::Capabilities;
use serde::{Deserialize, Serialize};

use crate::check::{Class, Rule};
use crate::suite::{Flavour, Profile};

/// The version of the list of checks. It rises when a check is added, removed or made stricter.
pub const SUITE_VERSION: &str = env!("CARGO_PKG_VERSION");

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
    pub rules: Vec<Rule>,
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
        let rules: Vec<String> = self.rules.iter().map(|rule| format!("{rule:?}")).collect();
        let mut text = format!("{} ({}): {message}", self.id, rules.join(", "));
        if let Some(counterexample) = counterexample {
            let _ = write!(text, "\n\n{counterexample}");
        }
        let _ = write!(text, "\n\nrepeat with ANNALS_TESTKIT_SEED={}", self.seed);
        Some(text)
    }
}

/// What a run of the suite found out about an adapter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of the list of checks.
    pub suite_version: String,
    /// The adapter, as its author calls it.
    pub adapter: String,
    /// What it declares; `None` when its store did not open.
    pub capabilities: Option<Capabilities>,
    /// How long the random checks went on.
    pub profile: Profile,
    /// The runtime that the checks ran on.
    pub runtime: Flavour,
    /// Repeats the run: `ANNALS_TESTKIT_SEED`.
    pub seed: u64,
    /// The checks, in order.
    pub checks: Vec<Entry>,
}

impl Report {
    pub(crate) fn new(
        adapter: String,
        capabilities: Option<Capabilities>,
        profile: Profile,
        runtime: Flavour,
        seed: u64,
        checks: Vec<Entry>,
    ) -> Self {
        let suite_version = SUITE_VERSION.to_owned();
        Self { suite_version, adapter, capabilities, profile, runtime, seed, checks }
    }

    /// Whether no check failed and at least one passed.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        let passed = self.count(|verdict| *verdict == Verdict::Pass);
        passed > 0 && self.failures().next().is_none()
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

    pub(crate) fn count(&self, wanted: impl Fn(&Verdict) -> bool) -> usize {
        self.checks.iter().filter(|entry| wanted(&entry.verdict)).count()
    }

    /// What to claim in a README: `annals-testkit 0.1.0: 96 of 96 passed, 12 not applicable, 3 not run`.
    #[must_use]
    pub fn badge(&self) -> String {
        let passed = self.count(|verdict| *verdict == Verdict::Pass);
        let skipped = self.count(|verdict| matches!(verdict, Verdict::Skipped(_)));
        let not_run = self.count(|verdict| matches!(verdict, Verdict::NotRun(_)));
        let run = self.checks.len() - skipped - not_run;
        format!(
            "annals-testkit {}: {passed} of {run} passed, {skipped} not applicable, {not_run} not run",
            self.suite_version
        )
    }

    /// The report as JSON, for machines.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|error| error.to_string())
    }

    /// The report as a Markdown table, for a README or a build's summary.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.adapter, self.badge());
        text.push_str(
            "| check | rules | class | verdict | cases | ms | |\n|---|---|---|---|---|---|---|\n",
        );
        for entry in &self.checks {
            let rules: Vec<String> = entry.rules.iter().map(|rule| format!("{rule:?}")).collect();
            let (verdict, detail) = entry.verdict.parts();
            let detail = detail.lines().next().unwrap_or_default().replace('|', "\\|");
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {verdict} | {} | {} | {detail} |",
                entry.id,
                rules.join(" "),
                entry.class.as_str(),
                entry.cases,
                entry.time.as_millis(),
            );
        }
        text
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
