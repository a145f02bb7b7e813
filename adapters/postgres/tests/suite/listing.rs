//! Lists of streams and categories.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../sql/tests/common/listing.rs"]
mod shared;

use crate::common::{admin, fresh, open, options, server};
use annals::Order;

#[tokio::test]
async fn streams_and_categories_are_listed() {
    let Some(url) = server().await else { return };
    for order in [Order::Log, Order::Category, Order::Stream] {
        let schema = fresh();
        let adapter = open(options(&url, &schema).unwrap().with_order(order)).await;
        shared::assert_lists(
            &adapter,
            async |category, after, limit| adapter.streams(category, after, limit).await,
            async |after, limit| adapter.categories(after, limit).await,
            async {
                // Sessions that are gone are replaced, as under reads.
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE application_name = $1";
                admin(&url).await.unwrap().query(sql, &[&schema]).await.unwrap();
            },
        )
        .await;
    }
}
