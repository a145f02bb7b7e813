//! Worlds whose events are encrypted and chained by hashes: every kind of tampering is found.
//! The story itself is in `src/integrity.rs`.
//!
//! `cargo run --release --example integrity -- [--store STORE]`

use std::process::ExitCode;

use annals_examples::{integrity, story};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    story::run("integrity", integrity::story).await
}
