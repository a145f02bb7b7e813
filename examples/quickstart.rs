//! The story of a profile: append under conditions, read, project, and be rejected. The story itself is in
//! `src/quickstart.rs`.
//!
//! `cargo run --release --example quickstart -- [--store STORE]`

use std::process::ExitCode;

use annals::BoxError;
use annals_examples::{quickstart, store, terminal};
use clap::Parser;

/// The story of a profile: append under conditions, read, project, and be rejected.
#[derive(Parser)]
struct Arguments {
    /// Where to keep the events: `memory`, the path of an SQLite file, or the URL or the connection string of a
    /// PostgreSQL database, where there must be no profile of this story yet. Otherwise what the environment variable
    /// `ANNALS_STORE` says, or a file beside the program, which is made afresh
    #[arg(long)]
    store: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    terminal::end("quickstart", run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> Result<(), BoxError> {
    let name = match store::chosen(arguments.store)? {
        Some(name) => name,
        None => store::afresh(store::default_file()?)?,
    };
    let store = store::open(&name).await?;
    // Nobody may be there to read it.
    let say = |line| drop(terminal::print(&format!("{line}\n")));
    let played = quickstart::story(&store, say).await;
    store.close().await;
    played?;
    terminal::print(&format!("store: {}\n", store::shown(&name)))?;
    Ok(())
}
