//! An append and a commit in one transaction: both are made or neither, and the error says which contract refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../sql/tests/common/together.rs"]
mod shared;

use annals::{Error, StorageAdapter, WriteCondition};
use annals_sqlite::SqliteAdapter;
use annals_state::{Expected, Revision, StateError, StateStore, TogetherError};
use rusqlite::{Connection, TransactionBehavior};
use shared::{append, counts, put};

#[tokio::test]
async fn both_are_made_or_neither() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = SqliteAdapter::open(folder.path().join("both.db")).await.unwrap();
    let both = async |writes, commit| adapter.append_and_commit(writes, commit).await;
    shared::assert_both_or_neither(&adapter, &adapter.state(), both, || {
        let shown = rusqlite::Connection::open(folder.path().join("both.db")).unwrap();
        let sql = "SELECT collection || ' ' || id || ' ' || json FROM state";
        let line: String = shown.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(line, "orders o-1 \"placed\"");
    })
    .await;
}

/// The same in transactions on the caller's connection.
#[tokio::test]
async fn both_are_made_or_neither_in_the_callers_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    let both = async |writes, commit| {
        let mut connection = Connection::open(&path).unwrap();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let made = adapter.append_and_commit_in(&transaction, writes, commit);
        // What was rejected left nothing, and the transaction goes on.
        transaction.commit().unwrap();
        made
    };
    shared::assert_both_or_neither(&adapter, &adapter.state(), both, || {}).await;
}

/// One commit or rollback covers events, documents and rows of other tables.
#[tokio::test]
async fn what_the_caller_writes_itself_is_made_with_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    let state = adapter.state();
    let mut own = Connection::open(&path).unwrap();
    own.execute_batch("CREATE TABLE rows (x INTEGER)").unwrap();
    let rows = |own: &Connection| -> i64 {
        own.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap()
    };
    // The writer remembers the stream and the head, which the transactions below move on without it.
    adapter.append(append(WriteCondition::Always)).await.unwrap();

    let transaction = own.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    transaction.execute("INSERT INTO rows VALUES (1)", []).unwrap();
    let commit = put(Expected::Absent);
    adapter.append_and_commit_in(&transaction, append(WriteCondition::Always), commit).unwrap();
    transaction.rollback().unwrap();
    assert_eq!((rows(&own), counts(&adapter, &state).await), (0, (1, 0)), "rolled back");

    let transaction = own.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    transaction.execute("INSERT INTO rows VALUES (1)", []).unwrap();
    let stored = adapter
        .append_and_commit_in(&transaction, append(WriteCondition::Always), put(Expected::Absent))
        .unwrap();
    assert_eq!(stored[0].sequence_number.value(), 2);
    let refused = put(Expected::Is(Revision::generate()));
    let error = state.commit_in(&transaction, refused).unwrap_err();
    assert!(error.is_conflict(), "{error}");
    state.commit_in(&transaction, put(Expected::Any)).unwrap();
    transaction.commit().unwrap();
    assert_eq!((rows(&own), counts(&adapter, &state).await), (1, (2, 1)));

    let next = adapter.append(append(WriteCondition::Always)).await.unwrap();
    assert_eq!(next[0].sequence_number.value(), 3, "the writer sees what others appended");
    assert_eq!(next[0].position.value(), 2);
}

#[tokio::test]
async fn a_transaction_of_another_file_or_begun_too_early_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    let state = adapter.state();
    let other = folder.path().join("other.db");
    drop(SqliteAdapter::open(&other).await.unwrap());
    let mut other = Connection::open(other).unwrap();
    let mut memory = Connection::open_in_memory().unwrap();
    for connection in [&mut other, &mut memory] {
        let transaction = connection.transaction().unwrap();
        let error = state.commit_in(&transaction, put(Expected::Any)).unwrap_err();
        assert!(matches!(&error, StateError::Invalid(_)), "{error}");
        let both = adapter.append_and_commit_in(&transaction, Vec::new(), put(Expected::Any));
        assert!(matches!(&both, Err(TogetherError::Append(Error::Invalid(_)))), "{both:?}");
    }
    let in_memory = SqliteAdapter::open_in_memory().await.unwrap().state();
    let error = in_memory.commit_in(&memory.transaction().unwrap(), put(Expected::Any));
    assert!(matches!(error, Err(StateError::Invalid(_))));

    // It has looked at the file before another connection wrote.
    let mut own = Connection::open(&path).unwrap();
    let transaction = own.transaction_with_behavior(TransactionBehavior::Deferred).unwrap();
    let sql = "SELECT count(*) FROM state_documents";
    let _: i64 = transaction.query_row(sql, [], |row| row.get(0)).unwrap();
    state.commit(put(Expected::Absent)).await.unwrap();
    let error = state.commit_in(&transaction, put(Expected::Absent)).unwrap_err();
    assert!(matches!(&error, StateError::Unavailable(_)), "{error}");
    drop(transaction);
    assert_eq!(counts(&adapter, &state).await, (0, 1));
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
