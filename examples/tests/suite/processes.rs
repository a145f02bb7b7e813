//! Programs in several processes that are killed, stopped and continued: on SQLite and on PostgreSQL, as far as each can
//! hold them. `ANNALS_KILLS` is how often the mailer is killed (20 without it; 1,000 in the full profile), `ANNALS_ROUNDS`
//! how often a process of a group is killed and another one stopped (2; 5).

#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals::{BoxError, EventId, EventStore};
use annals_examples::{orders, store, workflows};
use annals_postgres::tokio_postgres::{Config, NoTls};
use annals_state::StateStore;
use futures_util::future::try_join_all;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(120);
/// Of processes that share the work.
const BEAT: Duration = Duration::from_millis(200);

fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let folder = test.ancestors().nth(2).expect("a folder").join("examples");
    folder.join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

/// A process of its own; dropped, it is killed.
struct Process(Child);

impl Process {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program(name));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().expect("the program starts"))
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().expect("it ends");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(sent.expect("a signal").success());
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("a process").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An empty store that several processes can open, by its name: a file, or a database of its own.
async fn stores(folder: &Path) -> Result<Vec<String>, BoxError> {
    let mut names = vec![folder.join("log.db").to_str().ok_or("a path")?.to_owned()];
    if let Some(url) = tokio::task::spawn_blocking(crate::common::postgres).await? {
        let config: Config = url.parse()?;
        let (client, connection) = config.connect(NoTls).await?;
        let connected = tokio::spawn(connection);
        let name = format!("t{}", EventId::generate().as_uuid().simple());
        client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        drop(client);
        connected.await??;
        let (place, parameters) = match url.split_once('?') {
            Some((place, parameters)) => (place, format!("?{parameters}")),
            None => (&*url, String::new()),
        };
        let server = place.rsplit_once('/').map_or(place, |(server, _)| server);
        names.push(format!("{server}/{name}{parameters}"));
    }
    Ok(names)
}

async fn open(name: &str) -> Result<(EventStore, Arc<dyn StateStore>), BoxError> {
    Ok((store::open(name).await?, store::open_state(name).await?))
}

/// Waits until this holds.
async fn until(
    what: &str,
    mut holds: impl AsyncFnMut() -> Result<bool, BoxError>,
) -> Result<(), BoxError> {
    let waiting = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, BoxError>(())
    };
    tokio::time::timeout(LONG, waiting).await.map_err(|_| format!("never: {what}"))?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_r7_orders_in_one_thread_and_in_tasks_everywhere() -> Result<(), BoxError> {
    for tasks in [false, true] {
        let folder = TempDir::new()?;
        let mut names = stores(folder.path()).await?;
        names.push("memory".into());
        for name in names {
            let mut command = Command::new(program("orders"));
            command.args(["--store", &name]).args(tasks.then_some("--tasks"));
            let output = tokio::task::spawn_blocking(move || command.output()).await??;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
            assert!(said.contains("made: 15\n") && said.contains("paid: 15\n"), "{said}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_workflows_everywhere() -> Result<(), BoxError> {
    let folder = TempDir::new()?;
    let mut names = stores(folder.path()).await?;
    for name in std::mem::take(&mut names) {
        let (log, state) = open(&name).await?;
        workflows::story(&log, &state, &mut |line| names.push(line)).await?;
        log.close().await;
        state.close().await;
    }
    let state: Arc<dyn StateStore> = Arc::new(annals_memory::MemoryState::new());
    let log = EventStore::new(annals_memory::MemoryAdapter::new());
    workflows::story(&log, &state, &mut |line| names.push(line)).await?;
    assert!(names.len() >= 8 && names.len() % 4 == 0, "{names:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_two_processes_of_three_parts_one_is_killed_midway_and_each_order_is_done_once()
-> Result<(), BoxError> {
    let folder = TempDir::new()?;
    for name in stores(folder.path()).await? {
        let (log, state) = open(&name).await?;
        let share = || Process::start("orders", &["--store", &name, "--share", "--beat", "200"]);
        let (mut first, mut second) = (share(), share());
        orders::place(&log, 0..7).await?;
        until("some are paid", async || Ok(orders::counts(&log).await?.contains_key("paid")))
            .await?;
        orders::place(&log, 7..15).await?;
        first.kill();
        until("all are done", async || orders::is_done(&log, 15).await).await?;
        until("all are noted", async || orders::is_noted(&state, 15).await).await?;
        assert!(second.is_running());
        second.kill();
        // Nothing was done twice.
        assert!(orders::is_done(&log, 15).await?, "{:?}", orders::counts(&log).await?);
        log.close().await;
        state.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_g2_of_three_processes_one_is_killed_and_one_stopped_and_continued_again_and_again()
-> Result<(), BoxError> {
    let folder = TempDir::new()?;
    let stores = stores(folder.path()).await?;
    try_join_all(stores.iter().map(|name| killed_and_stopped(name))).await?;
    Ok(())
}

async fn killed_and_stopped(name: &str) -> Result<(), BoxError> {
    let (log, state) = open(name).await?;
    let share = || Process::start("orders", &["--store", name, "--share", "--beat", "200"]);
    let mut processes = vec![share(), share(), share()];
    let mut placed = 0;
    for _ in 0..crate::common::often("ANNALS_ROUNDS", 2) {
        // A stopped process may hold the lock of the database: who appends waits for it.
        let log_of_orders = log.clone();
        let placing = tokio::spawn(async move {
            for number in placed..placed + 10 {
                orders::place(&log_of_orders, number..number + 1).await?;
                tokio::time::sleep(BEAT).await;
            }
            Ok::<_, BoxError>(())
        });
        tokio::time::sleep(BEAT).await;
        let stopped = processes.remove(0);
        stopped.signal("-STOP");
        processes.remove(0).kill();
        processes.push(share());
        // Long enough to be dead to the others twice, who take its parts unless it holds a lock of the database. It is
        // continued then, in the middle of something.
        tokio::time::sleep(BEAT * 10).await;
        stopped.signal("-CONT");
        processes.push(stopped);
        placing.await??;
        placed += 10;
        let all = usize::try_from(placed)?;
        until("all are done", async || orders::is_done(&log, all).await).await?;
        until("all are noted", async || orders::is_noted(&state, placed).await).await?;
    }
    orders::place(&log, placed..placed + 5).await?;
    let all = usize::try_from(placed + 5)?;
    until("the rest is done", async || orders::is_done(&log, all).await).await?;
    until("the rest is noted", async || orders::is_noted(&state, placed + 5).await).await?;
    assert!(processes.iter_mut().all(Process::is_running), "who was stopped goes on");
    drop(processes);
    assert!(orders::is_done(&log, all).await?, "{:?}", orders::counts(&log).await?);
    assert!(orders::is_noted(&state, placed + 5).await?);
    log.close().await;
    state.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y9_a_mailer_that_is_killed_at_random_sends_each_letter_once_and_none_in_a_rebuild()
-> Result<(), BoxError> {
    const FIRST: u32 = 60;
    let kills = crate::common::often("ANNALS_KILLS", 20);
    let folder = TempDir::new()?;
    for (nth, name) in stores(folder.path()).await?.into_iter().enumerate() {
        let (log, state) = open(&name).await?;
        let mut placed = FIRST;
        orders::place(&log, 0..placed).await?;
        let letters = folder.path().join(format!("letters-{nth}"));
        let path = letters.to_str().ok_or("a path")?;
        let lines = || std::fs::read_to_string(&letters).unwrap_or_default();
        for kill in 0..kills {
            // So that it always has something to do.
            orders::place(&log, placed..placed + 2).await?;
            placed += 2;
            let mut mailer =
                Process::start("mailer", &["--store", &name, "--letters", path, "--follow"]);
            // From before it opens the store until it has sent a few.
            let draw = EventId::generate().as_uuid().as_u64_pair().1;
            tokio::time::sleep(Duration::from_millis(draw % (20 + u64::from(kill % 10) * 20)))
                .await;
            mailer.kill();
        }
        for arguments in [&[][..], &["--again"]] {
            let before = lines();
            let mut command = Command::new(program("mailer"));
            command.args(["--store", &name, "--letters", path]).args(arguments);
            let output = tokio::task::spawn_blocking(move || command.output()).await??;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let mut orders: Vec<String> = lines()
                .lines()
                .filter_map(|line| line.split(' ').nth(1).map(str::to_owned))
                .collect();
            orders.sort_unstable();
            let mut wanted: Vec<String> = (0..placed).map(|number| format!("o-{number}")).collect();
            wanted.sort_unstable();
            assert_eq!(orders, wanted);
            assert!(arguments.is_empty() || before == lines(), "a rebuild sends nothing");
        }
        log.close().await;
        state.close().await;
    }
    Ok(())
}
