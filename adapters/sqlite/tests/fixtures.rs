//! A file that version 1 of the schema wrote, and every release opens.

#[path = "../../sql/tests/common/fixture.rs"]
mod fixture;

use std::path::Path;

use annals::StorageAdapter as _;
use annals_sqlite::SqliteOptions;
use annals_testkit::FixedClock;

#[tokio::test]
async fn a_file_of_version_1_is_read_whole_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v1.db");
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1.db");
    std::fs::write(&path, std::fs::read(&stored).unwrap()).unwrap();
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

/// Writes the log of this release to the file that `ANNALS_FIXTURE` names, for a release that has a new version.
#[tokio::test]
#[ignore = "makes a fixture"]
async fn make() {
    let path = std::env::var_os("ANNALS_FIXTURE").expect("ANNALS_FIXTURE names the file");
    let clock = FixedClock(fixture::RECORDED_AT);
    let adapter = SqliteOptions::new().with_clock(clock).open(path).await.unwrap();
    fixture::write(&adapter).await;
    adapter.close().await;
}
