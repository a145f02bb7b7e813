//! Worlds that make things happen: versions, conflicts, the log in sections; the same with cache and snapshots.
//! The story itself is in `src/universe.rs`.
//!
//! `cargo run --release --example universe -- [--store STORE]`

use std::process::ExitCode;

use annals_examples::{story, universe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    story::run("universe", universe::story).await
}
