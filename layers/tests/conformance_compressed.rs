//! The conformance suite over memory, compressed with zlib.

mod common;

use std::process::ExitCode;

use annals_layers::Compression;
use common::{Layered, Memory, compressed, encoded};

fn main() -> ExitCode {
    let codec = compressed(Compression::Zlib(6));
    let wrap = move |store, _| encoded(store, codec.clone());
    annals_testkit::main("zlib(annals-memory)", Layered::new(Memory::new(), wrap))
}
