//! Helpers of the tests.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "no test file needs all of them")]

use std::path::Path;
use std::process::{Command, Stdio};

use annals::{
    Append, EventName, NewEvent, Payload, Query, ReadOptions, Result, StorageAdapter, StoredEvent,
    StreamId, WriteCondition,
};
use annals_sqlite::SqliteAdapter;
use futures_util::TryStreamExt;

/// Tells a child process which file to work on.
pub(crate) const PATH: &str = "ANNALS_TEST_PATH";

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new("orders", name).unwrap()
}

pub(crate) fn events(count: usize) -> Vec<NewEvent> {
    let payload = || Payload::json(&"x".repeat(200)).unwrap();
    (0..count).map(|_| NewEvent::new(EventName::from_static("made"), payload())).collect()
}

pub(crate) fn append_to(name: &str, count: usize) -> Vec<Append> {
    vec![Append::new(stream(name), events(count), WriteCondition::Always)]
}

pub(crate) async fn try_read(adapter: &SqliteAdapter, query: Query) -> Result<Vec<StoredEvent>> {
    let pages: Vec<Vec<_>> = adapter.read(query, ReadOptions::default()).try_collect().await?;
    Ok(pages.concat())
}

pub(crate) async fn all(adapter: &SqliteAdapter) -> Vec<StoredEvent> {
    try_read(adapter, Query::all()).await.unwrap()
}

/// Sequence numbers run from 1 without a hole, positions of each stream from 0, and no id comes twice.
pub(crate) fn assert_whole(events: &[StoredEvent]) {
    let mut positions = std::collections::HashMap::new();
    let mut ids = std::collections::HashSet::new();
    for (event, number) in events.iter().zip(1..) {
        assert_eq!(event.sequence_number.value(), number, "sequence numbers have no hole");
        let next = positions.entry(&event.stream).or_insert(0);
        assert_eq!(event.position.value(), *next, "positions have no hole");
        *next += 1;
        assert!(ids.insert(event.event.id), "no event is there twice");
    }
}

/// Runs the ignored test `name` of this binary in a process of its own, on the file `path`.
pub(crate) fn child(name: &str, path: &Path) -> Command {
    command(Command::new(std::env::current_exe().unwrap()), name, path)
}

/// The same under limits that the shell sets before.
pub(crate) fn child_under(limits: &str, name: &str, path: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]);
    shell.arg(std::env::current_exe().unwrap());
    command(shell, name, path)
}

fn command(mut command: Command, name: &str, path: &Path) -> Command {
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(PATH, path).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The path that the parent gave to this child.
pub(crate) fn path_of_child() -> std::path::PathBuf {
    std::env::var_os(PATH).expect("a child is started by its parent").into()
}
