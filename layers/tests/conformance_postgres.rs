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
use layered::{Layered, stack, stack_of};

fn main() -> ExitCode {
    let inner = harness::stores(Order::Log);
    annals_testkit::main(&stack_of("annals-postgres"), Layered::new(inner, stack))
}
