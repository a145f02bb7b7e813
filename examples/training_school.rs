//! Dogs that learn tricks: ids that follow from names, an application from the environment, and a view that counts.
//! The story itself is in `src/training_school.rs`.
//!
//! `cargo run --release --example training_school -- [--store STORE]`
//!
//! With `--keep-view STORE` it only keeps the view of a store that another process writes to, until it is killed.

use std::process::ExitCode;

use annals::BoxError;
use annals_examples::{store, story, terminal, training_school};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--keep-view"), Some(place)) => terminal::end("training_school", keep(&place).await),
        _ => story::run_with_state("training_school", training_school::story).await,
    }
}

async fn keep(place: &str) -> Result<(), BoxError> {
    let (log, state) = (store::open(place).await?, store::open_state(place).await?);
    training_school::keep(&log, state).await
}
