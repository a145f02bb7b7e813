//! The conformance suite over memory and each layer alone, and all of them; and over SQLite and PostgreSQL and each layer
//! alone. The latter take minutes, and all layers over both have tests of their own: they are run with `ANNALS_LAYER=all`,
//! and one of them with its name, such as `ANNALS_LAYER='chained(annals-sqlite)'`.

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
use annals_testkit::{Harness, Opened, Store, Suite};
use layered::{
    Layered, Memory, compressed, encoded, retrying, sealed, shredding, stack, stack_of, traced,
};

/// A layer around a store, with the last number of what lies in it without the layer.
type Wrap = fn(Store, SequenceNumber) -> Opened;

const LAYER: &str = "ANNALS_LAYER";

const SINGLE: [(&str, Wrap); 6] = [
    ("zlib", |store, _| encoded(store, compressed(Compression::Zlib(6)))),
    ("zstd+aes", |store, bare| encoded(store, sealed().with_clear(Clear::Until(bare)))),
    ("chained", |store, bare| Ok(Arc::new(Chained::new(store)?.with_chained_after(bare)) as _)),
    ("shredding", |store, _| shredding(store)),
    ("retrying", |store, _| retrying(store)),
    ("traced", |store, _| Ok(traced(store))),
];

fn suite(name: &str, inner: impl Harness, wrap: Wrap) -> Suite {
    // A child process of a check opens the same stores in the same layer.
    Suite::new(name, Layered::new(inner, wrap).with_variable(LAYER, name))
}

fn main() -> ExitCode {
    let chosen = std::env::var(LAYER).ok();
    let is_chosen = |name: &str, usually: bool| match chosen.as_deref() {
        None => usually,
        Some("all") => true,
        Some(chosen) => chosen == name,
    };
    let mut suites = vec![suite(&stack_of("annals-memory"), Memory::new(), stack)];
    for (layer, wrap) in SINGLE {
        let over = |store: &str| format!("{layer}({store})");
        suites.push(suite(&over("annals-memory"), Memory::new(), wrap));
        suites.push(suite(&over("annals-sqlite"), files::Files, wrap));
        suites.push(suite(&over("annals-postgres"), harness::stores(Order::Log), wrap));
    }
    suites.retain(|suite| is_chosen(suite.name(), suite.name().contains("annals-memory")));
    assert!(!suites.is_empty(), "{LAYER} names none of these stores: {chosen:?}");
    annals_testkit::engine::main_of_each(suites)
}
