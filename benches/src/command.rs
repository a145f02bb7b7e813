//! The command line, which the comparison has with and without peers.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use annals::BoxError;
use annals_servers::PostgresServer;
use clap::{Args, Parser, Subcommand, ValueEnum};
use futures_util::future::BoxFuture;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::contestant::Contestant;
use crate::documents;
pub use crate::ground::Ground;
use crate::machine::Machine;
use crate::run::{Plan, run};
use crate::universes::{self, Universe};
use crate::views::{self, Listeners, Stores, Thorough};
use crate::{beside, builds, delivery, domain, layers, page, policies, report, scopes};

/// Opens the stores of others on this ground, with files in this folder.
pub type OpenStores = fn(Ground, &Path) -> Result<Vec<Box<dyn Contestant>>, BoxError>;

/// Opens one application, written with each library; ours is the first.
pub type OpenUniverses = fn() -> BoxFuture<'static, Result<Vec<Box<dyn Universe>>, BoxError>>;

/// Who takes part beside ours.
#[derive(Debug, Clone, Copy)]
pub struct Peers {
    /// In the comparison of stores.
    pub stores: OpenStores,
    /// In the comparison of aggregates.
    pub universes: OpenUniverses,
    /// In the comparison of rebuilds.
    pub listeners: Listeners,
}

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
    /// Appends beside idle and reading followers.
    Beside(Beside),
    /// From the return of an append to the page of a follower, and what idle followers cost PostgreSQL.
    Delivery(Beside),
    /// Appends of a weaker order of PostgreSQL, without and with a stream that another program holds.
    Scopes {
        /// Short repetitions: less than a minute in all.
        #[arg(long)]
        quick: bool,
    },
    /// Policies beside bare appends, and groups: writes a beat, takeovers.
    Policies(Beside),
    /// Views: rebuilds, commits, latencies, idle processors; with peers, rebuilds beside those of other libraries.
    Views(Views),
    /// Layers beside bare adapters.
    Layers(Layers),
    /// State stores beside bare code: commits, gets, scans, finds.
    Documents(Documents),
    /// Aggregates beside bare calls; with peers, beside those of other libraries.
    Domain(Domain),
    /// Two builds of this program by turns: ratios of the second to the first.
    Builds(Builds),
}

#[derive(Debug, Args)]
struct Beside {
    /// On which grounds; on all when none is given.
    #[arg(long, value_enum)]
    store: Vec<Ground>,
    /// Short repetitions: less than a minute in all.
    #[arg(long)]
    quick: bool,
    /// Where files of stores lie while it runs.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Domain {
    #[command(flatten)]
    beside: Beside,
    /// Beside the aggregates of other libraries of the crate registry, in place of bare calls; cargo builds them first.
    #[arg(long, conflicts_with_all = ["store", "folder"])]
    peers: bool,
}

#[derive(Debug, Args)]
struct Views {
    #[command(flatten)]
    beside: Beside,
    /// With a view of a million documents.
    #[arg(long, conflicts_with = "quick")]
    large: bool,
    /// Rebuilds alone, on PostgreSQL, beside the listeners of other libraries; cargo builds them first.
    #[arg(long, conflicts_with_all = ["store", "folder", "large"])]
    peers: bool,
}

#[derive(Debug, Args)]
struct Layers {
    #[command(flatten)]
    beside: Beside,
    /// A Git repository whose history is measured, too; unless given, that of the current folder if it has one.
    #[arg(long, value_name = "FOLDER")]
    repository: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Documents {
    /// On which grounds; on all when none is given.
    #[arg(long, value_enum)]
    store: Vec<Ground>,
    /// Short repetitions and small collections: whether it works.
    #[arg(long)]
    quick: bool,
    /// With a collection of a million documents.
    #[arg(long, conflicts_with = "quick")]
    large: bool,
    /// Where files of stores lie while it runs.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Builds {
    /// The program that is compared with.
    old: PathBuf,
    /// The program whose ratios are reported.
    new: PathBuf,
    /// How often each runs.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// What `compare` of both gets, as `-- --quick --only W1 --store postgres`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Debug, Args)]
struct Compare {
    /// On which grounds; on all when none is given.
    #[arg(long, value_enum)]
    store: Vec<Ground>,
    /// With other event stores of the crate registry; cargo builds them first.
    #[arg(long)]
    peers: bool,
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
    /// Where files of stores lie while it runs: on the disk that is to be measured. The data of the throw-away
    /// PostgreSQL lie in the folder for temporary files, which the variable TMPDIR names: it may be in memory.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Does what the command line says; `peers` are those that this program is built with.
pub async fn execute(peers: Option<Peers>) -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Compare(compare) => match (compare.peers, peers) {
            (true, None) => with_peers(&[]),
            (true, peers) => compare_all(&compare, peers).await,
            (false, _) => compare_all(&compare, None).await,
        },
        Task::Beside(beside) => beside_followers(&beside).await,
        Task::Delivery(delivery) => deliveries(&delivery).await,
        Task::Scopes { quick } => independent_scopes(quick).await,
        Task::Policies(policies) => measure_policies(&policies).await,
        Task::Views(views) => match (views.peers, peers) {
            (true, None) => with_peers(&["--no-default-features"]),
            (true, Some(peers)) => rebuilds_of_all(views.beside.quick, peers).await,
            (false, _) => measure_views(&views).await,
        },
        Task::Layers(layers) => measure_layers(&layers).await,
        Task::Documents(documents) => measure_documents(&documents).await,
        Task::Domain(domain) => match (domain.peers, peers) {
            // Without those that have only a store.
            (true, None) => with_peers(&["--no-default-features"]),
            (true, Some(peers)) => aggregates_of_all(domain.beside.quick, peers).await,
            (false, _) => aggregates(&domain.beside).await,
        },
        Task::Builds(builds) => two_builds(&builds),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// The same command line in the program that is built with peers.
fn with_peers(features: &[&str]) -> Result<ExitCode, BoxError> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        cargo.env("CARGO_TARGET_DIR", here.join("../target"));
    }
    let status = cargo
        .args(["run", "--release", "--locked", "--manifest-path"])
        .arg(here.join("peers/Cargo.toml"))
        .args(features)
        .arg("--")
        .args(std::env::args_os().skip(1))
        .status()
        .map_err(|error| format!("cargo, which builds the peers, does not start: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn two_builds(builds: &Builds) -> Result<ExitCode, BoxError> {
    let mark = Machine::mark();
    let lines = builds::compare(&builds.old, &builds.new, builds.rounds, &builds.arguments)?;
    println!("{mark}\n");
    table("| workload | clients | who | unit | new to old | min–max | rounds |");
    println!("{}", lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

async fn beside_followers(beside: &Beside) -> Result<ExitCode, BoxError> {
    let (rounds, time) = if beside.quick { (3, 700) } else { (9, 1_000) };
    let folder = folder(beside.folder.as_deref())?;
    let grounds = grounds(&beside.store);
    heading("| store | writers | followers | appends/s | to none | min–max |");
    for ground in grounds {
        let place = async || ground.place(&folder).await;
        let time = Duration::from_millis(time);
        let lines = beside::measure(place, &format!("{ground:?}"), rounds, time).await?;
        println!("{}", lines.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn deliveries(delivery: &Beside) -> Result<ExitCode, BoxError> {
    let (appends, time) = if delivery.quick { (300, 5) } else { (3_000, 30) };
    let folder = folder(delivery.folder.as_deref())?;
    let grounds = grounds(&delivery.store);
    heading("| store | reader | p50 µs | p99 µs |");
    for ground in grounds {
        let place = async || ground.place(&folder).await;
        println!("{}", delivery::measure(place, &format!("{ground:?}"), appends).await?.join("\n"));
    }
    if grounds.contains(&Ground::Postgres) {
        println!();
        table("| idle followers | transactions/s |");
        for followers in [1, 200] {
            println!("{}", delivery::idle(followers, Duration::from_secs(time)).await?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn independent_scopes(quick: bool) -> Result<ExitCode, BoxError> {
    let (rounds, time) = if quick { (3, 300) } else { (9, 1_000) };
    let url = PostgresServer::shared_url()?;
    heading("| writers | appends/s beside what is held | to none held | min–max |");
    let time = Duration::from_millis(time);
    println!("{}", scopes::measure(&url, rounds, time).await?.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// How quiet the machine is, and the head of a table with these columns.
fn heading(columns: &str) {
    println!("{}\n", Machine::mark());
    table(columns);
}

fn table(columns: &str) {
    println!("{columns}\n|{}", "---|".repeat(columns.matches('|').count() - 1));
}

/// Those that were named, or all.
fn grounds(named: &[Ground]) -> &[Ground] {
    if named.is_empty() { Ground::value_variants() } else { named }
}

async fn measure_views(views: &Views) -> Result<ExitCode, BoxError> {
    let thorough = match (views.beside.quick, views.large) {
        (true, _) => Thorough::QUICK,
        (false, true) => Thorough::LARGE,
        (false, false) => Thorough::FULL,
    };
    let folder = folder(views.beside.folder.as_deref())?;
    let grounds = grounds(&views.beside.store);
    heading("| store | what | unit | median | min–max |");
    for ground in grounds {
        let open = async || ground.stores(&folder).await;
        let lines = views::measure(&format!("{ground:?}"), open, thorough).await?;
        println!("{}", lines.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn rebuilds_of_all(quick: bool, peers: Peers) -> Result<ExitCode, BoxError> {
    let thorough = if quick { Thorough::QUICK } else { Thorough::FULL };
    heading("| store | what | unit | median | min–max |");
    let stores = Stores::postgres(&PostgresServer::shared_url()?).await?;
    let lines = views::beside("Postgres", stores, thorough, peers.listeners).await?;
    println!("{}", lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

async fn measure_policies(task: &Beside) -> Result<ExitCode, BoxError> {
    let thorough = if task.quick { policies::Thorough::QUICK } else { policies::Thorough::FULL };
    let folder = folder(task.folder.as_deref())?;
    let grounds = grounds(&task.store);
    heading("| store | what | unit | median | min–max |");
    for ground in grounds {
        let open = async || ground.stores(&folder).await;
        let lines = policies::measure(&format!("{ground:?}"), open, thorough).await?;
        println!("{}", lines.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure_documents(task: &Documents) -> Result<ExitCode, BoxError> {
    let thorough = match (task.quick, task.large) {
        (true, _) => documents::Thorough::QUICK,
        (false, true) => documents::Thorough::LARGE,
        (false, false) => documents::Thorough::FULL,
    };
    let folder = folder(task.folder.as_deref())?;
    let grounds = grounds(&task.store);
    heading("| store | what | unit | median | min–max | bare | ratio (min–max) |");
    for ground in grounds {
        let stores = match ground {
            Ground::Memory => documents::Stores::memory(),
            Ground::Sqlite => documents::Stores::sqlite(&folder).await?,
            Ground::Postgres => documents::Stores::postgres(&PostgresServer::shared_url()?).await?,
        };
        let lines = documents::measure(&format!("{ground:?}"), &stores, thorough).await?;
        println!("{}", lines.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure_layers(task: &Layers) -> Result<ExitCode, BoxError> {
    let arguments = &task.beside;
    let effort = if arguments.quick { layers::Effort::QUICK } else { layers::Effort::FULL };
    let folder = folder(arguments.folder.as_deref())?;
    let grounds = grounds(&arguments.store);
    let mut kinds = layers::Kind::orders();
    let repository = task.repository.as_deref();
    match layers::Kind::history(repository.unwrap_or(Path::new("."))).await {
        Ok(history) => kinds.push(history),
        Err(error) if repository.is_none() => {
            eprintln!("NOT RUN: events of a Git history: {error}");
        }
        Err(error) => return Err(error),
    }
    heading("| what | with layers | to without | min–max |");
    for ground in grounds {
        let (place, name) = (async || ground.place(&folder).await, format!("{ground:?}"));
        println!("{}", layers::appending(&place, &name, &kinds, effort).await?.join("\n"));
        if *ground != Ground::Memory {
            println!("{}", layers::scanning(&place, &name, &kinds, effort).await?.join("\n"));
        }
    }
    println!("{}\n", layers::alone(effort).await?.join("\n"));
    table(layers::HEADING);
    println!("{}", layers::sizes(&kinds, effort).await?.join("\n"));
    Ok(ExitCode::SUCCESS)
}

async fn aggregates(arguments: &Beside) -> Result<ExitCode, BoxError> {
    let (rounds, time) = if arguments.quick { (3, 100) } else { (9, 1_000) };
    let folder = folder(arguments.folder.as_deref())?;
    let grounds = grounds(&arguments.store);
    heading("| store | what | per second | to bare | min–max | attempts |");
    for ground in grounds {
        let place = ground.place(&folder).await?;
        let time = Duration::from_millis(time);
        let lines = domain::measure(&place, &format!("{ground:?}"), rounds, time).await?;
        println!("{}", lines.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn aggregates_of_all(quick: bool, peers: Peers) -> Result<ExitCode, BoxError> {
    let (rounds, time) = if quick { (3, 300) } else { (9, 1_000) };
    heading("| what | with | per second | Annals to it | min–max |");
    let universes = (peers.universes)().await?;
    println!(
        "{}",
        universes::measure(universes, rounds, Duration::from_millis(time)).await?.join("\n")
    );
    Ok(ExitCode::SUCCESS)
}

/// Beside the program: the system's own folder for temporary files may lie in memory.
fn folder(given: Option<&Path>) -> Result<PathBuf, BoxError> {
    Ok(match given {
        Some(folder) => folder.to_owned(),
        None => std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default(),
    })
}

/// Measures, and fails unless all who took part could be.
async fn compare_all(compare: &Compare, peers: Option<Peers>) -> Result<ExitCode, BoxError> {
    let plan = match (compare.quick, peers) {
        (true, None) => Plan::QUICK,
        (true, Some(_)) => Plan::QUICK_WITH_PEERS,
        (false, _) => Plan::FULL,
    };
    let folder = folder(compare.folder.as_deref())?;
    let grounds = grounds(&compare.store);
    let mark = Machine::mark();
    let machine = Machine::look();
    eprintln!("{}, {} cores · {}", machine.processor, machine.cores, machine.system);
    // All before the first is measured: what is missing is told at once.
    let mut rounds = Vec::new();
    for ground in grounds {
        let mut workloads = plan.workloads(*ground == Ground::Memory);
        if let Some(only) = &compare.only {
            workloads.retain(|workload| workload.name().contains(only.as_str()));
        }
        if workloads.is_empty() {
            continue;
        }
        let mut contestants = ground.contestants(&folder)?;
        if let Some(peers) = peers {
            contestants.extend((peers.stores)(*ground, &folder)?);
        }
        rounds.push((workloads, contestants));
    }
    if rounds.is_empty() {
        let only = compare.only.as_deref().unwrap_or_default();
        return Err(format!("no workload of these stores has a name that contains {only:?}").into());
    }
    let mut cells = Vec::new();
    for (workloads, contestants) in rounds {
        let steps = workloads.len() * contestants.len() * (plan.repetitions + 1);
        let progress = progress(steps as u64)?;
        for workload in workloads {
            cells.push(run(workload, &contestants, plan, &progress).await);
        }
        progress.finish_and_clear();
    }
    println!("{mark}\n{}", report::table(&cells));
    if let Some(file) = &compare.json {
        std::fs::write(file, report::json_lines(&cells)?)?;
    }
    if let Some(file) = &compare.html {
        std::fs::write(file, page::page(&machine, &cells)?)?;
    }
    if cells.iter().flat_map(|cell| &cell.entries).all(|entry| entry.outcome.is_ok()) {
        return Ok(ExitCode::SUCCESS);
    }
    Err("not all could be measured, see the table".into())
}

fn progress(steps: u64) -> Result<ProgressBar, BoxError> {
    let bar = ProgressBar::new(steps);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed_precise} {msg}")?);
    Ok(bar)
}
