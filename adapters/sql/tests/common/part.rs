//! Which checks a suite runs where it would run all once more for little.

use annals_testkit::Suite;

/// The checks whose ids begin so, or all of them where `ANNALS_SUITES=whole` says so, as in CI: the database is slow, and
/// passes the others elsewhere.
pub(crate) fn part(suite: Suite, begin: &[&str]) -> Suite {
    match std::env::var("ANNALS_SUITES").as_deref() {
        Err(_) => begin.iter().copied().fold(suite, Suite::with_filter),
        Ok("whole") => suite,
        Ok(other) => panic!("ANNALS_SUITES may be `whole`, not {other:?}"),
    }
}
