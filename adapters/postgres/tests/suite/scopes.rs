//! In the weaker orders a category or stream that others hold keeps up nobody else.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroUsize;
use std::time::Duration;

use annals::{
    Append, Error, EventStore, NewEvent, Order, Query, ReadOptions, StorageAdapter as _, StreamId,
    WriteCondition,
};
use annals_postgres::{PostgresAdapter, PostgresOptions};
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use crate::common::{admin, fresh, open, options, server};

/// Far longer than any append takes, and less than the options let an append wait.
const SOON: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(120);

fn event(name: &'static str) -> NewEvent {
    NewEvent::json(name, &1).unwrap()
}

fn append(streams: &[&str]) -> Vec<Append> {
    let writes = streams.iter().map(|stream| {
        let (category, name) = stream.split_once('/').unwrap();
        let stream = StreamId::new(category.to_owned(), name.to_owned()).unwrap();
        Append::new(stream, vec![event("made")], WriteCondition::Always)
    });
    writes.collect()
}

fn start(
    store: &PostgresAdapter,
    streams: &[&str],
) -> JoinHandle<annals::Result<Vec<annals::StoredEvent>>> {
    let (store, writes) = (store.clone(), append(streams));
    tokio::spawn(async move { store.append(writes).await })
}

async fn soon<T>(of: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, of).await.expect("it waits for what others hold")
}

/// Another program holds `held/one` in a transaction of its own; appends to `others` go on, those to what it holds
/// are made once it ends, with all that were asked for meanwhile.
async fn goes_on(options: PostgresOptions, url: &str, others: &[&str], same: &[&str]) {
    let store = open(options.with_lock_timeout(PATIENCE)).await;
    soon(start(&store, &["held/one"])).await.unwrap().unwrap();
    let mut program = admin(url).await.unwrap();
    let transaction = program.transaction().await.unwrap();
    store.append_in(&transaction, append(&["held/one"])).await.unwrap();
    let mut waiting: Vec<_> = same.iter().map(|stream| start(&store, &[stream])).collect();
    // One append to several is made whole or not at all, and waits.
    let several = [&["held/one"], others].concat();
    waiting.push(start(&store, &several));
    for _ in 0..3 {
        let going: Vec<_> = others.iter().map(|stream| start(&store, &[stream])).collect();
        for append in going {
            soon(append).await.unwrap().unwrap();
        }
    }
    assert!(waiting.iter().all(|append| !append.is_finished()), "what is held is not written");
    // A caller that goes away takes its append along, or leaves it whole.
    waiting.pop().unwrap().abort();
    transaction.commit().await.unwrap();
    for append in waiting {
        soon(append).await.unwrap().unwrap();
    }
    let store = EventStore::new(store);
    let all = ReadOptions::default().allow_skips();
    let events = soon(store.read(Query::All, all).into_vec()).await.unwrap();
    let least = 2 + 3 * others.len() + same.len();
    let most = least + several.len();
    assert!([least, most].contains(&events.len()), "{} of {least}", events.len());
}

const STREAMS: [&str; 3] = ["held/two", "free/one", "free/two"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_independent() {
    let Some(url) = server().await else { return };
    let options = options(&url, &fresh()).unwrap().with_order(Order::Stream);
    goes_on(options, &url, &STREAMS, &["held/one", "held/one"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn categories_are_independent() {
    let Some(url) = server().await else { return };
    let options = options(&url, &fresh()).unwrap().with_order(Order::Category);
    goes_on(options, &url, &["free/one", "more/one"], &["held/one", "held/two"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_connection() {
    let Some(url) = server().await else { return };
    let options = options(&url, &fresh())
        .unwrap()
        .with_order(Order::Stream)
        .with_pool_size(NonZeroUsize::MIN);
    goes_on(options, &url, &STREAMS, &["held/one"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_of_transactions() {
    let Some(url) = server().await else { return };
    let options = options(&url, &fresh()).unwrap().with_order(Order::Category);
    let options = options.with_transaction_pooler(true);
    goes_on(options, &url, &["free/one", "more/one"], &["held/one", "held/two"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_waits_too_long_is_unavailable_and_alone() {
    let Some(url) = server().await else { return };
    let options = options(&url, &fresh()).unwrap().with_order(Order::Stream);
    let store = open(options.with_lock_timeout(Duration::from_millis(200))).await;
    let mut program = admin(&url).await.unwrap();
    let transaction = program.transaction().await.unwrap();
    store.append_in(&transaction, append(&["held/one"])).await.unwrap();
    let refused = soon(start(&store, &["held/one"])).await.unwrap();
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    soon(start(&store, &["free/one"])).await.unwrap().unwrap();
    transaction.rollback().await.unwrap();
    soon(start(&store, &["held/one"])).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_made_before_the_store_is_closed() {
    let Some(url) = server().await else { return };
    let options = options(&url, &fresh()).unwrap().with_order(Order::Stream);
    let store = open(options.with_lock_timeout(PATIENCE)).await;
    let mut program = admin(&url).await.unwrap();
    let transaction = program.transaction().await.unwrap();
    store.append_in(&transaction, append(&["held/one"])).await.unwrap();
    let mut waiting = store.append(append(&["held/one"]));
    // It is queued before the end is asked for.
    assert!((&mut waiting).now_or_never().is_none());
    soon(start(&store, &["free/one"])).await.unwrap().unwrap();
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    transaction.commit().await.unwrap();
    soon(waiting).await.unwrap();
    soon(closing).await.unwrap();
}
