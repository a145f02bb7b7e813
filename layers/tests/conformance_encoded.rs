//! The conformance suite over memory, compressed with zstd and encrypted.

mod common;

use std::process::ExitCode;

use common::{Layered, Memory, encoded, sealed};

fn main() -> ExitCode {
    let codec = sealed();
    let wrap = move |store, _| encoded(store, codec.clone());
    annals_testkit::main("zstd+aes(annals-memory)", Layered::new(Memory::new(), wrap))
}
