//! The conformance suite over SQLite files and the full stack.

mod common;
#[path = "../../adapters/sqlite/tests/conformance.rs"]
#[allow(dead_code, reason = "the tests of the adapter use all of it")]
mod files;

use std::process::ExitCode;

use common::{Layered, stack, stack_of};

fn main() -> ExitCode {
    let inner = files::Files;
    annals_testkit::main(&stack_of("annals-sqlite"), Layered::new(inner, stack))
}
