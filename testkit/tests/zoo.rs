//! The suite over the zoo: each broken adapter is caught by the checks that it names, each odd one passes.
//!
//! Of a broken adapter its named checks run, each twenty times with different seeds: deterministic ones must
//! fail every time, stochastic ones nearly so.
//! With `ANNALS_ZOO=table` the whole suite runs over it as well, and a table tells all the checks that caught it.

use std::collections::BTreeSet;
use std::iter;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use annals_testkit::zoo::{Specimen, specimens};
use annals_testkit::{Class, Feature, Hook, Need, Suite, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};

/// How often each check runs on its specimen: a deterministic one must catch it every time.
const RUNS: u64 = 20;
/// How often a stochastic check may miss it: less is luck on a machine that is busy with other tests.
const MISSES: usize = 4;
/// A run that takes so long waits for a time limit: the others of its kind can wait at the same time.
const SLOW: Duration = Duration::from_secs(1);

type Table = Arc<Mutex<Vec<(&'static str, BTreeSet<String>)>>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Those that hang wait for a time limit, not for a processor.
    arguments.test_threads.get_or_insert(4);
    let whole = std::env::var("ANNALS_ZOO").is_ok_and(|what| what == "table");
    let table = Table::default();
    let mut trials = vec![
        Trial::test("every_required_check_catches_a_specimen", every_check_catches),
        Trial::test("specimens_name_checks", specimens_name_checks),
    ];
    for specimen in specimens() {
        let table = Arc::clone(&table);
        trials.push(if specimen.is_right() {
            Trial::test(format!("odd::{}", specimen.name), || passes(specimen))
        } else {
            let name = format!("broken::{}", specimen.name);
            Trial::test(name, move || caught(specimen, whole, &table))
        });
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let table = table.lock().unwrap_or_else(PoisonError::into_inner);
    if !table.is_empty() {
        println!("{:<34} caught by", "broken adapter");
        for specimen in specimens() {
            if let Some((name, checks)) = table.iter().find(|(name, _)| *name == specimen.name) {
                println!("{name:<34} {}", checks.iter().cloned().collect::<Vec<_>>().join(" "));
            }
        }
    }
    conclusion.exit_code()
}

/// Every named check fails with a message of its own.
fn caught(specimen: &Specimen, whole: bool, table: &Table) -> Result<(), Failed> {
    let mut caught_by = BTreeSet::new();
    for id in specimen.caught_by {
        let find = |suite: &Suite| suite.checks().into_iter().find(|check| check.id == *id);
        let check = find(&specimen.suite()).ok_or(format!("there is no check {id}"))?;
        // Why the run did not catch it, and how long it took.
        let fails = |seed| {
            let entry = specimen.suite().with_seed(seed).run_check(&check);
            let missed = match entry.verdict {
                Verdict::Fail(..) => None,
                verdict => Some(format!("run {seed} of {id} gave {verdict:?}")),
            };
            (missed, entry.time)
        };
        let (first, time) = fails(0);
        let others: Vec<_> = if time < SLOW {
            (1..RUNS).map(fails).map(|(missed, _)| missed).collect()
        } else {
            let fails = &fails;
            thread::scope(|scope| {
                let runs: Vec<_> =
                    (1..RUNS).map(|seed| scope.spawn(move || fails(seed).0)).collect();
                let joined = runs.into_iter().map(thread::ScopedJoinHandle::join);
                joined.map(|missed| missed.unwrap_or(Some("a run panicked".into()))).collect()
            })
        };
        let missed: Vec<String> = iter::once(first).chain(others).flatten().collect();
        if missed.len() > if check.class == Class::Stochastic { MISSES } else { 0 } {
            return Err(missed.join("\n").into());
        }
        caught_by.insert((*id).to_owned());
    }
    if whole {
        let report = specimen.suite().run();
        caught_by.extend(report.failures().map(|entry| entry.id.clone()));
    }
    table.lock().unwrap_or_else(PoisonError::into_inner).push((specimen.name, caught_by));
    Ok(())
}

fn passes(specimen: &Specimen) -> Result<(), Failed> {
    // Nothing hangs: what takes long waits for a busy machine.
    let report = specimen.suite().with_limit(Duration::from_secs(120)).run();
    let failures: Vec<_> = report.failures().filter_map(annals_testkit::Entry::failure).collect();
    if failures.is_empty() && report.is_pass() { Ok(()) } else { Err(failures.join("\n\n").into()) }
}

/// The checks that the zoo can run: those that need nothing beyond the memory of this process.
fn applies_to_the_zoo(need: Need) -> bool {
    match need {
        Need::Hook(hook) => matches!(hook, Hook::PageSize | Hook::StartAfter | Hook::Gate),
        Need::Has(Feature::Durable | Feature::Shared) | Need::Disturb(_) | Need::Processes => false,
        _ => true,
    }
}

fn every_check_catches() -> Result<(), Failed> {
    let named: BTreeSet<&str> =
        specimens().flat_map(|specimen| specimen.caught_by).copied().collect();
    let idle: Vec<&str> = all_checks()
        .iter()
        .filter(|check| {
            check.class == Class::Required && check.needs.iter().copied().all(applies_to_the_zoo)
        })
        .map(|check| check.id)
        .filter(|id| !named.contains(id))
        .collect();
    if idle.is_empty() {
        Ok(())
    } else {
        Err(format!("no specimen proves {}", idle.join(" ")).into())
    }
}

fn specimens_name_checks() -> Result<(), Failed> {
    let known: BTreeSet<&str> = all_checks().iter().map(|check| check.id).collect();
    let mut names = BTreeSet::new();
    for specimen in specimens() {
        if !names.insert(specimen.name) {
            return Err(format!("two specimens are called {}", specimen.name).into());
        }
        if let Some(id) = specimen.caught_by.iter().find(|id| !known.contains(*id)) {
            return Err(format!("{} names {id}, which is no check", specimen.name).into());
        }
    }
    let broken = specimens().filter(|specimen| !specimen.is_right()).count();
    println!("{broken} broken specimens, {} odd ones", names.len() - broken);
    Ok(())
}

fn all_checks() -> Vec<annals_testkit::Check> {
    specimens().next().map(|specimen| Suite::checks(&specimen.suite())).unwrap_or_default()
}
