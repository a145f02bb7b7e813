//! Files that are torn, foreign or locked, and disks that are full: typed errors, and nothing lost.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use annals::{Error, StorageAdapter};
use annals_sqlite::{SchemaError, SqliteAdapter, SqliteOptions};

use crate::common::{all, append_to, assert_whole};

fn beside(path: &Path, what: &str) -> PathBuf {
    PathBuf::from(format!("{}{what}", path.display()))
}

#[tokio::test]
async fn a_torn_log_tail_loses_only_what_was_not_whole() {
    const HEADER: usize = 32;
    const FRAME: usize = 24 + 4_096;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    for n in 0..6 {
        adapter.append(append_to(&format!("o-{}", n % 2), 5)).await.unwrap();
    }
    // Copied while it is open: nothing was moved from the write-ahead log into the file at the end.
    let file = std::fs::read(&path).unwrap();
    let wal = std::fs::read(beside(&path, "-wal")).unwrap();
    let frames = (wal.len() - HEADER) / FRAME;
    assert!(frames > 12, "the log holds {frames} frames only");

    let mut last = 0;
    for frame in 0..=frames {
        let boundary = HEADER + frame * FRAME;
        for (end, flip) in
            [(boundary, false), (boundary + 24 + 100, false), (boundary + FRAME, true)]
        {
            let mut torn = wal[..end.min(wal.len())].to_vec();
            if flip && let Some(byte) = torn.get_mut(boundary + 24 + 2_000) {
                *byte ^= 0x40;
            }
            let copy = directory.path().join(format!("copy-{end}-{flip}.db"));
            std::fs::write(&copy, &file).unwrap();
            std::fs::write(beside(&copy, "-wal"), &torn).unwrap();
            let recovered = SqliteAdapter::open(&copy).await.unwrap();
            let events = all(&recovered).await;
            assert_whole(&events);
            assert_eq!(events.len() % 5, 0, "a part of a batch is there");
            assert!(events.len() >= last, "more was lost than torn");
            last = events.len();
            recovered.append(append_to("o-0", 5)).await.unwrap();
            assert_whole(&all(&recovered).await);
            recovered.close().await;
        }
    }
    assert_eq!(last, 30);
}

async fn refusal(path: &Path) -> Error {
    let before = std::fs::read(path).unwrap();
    let error = SqliteAdapter::open(path).await.unwrap_err();
    assert_eq!(std::fs::read(path).unwrap(), before, "a file that was refused is unchanged");
    error
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("letter.txt");
    std::fs::write(&path, "Dear sir or madam, ".repeat(1_000)).unwrap();
    assert!(matches!(refusal(&path).await, Error::Corrupt(_)));
}

#[tokio::test]
async fn a_database_of_another_application_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE events (x); PRAGMA user_version = 1;").unwrap();
    drop(other);
    let Error::Invalid(reason) = refusal(&path).await else { panic!("expected Invalid") };
    assert_eq!(reason.downcast_ref(), Some(&SchemaError::Foreign));
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_its_status_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let before = SqliteOptions::new().schema(&path).status().await.unwrap();
    assert_eq!((before.found, before.known), (0, 1));
    assert!(!path.exists(), "to ask for the status makes no file");
    SqliteAdapter::open(&path).await.unwrap().close().await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 7).unwrap();
    raw.pragma_update(None, "journal_mode", "delete").unwrap();
    drop(raw);
    let Error::Invalid(reason) = refusal(&path).await else { panic!("expected Invalid") };
    let newer = reason.downcast_ref::<SchemaError>();
    assert!(matches!(newer, Some(SchemaError::Newer { found: 7, known: 1, .. })), "{reason}");
    let status = SqliteOptions::new().schema(&path).status().await.unwrap();
    assert_eq!(status.to_string(), "schema version 7, this release needs 1");
}

#[tokio::test]
async fn options_out_of_their_bounds_are_invalid() {
    type Change = fn(SqliteOptions) -> SqliteOptions;
    let changes: &[(&str, Change)] = &[
        ("lock timeout 0", |options| options.with_lock_timeout(Duration::ZERO)),
        ("lock timeout of a nanosecond", |o| o.with_lock_timeout(Duration::from_nanos(1))),
        ("lock timeout without end", |options| options.with_lock_timeout(Duration::MAX)),
        ("readers", |options| options.with_readers(NonZeroUsize::MAX)),
        ("page size", |options| options.with_page_size(NonZeroUsize::MAX)),
        ("queue bound", |options| options.with_queue_bound(NonZeroU32::MAX)),
        ("cache bound", |options| options.with_cache_bound(NonZeroUsize::MAX)),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    for (what, change) in changes {
        let options = || change(SqliteOptions::new());
        for refusal in [
            options().open(&path).await.err(),
            options().open_in_memory().await.err(),
            options().schema(&path).migrate().await.err(),
            options().schema(&path).status().await.err(),
        ] {
            assert!(matches!(refusal, Some(Error::Invalid(_))), "{what}: {refusal:?}");
        }
    }
    assert!(!path.exists(), "nothing was made");
    let within = SqliteOptions::new()
        .with_lock_timeout(Duration::from_secs(24 * 60 * 60))
        .with_page_size(NonZeroUsize::new(65_536).unwrap());
    assert_eq!(within.lock_timeout(), Duration::from_secs(24 * 60 * 60));
    let adapter = within.open(&path).await.unwrap();
    adapter.append(append_to("o-1", 3)).await.unwrap();
    assert_whole(&all(&adapter).await);
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [Path::new("/dev/null"), &pipe, &link, &socket, directory.path()] {
        let refusals = [
            SqliteAdapter::open(path).await.err(),
            SqliteOptions::new().schema(path).status().await.err(),
        ];
        for error in refusals {
            let text = error.as_ref().map(ToString::to_string).unwrap_or_default();
            assert!(matches!(error, Some(Error::Invalid(_))), "{}: {error:?}", path.display());
            assert!(text.contains(&path.display().to_string()), "{text}");
        }
    }
    // A link to a file is the file.
    let (file, link) = (directory.path().join("log.db"), directory.path().join("log-link"));
    SqliteAdapter::open(&file).await.unwrap().close().await;
    std::os::unix::fs::symlink(&file, &link).unwrap();
    SqliteAdapter::open(&link).await.unwrap().append(append_to("o-1", 1)).await.unwrap();
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_a_typed_error() {
    let directory = tempfile::tempdir().unwrap();
    let error = SqliteAdapter::open(directory.path().join("none/log.db")).await.unwrap_err();
    assert!(matches!(&error, Error::Backend(failure) if failure.adapter == "sqlite"), "{error:?}");
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let options = SqliteOptions::new().with_lock_timeout(Duration::from_millis(50));
    let adapter = options.open(&path).await.unwrap();
    adapter.append(append_to("o-1", 1)).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let appends = (0..20).map(|_| adapter.append(append_to("o-1", 1)));
    for outcome in futures_util::future::join_all(appends).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    // Readers do not wait for whoever writes.
    assert_eq!(all(&adapter).await.len(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    adapter.append(append_to("o-1", 1)).await.unwrap();
    assert_whole(&all(&adapter).await);
}

/// A small file system of its own, for as long as the value lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "annals-test"])
            .arg(at)
            .output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_and_has_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(directory.path()) else {
        let _ = writeln!(std::io::stderr(), "NOT RUN: a file system can be mounted by root only");
        return;
    };
    let adapter = SqliteAdapter::open(disk.0.join("log.db")).await.unwrap();
    let first = adapter.append(append_to("o-1", 2)).await.unwrap();
    let filler = disk.0.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    let mut refused = 0;
    for _ in 0..50 {
        match adapter.append(append_to("o-1", 40)).await {
            Ok(_) => {}
            Err(Error::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "the disk was never full");
    let kept = all(&adapter).await;
    assert_whole(&kept);
    assert_eq!(kept[..2], first[..]);
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let stored = adapter.append(append_to("o-1", 40)).await.unwrap();
    assert_eq!(stored[0].sequence_number.value(), kept.len() as u64 + 1);
    assert_whole(&all(&adapter).await);
    adapter.close().await;
}
