//! The suite of what follows from events passes the right ones, and catches each broken one: there is nothing random in it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use annals_memory::{MemoryAdapter, MemoryState};
use annals_testkit::processing::{broken_flows, flow_checks};

#[test]
fn the_suite_of_flows_catches_every_broken_one_and_passes_the_right_one() {
    let mut wrong = Vec::new();
    for flow in broken_flows() {
        let harness =
            flow.harness(|| Arc::new(MemoryAdapter::new()), || Arc::new(MemoryState::new()));
        for check in flow_checks() {
            let must_catch = flow.caught_by.contains(&check.name);
            if !must_catch && !flow.caught_by.is_empty() {
                continue;
            }
            let caught = check.run(&harness);
            if caught.is_err() != must_catch {
                wrong.push(format!("{}: {} says {caught:?}", flow.about, check.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for check in flow_checks() {
        let catches = broken_flows().iter().any(|flow| flow.caught_by.contains(&check.name));
        assert!(catches, "nothing proves that {} can fail", check.name);
    }
}
