//! Which checks a suite runs where it would run all once more for little.

use annals_testkit::Suite;

/// What a database under layers is asked that a store in memory is not.
#[allow(dead_code, reason = "suites without layers have lists of their own")]
pub(crate) const OF_DATABASES: &[&str] = &[
    "cap.",
    "close.",
    "cond.custom",
    "dur.",
    "fault.",
    "follow.",
    "history.",
    "lin.",
    "meta.",
    "model.",
    "payload.",
    "proc.",
    "r2.two_handles",
    "rt.",
];

/// The checks whose ids begin so, or all of them where `ANNALS_SUITES=whole` says so, as in CI: the database is slow, and
/// passes the others elsewhere.
pub(crate) fn part(suite: Suite, begin: &[&str]) -> Suite {
    match std::env::var("ANNALS_SUITES").as_deref() {
        Err(_) => begin.iter().copied().fold(suite, Suite::with_filter),
        Ok("whole") => suite,
        Ok(other) => panic!("ANNALS_SUITES may be `whole`, not {other:?}"),
    }
}
