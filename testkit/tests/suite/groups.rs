//! The suites of groups and of locks pass the right ones, and catch each broken one for certain: at every seed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::sync::Arc;

use annals::StorageAdapter;
use annals_memory::{MemoryAdapter, MemoryState};
use annals_state::StateStore;
use annals_testkit::processing::{broken_groups, broken_locks, group_checks, lock_checks};

fn log() -> Arc<dyn StorageAdapter> {
    Arc::new(MemoryAdapter::new())
}

fn state() -> Arc<dyn StateStore> {
    Arc::new(MemoryState::new())
}

/// How many seeds each broken one is caught at, one by one.
const SEEDS: u64 = 8;
/// What is drawn at random meets a fault at three of four seeds: at least once in so many.
const SCHEDULES: Range<u64> = 0..60;

#[test]
fn the_suite_of_groups_catches_every_broken_group_at_every_seed_and_passes_the_right_one() {
    let mut wrong = Vec::new();
    for group in broken_groups() {
        let harness = group.harness(log, state);
        for check in group_checks() {
            let must_catch = group.caught_by.contains(&check.name);
            if !must_catch && !group.caught_by.is_empty() {
                continue;
            }
            let is_random = check.name == "g1.schedules" && must_catch;
            let each = (0..SEEDS).map(|seed| seed..seed + 1);
            let seeds = if is_random { vec![SCHEDULES] } else { each.collect() };
            for seeds in seeds {
                let caught = check.run(&harness, seeds.clone());
                if caught.is_err() != must_catch {
                    wrong.push(format!(
                        "a group that {}: {} says {caught:?} at {seeds:?}",
                        group.about, check.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for check in group_checks() {
        let catches = broken_groups().iter().any(|group| group.caught_by.contains(&check.name));
        assert!(catches, "nothing proves that {} can fail", check.name);
    }
}

#[test]
fn the_suite_of_locks_catches_every_broken_program_at_every_seed_and_passes_the_right_one() {
    let mut wrong = Vec::new();
    for program in broken_locks() {
        let harness = program.harness(log, state);
        for check in lock_checks() {
            let must_catch = program.caught_by.contains(&check.name);
            if !must_catch && !program.caught_by.is_empty() {
                continue;
            }
            for seed in 0..SEEDS {
                let caught = check.run(&harness, seed..seed + 1);
                if caught.is_err() != must_catch {
                    wrong.push(format!(
                        "a program that {}: {} says {caught:?} at {seed}",
                        program.about, check.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for check in lock_checks() {
        let catches = broken_locks().iter().any(|one| one.caught_by.contains(&check.name));
        assert!(catches, "nothing proves that {} can fail", check.name);
    }
}
