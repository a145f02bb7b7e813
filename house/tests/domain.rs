//! The page of the domain layer says what the sources say: lines that users write, and a test for each rule.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use annals_house::{lines_of, root, rust_files};

const PAGE: &str = "docs/domain.md";
/// Set, the page is written anew.
const UPDATE: &str = "ANNALS_UPDATE_DOCS";

/// The rules: so many of each letter.
const RULES: &[(char, u8)] = &[
    ('E', 7),
    ('R', 5),
    ('V', 7),
    ('G', 5),
    ('C', 9),
    ('S', 7),
    ('B', 4),
    ('X', 3),
    ('N', 2),
    ('T', 3),
];

/// Where their tests are: below these folders, and in the file of those about golden files.
const TESTS: ([&str; 2], &str) =
    (["domain/tests", "domain/derive/tests"], "examples/tests/suite/golden.rs");

/// The programs that are compared, as the page has them.
const PROGRAMS: &[(&str, &str)] = &[
    ("Annals", "annals.rs"),
    ("esrs", "esrs.rs"),
    ("cqrs-es with postgres-es", "cqrs_es.rs"),
    ("disintegrate", "disintegrate.rs"),
];
const PROGRAMS_IN: &str = "benches/peers/src/worlds";

/// Of a program: the second event and its command.
const ONE_EVENT: [&str; 2] = ["SomethingHappened", "MakeItSo"];

fn rules() -> impl Iterator<Item = String> {
    RULES.iter().flat_map(|(letter, last)| (1..=*last).map(move |nth| format!("{letter}{nth}")))
}

/// The tests of each rule, each with its file: `x1_x2_it_does` is one of X1 and X2.
fn tests() -> BTreeMap<String, Vec<(String, String)>> {
    let rules: BTreeSet<String> = rules().collect();
    let mut tests: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut files: Vec<_> =
        TESTS.0.iter().flat_map(|folder| rust_files(&root().join(folder))).collect();
    files.push(root().join(TESTS.1));
    for file in files {
        let name = file.strip_prefix(root()).expect("it is in the repository").to_string_lossy();
        let name = name.replace('\\', "/");
        let mut is_test = false;
        for (_, line) in lines_of(&file) {
            let line = line.trim_start();
            if line.starts_with("#[") {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                is_test &= !line.starts_with("#[ignore");
                continue;
            }
            let signature = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some(function) = signature.filter(|_| is_test) {
                let function = function.split(['(', '<']).next().unwrap_or_default();
                for rule in function.split('_').map(str::to_uppercase) {
                    if !rules.contains(&rule) {
                        break;
                    }
                    tests.entry(rule).or_default().push((function.to_owned(), name.clone()));
                }
            }
            is_test = false;
        }
    }
    tests
}

/// What a user writes of a program: between its marks, without imports, blank lines and comments.
fn written(file: &Path) -> Vec<String> {
    let lines = lines_of(file);
    let mark = |mark: &str| {
        let marks: Vec<usize> = lines
            .iter()
            .filter(|(_, line)| *line == format!("// What a user writes: {mark}."))
            .map(|(number, _)| *number)
            .collect();
        match *marks {
            [one] => one,
            _ => panic!("{} has one mark \"{mark}\"", file.display()),
        }
    };
    let (begin, end) = (mark("begin"), mark("end"));
    let outside = lines.iter().filter(|(number, line)| {
        (*number < begin || *number > end) && !line.is_empty() && !line.starts_with("//")
    });
    for (number, line) in outside {
        let is_import = ["use ", "    ", "};"].iter().any(|begin| line.starts_with(begin));
        assert!(is_import, "{}:{number} is outside of the marks: {line}", file.display());
    }
    let inside = lines.iter().filter(|(number, _)| (begin + 1..end).contains(number));
    let inside = inside.map(|(_, line)| line.trim().to_owned());
    inside.filter(|line| !line.is_empty() && !line.starts_with("//")).collect()
}

/// How often one of `names` is written.
fn mentions(lines: &[String], names: &[&str]) -> usize {
    let words = lines
        .iter()
        .flat_map(|line| line.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    words.filter(|word| names.contains(word)).count()
}

fn programs() -> Vec<(&'static str, &'static str, Vec<String>)> {
    let written = |file: &str| written(&root().join(PROGRAMS_IN).join(file));
    PROGRAMS.iter().map(|(with, file)| (*with, *file, written(file))).collect()
}

/// The line of the page as it should be.
fn line_of(line: &str, tests: &BTreeMap<String, Vec<(String, String)>>) -> String {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, first, second, ..] = *cells else { return line.to_owned() };
    if rules().any(|rule| rule == first) {
        let found = tests.get(first).map(Vec::as_slice).unwrap_or_default();
        let found = found.iter().map(|(test, file)| format!("[`{test}`](../{file})"));
        return format!("| {first} | {second} | {} |", found.collect::<Vec<_>>().join(", "));
    }
    match programs().into_iter().find(|(with, ..)| *with == first) {
        Some((with, file, lines)) => format!(
            "| {with} | {} | {} | [{file}](../{PROGRAMS_IN}/{file}) |",
            lines.len(),
            mentions(&lines, &ONE_EVENT)
        ),
        None => line.to_owned(),
    }
}

#[test]
fn every_rule_has_a_test_of_its_name() {
    let tests = tests();
    let missing: Vec<String> = rules().filter(|rule| !tests.contains_key(rule)).collect();
    assert!(missing.is_empty(), "no test has the name of {missing:?}");
}

#[test]
fn the_page_says_what_the_sources_say() {
    let page = root().join(PAGE);
    let is: Vec<String> = lines_of(&page).into_iter().map(|(_, line)| line).collect();
    for first in rules().chain(PROGRAMS.iter().map(|(with, _)| (*with).to_owned())) {
        let rows = is.iter().filter(|line| line.starts_with(&format!("| {first} |"))).count();
        assert_eq!(rows, 1, "{PAGE} has one row of {first}");
    }
    let tests = tests();
    let should: Vec<String> = is.iter().map(|line| line_of(line, &tests)).collect();
    if std::env::var(UPDATE).is_ok_and(|value| !value.is_empty() && value != "0") {
        std::fs::write(&page, should.join("\n") + "\n").expect("the page is written");
        return;
    }
    let odd = is.iter().zip(&should).find(|(is, should)| is != should);
    assert!(odd.is_none(), "{PAGE} is old: run {UPDATE}=1 cargo test -p annals-house\n{odd:#?}");
}

#[test]
fn with_annals_the_fewest_lines_are_written_and_none_is_repeated() {
    let programs = programs();
    let (own, others) = programs.split_first().expect("there are programs");
    for (with, _, lines) in others {
        assert!(own.2.len() < lines.len(), "{with} needs {} lines", lines.len());
        let names = mentions(lines, &ONE_EVENT);
        assert!(mentions(&own.2, &ONE_EVENT) < names, "{with} names one event {names} times");
    }
    // The variant, the name in the log, `apply`, the decision.
    assert_eq!(mentions(&own.2, &ONE_EVENT), 4);
    let mut seen = BTreeSet::new();
    for line in own.2.iter().filter(|line| line.contains(char::is_alphabetic)) {
        assert!(seen.insert(line), "it is written twice: {line}");
    }
}

#[test]
fn at_least_twelve_misuses_have_the_message_that_a_user_sees() {
    let programs = rust_files(&root().join("domain/derive/tests/compile_fail"));
    for program in &programs {
        assert!(program.with_extension("stderr").is_file(), "{} has no message", program.display());
    }
    assert!(programs.len() >= 12, "{} misuses", programs.len());
}
