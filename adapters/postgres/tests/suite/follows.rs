//! A follow hears of everything within a bounded time: also of what happens between its page and the first look of the
//! adapter at the log, and of what nobody sent a notification of.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use annals::{Error, EventPages, EventStore, SequenceNumber, WriteCondition};
use annals_postgres::PostgresOptions;
use annals_servers::PostgresServer;
use futures_util::StreamExt as _;

use crate::common::{admin, fresh, options, server, truncate};
use crate::log::{connect, event, fill, stream};

/// Nothing here waits for a second append.
const LIMIT: Duration = Duration::from_secs(30);

/// A follow that has reached the head.
async fn follow(store: &EventStore) -> EventPages {
    let mut follow = store.stream(stream("s")).follow(SequenceNumber::START);
    assert!(follow.next().await.unwrap().unwrap().at_head);
    follow
}

async fn append(store: &EventStore) {
    store.stream(stream("s")).append([event("late")], WriteCondition::Always).await.unwrap();
}

async fn assert_hears(mut follow: EventPages) {
    let page = tokio::time::timeout(LIMIT, follow.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(page.events.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_follow_of_a_handle_hears_what_others_append_at_once() {
    let Some(url) = server().await else { return };
    let options = options(&url, &fresh()).unwrap();
    options.migrate().await.unwrap();
    let other = connect(&options).await;
    fill(&other, &["s"]).await;
    for nth in 0..6 {
        // Behind a pooler nobody listens.
        let options = options.clone().with_transaction_pooler(nth % 2 == 0);
        let follow = follow(&connect(&options).await).await;
        append(&other).await;
        assert_hears(follow).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_follow_of_a_handle_ends_if_the_store_goes_back_at_once() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    options.migrate().await.unwrap();
    let admin = admin(&url).await.unwrap();
    for _ in 0..5 {
        fill(&connect(&options).await, &["s"]).await;
        let mut follow = follow(&connect(&options).await).await;
        admin.batch_execute(&truncate(&schema)).await.unwrap();
        let end = tokio::time::timeout(LIMIT, follow.next()).await.unwrap().unwrap();
        assert!(matches!(end, Err(Error::AheadOfLog { .. })), "{end:?}");
    }
}

/// The adapter tries to listen less and less often while the server is away. A follow begins before it does again.
#[tokio::test(flavor = "multi_thread")]
async fn a_follow_that_begins_after_an_outage_hears_what_others_append_at_once() {
    if server().await.is_none() {
        return;
    }
    let server = tokio::task::spawn_blocking(|| PostgresServer::start().unwrap()).await.unwrap();
    let options: PostgresOptions = options(&server.url(), "annals").unwrap();
    options.migrate().await.unwrap();
    let (store, other) = (connect(&options).await, connect(&options).await);
    fill(&other, &["s"]).await;
    drop(follow(&store).await);
    tokio::task::block_in_place(|| server.stop()).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    tokio::task::block_in_place(|| server.start_again()).unwrap();
    while other.stream(stream("s")).append([], WriteCondition::Always).await.is_err() {}
    let follow = follow(&store).await;
    append(&other).await;
    assert_hears(follow).await;
}

/// A process commits, and is killed before it sends its notification; `others` send theirs of other streams.
async fn hears_without_a_notification(others: bool) {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    options.migrate().await.unwrap();
    let (store, other) = (connect(&options).await, connect(&options).await);
    fill(&store, &["s"]).await;
    let mut follow = follow(&store).await;
    // After some seconds all others have seen that it listens.
    tokio::time::timeout(Duration::from_secs(4), follow.next()).await.unwrap_err();
    let append = format!(
        "INSERT INTO {schema}.events SELECT e.sequence_number + 1, e.stream_id, e.position + 1, e.category_id, \
         e.name_id, e.encoding_id, gen_random_uuid(), e.occurred_at, e.recorded_at, e.tags, e.metadata, e.payload \
         FROM {schema}.events e ORDER BY e.sequence_number DESC LIMIT 1"
    );
    admin(&url).await.unwrap().batch_execute(&append).await.unwrap();
    if others {
        fill(&other, &["other"]).await;
    }
    assert_hears(follow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_hears_of_an_append_without_a_notification() {
    hears_without_a_notification(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_hears_of_an_append_without_a_notification_beside_others() {
    hears_without_a_notification(true).await;
}
