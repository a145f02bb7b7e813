//! Statements of several moments: what was appended between two of them is neither skipped nor judged wrongly.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroUsize;
use std::time::Duration;

use annals::{
    Append, CategoryName, Error, EventName, NewEvent, Order, Payload, Query, QueryItem,
    ReadOptions, StorageAdapter, StreamId, Tags, WriteCondition,
};
use annals_postgres::PostgresAdapter;
use annals_postgres::tokio_postgres::{Client, Config, NoTls};
use futures_util::{FutureExt as _, TryStreamExt};

use crate::common::{
    admin, all, append_to, events, events_of, fresh, open, options, server, stream, try_read,
};

/// A connection under the name of the schema.
async fn beside(url: &str, schema: &str) -> Client {
    let mut config: Config = url.parse().unwrap();
    let (client, connection) = config.application_name(schema).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until so many connections of the name wait for a lock.
async fn waiting(admin: &Client, schema: &str, count: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 \
               AND wait_event_type = 'Lock'";
    for _ in 0..6_000 {
        if admin.query_one(sql, &[&schema]).await.unwrap().get::<_, i64>(0) == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{count} connections of {schema} must wait for a lock");
}

fn made(name: &str, tags: &[&str]) -> NewEvent {
    let payload = Payload::json(&1).unwrap();
    let tags = Tags::parse(tags.iter().copied()).unwrap();
    NewEvent::new(EventName::new(name).unwrap(), payload).with_tags(tags)
}

fn write(category: &str, name: &str, events: Vec<NewEvent>) -> Vec<Append> {
    let stream = StreamId::new(category, name).unwrap();
    vec![Append::new(stream, events, WriteCondition::Always)]
}

/// While an append to the category is open and another category is already further, a read of `query` is stopped
/// between two of its statements. Gives the events of the open append that were read.
async fn read_across_a_commit(
    order: Order,
    query: Query,
    options_of_read: ReadOptions,
    appended: Vec<NewEvent>,
) -> Option<Vec<NewEvent>> {
    let url = server().await?;
    let schema = fresh();
    let two = NonZeroUsize::new(2).unwrap();
    let adapter = open(options(&url, &schema).unwrap().with_order(order).with_pool_size(two)).await;
    let known = vec![made("known", &["t"]), made("other", &["t"])];
    adapter.append(write("c", "s", known)).await.unwrap();
    adapter.append(write("d", "s", vec![made("known", &[])])).await.unwrap();
    // Its statements are prepared.
    let _: Vec<_> = adapter.read(query.clone(), options_of_read).try_collect().await.unwrap();
    let before = try_read(&adapter, Query::from(StreamId::new("c", "s").unwrap())).await.unwrap();

    let admin = admin(&url).await.unwrap();
    let mut client = beside(&url, &schema).await;
    let open = client.transaction().await.unwrap();
    let lock = format!("LOCK TABLE {schema}.events_event_tags IN ACCESS EXCLUSIVE MODE");
    open.batch_execute(&lock).await.unwrap();
    let stored = adapter.append_in(&open, write("c", "s", appended)).await.unwrap();
    adapter.append(write("d", "s", vec![made("known", &[])])).await.unwrap();
    // Something is left of what was there: a read at the head of its scope needs no further statement.
    let after = before.first().unwrap().sequence_number;
    let reader = {
        let adapter = adapter.clone();
        let pages = adapter.read(query, options_of_read.after(after));
        tokio::spawn(async move { events_of(pages).await.unwrap() })
    };
    waiting(&admin, &schema, 1).await;
    open.commit().await.unwrap();
    let mut read = reader.await.unwrap();
    read.retain(|event| !before.contains(event));
    assert!(read.is_empty() || read.len() == stored.len(), "skipped, gave {read:?} of {stored:?}");
    Some(read.into_iter().map(|event| event.event.clone()).collect())
}

#[tokio::test]
async fn items_of_one_category_are_read_at_one_moment() {
    for (order, backward) in
        [(Order::Category, false), (Order::Category, true), (Order::Stream, false)]
    {
        let item = || match order {
            Order::Stream => QueryItem::new(StreamId::new("c", "s").unwrap()),
            _ => QueryItem::new(CategoryName::new("c").unwrap()),
        };
        let query = Query::any_of([
            item().with_names(["known"]).unwrap(),
            item().with_tags(Tags::parse(["t"]).unwrap()),
        ]);
        let options = ReadOptions::default();
        let options = if backward { options.backward() } else { options };
        let appended = vec![made("known", &[]), made("other", &["t"])];
        read_across_a_commit(order, query, options, appended).await;
    }
}

#[tokio::test]
async fn a_name_that_is_made_meanwhile_is_not_skipped() {
    let item = QueryItem::new(CategoryName::new("c").unwrap());
    let item = item.with_names(["new", "other"]).unwrap();
    let query = Query::any_of([item.with_tags(Tags::parse(["t"]).unwrap())]);
    let appended = vec![made("new", &["t"]), made("other", &["t"])];
    read_across_a_commit(Order::Category, query, ReadOptions::default(), appended).await;
}

/// A refused append of a batch is looked up after the others of it were committed. That this fails is not theirs.
#[tokio::test]
async fn what_is_committed_is_acknowledged_whatever_comes_after() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let patient = Duration::from_secs(6);
    let adapter = open(options(&url, &schema).unwrap().with_lock_timeout(patient)).await;
    adapter.append(append_to("o-1", 1)).await.unwrap();
    let admin = admin(&url).await.unwrap();
    let mut first = beside(&url, &schema).await;
    let mut second = beside(&url, &schema).await;
    let mut third = beside(&url, &schema).await;
    let append = |condition| {
        let adapter: PostgresAdapter = adapter.clone();
        let write = vec![Append::new(stream("o-1"), events(1), condition)];
        tokio::spawn(async move { adapter.append(write).await })
    };
    let one = first.transaction().await.unwrap();
    adapter.append_in(&one, append_to("o-2", 1)).await.unwrap();
    let ahead = append(WriteCondition::Always);
    waiting(&admin, &schema, 1).await;
    let two = second.transaction().await.unwrap();
    let taken = async { adapter.append_in(&two, append_to("o-3", 1)).await.unwrap() };
    let queued = async {
        waiting(&admin, &schema, 2).await;
        // Both wait in the queue, and make one batch.
        let appends = (append(WriteCondition::Always), append(WriteCondition::StreamIsEmpty));
        tokio::time::sleep(Duration::from_millis(100)).await;
        one.rollback().await.unwrap();
        appends
    };
    let (_, (good, refused)) = tokio::join!(taken, queued);
    ahead.await.unwrap().unwrap();
    waiting(&admin, &schema, 1).await;
    let table = third.transaction().await.unwrap();
    let lock = format!("LOCK TABLE {schema}.events IN ACCESS EXCLUSIVE MODE");
    let lock = async { table.batch_execute(&lock).await.unwrap() };
    let release = async {
        waiting(&admin, &schema, 2).await;
        two.rollback().await.unwrap();
    };
    tokio::join!(lock, release);
    let (good, refused) = (good.await.unwrap(), refused.await.unwrap());
    table.rollback().await.unwrap();
    let there = all(&adapter).await;
    assert_eq!(there.len(), 3, "it is committed: {there:?}");
    assert_eq!(good.unwrap(), there[2..], "and its caller knows");
    let refused = refused.unwrap_err();
    assert!(
        refused.is_condition_failed() || matches!(refused, Error::Unavailable(_)),
        "{refused:?}"
    );
}

/// What the database sets for all transactions is not what appends are judged under.
#[tokio::test]
async fn appends_are_judged_on_the_log_under_the_lock() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let mut config: Config = url.parse().unwrap();
    config.options("-c default_transaction_isolation=repeatable\\ read").application_name(&schema);
    let options = annals_postgres::PostgresOptions::from_config(config).with_schema(&schema);
    let adapter = open(options.with_order(Order::Category)).await;
    adapter.append(write("c", "s", vec![made("known", &[])])).await.unwrap();
    adapter.append(write("d", "s", vec![made("known", &[])])).await.unwrap();
    let mut client = beside(&url, &schema).await;
    let open = client.transaction().await.unwrap();
    adapter.append_in(&open, write("c", "guarded", vec![made("known", &[])])).await.unwrap();
    let mut writes = write("d", "s", vec![made("known", &[])]);
    let guarded = StreamId::new("c", "guarded").unwrap();
    writes.push(Append::guard(guarded, WriteCondition::StreamIsEmpty));
    let mut append = adapter.append(writes);
    // It is queued and tried before another that nothing holds.
    assert!((&mut append).now_or_never().is_none());
    adapter.append(write("e", "s", vec![made("known", &[])])).await.unwrap();
    assert!((&mut append).now_or_never().is_none(), "it waits for what is open");
    open.commit().await.unwrap();
    let refused = append.await.unwrap_err();
    assert!(refused.is_condition_failed(), "{refused:?}");
}

/// A transaction of the caller's waits for the lock no longer than the store may, and has its settings back.
#[tokio::test]
async fn a_transaction_waits_for_the_lock_for_a_while() {
    let Some(url) = server().await else { return };
    for order in [Order::Log, Order::Stream] {
        let schema = fresh();
        let brief = Duration::from_millis(200);
        let options = options(&url, &schema).unwrap().with_order(order).with_lock_timeout(brief);
        let adapter = open(options).await;
        let (mut first, mut second) = (beside(&url, &schema).await, beside(&url, &schema).await);
        let one = first.transaction().await.unwrap();
        one.batch_execute("SET LOCAL lock_timeout = '9s'").await.unwrap();
        adapter.append_in(&one, append_to("o-1", 1)).await.unwrap();
        let refused = vec![Append::new(stream("o-1"), events(1), WriteCondition::StreamIsEmpty)];
        let refused = adapter.append_in(&one, refused).await.unwrap_err();
        assert!(refused.is_condition_failed(), "{refused:?}");
        let setting = one.query_one("SHOW lock_timeout", &[]).await.unwrap();
        assert_eq!(setting.get::<_, &str>(0), "9s");
        let two = second.transaction().await.unwrap();
        let outcome = adapter.append_in(&two, append_to("o-1", 1)).await;
        assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
        two.rollback().await.unwrap();
        one.commit().await.unwrap();
        assert_eq!(try_read(&adapter, Query::from(stream("o-1"))).await.unwrap().len(), 1);
    }
}

/// A transaction that does not see the end of the log cannot judge anything.
#[tokio::test]
async fn a_transaction_with_an_older_view_judges_nothing() {
    let Some(url) = server().await else { return };
    for order in [Order::Log, Order::Category, Order::Stream] {
        let schema = fresh();
        let adapter = open(options(&url, &schema).unwrap().with_order(order)).await;
        adapter.append(append_to("o-1", 1)).await.unwrap();
        let mut client = beside(&url, &schema).await;
        for guards_alone in [true, false] {
            let open = client.build_transaction();
            let level = annals_postgres::tokio_postgres::IsolationLevel::RepeatableRead;
            let open = open.isolation_level(level).start().await.unwrap();
            open.batch_execute("SELECT FROM pg_class").await.unwrap();
            let name = format!("guarded-{guards_alone}");
            adapter.append(append_to(&name, 1)).await.unwrap();
            let mut writes = vec![Append::guard(stream(&name), WriteCondition::StreamIsEmpty)];
            if !guards_alone {
                writes.extend(append_to("o-1", 1));
            }
            let outcome = adapter.append_in(&open, writes).await;
            assert!(outcome.is_err(), "{order:?}: the stream is not empty, gave {outcome:?}");
            open.rollback().await.unwrap();
        }
    }
}
