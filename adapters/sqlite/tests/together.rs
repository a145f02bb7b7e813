//! An append and a commit in one transaction: both are made or neither, and the error says which contract refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use annals::{
    Append, Error, EventStore, NewEvent, Payload, ReadOptions, StorageAdapter, StreamId,
    WriteCondition,
};
use annals_sqlite::SqliteAdapter;
use annals_state::{Commit, DocumentKey, Expected, StateStore, TogetherError, Write};

fn append(condition: WriteCondition) -> Vec<Append> {
    let event = NewEvent::json("placed", &1).unwrap();
    vec![Append::new(StreamId::from_static("orders", "o-1"), [event], condition)]
}

fn put(expected: Expected) -> Commit {
    let key = DocumentKey::new("orders", "o-1").unwrap();
    Commit::new([Write::put(key, Payload::json(&"placed").unwrap(), expected)])
}

async fn counts(adapter: &SqliteAdapter) -> (usize, usize) {
    let events = EventStore::new(adapter.clone()).log().read(ReadOptions::default());
    let key = DocumentKey::new("orders", "o-1").unwrap();
    let got = adapter.state().get(vec![key]).await.unwrap();
    (events.into_vec().await.unwrap().len(), got.documents.iter().flatten().count())
}

#[tokio::test]
async fn both_are_made_or_neither() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = SqliteAdapter::open(folder.path().join("both.db")).await.unwrap();
    let refused = put(Expected::Is(annals_state::Revision::generate()));
    let error =
        adapter.append_and_commit(append(WriteCondition::Always), refused).await.unwrap_err();
    assert!(matches!(&error, TogetherError::Commit(error) if error.is_conflict()), "{error}");
    assert_eq!(counts(&adapter).await, (0, 0), "a refused commit leaves no event");

    let event = append(WriteCondition::StreamIsEmpty);
    let commit = put(Expected::Absent);
    let stored = adapter.append_and_commit(event.clone(), commit.clone()).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(counts(&adapter).await, (1, 1));

    let error = adapter.append_and_commit(event, commit).await.unwrap_err();
    assert!(
        matches!(&error, TogetherError::Append(Error::DuplicateEvent(id)) if *id == stored[0].id()),
        "sent again: {error}"
    );
    let late = append(WriteCondition::StreamIsEmpty);
    let error = adapter.append_and_commit(late, put(Expected::Any)).await.unwrap_err();
    assert!(matches!(&error, TogetherError::Append(Error::ConditionFailed(_))), "{error}");
    assert_eq!(counts(&adapter).await, (1, 1), "a refused append leaves no document");

    let shown = rusqlite::Connection::open(folder.path().join("both.db")).unwrap();
    let sql = "SELECT collection || ' ' || id || ' ' || json FROM state";
    let line: String = shown.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(line, "orders o-1 \"placed\"");
    adapter.close().await;
    let error = adapter.append_and_commit(append(WriteCondition::Always), put(Expected::Any)).await;
    assert!(matches!(error, Err(TogetherError::Append(Error::Closed { .. }))));
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
    assert_eq!(counts(&adapter).await, (1, 1));
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
