//! The page `docs/promises.md`: which checks prove which promise, made from the contract and the list of checks.
//!
//! `ANNALS_UPDATE_DOCS=1 cargo test -p annals-testkit --test zoo -- promises` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use annals_testkit::{Check, Class, Contract, Disturbance, Hook, Need, Storage};

use crate::specimens;

/// The tests of this file.
pub(crate) const TESTS: &[(&str, fn())] = &[
    (
        "promises::the_page_is_as_the_contract_and_the_checks_say",
        the_page_is_as_the_contract_and_the_checks_say,
    ),
    ("promises::every_promise_has_a_required_check", every_promise_has_a_required_check),
    ("promises::the_contract_has_no_rule_without_checks", the_contract_has_no_rule_without_checks),
    ("promises::the_version_rises_with_the_checks", the_version_rises_with_the_checks),
    (
        "promises::the_words_for_needs_are_those_of_the_capabilities",
        the_words_for_needs_are_those_of_the_capabilities,
    ),
];

const CONTRACT: &str = include_str!("../../../core/src/adapter.rs");

const HEAD: &str = "\
# The promises, and what proves them

<!-- Made by testkit/tests/zoo/promises.rs from the contract and the list of checks. Do not edit: run
ANNALS_UPDATE_DOCS=1 cargo test -p annals-testkit --test zoo -- promises -->

Each rule of the contract (`StorageAdapter` in `annals`) has checks in the conformance suite (`annals-testkit`) that
prove it on any adapter. The suite itself is proven on a zoo of broken adapters: *caught* counts those that a check
is known to catch: in each of twenty runs with different seeds, stochastic ones in nearly all; *alone* counts those
of them for which no other check is named.

- **required** checks are deterministic: a right adapter passes always, a wrong one fails always.
- **stochastic** checks race: a right adapter passes always, a wrong one fails with high probability in each run.
- **optional** checks are of something that a right adapter may lack.

A check that does not apply to what an adapter declares is reported as *not applicable*; one whose means are lacking,
such as a server to restart, as *not run*. Neither counts as passed.
";

fn checks() -> Vec<Check> {
    Storage::checks()
}

/// The text of a rule, from the documentation of the trait, in one line.
fn text(rule: &str) -> Option<String> {
    let begin = format!("/// - **{rule}** ");
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

/// How many specimens name the check, and how many of them name no other.
fn counts(id: &str) -> [usize; 2] {
    let named = || specimens().filter(|broken| broken.caught_by.contains(&id));
    [named().count(), named().filter(|broken| broken.caught_by.len() == 1).count()]
}

fn page() -> String {
    let checks = checks();
    let mut page = HEAD.to_owned();
    for rule in Storage::RULES {
        let id = rule.id.as_ref();
        let text = text(id).expect("the contract has the rule");
        let _ = write!(page, "\n## {id}: {}\n\n> {text}\n\n", rule.title);
        page.push_str(
            "| check | proves that | class | needs | caught | alone |\n|---|---|---|---|---|---|\n",
        );
        for check in checks.iter().filter(|check| check.rules.contains(&id)) {
            let class = match check.class {
                Class::Required => "required",
                Class::Optional => "optional",
                Class::Stochastic => "stochastic",
            };
            let needs: Vec<_> = check.needs.iter().copied().map(words).collect();
            let [caught, alone] = counts(check.id).map(|count| match count {
                0 => String::new(),
                count => count.to_string(),
            });
            let _ = writeln!(
                page,
                "| `{}` | {} | {class} | {} | {caught} | {alone} |",
                check.id,
                check.about.replace('|', "\\|"),
                needs.join(", ")
            );
        }
    }
    page.push_str(
        "\n## Checks that are never named alone\n\nEach specimen that names one of these names another check as well. They \
         prove the same thing in another way, or are candidates to be merged; `ANNALS_ZOO=table` runs the whole suite on \
         every specimen and shows which.\n\n",
    );
    for check in checks.iter().filter(|check| matches!(counts(check.id), [caught, 0] if caught > 0))
    {
        let beside: std::collections::BTreeSet<_> = specimens()
            .filter(|broken| broken.caught_by.contains(&check.id))
            .flat_map(|broken| broken.caught_by)
            .filter(|id| **id != check.id)
            .map(|id| format!("`{id}`"))
            .collect();
        let beside: Vec<_> = beside.into_iter().collect();
        let _ = writeln!(page, "- `{}`: beside {}", check.id, beside.join(", "));
    }
    page.push_str(
        "\n## Checks without a specimen\n\nNo specimen of the zoo proves that these can fail.\n\n",
    );
    for (id, why) in Storage::UNPROVEN {
        let _ = writeln!(page, "- `{id}`: {why}");
    }
    page
}

/// The checks of each version of the suite, as a digest of what this page says of them.
const VERSIONS: &[(u32, &str)] = &[
    (1, "c1480777-3450-56f4-a038-23b6ffdf20bf"),
    (2, "fb1d1ca5-b0fa-5c6f-a955-013ee380e15e"),
    (3, "4c476d8f-c4d4-523a-8379-8942fe063547"),
];

fn the_version_rises_with_the_checks() {
    let mut text = String::new();
    for Check { id, about, rules, class, needs, .. } in checks() {
        let _ = writeln!(text, "{id} {about} {rules:?} {class:?} {needs:?}");
    }
    let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).to_string();
    assert_eq!(
        VERSIONS.last(),
        Some(&(Storage::VERSION, digest.as_str())),
        "the checks have changed: raise Storage::VERSION, and add it to this list"
    );
    assert!(VERSIONS.is_sorted_by(|(a, _), (b, _)| a < b), "versions rise");
}

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
         ANNALS_UPDATE_DOCS=1 cargo test -p annals-testkit --test zoo -- promises"
    );
}

/// Deterministic proof that needs no hook: it applies to every adapter, or to those that declare what the rule is
/// about.
fn every_promise_has_a_required_check() {
    let checks = checks();
    for rule in Storage::RULES {
        let rule = rule.id.as_ref();
        let binding = |check: &&Check| {
            // No call takes a store back: a check of D2 cannot do without that hook.
            let hooked = |need: &Need| match need {
                Need::Hook(hook) => *hook != Hook::TakeBack,
                need => matches!(need, Need::Disturb(_)),
            };
            check.class == Class::Required
                && check.rules.contains(&rule)
                && !check.needs.iter().any(hooked)
        };
        assert!(checks.iter().any(|check| binding(&check)), "{rule} has no required check");
    }
}

fn the_contract_has_no_rule_without_checks() {
    let rules = CONTRACT.lines().filter_map(|line| line.strip_prefix("/// - **"));
    let rules: Vec<_> = rules.filter_map(|line| line.split("**").next()).collect();
    let known: Vec<_> = Storage::RULES.iter().map(|rule| rule.id.as_ref()).collect();
    assert_eq!(rules, known);
}

fn the_words_for_needs_are_those_of_the_capabilities() {
    let need = Need::Has(annals_testkit::Feature::MultiStreamAppend);
    assert_eq!(words(need), "`multi_stream_append`");
    assert_eq!(words(Need::Hook(Hook::PageSize)), "hook `PageSize`");
    assert_eq!(words(Need::Disturb(Disturbance::HoldLock)), "hook `HoldLock`");
}
