//! Faults of one line in copies of our own adapters: the conformance suite must catch each, as it must catch the
//! specimens of its zoo, which nobody would ship.
//!
//! Without further ado only this runs: each fault still applies to the sources. `cargo test -p annals-house --test
//! faults -- --ignored` compiles a copy of the workspace with each fault in turn, and runs the checks that must catch it;
//! `ANNALS_FAULTS` names those to try, by the beginnings of their names with commas between, and with
//! `ANNALS_FAULTS_CHECKS=all` all checks run, which shows by what else a fault is caught.

mod copy;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use annals_house::root;
use copy::CopiedWorkspace;
use table::{FAULTS, Fault, Kind};

/// How often a fault is tried that only a check of races can catch.
const TRIES: usize = 4;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The source of `file` with its edits made.
fn with_fault(fault: &Fault, file: &str) -> Result<String, String> {
    let mut text = read(&root().join(file));
    for edit in fault.edits.iter().filter(|edit| edit.file == file) {
        let found = text.matches(edit.old).count();
        if found != 1 {
            let (name, old) = (fault.name, edit.old);
            return Err(format!("{name}: {file} has {found} times, not once: {old}"));
        }
        text = text.replace(edit.old, edit.new);
    }
    Ok(text)
}

fn files(fault: &Fault) -> BTreeSet<&'static str> {
    fault.edits.iter().map(|edit| edit.file).collect()
}

#[test]
fn every_fault_applies() {
    let promises = read(&root().join("docs/promises.md"));
    let mut names = BTreeSet::new();
    let mut kinds: BTreeMap<Kind, usize> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    let mut wrong = Vec::new();
    for fault in FAULTS {
        wrong.extend(files(fault).into_iter().filter_map(|file| with_fault(fault, file).err()));
        if !names.insert(fault.name) {
            wrong.push(format!("two faults are called {}", fault.name));
        }
        if fault.caught_by.is_empty() {
            wrong.push(format!("{}: names no check", fault.name));
        }
        let unknown = |check: &&&str| !promises.contains(&format!("| `{check}` |"));
        wrong.extend(
            fault
                .caught_by
                .iter()
                .filter(unknown)
                .map(|check| format!("there is no check {check}")),
        );
        *kinds.entry(fault.kind).or_default() += 1;
    }
    wrong.extend(kinds.into_iter().filter(|(_, count)| *count < 2).map(|(kind, count)| {
        format!("{kind:?} has {count} faults: at least two of different shape")
    }));
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
#[ignore = "compiles an adapter for each fault: ./test.sh --faults"]
fn every_fault_is_caught() {
    let asked = std::env::var("ANNALS_FAULTS").unwrap_or_default();
    let all = std::env::var("ANNALS_FAULTS_CHECKS").is_ok_and(|checks| checks == "all");
    let copy = CopiedWorkspace::of(&root());
    let mut missed = Vec::new();
    for fault in FAULTS.iter().filter(|fault| asked.split(',').any(|it| fault.name.starts_with(it)))
    {
        for file in files(fault) {
            copy.write(file, &with_fault(fault, file).unwrap_or_else(|error| panic!("{error}")));
        }
        let mut caught = BTreeSet::new();
        let missing = |caught: &BTreeSet<String>| {
            fault.caught_by.iter().filter(|id| !caught.contains(**id)).copied().collect::<Vec<_>>()
        };
        for _ in 0..TRIES {
            caught.extend(run(&copy, fault, if all { &[] } else { fault.caught_by }));
            if missing(&caught).is_empty() {
                break;
            }
        }
        for file in files(fault) {
            copy.write(file, &read(&root().join(file)));
        }
        let list: Vec<&str> = caught.iter().map(String::as_str).collect();
        say(&format!("{:<34} {:<24} caught by {}", fault.name, fault.package, list.join(" ")));
        let missing = missing(&caught);
        if !missing.is_empty() {
            missed.push(format!("{} is not caught by {}", fault.name, missing.join(", ")));
        }
    }
    assert!(missed.is_empty(), "\n{}\n", missed.join("\n"));
}

/// Past the harness, which keeps what tests print until they end.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The checks, of those named or of all, that fail over the copy.
fn run(copy: &CopiedWorkspace, fault: &Fault, checks: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let output = Command::new(cargo)
        .args(["test", "--locked", "--offline", "--all-features", "--no-fail-fast"])
        .args(["-p", fault.package, "--test", fault.test, "--", "--exact"])
        .args(checks)
        .current_dir(copy.folder())
        // What this workspace has compiled of others serves the copy, too.
        .env("ANNALS_TESTKIT_STRICT", if fault.hangs { "1" } else { "0" })
        .env("CARGO_TARGET_DIR", target.unwrap_or_else(|| root().join("target").into()))
        .output()
        .expect("cargo runs");
    let (text, errors) =
        [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it)).into();
    let started = text.lines().any(|line| line.starts_with("running "));
    assert!(started, "{} does not compile: {errors}", fault.name);
    let failed = |line: &str| -> Option<String> {
        let (id, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
        verdict.starts_with("FAILED").then(|| id.trim().to_owned())
    };
    text.lines().filter_map(failed).collect()
}
