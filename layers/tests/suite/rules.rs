//! The table of rules in `docs/layers.md` names tests that exist, and all of them.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const RULES: usize = 23;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of the tests, each with the name of its test: that of the file, or of the folder that it is in.
fn files() -> Vec<(String, PathBuf)> {
    let in_folder = |folder: &Path| {
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>()
    };
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let tests = folder().join("tests");
    let all =
        [tests.clone(), tests.join("suite")].into_iter().flat_map(|folder| in_folder(&folder));
    let all = all.flat_map(|path| {
        let inside = if path.is_dir() { in_folder(&path) } else { vec![path.clone()] };
        let name = name(&path);
        inside.into_iter().map(move |file| (name.clone(), file))
    });
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    // The files of `suite` have names of their own.
    all.filter(|(name, path)| is_rust(path) && name != "suite").collect()
}

/// The tests of each name: functions that bear an attribute of a test, and `suite` of a file without a harness.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, path) in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let found = tests.entry(name.clone()).or_default();
        if manifest.contains(&format!("name = \"{name}\"\nharness = false")) {
            found.insert("suite".to_owned());
        }
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let code = line.strip_prefix("async ").unwrap_or(line);
            if let Some(function) = code.strip_prefix("fn ") {
                if is_test {
                    found.insert(function.split('(').next().unwrap().to_owned());
                }
                is_test = false;
            } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if !line.starts_with('#') && !line.starts_with("//") {
                // The tests that a macro makes: `name: fault, check, …;`.
                if let Some((name, _)) = line.split_once(':')
                    && name.starts_with("specimen_")
                {
                    found.insert(name.to_owned());
                }
                is_test = false;
            }
        }
    }
    tests
}

/// The tests that the table names for each rule, as `file::test`.
fn table() -> BTreeMap<usize, BTreeSet<String>> {
    let text = std::fs::read_to_string(folder().join("../docs/layers.md")).unwrap();
    let mut rules = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| L")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, rule, promise, named, _] = cells.as_slice() else { panic!("{line}") };
        assert!(promise.len() > 20, "{line}");
        let rule: usize = rule.strip_prefix('L').unwrap().parse().unwrap();
        let named = named.split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
        assert!(rules.insert(rule, named).is_none(), "L{rule} comes twice");
    }
    rules
}

#[test]
fn every_rule_has_tests_and_every_test_of_a_rule_is_in_its_row() {
    let (tests, rules) = (tests(), table());
    assert_eq!(rules.keys().copied().collect::<Vec<_>>(), (1..=RULES).collect::<Vec<_>>());
    for (rule, named) in &rules {
        assert!(!named.is_empty(), "L{rule}");
        for name in named {
            let (file, test) = name.split_once("::").unwrap_or((name, "suite"));
            let is_there = tests.get(file).is_some_and(|found| found.contains(test));
            assert!(is_there, "L{rule} names {name}, which is no test");
        }
    }
    for (file, found) in &tests {
        for test in found {
            let rule = test.strip_prefix('l').and_then(|rest| rest.split('_').next()?.parse().ok());
            let name = format!("{file}::{test}");
            if let Some(rule) = rule {
                assert!(rules.get(&rule).is_some_and(|row| row.contains(&name)), "{name}");
            }
            let is_suite = test == "suite";
            assert!(!is_suite || rules.get(&1).is_some_and(|row| row.contains(file)), "{file}");
        }
    }
}
