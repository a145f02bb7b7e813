//! A suite over a zoo: each broken store is caught by the checks that it names, each odd one passes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::engine::{Check, Class, Contract, Entry, Specimen, Verdict, arguments};

/// How often each check runs on its specimen at first.
const RUNS: u64 = 3;
/// How often a stochastic check runs that missed its specimen at first.
const RUNS_OF_LUCK: u64 = 20;
/// Of how many runs a stochastic check may miss one: less is luck on a machine that is busy with other tests.
const RUNS_TO_A_MISS: u64 = 5;
/// A broken specimen hangs, or is caught at once: it gets a quarter of the limits.
const HASTE: u32 = 4;
/// A run that takes so long waits for a time limit: the others of its kind can wait at the same time.
const SLOW: Duration = Duration::from_secs(1);

/// The proof that a suite works: stores that are known to be wrong, each with the checks that must catch it, and odd
/// ones that are right.
///
/// [`main`](Self::main) makes a test binary of it. Of a broken specimen its named checks run, each three times with
/// different seeds, or as often as the environment variable `ANNALS_ZOO_RUNS` says: a deterministic check must fail
/// every time. A stochastic one that misses is run twenty times, of which it may miss a fifth. As many right specimens pass
/// each check, in turn, and all of them from twenty runs on: most of the time goes to these. With `ANNALS_ZOO=table`
/// the whole suite runs over it as well, and two tables say which checks caught each specimen, and how many specimens
/// each check caught, and caught alone.
#[derive(Debug)]
pub struct Zoo<C: Contract> {
    specimens: Vec<Specimen<C>>,
    unproven: BTreeMap<&'static str, &'static str>,
    tests: Vec<(&'static str, fn())>,
}

impl<C: Contract> Zoo<C> {
    /// A zoo of these specimens.
    pub fn new(specimens: impl IntoIterator<Item = Specimen<C>>) -> Self {
        let unproven = C::UNPROVEN.iter().copied().collect();
        Self { specimens: specimens.into_iter().collect(), unproven, tests: Vec::new() }
    }

    /// Adds a test of your own to those of [`main`](Self::main); it fails if it panics.
    #[must_use]
    pub fn with_test(mut self, name: &'static str, test: fn()) -> Self {
        self.tests.push((name, test));
        self
    }

    /// Runs it as the `main` of a test binary with `harness = false`.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let (mut arguments, filters) = arguments::parse(std::env::args());
        // Those that hang wait for a time limit, not for a processor.
        arguments.test_threads.get_or_insert(8);
        let runs = match std::env::var("ANNALS_ZOO_RUNS").map(|runs| (runs.parse(), runs)) {
            Err(_) => RUNS,
            Ok((Ok(runs @ 1..), _)) => runs,
            Ok((_, text)) => {
                eprintln!("ANNALS_ZOO_RUNS is a number from 1, got {text:?}");
                return ExitCode::from(2);
            }
        };
        let whole = std::env::var("ANNALS_ZOO").is_ok_and(|what| what == "table");
        let caught: &'static Caught = Box::leak(Box::default());
        let zoo: &'static Self = Box::leak(Box::new(self));
        let mut trials = vec![
            Trial::test("every_check_catches_a_specimen_or_is_listed", || zoo.every_check()),
            Trial::test("names_are_right", || zoo.names()),
        ];
        for (name, test) in &zoo.tests {
            trials.push(Trial::test(*name, || {
                test();
                Ok(())
            }));
        }
        let specimens = zoo.specimens.iter();
        let (odd, broken): (Vec<&'static Specimen<C>>, Vec<_>) =
            specimens.partition(|it| it.is_right());
        // While broken ones wait for a time limit, odd ones keep the processors busy.
        let together = (broken.len() / odd.len().max(1)).max(1);
        let turns = odd.len() as u64;
        let mut odd = (0..).zip(odd).map(|(turn, it)| {
            let is_its = move |check| runs >= RUNS_OF_LUCK || (check + turn) % turns < runs;
            Trial::test(format!("odd::{}", it.name), move || passes(it, is_its))
        });
        for some in broken.chunks(together) {
            trials.extend(odd.next());
            trials.extend(some.iter().copied().map(|it| {
                let name = format!("broken::{}", it.name);
                Trial::test(name, move || is_caught(it, runs, whole, caught))
            }));
        }
        trials.extend(odd);
        arguments::retain(&mut trials, &arguments, &filters);
        let conclusion = libtest_mimic::run(&arguments, trials);
        let caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
        if whole && !caught.is_empty() {
            zoo.print(&caught);
        }
        crate::engine::scratch::remove();
        conclusion.exit_code()
    }

    /// The checks without a specimen are those that the contract lists.
    fn every_check(&self) -> Result<(), Failed> {
        let named: BTreeSet<&str> =
            self.specimens.iter().flat_map(|specimen| specimen.caught_by).copied().collect();
        let checks = C::checks();
        let without: BTreeSet<&str> =
            checks.iter().map(|check| check.id).filter(|id| !named.contains(id)).collect();
        if let Some((id, _)) = self.unproven.iter().find(|(_, why)| why.trim().is_empty()) {
            return Err(format!("UNPROVEN does not say why no specimen proves {id}").into());
        }
        if without == self.unproven.keys().copied().collect() {
            return Ok(());
        }
        Err(format!("no specimen proves these, which UNPROVEN must list: {without:?}").into())
    }

    /// Names are there once, and name something.
    fn names(&self) -> Result<(), Failed> {
        let mut known = BTreeSet::new();
        for check in C::checks() {
            if !known.insert(check.id) {
                return Err(format!("two checks are called {}", check.id).into());
            }
            let rule = |id: &&str| C::RULES.iter().any(|rule| rule.id == **id);
            if let Some(id) = check.rules.iter().find(|id| !rule(id)) {
                return Err(format!("{} names {id}, which is no rule", check.id).into());
            }
        }
        let mut names = BTreeSet::new();
        for specimen in &self.specimens {
            if !names.insert(specimen.name) {
                return Err(format!("two specimens are called {}", specimen.name).into());
            }
            if let Some(id) = specimen.caught_by.iter().find(|id| !known.contains(*id)) {
                return Err(format!("{} names {id}, which is no check", specimen.name).into());
            }
        }
        let broken = self.specimens.iter().filter(|specimen| !specimen.is_right()).count();
        println!("{broken} broken specimens, {} odd ones", names.len() - broken);
        Ok(())
    }

    /// Which checks caught each specimen; of each check how many it caught, and how many nothing else caught.
    fn print(&self, caught: &BTreeMap<&'static str, BTreeSet<String>>) {
        println!("{:<34} caught by", "broken specimen");
        for specimen in &self.specimens {
            if let Some(checks) = caught.get(specimen.name) {
                let checks: Vec<_> = checks.iter().map(String::as_str).collect();
                println!("{:<34} {}", specimen.name, checks.join(" "));
            }
        }
        println!("\n{:<34} {:>6} {:>6} which", "check", "caught", "alone");
        for check in C::checks() {
            let by = caught.iter().filter(|(_, checks)| checks.contains(check.id));
            let (all, alone): (Vec<_>, Vec<_>) =
                by.map(|(name, checks)| (*name, (checks.len() == 1).then_some(*name))).unzip();
            let alone: Vec<_> = alone.into_iter().flatten().collect();
            println!("{:<34} {:>6} {:>6} {}", check.id, all.len(), alone.len(), alone.join(" "));
        }
    }
}

/// The checks that caught each specimen.
type Caught = Mutex<BTreeMap<&'static str, BTreeSet<String>>>;

/// Every named check fails with a message of its own.
fn is_caught<C: Contract>(
    specimen: &Specimen<C>,
    runs: u64,
    whole: bool,
    caught: &Caught,
) -> Result<(), Failed> {
    let mut caught_by = BTreeSet::new();
    for id in specimen.caught_by {
        let checks = specimen.suite().checks();
        let check = checks.iter().find(|check| check.id == *id);
        let check = check.ok_or(format!("there is no check {id}"))?;
        let mut missed = misses(specimen, check, 0..runs);
        let mut allowed = 0;
        if check.class == Class::Stochastic && !missed.is_empty() {
            let all = runs.max(RUNS_OF_LUCK);
            missed.extend(misses(specimen, check, runs..all));
            allowed = all / RUNS_TO_A_MISS;
        }
        if missed.len() as u64 > allowed {
            return Err(missed.join("\n").into());
        }
        caught_by.insert((*id).to_owned());
    }
    if whole {
        let report = specimen.suite().with_haste(HASTE).run();
        caught_by.extend(report.failures().map(|entry| entry.id.clone()));
    }
    caught.lock().unwrap_or_else(PoisonError::into_inner).insert(specimen.name, caught_by);
    Ok(())
}

/// Runs the check with these seeds; what it said where it did not fail.
fn misses<C: Contract>(
    specimen: &Specimen<C>,
    check: &Check<C>,
    mut seeds: std::ops::Range<u64>,
) -> Vec<String> {
    let fails = |seed| {
        // A broken store that hangs does so on a busy machine as well.
        let suite = specimen.suite().with_haste(HASTE);
        let entry = suite.with_seed(seed).run_check(check);
        let missed = match entry.verdict {
            Verdict::Fail(..) => None,
            verdict => Some(format!("run {seed} of {} ended as {verdict:?}", check.id)),
        };
        (missed, entry.time)
    };
    let Some(first) = seeds.next() else { return Vec::new() };
    let (first, time) = fails(first);
    let others: Vec<_> = if time < SLOW {
        seeds.map(fails).map(|(missed, _)| missed).collect()
    } else {
        thread::scope(|scope| {
            let runs: Vec<_> = seeds.map(|seed| scope.spawn(move || fails(seed).0)).collect();
            let ended = |run: thread::ScopedJoinHandle<'_, Option<String>>| {
                run.join().unwrap_or_else(|_| Some("a run panicked".to_owned()))
            };
            runs.into_iter().map(ended).collect()
        })
    };
    std::iter::once(first).chain(others).flatten().collect()
}

/// Those of the checks pass that are this specimen's, by their places among all.
fn passes<C: Contract>(specimen: &Specimen<C>, is_its: impl Fn(u64) -> bool) -> Result<(), Failed> {
    // Nothing hangs: what takes long waits for a busy machine.
    let suite = specimen.suite().with_limit(Duration::from_secs(120));
    let checks = (0..).zip(suite.checks()).filter(|(place, _)| is_its(*place));
    let checks: Vec<_> = checks.map(|(_, check)| check).collect();
    let report = suite.run_each(&checks);
    let failures: Vec<_> = report.failures().filter_map(Entry::failure).collect();
    if failures.is_empty() && report.is_pass() { Ok(()) } else { Err(failures.join("\n\n").into()) }
}
