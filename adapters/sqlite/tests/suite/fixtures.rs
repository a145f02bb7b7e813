//! Files that version 1 of the schema wrote, of the log and of the documents beside it, and that every release opens.

#[cfg(feature = "state")]
#[path = "../../../sql/tests/common/documents_fixture.rs"]
mod documents_fixture;
#[path = "../../../sql/tests/common/fixture.rs"]
mod fixture;

use std::path::{Path, PathBuf};

use annals::StorageAdapter as _;
use annals_sqlite::SqliteOptions;
use annals_testkit::FixedClock;

/// A copy of a stored file in `folder`.
fn copy(name: &str, folder: &Path) -> PathBuf {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let path = folder.join(name);
    std::fs::copy(&stored, &path).expect("a stored file is copied");
    path
}

#[tokio::test]
async fn a_file_of_version_1_is_read_whole_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy("v1.db", folder.path());
    let before = SqliteOptions::new().schema(&path).status().await.unwrap();
    assert_eq!(before.found, 1);
    let adapter = SqliteOptions::new().open(&path).await.unwrap();
    let after = SqliteOptions::new().schema(&path).status().await.unwrap();
    assert_eq!(after.found, after.known, "opening brings it up to date");
    fixture::assert_goes_on(adapter.clone(), &fixture::NUMBERS).await;
    adapter.close().await;
    // What was appended is there for the next one that opens it.
    let sql = "SELECT count(*), max(sequence_number) FROM log WHERE name = 'order-closed'";
    let other = rusqlite::Connection::open(&path).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    assert_eq!(other.query_row(sql, [], row).unwrap(), (4_i64, 15_i64));
}

#[cfg(feature = "state")]
#[tokio::test]
async fn documents_of_version_1_are_read_whole_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy("documents_v1.db", folder.path());
    let adapter = SqliteOptions::new().open(&path).await.unwrap();
    documents_fixture::assert_goes_on(&adapter.state()).await;
    fixture::assert_goes_on(adapter.clone(), &fixture::NUMBERS).await;
    adapter.close().await;
    let other = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT json FROM state WHERE collection = 'teas' ORDER BY id";
    let mut found = other.prepare(sql).unwrap();
    let found: rusqlite::Result<Vec<String>> =
        found.query_map([], |row| row.get(0)).unwrap().collect();
    assert_eq!(found.unwrap(), [r#"{"price":5}"#, "3", "4"], "the view shows them to people");
}

/// Writes the log and the documents of this release to the file that `ANNALS_FIXTURE` names, for a release that has a new version.
#[tokio::test]
#[ignore = "makes a fixture"]
async fn make() {
    let path = std::env::var_os("ANNALS_FIXTURE").expect("ANNALS_FIXTURE names the file");
    let clock = FixedClock(fixture::RECORDED_AT);
    let adapter = SqliteOptions::new().with_clock(clock).open(path).await.unwrap();
    fixture::write(&adapter).await;
    #[cfg(feature = "state")]
    documents_fixture::write(&adapter.state()).await;
    adapter.close().await;
}
