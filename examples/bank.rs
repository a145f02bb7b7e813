//! Two accounts and a transfer between them in one append; a command that is repeated.
//! The story itself is in `src/bank.rs`.
//!
//! `cargo run --release --example bank -- [--store STORE]`

use std::process::ExitCode;

use annals_examples::{bank, story};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    story::run("bank", bank::story).await
}
