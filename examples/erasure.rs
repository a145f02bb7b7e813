//! A member of a club who is forgotten: in the log, in a view and in snapshots, with a signed report.
//! The story itself is in `src/erasure.rs`.
//!
//! `cargo run --release --example erasure -- [--store STORE]`

use std::process::ExitCode;

use annals_examples::{erasure, story};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    story::run("erasure", erasure::story).await
}
