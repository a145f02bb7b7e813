//! A workflow whose process ends before its commit, and between the commit and the dispatch.
//! The story itself is in `src/workflows.rs`.
//!
//! `cargo run --release --example workflows -- [--store STORE]`

use annals::BoxError;
use annals_examples::{store, workflows};
use clap::Parser;

/// A workflow whose process ends before its commit, and between the commit and the dispatch.
#[derive(Parser)]
struct Arguments {
    /// Where to keep the events: `memory`, the path of an SQLite file, or the URL of a PostgreSQL database, without events
    #[arg(long, env = "ANNALS_STORE", default_value = "memory")]
    store: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let name = Arguments::parse().store;
    let (log, state) = (store::open(&name).await?, store::open_state(&name).await?);
    workflows::story(&log, &state, &mut |line| println!("{line}")).await?;
    log.close().await;
    state.close().await;
    Ok(())
}
