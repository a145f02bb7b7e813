//! The reports: what they claim follows from the verdicts, in each of the three forms.

use annals_testkit::{Report, Verdict};

use crate::specimens;

/// The tests of this file.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("report::the_tally_counts_every_check_once", the_tally_counts_every_check_once),
    ("report::a_part_of_the_suite_claims_no_more", a_part_of_the_suite_claims_no_more),
    ("report::json_comes_back_as_it_was", json_comes_back_as_it_was),
    ("report::markdown_claims_what_the_checks_say", markdown_claims_what_the_checks_say),
    (
        "report::html_shows_each_check_and_nothing_of_a_message_becomes_markup",
        html_shows_each_check_and_nothing_of_a_message_becomes_markup,
    ),
];

/// A report with passes, failures and what was not run: of an adapter whose positions begin at 1.
fn broken() -> Report {
    let broken = specimens().find(|specimen| specimen.caught_by.contains(&"pos.zero_based"));
    broken.expect("a specimen").suite().with_filter("pos.").with_seed(1).run()
}

fn the_tally_counts_every_check_once() {
    let report = broken();
    let tally = report.tally();
    assert!(tally.failed > 0 && !report.is_pass());
    assert_eq!(
        tally.run() + tally.not_applicable + tally.not_run + tally.inconclusive,
        report.checks.len(),
        "{tally:?} of {}",
        report.checks.len()
    );
    assert_eq!(report.failures().count(), tally.failed);
    let of_positions = report.tally_of("A2");
    assert!(of_positions.failed > 0 && of_positions.run() <= tally.run());
    assert_eq!(report.tally_of("D1").run(), 0);
}

fn a_part_of_the_suite_claims_no_more() {
    let part = broken();
    let suite = specimens().next().expect("a specimen").suite();
    assert_eq!(part.left_out, suite.checks().len() - part.checks.len());
    assert!(part.badge().ends_with(&format!(", {} left out", part.left_out)));
    assert!(part.to_html().contains(&format!("{} checks left out", part.left_out)));
    let whole = suite.with_seed(1).run();
    assert_eq!((whole.left_out, whole.badge().contains("left out")), (0, false));
}

fn json_comes_back_as_it_was() {
    let report = broken();
    let again: Report = serde_json::from_str(&report.to_json()).expect("a report");
    assert_eq!(again.to_json(), report.to_json());
    assert_eq!(again.badge(), report.badge());
}

fn markdown_claims_what_the_checks_say() {
    let report = broken();
    let text = report.to_markdown();
    assert!(text.contains(&report.badge()));
    let tally = report.tally_of("A2");
    let row = format!("| A2 | positions without holes | {} of {} |", tally.passed, tally.run());
    assert!(text.contains(&row), "{text}");
    assert!(text.contains("<details open>"), "failures are shown unfolded");
    for entry in &report.checks {
        let rows = text.lines().filter(|line| line.starts_with(&format!("| `{}` |", entry.id)));
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), 1, "{}", entry.id);
        assert_eq!(rows[0].contains("| FAIL |"), matches!(entry.verdict, Verdict::Fail(..)));
    }
}

fn html_shows_each_check_and_nothing_of_a_message_becomes_markup() {
    let mut report = broken();
    "<script>alert(1)</script>".clone_into(&mut report.adapter);
    let failed = report.checks.iter_mut().find(|entry| matches!(entry.verdict, Verdict::Fail(..)));
    let failed = failed.expect("a failure");
    failed.verdict = Verdict::Fail("expected <b> & found \"c\"".to_owned(), Some("</pre>".into()));
    let page = report.to_html();
    assert!(!page.contains("<script>") && !page.contains("expected <b>"));
    assert!(page.contains("expected &lt;b&gt; &amp; found"));
    for entry in &report.checks {
        assert!(page.contains(&format!("id=\"{}\"", entry.id)), "{}", entry.id);
    }
}
