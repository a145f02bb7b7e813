//! Dogs that learn tricks: ids that follow from names, and an application from the environment.
//! The story itself is in `src/training_school.rs`.
//!
//! `cargo run --release --example training_school -- [--store STORE]`

use std::process::ExitCode;

use annals_examples::{story, training_school};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    story::run("training_school", training_school::story).await
}
