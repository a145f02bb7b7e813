//! A store and a repository: versions, conflicts, and an aggregate that is saved and loaded.
//! The story itself is in `src/repository.rs`.
//!
//! `cargo run --release --example repository -- [--store STORE]`

use std::process::ExitCode;

use annals_examples::{repository, story};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    story::run("repository", repository::story).await
}
