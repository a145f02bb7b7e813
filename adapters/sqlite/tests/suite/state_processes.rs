//! Processes that die while they commit documents: what was acknowledged is there, whole, and a revision never comes back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../sql/tests/common/commits.rs"]
#[allow(dead_code, reason = "no test file needs all of it")]
mod commits;

use std::io::{BufRead, BufReader};

use crate::common::{child, path_of_child};
use annals_sqlite::SqliteAdapter;
use annals_state::{Expected, StateStore};
use commits::{step, whole};

const TASKS: usize = 4;

/// Moves the documents of each task on from where they are until it is killed; says each commit that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process"]
async fn child_commits_without_end() {
    let state = SqliteAdapter::open(path_of_child()).await.unwrap().state();
    let tasks = (0..TASKS).map(|task| {
        let state = state.clone();
        tokio::spawn(async move {
            let (mut round, mut from) = match whole(&state, task).await {
                Some((round, revision)) => (round, Expected::Is(revision)),
                None => (0, Expected::Absent),
            };
            loop {
                round += 1;
                let commit = step(task, round, from);
                from = Expected::Is(commit.revision);
                if let Err(error) = state.commit(commit).await {
                    println!("failed: {error}");
                    return;
                }
                println!("acknowledged {task} {round} .");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// What a line says, unless it was cut off by the kill.
fn heard(line: &str) -> Option<(usize, u64)> {
    let (_, said) = line.split_once("acknowledged ")?;
    let (task, round) = said.strip_suffix(" .")?.split_once(' ')?;
    Some((task.parse().ok()?, round.parse().ok()?))
}

#[tokio::test]
async fn commits_that_were_acknowledged_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut acknowledged = [0; TASKS];
    let mut before = Vec::new();
    for lines in [1, 3, 40, 150, 300] {
        let mut child = child("state_processes::child_commits_without_end", &path).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            let said = heard(line);
            if let Some((task, round)) = said {
                acknowledged[task] = acknowledged[task].max(round);
            }
            said.is_some()
        };
        let said = output.by_ref().map_while(Result::ok).filter(|line| note(line)).take(lines);
        let said = said.count();
        child.kill().unwrap();
        // What it said between our last look and the kill was acknowledged, too.
        for line in output.map_while(Result::ok) {
            note(&line);
        }
        child.wait().unwrap();
        assert_eq!(said, lines, "the child did not get to work");

        let state = SqliteAdapter::open(&path).await.unwrap().state();
        for stale in before.drain(..) {
            let error = state.commit(stale).await.unwrap_err();
            assert!(error.is_conflict(), "a revision of before the kill passed: {error}");
        }
        for (task, acknowledged) in acknowledged.iter().enumerate() {
            let held = whole(&state, task).await;
            let round = held.map_or(0, |(round, _)| round);
            // One commit of each task was under way.
            assert!((*acknowledged..=acknowledged + 1).contains(&round), "{task}: {round}");
            if let Some((_, revision)) = held {
                before.push(step(task, round + 1, Expected::Is(revision)));
            }
        }
        // Made now, they are stale after the next kill.
        for commit in &before {
            state.commit(commit.clone()).await.unwrap();
        }
        for (task, round) in acknowledged.iter_mut().enumerate() {
            *round = whole(&state, task).await.map_or(0, |(round, _)| round);
        }
        state.close().await;
    }
}
