//! The suite of sinks on each pair of stores: a log and a state in memory, in SQLite, in PostgreSQL, of one adapter or of
//! two.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use crate::support::stores::{Ground, Kind};
use crate::support::views::Views;
use annals_testkit::processing::{broken_sinks, sink_checks};

fn passes(log: Kind, state: Kind, one: bool) {
    let Some(ground) = Ground::of(&[log, state]) else { return };
    let patience = u64::from(log != Kind::Memory);
    let pair = Views::new(ground, [log, state], one, Duration::from_millis(patience));
    // Of their own, so that no two pairs play the same.
    let first = 1_000 * (log as u64 * 6 + state as u64 * 2 + u64::from(one));
    let seeds = first..first + crate::support::scaled(1, 20);
    for check in sink_checks() {
        check.run(&pair, seeds.clone()).unwrap();
    }
}

macro_rules! pairs {
    ($($name:ident $log:ident $state:ident $one:literal;)*) => {
        $(#[test]
        fn $name() {
            passes(Kind::$log, Kind::$state, $one);
        })*
    };
}

pairs! {
    a_log_in_memory_and_a_state_in_sqlite Memory Sqlite false;
    a_log_in_memory_and_a_state_in_postgres Memory Postgres false;
    a_log_in_sqlite_and_a_state_in_memory Sqlite Memory false;
    a_log_and_a_state_in_one_file Sqlite Sqlite true;
    a_log_and_a_state_in_two_files Sqlite Sqlite false;
    a_log_in_sqlite_and_a_state_in_postgres Sqlite Postgres false;
    a_log_in_postgres_and_a_state_in_memory Postgres Memory false;
    a_log_in_postgres_and_a_state_in_sqlite Postgres Sqlite false;
    a_log_and_a_state_of_one_postgres_adapter Postgres Postgres true;
    a_log_and_a_state_of_two_postgres_adapters Postgres Postgres false;
}

/// What the suite proves of a sink in memory it proves over files as well: broken ones are caught there, too.
#[test]
fn broken_sinks_are_caught_over_files() {
    let ground = Arc::new(Ground::of(&[Kind::Sqlite]).unwrap());
    let caught_here = ["sink.batches", "sink.kills", "sink.reset", "sink.empty", "sink.errors"];
    for sink in broken_sinks() {
        let Some(name) = sink.caught_by.iter().find(|name| caught_here.contains(name)) else {
            continue;
        };
        let (logs, states) = (Arc::clone(&ground), Arc::clone(&ground));
        let harness = sink
            .harness(move || logs.open(Kind::Sqlite).log, move || states.open(Kind::Sqlite).state);
        let check = sink_checks().iter().find(|check| check.name == *name).unwrap();
        let caught = check.run(&harness, 0..40);
        assert!(caught.is_err(), "a sink that {} passes {name}", sink.about);
    }
}
