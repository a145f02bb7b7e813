//! The page `docs/promises.md`: which checks prove which promise, made from the contract and the list of checks.
//!
//! `ANNALS_UPDATE_DOCS=1 cargo test -p annals-testkit --test zoo -- promises` writes it anew.

use std::collections::BTreeSet;

use annals_testkit::{Check, Class, Contract, Disturbance, Hook, Need, Storage};

use crate::page::{self, Page};
use crate::specimens;

/// The tests of this file.
pub(crate) const TESTS: &[(&str, fn())] = &[
    (
        "promises::the_page_is_as_the_contract_and_the_checks_say",
        the_page_is_as_the_contract_and_the_checks_say,
    ),
    ("promises::every_promise_has_a_required_check", every_promise_has_a_required_check),
    ("promises::every_check_catches_something_alone", every_check_catches_something_alone),
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

fn page() -> Page<Storage> {
    Page {
        name: "promises.md",
        test: "-p annals-testkit --test zoo -- promises",
        head: HEAD,
        contract: CONTRACT,
        specimens: specimens().copied().collect(),
        words,
    }
}

/// The checks of each version of the suite, as a digest of what this page says of them.
const VERSIONS: &[(u32, &str)] = &[
    (1, "c1480777-3450-56f4-a038-23b6ffdf20bf"),
    (2, "fb1d1ca5-b0fa-5c6f-a955-013ee380e15e"),
    (3, "4c476d8f-c4d4-523a-8379-8942fe063547"),
    (4, "a1615433-1e7d-57d7-a0c4-3f2b8dd945dd"),
    (5, "ee7a591a-b4ed-5b33-88af-b9e94fec975f"),
    (6, "820a89f1-d111-5fe8-86e8-571f7f65ad8b"),
];

fn the_version_rises_with_the_checks() {
    page::the_version_rises_with_the_checks::<Storage>(VERSIONS);
}

fn the_page_is_as_the_contract_and_the_checks_say() {
    page().is_up_to_date();
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

/// If other checks catch all that a check catches, merge it with them.
fn every_check_catches_something_alone() {
    let unproven = Storage::UNPROVEN.iter().map(|(id, _)| *id);
    let alone = specimens().filter_map(|specimen| match specimen.caught_by {
        [one] => Some(*one),
        _ => None,
    });
    let needed: BTreeSet<&str> = alone.chain(unproven).collect();
    let checks = checks();
    let ids = checks.iter().map(|check| check.id);
    let redundant: Vec<_> = ids.filter(|id| !needed.contains(id)).collect();
    assert!(redundant.is_empty(), "no specimen is caught by these alone: {redundant:?}");
}

fn the_contract_has_no_rule_without_checks() {
    page().has_every_rule();
}

fn the_words_for_needs_are_those_of_the_capabilities() {
    let need = Need::Has(annals_testkit::Feature::MultiStreamAppend);
    assert_eq!(words(need), "`multi_stream_append`");
    assert_eq!(words(Need::Hook(Hook::PageSize)), "hook `PageSize`");
    assert_eq!(words(Need::Disturb(Disturbance::HoldLock)), "hook `HoldLock`");
}
