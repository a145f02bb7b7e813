//! The conformance suite over memory and the full stack.

mod common;

use std::process::ExitCode;

use common::{Layered, Memory, stack};

fn main() -> ExitCode {
    let inner = Memory::new();
    annals_testkit::main("zstd+aes(chained(annals-memory))", Layered::new(inner, stack))
}
