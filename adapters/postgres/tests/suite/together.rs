//! An append and a commit in one transaction, the adapter's and the caller's: both are made or neither, and the error
//! says which contract refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../sql/tests/common/together.rs"]
mod shared;

use annals::WriteCondition;
use annals_postgres::PostgresAdapter;
use annals_state::{Expected, Revision, TogetherError};
use shared::{append, counts, put};

async fn open(url: &str, schema: &str) -> PostgresAdapter {
    let schema = format!("{schema}_{}", annals::EventId::generate().as_uuid().simple());
    let options = crate::common::options(url, &schema).unwrap();
    options.migrate().await.unwrap();
    options.connect().await.unwrap()
}

#[tokio::test]
async fn both_are_made_or_neither() {
    let Some(url) = crate::common::server().await else { return };
    let adapter = open(&url, "together").await;
    let both = async |writes, commit| adapter.append_and_commit(writes, commit).await;
    shared::assert_both_or_neither(&adapter, &adapter.state(), both, || ()).await;
}

#[tokio::test]
async fn in_a_transaction_of_the_callers() {
    let Some(url) = crate::common::server().await else { return };
    let adapter = open(&url, "together_in").await;
    let mut client = crate::common::admin(&url).await.unwrap();
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
    assert_eq!(counts(&adapter, &state).await, (0, 0));

    let transaction = client.transaction().await.unwrap();
    let writes = append(WriteCondition::StreamIsEmpty);
    adapter.append_and_commit_in(&transaction, writes, put(Expected::Absent)).await.unwrap();
    assert_eq!(counts(&adapter, &state).await, (0, 0), "it is not committed yet");
    transaction.rollback().await.unwrap();
    assert_eq!(counts(&adapter, &state).await, (0, 0));

    let transaction = client.transaction().await.unwrap();
    let writes = append(WriteCondition::StreamIsEmpty);
    let commit = put(Expected::Absent);
    let revision = commit.revision;
    adapter.append_and_commit_in(&transaction, writes, commit).await.unwrap();
    state.commit_in(&transaction, put(Expected::Is(revision))).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(counts(&adapter, &state).await, (1, 1));
}
