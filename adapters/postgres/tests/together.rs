//! An append and a commit in one transaction, the adapter's and the caller's: both are made or neither, and the error
//! says which contract refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use annals::{
    Append, Error, EventStore, NewEvent, Payload, ReadOptions, StorageAdapter, StreamId,
    WriteCondition,
};
use annals_postgres::PostgresAdapter;
use annals_state::{Commit, DocumentKey, Expected, Revision, StateStore, TogetherError, Write};

fn append(condition: WriteCondition) -> Vec<Append> {
    let event = NewEvent::json("placed", &1).unwrap();
    vec![Append::new(StreamId::from_static("orders", "o-1"), [event], condition)]
}

fn put(expected: Expected) -> Commit {
    let key = DocumentKey::new("orders", "o-1").unwrap();
    Commit::new([Write::put(key, Payload::json(&"placed").unwrap(), expected)])
}

async fn counts(adapter: &PostgresAdapter) -> (usize, usize) {
    let events = EventStore::new(adapter.clone()).log().read(ReadOptions::default());
    let key = DocumentKey::new("orders", "o-1").unwrap();
    let got = adapter.state().get(vec![key]).await.unwrap();
    (events.into_vec().await.unwrap().len(), got.documents.iter().flatten().count())
}

async fn open(url: &str, schema: &str) -> PostgresAdapter {
    let schema = format!("{schema}_{}", annals::EventId::generate().as_uuid().simple());
    let options = common::options(url, &schema).unwrap();
    options.migrate().await.unwrap();
    options.connect().await.unwrap()
}

#[tokio::test]
async fn both_are_made_or_neither() {
    let Some(url) = common::server().await else { return };
    let adapter = open(&url, "together").await;
    let refused = put(Expected::Is(Revision::generate()));
    let error =
        adapter.append_and_commit(append(WriteCondition::Always), refused).await.unwrap_err();
    assert!(matches!(&error, TogetherError::Commit(error) if error.is_conflict()), "{error}");
    assert_eq!(counts(&adapter).await, (0, 0), "a refused commit leaves no event");

    let (event, commit) = (append(WriteCondition::StreamIsEmpty), put(Expected::Absent));
    let stored = adapter.append_and_commit(event.clone(), commit.clone()).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(counts(&adapter).await, (1, 1));
    let error = adapter.append_and_commit(event, commit).await.unwrap_err();
    assert!(matches!(&error, TogetherError::Append(Error::DuplicateEvent(_))), "{error}");
    let late = append(WriteCondition::StreamIsEmpty);
    let error = adapter.append_and_commit(late, put(Expected::Any)).await.unwrap_err();
    assert!(matches!(&error, TogetherError::Append(Error::ConditionFailed(_))), "{error}");
    assert_eq!(counts(&adapter).await, (1, 1), "a refused append leaves no document");
    adapter.append(append(WriteCondition::Always)).await.unwrap();
    assert_eq!(counts(&adapter).await, (2, 1), "the writer goes on behind it");
    adapter.close().await;
    let closed =
        adapter.append_and_commit(append(WriteCondition::Always), put(Expected::Any)).await;
    assert!(matches!(closed, Err(TogetherError::Append(Error::Closed { .. }))));
}

#[tokio::test]
async fn in_a_transaction_of_the_callers() {
    let Some(url) = common::server().await else { return };
    let adapter = open(&url, "together_in").await;
    let mut client = common::admin(&url).await.unwrap();
    let state = adapter.state();

    let transaction = client.transaction().await.unwrap();
    let refused = put(Expected::Is(Revision::generate()));
    let writes = append(WriteCondition::Always);
    let error =
        adapter.append_and_commit_in(&transaction, writes, refused.clone()).await.unwrap_err();
    assert!(matches!(&error, TogetherError::Commit(error) if error.is_conflict()), "{error}");
    assert!(state.commit_in(&transaction, refused).await.unwrap_err().is_conflict());
    // It goes on, and what was refused is not in it.
    transaction.query_one("SELECT 1", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(counts(&adapter).await, (0, 0));

    let transaction = client.transaction().await.unwrap();
    let writes = append(WriteCondition::StreamIsEmpty);
    adapter.append_and_commit_in(&transaction, writes, put(Expected::Absent)).await.unwrap();
    assert_eq!(counts(&adapter).await, (0, 0), "it is not committed yet");
    transaction.rollback().await.unwrap();
    assert_eq!(counts(&adapter).await, (0, 0));

    let transaction = client.transaction().await.unwrap();
    let writes = append(WriteCondition::StreamIsEmpty);
    let commit = put(Expected::Absent);
    let revision = commit.revision;
    adapter.append_and_commit_in(&transaction, writes, commit).await.unwrap();
    state.commit_in(&transaction, put(Expected::Is(revision))).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(counts(&adapter).await, (1, 1));
}
