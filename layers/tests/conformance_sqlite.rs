//! The conformance suite over SQLite files and the full stack.

mod common;
#[path = "../../adapters/sqlite/tests/conformance.rs"]
#[allow(dead_code, reason = "the tests of the adapter use all of it")]
mod files;
#[path = "../../adapters/sql/tests/common/part.rs"]
mod part;

use std::process::ExitCode;

use annals_testkit::Suite;
use common::{Layered, OF_DATABASES, stack, stack_of};
use part::part;

fn main() -> ExitCode {
    let suite = Suite::new(stack_of("annals-sqlite"), Layered::new(files::Files, stack));
    annals_testkit::engine::main(part(suite, OF_DATABASES))
}
