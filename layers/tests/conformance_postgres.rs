//! The conformance suite over the PostgreSQL adapter and the full stack.

#[path = "../../adapters/postgres/tests/common/mod.rs"]
mod common;
#[path = "../../adapters/postgres/tests/harness/mod.rs"]
#[allow(dead_code, reason = "the tests of the adapter use all of it")]
mod harness;
#[path = "common/mod.rs"]
mod layered;

use std::process::ExitCode;

use annals::Order;
use annals_testkit::Suite;
use layered::{Layered, stack, stack_of};

/// What a server under the stack is asked that a store in memory is not.
const OF_SERVERS: &[&str] = &[
    "cap.",
    "close.",
    "cond.custom",
    "dur.",
    "fault.",
    "follow.",
    "history.",
    "lin.",
    "meta.",
    "model.",
    "payload.",
    "proc.",
    "r2.two_handles",
    "rt.",
];

fn main() -> ExitCode {
    let layered = Layered::new(harness::stores(Order::Log), stack);
    let suite = Suite::new(stack_of("annals-postgres"), layered);
    annals_testkit::engine::main(harness::part(suite, OF_SERVERS))
}
