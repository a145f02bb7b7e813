//! An append and a commit in one transaction: both are made or neither, and the error says which contract refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../sql/tests/common/together.rs"]
mod together;

use annals::{StorageAdapter, WriteCondition};
use annals_sqlite::SqliteAdapter;
use annals_state::{Expected, StateStore};
use together::{append, counts, put};

#[tokio::test]
async fn both_are_made_or_neither() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = SqliteAdapter::open(folder.path().join("both.db")).await.unwrap();
    let both = async |writes, commit| adapter.append_and_commit(writes, commit).await;
    together::assert_both_or_neither(&adapter, &adapter.state(), both, || {
        let shown = rusqlite::Connection::open(folder.path().join("both.db")).unwrap();
        let sql = "SELECT collection || ' ' || id || ' ' || json FROM state";
        let line: String = shown.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(line, "orders o-1 \"placed\"");
    })
    .await;
}

#[tokio::test]
async fn a_file_of_a_release_without_documents_gets_their_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    adapter.append(append(WriteCondition::Always)).await.unwrap();
    adapter.close().await;
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP VIEW state; DROP TABLE state_entries; DROP TABLE state_documents; DROP TABLE state_schema",
    )
    .unwrap();
    drop(old);
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    adapter.state().commit(put(Expected::Absent)).await.unwrap();
    assert_eq!(counts(&adapter, &adapter.state()).await, (1, 1));
}

#[tokio::test]
async fn documents_of_a_later_release_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.db");
    SqliteAdapter::open(&path).await.unwrap().close().await;
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute_batch("UPDATE state_schema SET version = 2").unwrap();
    drop(newer);
    let error = SqliteAdapter::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
}

/// D2: nothing of a document is remembered, so an older state that is put back is what commits are judged on.
#[tokio::test]
async fn a_store_that_goes_back_is_judged_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("back.db");
    let state = SqliteAdapter::open(&path).await.unwrap().state();
    let first = put(Expected::Absent);
    let before = first.revision;
    state.commit(first).await.unwrap();
    let second = put(Expected::Is(before));
    let after = second.revision;
    state.commit(second).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let old = before.as_uuid().as_bytes().to_vec();
    other.execute("UPDATE state_documents SET revision = ?1", [old]).unwrap();
    assert!(state.commit(put(Expected::Is(after))).await.unwrap_err().is_conflict());
    state.commit(put(Expected::Is(before))).await.unwrap();
    other.execute_batch("DELETE FROM state_entries; DELETE FROM state_documents").unwrap();
    state.commit(put(Expected::Absent)).await.unwrap();
}
