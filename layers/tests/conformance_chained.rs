//! The conformance suite over memory and a hash chain.

mod common;

use std::process::ExitCode;
use std::sync::Arc;

use annals_layers::Chained;
use common::{Layered, Memory};

fn main() -> ExitCode {
    let inner = Memory::new();
    annals_testkit::main(
        "chained(annals-memory)",
        Layered::new(inner, |store, _| Ok(Arc::new(Chained::new(store)?) as _)),
    )
}
