//! Lists of streams and categories.

#![allow(clippy::indexing_slicing, clippy::expect_used, reason = "a test may panic")]

#[path = "../../../sql/tests/common/listing.rs"]
mod shared;

use annals_memory::MemoryAdapter;

#[tokio::test]
async fn streams_and_categories_are_listed() {
    let adapter = MemoryAdapter::new();
    shared::assert_lists(
        &adapter,
        async |category, after, limit| adapter.streams(category, after, limit).await,
        async |after, limit| adapter.categories(after, limit).await,
        async {},
    )
    .await;
}
