//! The page `docs/promises.md`: which checks prove which promise, made from the contract and the list of checks.
//!
//! `ANNALS_UPDATE_DOCS=1 cargo test -p annals-testkit --test promises` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use annals_testkit::zoo::specimens;
use annals_testkit::{Check, Class, Disturbance, Hook, Need, Rule};

const CONTRACT: &str = include_str!("../../core/src/adapter.rs");

const HEAD: &str = "\
# The promises, and what proves them

<!-- Made by testkit/tests/promises.rs from the contract and the list of checks. Do not edit: run
ANNALS_UPDATE_DOCS=1 cargo test -p annals-testkit --test promises -->

Each rule of the contract (`StorageAdapter` in `annals`) has checks in the conformance suite (`annals-testkit`) that
prove it on any adapter. The suite itself is proven on a zoo of broken adapters: *caught* counts those that a check
is known to catch: in each of twenty runs, stochastic ones in nearly all.

- **required** checks are deterministic: a right adapter passes always, a wrong one fails always.
- **stochastic** checks race: a right adapter passes always, a wrong one fails with high probability in each run.
- **optional** checks are of something that a right adapter may lack.

A check that does not apply to what an adapter declares is reported as *not applicable*; one whose means are lacking,
such as a server to restart, as *not run*. Neither counts as passed.
";

fn checks() -> Vec<Check> {
    let any = specimens().next().expect("a specimen");
    any.suite().checks()
}

/// The text of a rule, from the documentation of the trait, in one line.
fn text(rule: Rule) -> Option<String> {
    let begin = format!("/// - **{rule:?}** ");
    let mut lines = CONTRACT.lines().skip_while(|line| !line.starts_with(&begin));
    let mut text = lines.next()?.strip_prefix(&begin)?.to_owned();
    for line in lines.map_while(|line| line.strip_prefix("///   ")) {
        text.push(' ');
        text.push_str(line);
    }
    // Links of the documentation lead nowhere here.
    Some(text.replace("[`", "`").replace("`]", "`"))
}

fn words(need: Need) -> String {
    let name = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let feature = |feature| name(serde_json::to_value(feature).unwrap_or_default());
    match need {
        Need::Has(it) => format!("`{}`", feature(it)),
        Need::Lacks(it) => format!("no `{}`", feature(it)),
        Need::Hook(hook) => format!("hook `{hook:?}`"),
        Need::Disturb(what) => format!("hook `{what:?}`"),
        Need::Processes => "another process".to_owned(),
    }
}

fn page() -> String {
    let checks = checks();
    let mut page = HEAD.to_owned();
    for rule in Rule::ALL {
        let text = text(rule).expect("the contract tells the rule");
        let _ = write!(page, "\n## {rule:?}: {}\n\n> {text}\n\n", rule.title());
        page.push_str("| check | proves that | class | needs | caught |\n|---|---|---|---|---|\n");
        for check in checks.iter().filter(|check| check.rules.contains(&rule)) {
            let class = match check.class {
                Class::Required => "required",
                Class::Optional => "optional",
                Class::Stochastic => "stochastic",
            };
            let needs: Vec<_> = check.needs.iter().copied().map(words).collect();
            let caught = specimens().filter(|broken| broken.caught_by.contains(&check.id)).count();
            let caught = if caught == 0 { String::new() } else { caught.to_string() };
            let _ = writeln!(
                page,
                "| `{}` | {} | {class} | {} | {caught} |",
                check.id,
                check.about.replace('|', "\\|"),
                needs.join(", ")
            );
        }
    }
    page
}

#[test]
fn the_page_is_as_the_contract_and_the_checks_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/promises.md");
    let page = page();
    if std::env::var_os("ANNALS_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs =
        page.lines().zip(found.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
    assert!(
        found == page,
        "docs/promises.md is not up to date; expected and found: {differs:#?}\n\
         ANNALS_UPDATE_DOCS=1 cargo test -p annals-testkit --test promises"
    );
}

/// Deterministic proof that needs no hook: it applies to every adapter, or to those that declare what the rule is
/// about.
#[test]
fn every_promise_has_a_required_check() {
    let checks = checks();
    for rule in Rule::ALL {
        let binding = |check: &&Check| {
            let hooked = |need: &Need| matches!(need, Need::Hook(_) | Need::Disturb(_));
            check.class == Class::Required
                && check.rules.contains(&rule)
                && !check.needs.iter().any(hooked)
        };
        assert!(checks.iter().any(|check| binding(&check)), "{rule:?} has no required check");
    }
}

#[test]
fn the_contract_has_no_rule_without_checks() {
    let rules = CONTRACT.lines().filter_map(|line| line.strip_prefix("/// - **"));
    let rules: Vec<_> = rules.filter_map(|line| line.split("**").next()).collect();
    let known: Vec<_> = Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect();
    assert_eq!(rules, known);
}

#[test]
fn the_words_for_needs_are_those_of_the_capabilities() {
    let need = Need::Has(annals_testkit::Feature::MultiStreamAppend);
    assert_eq!(words(need), "`multi_stream_append`");
    assert_eq!(words(Need::Hook(Hook::PageSize)), "hook `PageSize`");
    assert_eq!(words(Need::Disturb(Disturbance::HoldLock)), "hook `HoldLock`");
}
