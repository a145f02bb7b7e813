//! The suites of groups and locks over stores in files and on a server: what holds in memory holds there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::support::stores::{Ground, Kind};
use annals::StorageAdapter;
use annals_memory::MemoryAdapter;
use annals_state::StateStore;
use annals_testkit::processing::{GroupHarness, LockHarness, group_checks, lock_checks};

struct Over {
    ground: Ground,
    kind: Kind,
}

impl GroupHarness for Over {
    fn state(&self) -> Arc<dyn StateStore> {
        self.ground.open(self.kind).state
    }

    fn log(&self) -> Arc<dyn StorageAdapter> {
        Arc::new(MemoryAdapter::new())
    }
}

impl LockHarness for Over {
    fn state(&self) -> Arc<dyn StateStore> {
        self.ground.open(self.kind).state
    }
}

fn passes(kind: Kind) {
    let Some(ground) = Ground::of(&[kind]) else { return };
    let over = Over { ground, kind };
    let seeds = 100..100 + crate::support::scaled(1, 20);
    for check in group_checks() {
        check.run(&over, seeds.clone()).unwrap();
    }
    for check in lock_checks() {
        check.run(&over, seeds.clone()).unwrap();
    }
}

#[test]
fn groups_and_locks_over_sqlite() {
    passes(Kind::Sqlite);
}

#[test]
fn groups_and_locks_over_postgres() {
    passes(Kind::Postgres);
}
