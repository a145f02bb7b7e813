//! What the guide quotes is what the example says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use annals_testkit::{Contract, Storage};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn guide() -> String {
    fs::read_to_string(folder().join("../../docs/write-an-adapter.md")).expect("the guide")
}

/// The fenced blocks of a language, each with the text between it and the block before.
fn blocks<'a>(guide: &'a str, language: &str) -> Vec<(&'a str, &'a str)> {
    let mut parts = guide.split("\n```");
    let mut before = parts.next().unwrap_or_default();
    let mut found = Vec::new();
    while let (Some(block), Some(after)) = (parts.next(), parts.next()) {
        let (first, code) = block.split_once('\n').unwrap_or((block, ""));
        if first == language {
            found.push((before, code));
        }
        before = after;
    }
    found
}

/// The lines, without what only layout puts in.
fn lines(code: &str) -> Vec<&str> {
    code.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The last file that `text` names.
fn named(text: &str) -> Option<PathBuf> {
    let names = text.split('`').skip(1).step_by(2).map(Path::new);
    let sources = names.filter(|name| name.extension().is_some_and(|extension| extension == "rs"));
    sources.last().map(|name| folder().join(name))
}

#[test]
fn every_quotation_is_in_the_file_that_it_names() {
    let guide = guide();
    let quotations = blocks(&guide, "rust");
    assert!(quotations.len() >= 8, "the guide quotes {} pieces", quotations.len());
    for (before, code) in quotations {
        let file = named(before).expect("a quotation names its file before it");
        let source = fs::read_to_string(&file).expect("the file of a quotation");
        let (source, quoted) = (lines(&source), lines(code));
        assert!(
            source.windows(quoted.len()).any(|window| window == quoted),
            "not in {}:\n{code}",
            file.display()
        );
    }
}

#[test]
fn the_test_file_is_quoted_whole_and_short() {
    let whole = fs::read_to_string(folder().join("tests/conformance.rs")).expect("the test file");
    assert!(whole.lines().count() <= 25, "{} lines", whole.lines().count());
    assert!(blocks(&guide(), "rust").iter().any(|(_, code)| lines(code) == lines(&whole)));
}

/// The names of the dependencies in each section of a manifest.
fn dependencies(manifest: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once(['.', ' '])
        {
            found.entry(section).or_default().insert(name);
        }
    }
    found
}

#[test]
fn the_manifest_names_the_same_dependencies() {
    let own = fs::read_to_string(folder().join("Cargo.toml")).expect("the manifest");
    let guide = guide();
    let manifests = blocks(&guide, "toml");
    let [(_, told)] = manifests.as_slice() else { panic!("the guide has one manifest") };
    let mut own = dependencies(&own);
    // Only `recovery.rs` needs it, which the guide leaves out.
    let development = own.get_mut("[dev-dependencies]").expect("a section");
    assert!(development.remove("proptest"), "the exception is gone");
    assert_eq!(dependencies(told), own);
}

#[test]
fn the_report_and_the_checks_that_the_guide_names_exist() {
    let guide = guide();
    let known: BTreeSet<&str> = Storage::checks().iter().map(|check| check.id).collect();
    let names = guide.split('`').skip(1).step_by(2);
    let groups: BTreeSet<&str> = known.iter().filter_map(|id| id.split('.').next()).collect();
    let checks: Vec<&str> = names
        .filter(|name| name.split_once('.').is_some_and(|(group, _)| groups.contains(group)))
        .collect();
    assert!(checks.len() >= 8, "{checks:?}");
    for check in checks {
        assert!(known.contains(check), "there is no check {check}");
    }
    for rule in Storage::RULES {
        let row = format!("| {} | {} | ", rule.id, rule.title);
        assert!(guide.contains(&row), "the table lacks {row}");
    }
    let claim = format!("{} suite {}: ", Storage::NAME, Storage::VERSION);
    let claimed = guide.lines().find_map(|line| line.strip_prefix(&claim));
    let claimed = claimed.expect("the guide ends with what the report claims");
    let numbers = claimed.split(|letter: char| !letter.is_ascii_digit());
    let numbers: Vec<usize> = numbers.filter_map(|number| number.parse().ok()).collect();
    let [passed, run, not_applicable, not_run] = numbers[..] else { panic!("{claimed}") };
    assert_eq!(
        (passed, run + not_applicable + not_run),
        (run, known.len()),
        "the report of this adapter has changed: show it as it is now"
    );
}
