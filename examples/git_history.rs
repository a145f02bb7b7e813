//! Imports the history of a Git repository into an event store, and prints who did what when.
//!
//! `cargo run --release --example git_history -- [PATH] [--store STORE] [--chart FILE]`

use std::path::PathBuf;
use std::process::ExitCode;

use annals::{BoxError, EventStore};
use annals_examples::git::Repository;
use annals_examples::import::{Streams, import};
use annals_examples::store;
use annals_examples::{activity, chart, tables, terminal};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Imports the history of a Git repository into an event store, and prints who did what when.
#[derive(Parser)]
struct Arguments {
    /// The repository, or a folder of it
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Where to keep the events: the path of an SQLite file, the URL or the connection string of a PostgreSQL database,
    /// or `memory`. Otherwise what the environment variable `ANNALS_STORE` says, or a file beside the program. What it
    /// holds already is not imported again
    #[arg(long)]
    store: Option<String>,
    /// Draw a chart to this SVG file
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Print the result as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// How many rows a table has
    #[arg(long, default_value_t = 10, value_name = "ROWS")]
    top: usize,
    /// Import a second time: there must be nothing new
    #[arg(long)]
    again: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    terminal::end("git_history", run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> Result<(), BoxError> {
    let repository = Repository::open(&arguments.path)?;
    let name = store::chosen(arguments.store.clone())?.map_or_else(store::default_file, Ok)?;
    let store = store::open(&name).await?;
    let told = tell(&arguments, &store::shown(&name), &repository, &store).await;
    store.close().await;
    told
}

async fn tell(
    arguments: &Arguments,
    name: &str,
    repository: &Repository,
    store: &EventStore,
) -> Result<(), BoxError> {
    // Drawn on a terminal only.
    let bar = ProgressBar::new(repository.commits()).with_style(ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} commits, {per_sec}, {eta} left",
    )?);
    let imported = import(store, repository, || bar.inc(1)).await?;
    bar.finish_and_clear();
    eprintln!(
        "store {name}: {} commits imported as {} events, {} known before",
        imported.commits, imported.events, imported.known
    );
    if imported.redated > 0 {
        eprintln!(
            "{} of the commits imported have no readable date of their author: they bear their committer's, or 1970",
            imported.redated
        );
    }
    if arguments.again {
        let again = import(store, repository, || {}).await?;
        if again.commits != 0 {
            return Err(format!("a second import found {} commits new", again.commits).into());
        }
        eprintln!("a second import: nothing new, {} known", again.known);
    }
    let projection = activity::activity(store, &Streams::of(store, repository).await?).await?;
    let activity = &projection.state;
    let mut text = if arguments.json {
        serde_json::to_string_pretty(activity)?
    } else {
        tables::tables(activity, arguments.top)
    };
    text.push('\n');
    terminal::print(&text)?;
    if let Some(file) = &arguments.chart {
        let folder = std::path::absolute(&arguments.path)?;
        let folder = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let title = format!("{folder}: {} commits", activity.commits());
        let drawn = chart::draw(activity, &title, file);
        drawn.map_err(|error| format!("chart {} cannot be drawn: {error}", file.display()))?;
        eprintln!("chart: {}", file.display());
    }
    Ok(())
}
