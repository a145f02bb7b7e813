//! The comparison of whole systems; see the documentation of the library for how to read it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use annals::BoxError;
use annals_benches::contestant::Contestant;
use annals_benches::machine::Machine;
use annals_benches::run::{Plan, run};
use annals_benches::{annals_store, limits, page, report};
use annals_testkit::PostgresServer;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Measures Annals beside the limits of this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Whole systems beside bare code, in one process.
    Compare(Compare),
}

#[derive(Debug, Args)]
struct Compare {
    /// Which stores; all when none is given.
    #[arg(long, value_enum)]
    store: Vec<Backend>,
    /// Short repetitions and small logs: some minutes in all.
    #[arg(long)]
    quick: bool,
    /// Only workloads whose name contains this, as `W4`.
    #[arg(long)]
    only: Option<String>,
    /// Writes the figures as lines of JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Where files of stores lie while it runs: on the disk that is to be measured.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Memory,
    Sqlite,
    Postgres,
}

impl Backend {
    fn contestants(self, folder: &Path) -> Result<Vec<Box<dyn Contestant>>, BoxError> {
        let folder = || folder.to_owned();
        Ok(match self {
            Self::Memory => vec![Box::new(annals_store::Memory), Box::new(limits::Memcpy)],
            Self::Sqlite => vec![
                Box::new(annals_store::Sqlite(folder())),
                Box::new(limits::Rusqlite(folder())),
                Box::new(limits::Fsync(folder())),
            ],
            Self::Postgres => {
                let url = PostgresServer::shared_url()?;
                vec![
                    Box::new(annals_store::Postgres(url.clone())),
                    Box::new(limits::Insert(url.clone())),
                    Box::new(limits::Bare::copy(&url)),
                    Box::new(limits::Bare::select(&url)),
                ]
            }
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Task::Compare(compare) = Arguments::parse().task;
    match compare_all(&compare).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: not all could be measured, see the table");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all who took part were measured.
async fn compare_all(compare: &Compare) -> Result<bool, BoxError> {
    let plan = if compare.quick { Plan::QUICK } else { Plan::FULL };
    let folder = match &compare.folder {
        Some(folder) => folder.clone(),
        // Beside the program: the system's own folder for temporary files may lie in memory.
        None => std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let backends = match &*compare.store {
        [] => Backend::value_variants(),
        some => some,
    };
    let machine = Machine::look();
    eprintln!("{}, {} cores · {}", machine.processor, machine.cores, machine.system);
    let mut cells = Vec::new();
    for backend in backends {
        let contestants = backend.contestants(&folder)?;
        let mut workloads = plan.workloads(*backend == Backend::Memory);
        if let Some(only) = &compare.only {
            workloads.retain(|workload| workload.name().contains(only.as_str()));
        }
        let steps = workloads.len() * contestants.len() * (plan.repetitions + 1);
        let progress = progress(steps as u64)?;
        for workload in workloads {
            cells.push(run(workload, &contestants, plan, &progress).await);
        }
        progress.finish_and_clear();
    }
    println!("{}", report::table(&cells));
    if let Some(file) = &compare.json {
        std::fs::write(file, report::json_lines(&cells)?)?;
    }
    if let Some(file) = &compare.html {
        std::fs::write(file, page::page(&machine, &cells)?)?;
    }
    Ok(cells.iter().flat_map(|cell| &cell.entries).all(|entry| entry.outcome.is_ok()))
}

fn progress(steps: u64) -> Result<ProgressBar, BoxError> {
    let bar = ProgressBar::new(steps);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed_precise} {msg}")?);
    Ok(bar)
}
