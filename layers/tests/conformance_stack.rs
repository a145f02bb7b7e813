//! The conformance suite over memory and the full stack.

mod common;

use std::process::ExitCode;

use common::{Layered, Memory, stack, stack_of};

fn main() -> ExitCode {
    let inner = Memory::new();
    annals_testkit::main(&stack_of("annals-memory"), Layered::new(inner, stack))
}
