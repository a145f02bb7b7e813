//! The conformance suite over memory, with personal values sealed under the keys of their subjects.

mod common;

use std::process::ExitCode;

use common::{Layered, Memory, shredding};

fn main() -> ExitCode {
    let wrap = |store, _| shredding(store);
    annals_testkit::main("shredding(annals-memory)", Layered::new(Memory::new(), wrap))
}
