//! A program that plays a story on the store that the command line names.

use std::process::ExitCode;
use std::sync::Arc;

use annals::{BoxError, EventStore};
use annals_state::StateStore;
use clap::Parser;

use crate::{store, terminal};

/// Where lines of a story go.
pub type Say<'s> = &'s mut dyn FnMut(String);

/// What the programs of stories take.
#[derive(Parser)]
struct Arguments {
    /// Where to keep the events: `memory`, the path of an SQLite file, or the URL or the connection string of a
    /// PostgreSQL database, without events so far. Otherwise what the environment variable `ANNALS_STORE` says, or memory
    #[arg(long)]
    store: Option<String>,
}

/// Plays `story` on an empty store, and prints what happens.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn run(
    name: &str,
    story: impl AsyncFnOnce(&EventStore, Say<'_>) -> Result<(), BoxError>,
) -> ExitCode {
    terminal::end(name, play(Arguments::parse(), story).await)
}

/// The same with the documents of the same store.
///
/// # Cancel safety
/// As [`run`].
pub async fn run_with_state(
    name: &str,
    story: impl AsyncFnOnce(&EventStore, Arc<dyn StateStore>, Say<'_>) -> Result<(), BoxError>,
) -> ExitCode {
    let arguments = Arguments::parse();
    let place = store::chosen(arguments.store.clone());
    let told = play(arguments, async |log, say| {
        let place = place?.unwrap_or_else(|| "memory".to_owned());
        let state = store::open_state(&place).await?;
        let told = story(log, Arc::clone(&state), say).await;
        state.close().await;
        told
    });
    terminal::end(name, told.await)
}

async fn play(
    arguments: Arguments,
    tell: impl AsyncFnOnce(&EventStore, Say<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let name = store::chosen(arguments.store)?.unwrap_or_else(|| "memory".to_owned());
    let store = store::open(&name).await?;
    // Nobody may be there to read it.
    let mut say = |line| drop(terminal::print(&format!("{line}\n")));
    let played = match store.log().latest().await? {
        None => tell(&store, &mut say).await,
        Some(last) => {
            Err(format!("the story begins with an empty store, and this one has {last}").into())
        }
    };
    store.close().await;
    played?;
    terminal::print(&format!("store: {}\n", store::shown(&name)))?;
    Ok(())
}
