//! The suite as a test binary: each check is a test of its own.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Completion, Failed, Trial};

use crate::engine::{Check, Contract, Entry, Suite, Verdict, arguments, scratch};

/// So many checks run beside each other where there are fewer processors: they wait more than they compute.
const BESIDE: usize = 6;

/// Runs a suite as the `main` of a test binary with `harness = false`, as [`annals_testkit::main`](crate::main) does
/// with that of storage.
#[must_use]
pub fn main<C: Contract>(suite: Suite<C>) -> ExitCode {
    main_of_each([suite])
}

/// The same with several suites, as one store that is opened in several ways: the tests of each bear its name, and each
/// leaves its report in a folder of its name.
#[must_use]
pub fn main_of_each<C: Contract>(suites: impl IntoIterator<Item = Suite<C>>) -> ExitCode {
    let suites: Result<Vec<_>, String> = suites.into_iter().map(Suite::with_env).collect();
    let suites = match suites {
        Ok(suites) => suites,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    if let Some(code) = suites.iter().find_map(|suite| C::serve(&suite.context(String::new()))) {
        return code;
    }
    let code = run(&suites);
    scratch::remove();
    code
}

fn run<C: Contract>(suites: &[Suite<C>]) -> ExitCode {
    let (mut arguments, filters) = arguments::parse(std::env::args());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(processors.max(BESIDE));
    let several = suites.len() > 1;
    let mut all = Vec::new();
    let mut kept = Vec::new();
    for suite in suites {
        let entries = Arc::new(Mutex::new(Vec::new()));
        let prefix = if several { format!("{}::", suite.name) } else { String::new() };
        all.extend(trials(suite, &prefix, &entries, arguments.list));
        kept.push((suite, entries));
    }
    arguments::retain(&mut all, &arguments, &filters);
    let conclusion = libtest_mimic::run(&arguments, all);
    if !arguments.list {
        for (suite, entries) in kept {
            let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
            let order: Vec<_> = suite.checks().iter().map(|check| check.id).collect();
            entries.sort_by_key(|entry: &Entry| order.iter().position(|id| *id == entry.id));
            let folder = several.then_some(suite.name.as_str());
            if let Err(problem) = conclude(suite, folder, std::mem::take(&mut entries)) {
                eprintln!("{problem}");
                return ExitCode::from(2);
            }
        }
    }
    conclusion.exit_code()
}

/// A test for each check. When they are only listed, what does not apply is marked from what the adapter
/// declares; when they are run, the check itself says why it is ignored.
fn trials<C: Contract>(
    suite: &Suite<C>,
    prefix: &str,
    entries: &Arc<Mutex<Vec<Entry>>>,
    list: bool,
) -> Vec<Trial> {
    let capabilities = if list { suite.capabilities().ok() } else { None };
    let trial = |check: Check<C>| {
        let ignored = capabilities.as_ref().is_some_and(|can| suite.missing(&check, can).is_some());
        let (suite, entries) = (suite.clone(), Arc::clone(entries));
        let run = move || {
            let entry = suite.run_check(&check);
            let completion = match &entry.verdict {
                Verdict::Pass => Ok(Completion::Completed),
                Verdict::Fail(..) => Err(Failed::from(entry.failure().unwrap_or_default())),
                Verdict::Skipped(reason) => Ok(Completion::ignored_with(reason)),
                Verdict::NotRun(reason) => {
                    Ok(Completion::ignored_with(format!("NOT RUN: {reason}")))
                }
                Verdict::Inconclusive(reason) => {
                    Ok(Completion::ignored_with(format!("INCONCLUSIVE: {reason}")))
                }
            };
            entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            completion
        };
        Trial::ignorable_test(format!("{prefix}{}", check.id), run).with_ignored_flag(ignored)
    };
    let mut checks = suite.checks();
    // What waits long begins first: at the end nothing would run beside it.
    checks.sort_by_key(|check| !check.is_slow());
    checks.into_iter().map(trial).collect()
}

/// Prints the badge and writes the reports that are asked for.
fn conclude<C: Contract>(
    suite: &Suite<C>,
    folder: Option<&str>,
    entries: Vec<Entry>,
) -> Result<(), String> {
    let report = suite.report(entries);
    println!("{} | seed {} | {}\n", report.adapter, report.seed, report.badge());
    let Some(reports) = std::env::var_os("ANNALS_TESTKIT_REPORT") else { return Ok(()) };
    let folder = std::path::PathBuf::from(reports).join(folder.unwrap_or_default());
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("report.json"), report.to_json()))
        .and_then(|()| std::fs::write(folder.join("report.md"), report.to_markdown()))
        .and_then(|()| std::fs::write(folder.join("report.html"), report.to_html()))
        .map_err(|error| format!("cannot write the report to {}: {error}", folder.display()))
}
