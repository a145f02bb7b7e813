//! Processes that share a file, and processes that die.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use annals::{Error, EventId, StorageAdapter, StoredEvent};
use annals_sqlite::SqliteAdapter;

use crate::common::{all, append_to, assert_whole, child, child_under, path_of_child};

/// Appends batches of three on four streams until it is killed or refused; tells the ids of each that was
/// acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process"]
async fn child_appends_without_end() {
    let adapter = SqliteAdapter::open(path_of_child()).await.unwrap();
    let tasks = (0..4).map(|task| {
        let adapter = adapter.clone();
        tokio::spawn(async move {
            loop {
                match adapter.append(append_to(&format!("o-{task}"), 3)).await {
                    Ok(stored) => println!("{}", told(&stored)),
                    Err(Error::Unavailable(_) | Error::OutcomeUnknown(_)) => return,
                    Err(other) => panic!("{other:?}"),
                }
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.await.unwrap();
    }
    // What was acknowledged can be read while there is no room to write.
    assert_whole(&all(&adapter).await);
    println!("refused");
}

fn told(stored: &[StoredEvent]) -> String {
    let ids: Vec<_> = stored.iter().map(|event| event.event.id.to_string()).collect();
    format!("acknowledged {}", ids.join(" "))
}

/// The ids of a line, unless it was cut off by the kill.
fn heard(line: &str) -> Vec<EventId> {
    let Some((_, ids)) = line.split_once("acknowledged ") else { return Vec::new() };
    let ids: Vec<_> = ids.split(' ').filter_map(|id| id.parse::<uuid::Uuid>().ok()).collect();
    ids.into_iter().map(EventId::from_uuid).collect()
}

async fn assert_recovered(path: &Path, acknowledged: &[EventId]) -> usize {
    let adapter = SqliteAdapter::open(path).await.unwrap();
    let events = all(&adapter).await;
    assert_whole(&events);
    let mut streams: HashMap<_, usize> = HashMap::new();
    for event in &events {
        *streams.entry(&event.stream).or_default() += 1;
    }
    assert!(streams.values().all(|count| count % 3 == 0), "a batch is there in part");
    let known: std::collections::HashSet<_> = events.iter().map(|event| event.event.id).collect();
    for id in acknowledged {
        assert!(known.contains(id), "event {id} was acknowledged and is gone");
    }
    let stored = adapter.append(append_to("o-0", 3)).await.unwrap();
    assert_eq!(stored.last().unwrap().sequence_number.value(), events.len() as u64 + 3);
    adapter.close().await;
    events.len()
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let mut acknowledged = Vec::new();
    let mut recovered = 0;
    for lines in [1, 2, 40, 150, 400, 900] {
        let mut child = child("processes::child_appends_without_end", &path).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = output.by_ref().map_while(Result::ok).map(|line| heard(&line));
        let before = acknowledged.len();
        acknowledged.extend(told.filter(|ids| !ids.is_empty()).take(lines).flatten());
        child.kill().unwrap();
        // What it told between our last look and the kill was acknowledged, too.
        acknowledged.extend(output.map_while(Result::ok).flat_map(|line| heard(&line)));
        child.wait().unwrap();
        assert!(acknowledged.len() >= before + lines * 3, "the child did not get to work");
        recovered = assert_recovered(&path, &acknowledged).await;
    }
    assert!(recovered >= acknowledged.len());
}

/// A file may not grow beyond a few hundred kilobytes, as on a disk that is full.
#[tokio::test]
async fn a_full_disk_refuses_appends_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // 512-byte blocks; the shell has the write fail instead of the process killed.
    for blocks in [600, 1_200, 2_001] {
        let path = directory.path().join(format!("log-{blocks}.db"));
        let limits = format!("trap '' XFSZ; ulimit -f {blocks}");
        let output =
            child_under(&limits, "processes::child_appends_without_end", &path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{complaint}");
        assert!(text.contains("refused"), "{text}\n{complaint}");
        let acknowledged: Vec<_> = text.lines().flat_map(heard).collect();
        assert!(!acknowledged.is_empty(), "the disk was full before anything was appended");
        assert_recovered(&path, &acknowledged).await;
    }
}

/// Appends 40 batches on two streams that other processes append to as well.
#[tokio::test]
#[ignore = "run as a child process"]
async fn child_appends_beside_others() {
    let adapter = SqliteAdapter::open(path_of_child()).await.unwrap();
    for n in 0..40 {
        adapter.append(append_to(&format!("o-{}", n % 2), 3)).await.unwrap();
    }
    adapter.close().await;
}

#[tokio::test]
async fn several_processes_make_and_share_a_fresh_file() {
    for _ in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let start = || child("processes::child_appends_beside_others", &path).spawn().unwrap();
        let children: Vec<_> = (0..4).map(|_| start()).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{complaint}");
        }
        let adapter = SqliteAdapter::open(&path).await.unwrap();
        let events = all(&adapter).await;
        assert_whole(&events);
        assert_eq!(events.len(), 4 * 40 * 3);
    }
}

/// Tries to open a file, and tells how that ended.
#[tokio::test]
#[ignore = "run as a child process"]
async fn child_opens_and_appends() {
    match SqliteAdapter::open(path_of_child()).await {
        Err(error) => println!("opened: {error:?}"),
        Ok(adapter) => {
            println!("opened: {:?}", adapter.append(append_to("o-1", 1)).await);
            println!("events: {}", all(&adapter).await.len());
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_read_only_file_is_a_typed_error() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    adapter.append(append_to("o-1", 1)).await.unwrap();
    adapter.close().await;
    drop(adapter);
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&path, 0o444);
    mode(directory.path(), 0o555);
    let is_root = std::fs::OpenOptions::new().append(true).open(&path).is_ok();
    let mut child = child("processes::child_opens_and_appends", &path);
    if is_root {
        // For root no file is read-only.
        child.uid(65_534);
    }
    let output = child.output();
    mode(directory.path(), 0o755);
    let Ok(output) = output else {
        let _ = writeln!(std::io::stderr(), "NOT RUN: nobody may not execute this test");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("opened: Backend"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("readonly") || text.contains("unable to open"), "{text}");
    let adapter = SqliteAdapter::open(&path).await;
    if is_root {
        assert_eq!(all(&adapter.unwrap()).await.len(), 1);
    }
}
