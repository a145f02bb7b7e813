//! Repositories made with the git command, and what an import leaves of them.

#![allow(dead_code, reason = "no test file needs all of them")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use annals::{BoxError, EventId, EventStore, Projection};
use annals_examples::activity::{Activity, activity};
use annals_examples::git::Repository;
use annals_examples::import::{Imported, Streams, import};
use annals_examples::story::Say;
use annals_memory::MemoryAdapter;
use annals_postgres::PostgresOptions;
use annals_servers::PostgresServer;
use annals_sqlite::SqliteAdapter;
use tempfile::TempDir;

/// How often something is repeated: as the environment says.
pub(crate) fn often(variable: &str, usual: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The git command in `folder`, with an author and without what may be set up on this machine.
pub(crate) fn git_command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Ann Lee", "-c", "user.email=ann@example.com"])
        .args(["-c", "commit.gpgsign=false", "-c", "core.protectNTFS=false"])
        .args(["-c", "protocol.file.allow=always"]);
    command
}

/// Runs git, and returns what it prints.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    git_fed(folder, arguments, b"")
}

/// The same with `input`.
pub(crate) fn git_fed(folder: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = git_command(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git runs");
    child.stdin.take().expect("a pipe").write_all(input).expect("the input");
    let output = child.wait_with_output().expect("git ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn empty_repository() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    git(folder.path(), &["init", "--initial-branch=main"]);
    folder
}

pub(crate) fn commit(folder: &Path, file: &std::ffi::OsStr, content: &[u8]) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    std::fs::write(path, content).expect("a file");
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--message", "a change"]);
}

pub(crate) fn store() -> EventStore {
    EventStore::new(MemoryAdapter::new())
}

pub(crate) async fn imported(store: &EventStore, folder: &Path) -> Imported {
    let repository = Repository::open(folder).expect("a repository");
    import(store, &repository, || {}).await.expect("an import")
}

/// What `store` holds of the repository.
pub(crate) async fn projected(store: &EventStore, folder: &Path) -> Projection<Activity> {
    let repository = Repository::open(folder).expect("a repository");
    let streams = Streams::of(store, &repository).await.expect("streams");
    activity(store, &streams).await.expect("a projection")
}

/// How many commits the store has of the repository, after an import into a store that may know some of them.
pub(crate) async fn commits_after_import(store: &EventStore, folder: &Path) -> u64 {
    imported(store, folder).await;
    projected(store, folder).await.state.commits()
}

/// The files of the repository and how often each was changed.
pub(crate) async fn files(folder: &Path) -> Vec<(String, u64)> {
    let store = store();
    imported(&store, folder).await;
    let state = projected(&store, folder).await.state;
    state.top_files(100).into_iter().map(|(path, changes)| (path.to_owned(), changes)).collect()
}

/// The URL of the server of tests; `None`: there is none.
pub(crate) fn postgres() -> Option<String> {
    PostgresServer::shared_or_not_run()
}

/// A name that no other test has.
pub(crate) fn schema() -> String {
    format!("t{}", EventId::generate().as_uuid().simple())
}

/// Plays a story on each store, a fresh one each time.
pub(crate) async fn everywhere(
    lines: usize,
    story: impl AsyncFn(&EventStore, Say<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let sqlite = SqliteAdapter::open(folder.path().join("story.db")).await?;
    let mut stores = vec![EventStore::new(MemoryAdapter::new()), EventStore::new(sqlite)];
    if let Some(url) = tokio::task::spawn_blocking(postgres).await? {
        let options = PostgresOptions::new(&url)?.with_schema(schema());
        options.migrate().await?;
        stores.push(EventStore::new(options.connect().await?));
    }
    for store in stores {
        let mut said = Vec::new();
        story(&store, &mut |line| said.push(line)).await?;
        assert_eq!(said.len(), lines, "{said:?}");
        store.close().await;
    }
    Ok(())
}
