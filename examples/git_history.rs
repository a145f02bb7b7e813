//! Imports the history of a Git repository into an event store, and tells who did what when.
//!
//! `cargo run --release --example git_history -- [PATH] [--chart FILE]`

use std::path::PathBuf;
use std::process::ExitCode;

use annals::BoxError;
use annals_examples::git::Repository;
use annals_examples::import::{Streams, import};
use annals_examples::{activity, chart, store, tables};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Imports the history of a Git repository into an event store, and tells who did what when.
#[derive(Parser)]
struct Arguments {
    /// The repository, or a folder of it
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Where to keep the events: `memory`, which lasts as long as the program
    #[arg(long, default_value = "memory")]
    store: String,
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
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("git_history: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), BoxError> {
    let store = store::open(&arguments.store)?;
    let repository = Repository::open(&arguments.path)?;
    // Drawn on a terminal only.
    let bar = ProgressBar::new(repository.commits()).with_style(ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} commits, {per_sec}, {eta} left",
    )?);
    let imported = import(&store, &repository, || bar.inc(1)).await?;
    bar.finish_and_clear();
    eprintln!(
        "store {}: {} commits imported as {} events, {} known before",
        arguments.store, imported.commits, imported.events, imported.known
    );
    if arguments.again {
        let again = import(&store, &repository, || {}).await?;
        if again.commits != 0 {
            return Err(format!("a second import found {} commits new", again.commits).into());
        }
        eprintln!("a second import: nothing new, {} known", again.known);
    }
    let projection = activity::activity(&store, &Streams::of(&repository)?).await?;
    let activity = &projection.state;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(activity)?);
    } else {
        println!("{}", tables::tables(activity, arguments.top));
    }
    if let Some(file) = &arguments.chart {
        let name = std::path::absolute(&arguments.path)?;
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let title = format!("{name}: {} commits", activity.commits());
        chart::draw(activity, &title, file)?;
        eprintln!("chart: {}", file.display());
    }
    Ok(())
}
