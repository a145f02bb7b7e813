//! Groups in virtual time: nodes that are killed, stopped and continued, that join and leave, whose clocks are wrong and
//! whose stores fail. The number of random schedules is `ANNALS_SCHEDULES` (24 without it; 1,000 in the full profile).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cluster;
mod stores;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::{Counting, SECOND, World, number};
use annals::EventStore;
use annals_processing::{ProcessingError, Processor, Timer, reset};
use annals_state::{Collection, StateStore};
use annals_testkit::processing::{Chaos, Odds};
use cluster::{BEAT, Cluster, DEAD_AFTER, Numbers};
use futures_executor::block_on;
use stores::Bent;

fn schedules() -> u64 {
    let wanted = std::env::var("ANNALS_SCHEDULES").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// Appends while nodes are killed, stopped, continued, leave and join; in the end all is as it should be.
fn schedule(mut cluster: Cluster, seed: u64) -> usize {
    let world = cluster.world.clone();
    let appends = cluster.tasks.spawn(async move {
        for nth in 0..60 {
            world.timer.sleep(SECOND).await;
            world.append(&format!("s-{}", nth % 7), &["counted"]).await;
        }
    });
    for _ in 0..3 {
        cluster.join();
    }
    while cluster.tasks.is_running(appends) {
        let steps = cluster.tasks.draw(250);
        cluster.tasks.steps(steps);
        let nth = cluster.tasks.draw(cluster.nodes.len());
        let (task, handle, is_frozen) = cluster.nodes[nth].clone();
        match cluster.tasks.draw(8) {
            0 => cluster.tasks.kill(task),
            1 => handle.stop(),
            2 | 3 if !is_frozen => {
                cluster.tasks.freeze(task);
                cluster.nodes[nth].2 = true;
            }
            4 if cluster.nodes.len() < 12 => drop(cluster.join()),
            5 => cluster.set(Odds::WILD),
            6 => cluster.set(Odds::CALM),
            _ => {
                cluster.tasks.thaw(task);
                cluster.nodes[nth].2 = false;
            }
        }
    }
    for nth in 0..cluster.nodes.len() {
        let (task, _, _) = cluster.nodes[nth].clone();
        cluster.tasks.thaw(task);
    }
    cluster.join();
    cluster.check_calm(&format!("seed {seed}"));
    cluster.refusals.load(Ordering::SeqCst)
}

#[test]
fn g1_g2_g8_in_random_schedules_no_number_is_doubled_none_is_missing_and_former_owners_are_refused()
{
    let parts = |seed| 1 + u16::try_from(seed % 6).unwrap();
    let refused: usize =
        (0..schedules()).map(|seed| schedule(Cluster::new(seed, parts(seed)), seed)).sum();
    assert!(refused > 0, "no former owner ever tried to commit: the schedules prove nothing");
}

#[test]
fn g1_the_schedules_catch_a_group_whose_fence_is_not_the_revision() {
    let catches = |seed: &u64| {
        let bent = Cluster::over(*seed, 2, |state| Arc::new(Bent(state)));
        let run = std::panic::AssertUnwindSafe(|| schedule(bent, *seed));
        std::panic::catch_unwind(run).is_err()
    };
    assert!((0..20).any(|seed| catches(&seed)), "nothing proves that the schedules can fail");
}

#[test]
fn g3_the_parts_of_a_dead_node_are_taken_within_dead_after_and_two_beats() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 6);
        let (first, second) = (cluster.join_exact(), cluster.join_exact());
        cluster.until(BEAT * 10, |all| all.has(first).len() == 3 && all.has(second).len() == 3);
        let moment = u32::try_from(cluster.tasks.draw(1_000)).unwrap();
        cluster.pass(BEAT * moment / 1_000);
        let task = cluster.nodes[first].0;
        cluster.tasks.kill(task);
        let took = cluster.until(DEAD_AFTER + BEAT * 2, |all| all.has(second).len() == 6);
        assert!(took >= DEAD_AFTER.saturating_sub(BEAT), "seed {seed}: {took:?} is too early");
    }
}

#[test]
fn g3_a_node_that_comes_back_in_time_keeps_its_parts() {
    let mut cluster = Cluster::new(1, 4);
    let (first, second) = (cluster.join_exact(), cluster.join_exact());
    cluster.until(BEAT * 10, |all| all.has(first).len() == 2 && all.has(second).len() == 2);
    let before = (cluster.has(first), cluster.has(second));
    for _ in 0..5 {
        let task = cluster.nodes[first].0;
        cluster.tasks.freeze(task);
        cluster.pass(DEAD_AFTER.saturating_sub(BEAT * 2));
        cluster.tasks.thaw(task);
        cluster.pass(BEAT * 3);
        assert_eq!((cluster.has(first), cluster.has(second)), before);
    }
}

#[test]
fn g4_a_machine_that_slept_with_all_its_nodes_moves_nothing() {
    let mut cluster = Cluster::new(2, 4);
    let nodes = [cluster.join_exact(), cluster.join_exact()];
    cluster.until(BEAT * 10, |all| nodes.iter().all(|one| all.has(*one).len() == 2));
    let before: Vec<_> = nodes.iter().map(|one| cluster.has(*one)).collect();
    // An hour passes for the clocks at once.
    cluster.world.timer.advance(SECOND * 3_600);
    cluster.pass(BEAT * 5);
    let after: Vec<_> = nodes.iter().map(|one| cluster.has(*one)).collect();
    assert_eq!(before, after);
}

#[test]
fn g2_a_former_owner_is_refused_after_a_pause_of_any_length_and_goes_on_with_other_parts() {
    let mut cluster = Cluster::new(3, 1);
    let first = cluster.join_exact();
    cluster.until(BEAT * 5, |all| all.has(first) == [0]);
    block_on(cluster.world.append_many(5, 2));
    // The batch is in its hands.
    cluster.tasks.steps(9);
    let task = cluster.nodes[first].0;
    cluster.tasks.freeze(task);
    let second = cluster.join_exact();
    cluster.until(DEAD_AFTER + BEAT * 3, |all| all.has(second) == [0]);
    cluster.pass(SECOND * 3_600);
    block_on(cluster.world.append_many(5, 2));
    cluster.tasks.thaw(task);
    cluster.until(BEAT * 5, |all| all.has(first).is_empty());
    cluster.check_calm("after an hour");
    assert_eq!(cluster.has(second), [0], "a singleton stays where it is");
    // It was the last to speak, and still a node: it goes on when it is needed.
    let task = cluster.nodes[second].0;
    cluster.tasks.kill(task);
    cluster.until(DEAD_AFTER + BEAT * 2, |all| all.has(first) == [0]);
    block_on(cluster.world.append_many(5, 2));
    cluster.check_calm("after the second move");
}

#[test]
fn q7_a_node_that_leaves_gives_its_parts_back_at_once() {
    let mut cluster = Cluster::new(4, 6);
    let (first, second) = (cluster.join_exact(), cluster.join_exact());
    cluster.until(BEAT * 10, |all| all.has(first).len() == 3 && all.has(second).len() == 3);
    cluster.nodes[first].1.stop();
    cluster.until(BEAT * 2, |all| all.has(second).len() == 6);
    let task = cluster.nodes[first].0;
    assert!(!cluster.tasks.is_running(task));
    let members = block_on(cluster.world.ids("annals.members"));
    assert_eq!(members.len(), 1, "{members:?}");
}

#[test]
fn g5_a_quiet_group_costs_one_write_a_node_and_beat() {
    let world = World::new();
    let counting = Counting::new(Arc::clone(&world.state));
    let mut cluster = Cluster::new(5, 24);
    cluster.state = Chaos::new(Arc::new(counting.clone()), 5, Odds::CALM);
    let nodes: Vec<usize> = (0..3).map(|_| cluster.join_exact()).collect();
    cluster.until(BEAT * 20, |all| nodes.iter().all(|one| all.has(*one).len() == 8));
    cluster.pass(BEAT * 5);
    let before = counting.commits();
    cluster.pass(BEAT * 100);
    let commits = counting.commits() - before;
    assert!((297..=303).contains(&commits), "{commits} commits in 100 beats of 3 nodes");
}

#[test]
fn g6_a_node_with_another_definition_waits_and_says_so_while_the_others_go_on() {
    let mut cluster = Cluster::new(6, 3);
    let old = cluster.join_exact();
    cluster.until(BEAT * 5, |all| all.has(old).len() == 3);
    let new = {
        let group = cluster.group(cluster.world.timer.clone(), 2, 3);
        cluster.spawn(group)
    };
    cluster.pass(BEAT * 10);
    assert!(cluster.has(new).is_empty());
    let waits_for = cluster.nodes[new].1.status().waits_for.unwrap();
    assert!(waits_for.contains("version"), "{waits_for}");
    assert_eq!(cluster.has(old).len(), 3);
    block_on(cluster.world.append_many(10, 3));
    cluster.until(BEAT * 5, |all| all.numbers() == all.expected());
    // The old programs end, and an operator resets the view: the new ones take it, with their definition.
    cluster.nodes[old].1.stop();
    cluster.pass(BEAT * 3);
    assert!(cluster.has(new).is_empty());
    let claim = annals_processing::Claim::new("numbers").unwrap();
    block_on(reset(&*cluster.world.state, &claim)).unwrap();
    cluster.until(BEAT * 5, |all| all.has(new).len() == 3);
    assert_eq!(cluster.nodes[new].1.status().waits_for, None);
    cluster.until(BEAT * 10, |all| all.numbers() == all.expected());
}

#[test]
fn r7_an_error_of_one_processor_ends_the_node_after_the_others_have_finished() {
    let mut cluster = Cluster::new(7, 3);
    let group = cluster.group(cluster.world.timer.clone(), 1, 3);
    let handle = group.handle();
    block_on(cluster.world.append_many(6, 3));
    block_on(cluster.world.append("bad", &["poison"]));
    let error = cluster.tasks.block_on(async move { group.run().await.unwrap_err() });
    let ProcessingError::Handler(error) = error else { panic!("{error}") };
    assert_eq!(error.sequence_number, number(7));
    assert!(handle.status().parts.is_empty());
    // Nothing is owned by anybody: the next one takes all at its first beat.
    assert!(block_on(cluster.world.ids("annals.members")).is_empty());
}

#[test]
fn g1_a_processor_in_no_group_and_a_group_do_not_work_on_one_part() {
    let mut cluster = Cluster::new(8, 1);
    let state: Arc<dyn StateStore> = Arc::new(cluster.state.clone());
    let numbers = Collection::new("numbers").unwrap().on(state);
    let timer = cluster.world.timer.clone();
    let store = EventStore::new(cluster.log.clone());
    let single = Processor::view("numbers", &store, numbers, Numbers, timer).unwrap();
    let task = cluster.tasks.spawn(async move { drop(single.run().await) });
    block_on(cluster.world.append_many(6, 3));
    cluster.tasks.steps(200);
    let node = cluster.join_exact();
    let world = cluster.world.clone();
    let appends = cluster.tasks.spawn(async move {
        for _ in 0..30 {
            world.timer.sleep(BEAT).await;
            world.append("s-1", &["counted"]).await;
        }
    });
    // As long as its tracking moves, it lives.
    while cluster.tasks.is_running(appends) {
        cluster.tasks.step();
        assert!(cluster.has(node).is_empty());
    }
    cluster.tasks.kill(task);
    cluster.until(DEAD_AFTER + BEAT * 2, |all| all.has(node) == [0]);
    cluster.check_calm("after the single one");
}
