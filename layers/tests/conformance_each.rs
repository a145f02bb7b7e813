//! The conformance suite over memory and the layers that have no test of their own there, and over SQLite and PostgreSQL and
//! each layer alone. The latter take minutes, and all layers over both have tests of their own: they are run with
//! `ANNALS_LAYER=all`, and one of them with its name, such as `ANNALS_LAYER='chained(annals-sqlite)'`.

#[path = "../../adapters/postgres/tests/common/mod.rs"]
mod common;
#[path = "../../adapters/sqlite/tests/conformance.rs"]
#[allow(dead_code, reason = "the tests of the adapter use all of it")]
mod files;
#[path = "../../adapters/postgres/tests/harness/mod.rs"]
#[allow(dead_code, reason = "the tests of the adapter use all of it")]
mod harness;
#[path = "common/mod.rs"]
mod layered;

use std::process::ExitCode;
use std::sync::Arc;

use annals::{Order, SequenceNumber};
use annals_layers::{Chained, Clear, Compression};
use annals_testkit::{Harness, Opened, Store};
use layered::{Layered, Memory, compressed, encoded, retrying, sealed, shredding, traced};

/// A layer around a store, with the last number of what lies in it without the layer.
type Wrap = fn(Store, SequenceNumber) -> Opened;

const LAYER: &str = "ANNALS_LAYER";

const OVER_MEMORY: [(&str, Wrap); 2] =
    [("retrying", |store, _| retrying(store)), ("traced", |store, _| Ok(traced(store)))];

/// Over databases.
const SINGLE: [(&str, Wrap); 6] = [
    ("zlib", |store, _| encoded(store, compressed(Compression::Zlib(6)))),
    ("zstd+aes", |store, bare| encoded(store, sealed().with_clear(Clear::Until(bare)))),
    ("chained", |store, bare| Ok(Arc::new(Chained::new(store)?.with_chained_after(bare)) as _)),
    ("shredding", |store, _| shredding(store)),
    ("retrying", |store, _| retrying(store)),
    ("traced", |store, _| Ok(traced(store))),
];

fn run(name: &str, inner: impl Harness, wrap: Wrap) -> ExitCode {
    // A child process of a check opens the same stores in the same layer.
    annals_testkit::main(name, Layered::new(inner, wrap).with_variable(LAYER, name))
}

fn main() -> ExitCode {
    let chosen = std::env::var(LAYER).ok();
    let is_chosen = |name: &str, usually: bool| match chosen.as_deref() {
        None => usually,
        Some("all") => true,
        Some(chosen) => chosen == name,
    };
    let mut ended = ExitCode::SUCCESS;
    let mut note = |code: ExitCode| {
        if code != ExitCode::SUCCESS {
            ended = code;
        }
    };
    for (layer, wrap) in OVER_MEMORY {
        let name = format!("{layer}(annals-memory)");
        if is_chosen(&name, true) {
            note(run(&name, Memory::new(), wrap));
        }
    }
    for (layer, wrap) in SINGLE {
        let name = format!("{layer}(annals-sqlite)");
        if is_chosen(&name, false) {
            note(run(&name, files::Files, wrap));
        }
        let name = format!("{layer}(annals-postgres)");
        if is_chosen(&name, false) {
            note(run(&name, harness::stores(Order::Log), wrap));
        }
    }
    ended
}
