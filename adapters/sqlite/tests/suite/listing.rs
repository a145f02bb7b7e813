//! Lists of streams and categories.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../sql/tests/common/listing.rs"]
mod shared;

use annals_sqlite::SqliteAdapter;

#[tokio::test]
async fn streams_and_categories_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    for adapter in [
        SqliteAdapter::open(directory.path().join("log.db")).await.unwrap(),
        SqliteAdapter::open_in_memory().await.unwrap(),
    ] {
        shared::assert_lists(
            &adapter,
            async |category, after, limit| adapter.streams(category, after, limit).await,
            async |after, limit| adapter.categories(after, limit).await,
            async {},
        )
        .await;
    }
}
