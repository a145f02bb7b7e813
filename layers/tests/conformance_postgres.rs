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
use harness::part::part;
use layered::{Layered, OF_DATABASES, stack, stack_of};

fn main() -> ExitCode {
    let layered = Layered::new(harness::stores(Order::Log), stack);
    let suite = Suite::new(stack_of("annals-postgres"), layered);
    annals_testkit::engine::main(part(suite, OF_DATABASES))
}
