//! The suite of sinks passes the right one, and catches each broken one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use annals_memory::{MemoryAdapter, MemoryState};
use annals_testkit::processing::{broken_sinks, sink_checks};

#[test]
fn the_suite_of_sinks_catches_every_broken_sink_and_passes_the_right_one() {
    let mut wrong = Vec::new();
    for sink in broken_sinks() {
        let harness =
            sink.harness(|| Arc::new(MemoryAdapter::new()), || Arc::new(MemoryState::new()));
        for check in sink_checks() {
            let must_catch = sink.caught_by.contains(&check.name);
            if !must_catch && !sink.caught_by.is_empty() {
                continue;
            }
            let caught = check.run(&harness, 0..40);
            if caught.is_err() != must_catch {
                wrong.push(format!("a sink that {}: {} says {caught:?}", sink.about, check.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for check in sink_checks() {
        let catches = broken_sinks().iter().any(|sink| sink.caught_by.contains(&check.name));
        assert!(catches, "nothing proves that {} can fail", check.name);
    }
}
