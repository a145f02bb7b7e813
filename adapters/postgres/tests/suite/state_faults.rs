//! Servers that are killed and connections that are cut while documents are committed: `OutcomeUnknown` is said where the
//! outcome is open, and only there, and each commit is made once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../sql/tests/common/commits.rs"]
#[allow(dead_code, reason = "no test file needs all of it")]
mod commits;

use std::time::Duration;

use crate::common::{admin, fresh, open, options, server};
use annals_postgres::PostgresOptions;
use annals_postgres::tokio_postgres::Config;
use annals_servers::PostgresServer;
use annals_state::Expected;
use annals_testkit::{Proxy, Side};
use commits::{Tally, certainly, moves, step, whole};

const TASKS: usize = 4;
const ROUNDS: u64 = 40;

/// Lets tasks move their documents while `disturb` runs so often; how their commits ended.
async fn disturbed(
    options: PostgresOptions,
    times: usize,
    mut disturb: impl AsyncFnMut(),
) -> Tally {
    let state = open(options).await.state();
    let tasks = (0..TASKS).map(|task| {
        let state = state.clone();
        tokio::spawn(async move { moves(&state, task, ROUNDS).await })
    });
    let mut tasks: Vec<_> = tasks.collect();
    for _ in 0..times {
        if tasks.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        disturb().await;
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let mut sum = Tally::default();
    for task in &mut tasks {
        let one = task.await.unwrap();
        sum.unavailable += one.unavailable;
        sum.unknown += one.unknown;
        sum.found_made += one.found_made;
    }
    for task in 0..TASKS {
        let (round, _) = whole(&state, task).await.unwrap();
        assert_eq!(round, ROUNDS, "each commit is made once");
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_the_server_ends_leave_each_commit_made_once() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let admin = admin(&url).await.unwrap();
    let end =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    let mut ended = 0;
    let tally = disturbed(options(&url, &schema).unwrap(), 25, async || {
        ended += admin.query_one(end, &[&schema]).await.unwrap().get::<_, i64>(0);
    })
    .await;
    assert!(ended > 0);
    eprintln!("{ended} sessions ended: {tally:?}");
}

/// Cuts the way after each number of packets, on both sides, in the middle of one commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_anywhere_leave_each_commit_made_once() {
    let Some(url) = server().await else { return };
    let config: Config = url.parse().unwrap();
    let proxy = Proxy::start(([127, 0, 0, 1], config.get_ports()[0]).into()).await.unwrap();
    let mut proxied = Config::new();
    proxied.user(config.get_user().unwrap()).host("127.0.0.1").port(proxy.addr().port());
    proxied.dbname(config.get_dbname().unwrap());
    let options = PostgresOptions::from_config(proxied).with_schema(fresh());
    let state = open(options).await.state();
    let (mut tally, mut from, mut round) = (Tally::default(), Expected::Absent, 0);
    for side in [Side::Client, Side::Server] {
        for packets in 0..8 {
            round += 1;
            let commit = step(0, round, from);
            from = Expected::Is(commit.revision);
            proxy.cut_after(side, packets);
            {
                let mut making = std::pin::pin!(certainly(&state, commit, &mut tally));
                loop {
                    tokio::select! {
                        () = &mut making => break,
                        () = tokio::time::sleep(Duration::from_millis(5)) => {}
                    }
                    let _ = proxy.heal();
                }
            }
            let _ = proxy.heal();
            assert_eq!(whole(&state, 0).await.unwrap().0, round);
        }
    }
    eprintln!("cut: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_keeps_what_it_acknowledged() {
    if server().await.is_none() {
        return;
    }
    let started = tokio::task::spawn_blocking(|| PostgresServer::start().unwrap());
    let server = started.await.unwrap();
    let mut kills = 0;
    let tally = disturbed(options(&server.url(), &fresh()).unwrap(), 3, async || {
        kills += 1;
        tokio::task::block_in_place(|| {
            server.kill().unwrap();
            server.start_again().unwrap();
        });
    })
    .await;
    assert!(kills > 0);
    eprintln!("{kills} kills: {tally:?}");
}
