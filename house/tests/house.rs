//! The order of the house. A test that fails names the file and says what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use annals_house::{
    Modules, circles, foreign_types, lines_of, odd_prose, packages, root, rust_files, text_files,
};

/// How many lines a file has at most.
const LINES: usize = 500;

/// Where an odd phrase is left, and why.
const LEFT: &[(&str, &str, &str)] = &[(
    "docs/promises.md",
    "",
    "made from the texts of the checks, which are part of the suite's version",
)];

/// Crates whose `//` comments are read as well as their documentation.
const COMMENTS: &[&str] = &["core", "adapters/memory", "adapters/sql", "adapters/sqlite", "house"];

/// The crates of others that a public API names. A new one is a decision: its major versions become ours.
const FOREIGN: &[(&str, &[&str])] = &[
    ("annals", &["async_trait", "bytes", "futures_core", "serde", "serde_json", "time", "uuid"]),
    ("annals-domain", &["serde", "serde_json", "time"]),
    ("annals-layers", &["bytes", "futures_util", "serde", "time", "uuid", "zeroize"]),
    ("annals-postgres", &["deadpool_postgres", "rustls", "tokio_postgres"]),
    ("annals-processing", &["async_trait", "futures_util", "serde", "time", "uuid"]),
    // Its transactions are the caller's, too.
    ("annals-sqlite", &["rusqlite"]),
    // For adapters, without a stable API.
    ("annals-sql", &["bytes", "futures_util", "hashbrown", "time", "tokio", "uuid"]),
    ("annals-state", &["async_trait", "bytes", "futures_core", "serde", "serde_json", "uuid"]),
    (
        "annals-testkit",
        &["async_trait", "bytes", "futures_util", "proptest", "serde", "serde_json", "time"],
    ),
];

#[test]
fn no_file_imports_in_a_circle() {
    let mut faults = Vec::new();
    for package in packages() {
        let Some(library) = &package.library else { continue };
        let modules = Modules::of(library);
        for circle in circles(&modules) {
            let files: Vec<String> = circle.iter().map(|file| named(file)).collect();
            faults.push(format!(
                "{} has a circle of files: move what two of them need to a file of its own: {}",
                package.name,
                files.join(", ")
            ));
        }
    }
    report(&faults);
}

#[test]
fn no_file_is_too_long() {
    let mut faults = Vec::new();
    for file in rust_files(&root()) {
        let (name, lines) = (named(&file), lines_of(&file).len());
        if lines > LINES {
            faults.push(format!("{name} has {lines} lines: at most {LINES}, one idea a file"));
        }
    }
    report(&faults);
}

#[test]
fn prose_is_plain() {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for file in prose() {
        let name = named(&file);
        let comments = COMMENTS.iter().any(|folder| name.starts_with(&format!("{folder}/")));
        for finding in odd_prose(&file, comments) {
            let left = LEFT
                .iter()
                .find(|(file, around, _)| *file == name && finding.around.contains(around));
            if let Some((file, _, _)) = left {
                used.insert(*file);
                continue;
            }
            let (line, phrase, instead) = (finding.line, finding.phrase, finding.instead);
            faults.push(format!(
                "{name}:{line}: \"{phrase}\" (write {instead}) in: {}",
                finding.around
            ));
        }
    }
    let idle = LEFT.iter().filter(|(file, _, _)| !used.contains(file));
    faults.extend(
        idle.map(|(file, _, _)| {
            format!("{file} has no odd phrase any more: take it from the list")
        }),
    );
    report(&faults);
}

#[test]
fn public_apis_name_only_the_crates_that_are_agreed_on() {
    let mut faults = Vec::new();
    for package in packages() {
        let Some(library) = package.library.as_ref().filter(|_| package.published) else {
            continue;
        };
        let found: BTreeMap<String, BTreeSet<String>> =
            foreign_types(&Modules::of(library), &package.dependencies);
        let agreed = FOREIGN
            .iter()
            .find(|(name, _)| *name == package.name)
            .map_or(&[][..], |(_, crates)| crates);
        for (name, places) in &found {
            if !agreed.contains(&&**name) {
                faults.push(format!("{}: {name} is public by {places:?}", package.name));
            }
        }
    }
    report(&faults);
}

#[test]
fn every_published_crate_has_what_a_registry_shows() {
    let mut faults = Vec::new();
    for package in packages().into_iter().filter(|package| package.published) {
        for file in ["README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
            if !package.folder.join(file).is_file() {
                faults.push(format!("{}: no {file}", package.name));
            }
        }
        let manifest: String = lines_of(&package.folder.join("Cargo.toml"))
            .into_iter()
            .map(|(_, line)| line + "\n")
            .collect();
        if !manifest.contains("[package.metadata.docs.rs]\nall-features = true\n") {
            faults.push(format!("{}: docs.rs is not told to build all features", package.name));
        }
        // On a registry a path of the repository leads nowhere.
        for (line, text) in lines_of(&package.folder.join("README.md")) {
            for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let inside = package.folder.join(target.split('#').next().unwrap_or_default());
                let leads = inside.exists() && !target.contains("..");
                if !target.starts_with("https://") && !leads {
                    faults.push(format!("{}: README.md:{line} links to {target}", package.name));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn the_steps_of_an_append_are_functions_of_these_names() {
    let page = lines_of(&root().join("docs/design.md"));
    let after = page.iter().skip_while(|(_, line)| line != "## An append in PostgreSQL").skip(1);
    let section = after.take_while(|(_, line)| !line.starts_with("## "));
    // 1. `append` (`adapter.rs`) …
    let step = |line: &str| -> Option<[String; 2]> {
        let (number, rest) = line.split_once(". `")?;
        number.parse::<u8>().ok()?;
        let (step, rest) = rest.split_once("` (`")?;
        Some([step.to_owned(), rest.split_once("`)")?.0.to_owned()])
    };
    let steps: Vec<[String; 2]> = section.filter_map(|(_, line)| step(line)).collect();
    assert!((5..=8).contains(&steps.len()), "an append in at most eight steps: {steps:?}");
    let sources = ["adapters/postgres/src", "adapters/sql/src"].map(|source| root().join(source));
    let is_there = |[step, file]: &&[String; 2]| {
        let has_it =
            |line: &str| ["(", "<"].iter().any(|end| line.contains(&format!("fn {step}{end}")));
        let files = sources.iter().map(|source| source.join(file)).filter(|file| file.exists());
        files.flat_map(|file| lines_of(&file)).any(|(_, line)| has_it(&line))
    };
    let missing = steps.iter().filter(|step| !is_there(step));
    let fault = |[step, file]: &[String; 2]| {
        format!("{file} of adapters/postgres and adapters/sql has no function {step}")
    };
    report(&missing.map(fault).collect::<Vec<_>>());
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut faults = Vec::new();
    for page in text_files(&root()) {
        let folder = page.parent().unwrap_or(&page);
        for (line, text) in lines_of(&page) {
            for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = target.split('#').next().unwrap_or_default();
                if !target.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                    faults.push(format!("{}:{line} links to {target}", named(&page)));
                }
            }
        }
    }
    report(&faults);
}

/// The pages and sources that somebody reads to use Annals: not the tests.
fn prose() -> Vec<PathBuf> {
    let is_tests = |file: &PathBuf| named(file).split('/').any(|part| part == "tests");
    let sources = rust_files(&root()).into_iter().filter(|file| !is_tests(file));
    text_files(&root()).into_iter().chain(sources).collect()
}

/// The path of a file in the repository.
fn named(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).to_string_lossy().replace('\\', "/")
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
