//! Servers, connections and transactions that fail: typed errors, and nothing lost.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::error::Error as _;
use std::num::NonZeroUsize;
use std::time::Duration;

use annals::{Append, Error, Position, StorageAdapter, WriteCondition};
use annals_postgres::deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use annals_postgres::tokio_postgres::{Config, NoTls};
use annals_postgres::{PostgresAdapter, PostgresOptions};
use annals_testkit::{Proxy, Side};

use crate::common::{
    admin, all, append_to, assert_whole, events, fresh, open, options, server, stream, try_read,
};

fn chain(error: &Error) -> String {
    let mut texts = vec![format!("{error} {error:?}")];
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push(format!("{cause} {cause:?}"));
        next = cause.source();
    }
    texts.join(" ")
}

#[tokio::test]
async fn the_password_is_told_nowhere() {
    let Some(url) = server().await else { return };
    let mut config: Config = url.parse().unwrap();
    config.password("hunter2-of-annals");
    let role = fresh();
    let sql = format!("CREATE ROLE {role} LOGIN PASSWORD 'other'");
    admin(&url).await.unwrap().batch_execute(&sql).await.unwrap();
    let schema = fresh();
    let options = PostgresOptions::from_config(config).with_schema(&schema);
    assert!(!format!("{options:?}").contains("hunter2"));
    let adapter = open(options).await;
    assert!(!format!("{adapter:?}").contains("hunter2"), "{adapter:?}");
    for (bad, told) in [
        ("postgres://annals:hunter2-of-annals@127.0.0.1:1/x", "refused"),
        ("postgres://annals:hunter2-of-annals@127.0.0.1/x?nonsense=1", "unknown option `nonsense`"),
        ("host=127.0.0.1 password=hunter2-of-annals port=one", "invalid value for option `port`"),
    ] {
        let error = match PostgresOptions::new(bad) {
            Ok(options) => options.connect().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(!chain(&error).contains("hunter2"), "{}", chain(&error));
        assert!(chain(&error).contains(told), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_and_one_that_refuses() {
    let Some(url) = server().await else { return };
    let nowhere = PostgresOptions::new("postgres://x@127.0.0.1:1/x").unwrap();
    let error = nowhere.migrate().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let error = nowhere.connect().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let mut config: Config = url.parse().unwrap();
    config.dbname("there is no such database");
    let error = PostgresOptions::from_config(config).connect().await.unwrap_err();
    assert!(
        matches!(&error, Error::Backend(failure) if failure.adapter == "postgres"),
        "{error:?}"
    );
}

#[tokio::test]
async fn appends_inside_a_transaction_of_the_callers() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let adapter = open(options(&url, &schema).unwrap()).await;
    let mut client = admin(&url).await.unwrap();
    client.batch_execute(&format!("CREATE TABLE {schema}.outbox (id uuid)")).await.unwrap();
    adapter.append(append_to("o-1", 2)).await.unwrap();
    for commit in [true, false, true] {
        let transaction = client.transaction().await.unwrap();
        let wrong = Append::new(stream("o-1"), events(1), WriteCondition::StreamIsEmpty);
        let refused = adapter.append_in(&transaction, vec![wrong]).await.unwrap_err();
        assert!(refused.is_condition_failed(), "{refused:?}");
        let known = all(&adapter).await[0].event.clone();
        let repeat = vec![Append::new(stream("o-1"), [known], WriteCondition::Always)];
        let repeated = adapter.append_in(&transaction, repeat).await.unwrap_err();
        assert!(matches!(repeated, Error::DuplicateEvent(_)), "{repeated:?}");
        let before = all(&adapter).await.len();
        let stored = adapter.append_in(&transaction, append_to("o-1", 2)).await.unwrap();
        let more = adapter.append_in(&transaction, append_to("o-2", 3)).await.unwrap();
        assert_eq!(stored[0].sequence_number.value(), before as u64 + 1);
        assert_eq!(more[0].sequence_number.value(), before as u64 + 3);
        let id = stored[0].event.id.as_uuid();
        transaction
            .execute(&format!("INSERT INTO {schema}.outbox VALUES ($1)"), &[&id])
            .await
            .unwrap();
        assert_eq!(all(&adapter).await.len(), before, "not seen before the commit");
        if commit {
            transaction.commit().await.unwrap();
            assert_eq!(all(&adapter).await[before..], [stored, more].concat()[..]);
        } else {
            transaction.rollback().await.unwrap();
            assert_eq!(all(&adapter).await.len(), before);
        }
        // The adapter's own appends go on behind it.
        adapter.append(append_to("o-1", 1)).await.unwrap();
        assert_whole(&all(&adapter).await);
    }
    let count =
        client.query_one(&format!("SELECT count(*) FROM {schema}.outbox"), &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 2);
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_unavailable() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let adapter =
        open(options(&url, &schema).unwrap().with_lock_timeout(Duration::from_millis(50))).await;
    let other = open(options(&url, &fresh()).unwrap()).await;
    adapter.append(append_to("o-1", 1)).await.unwrap();
    let mut client = admin(&url).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    adapter.append_in(&transaction, append_to("o-1", 1)).await.unwrap();
    let appends = (0..20).map(|_| adapter.append(append_to("o-1", 1)));
    for outcome in futures_util::future::join_all(appends).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    // Neither readers nor other logs wait for it.
    assert_eq!(all(&adapter).await.len(), 1);
    other.append(append_to("o-1", 1)).await.unwrap();
    transaction.rollback().await.unwrap();
    adapter.append(append_to("o-1", 1)).await.unwrap();
    assert_whole(&all(&adapter).await);
}

#[tokio::test]
async fn a_server_that_works_too_long_is_unavailable() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    let slow = options.clone().with_statement_timeout(Duration::from_millis(300));
    let adapter = open(slow).await;
    adapter.append(append_to("o-1", 1)).await.unwrap();
    let mut client = admin(&url).await.unwrap();
    // Nobody may even read.
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute(&format!("LOCK TABLE {schema}.events IN ACCESS EXCLUSIVE MODE"))
        .await
        .unwrap();
    let error = try_read(&adapter, annals::Query::all()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let error = adapter.append(append_to("o-1", 1)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    transaction.rollback().await.unwrap();
    adapter.append(append_to("o-1", 1)).await.unwrap();
    let events = all(&adapter).await;
    assert_whole(&events);
    assert_eq!(events.len(), 2);
}

/// The address of the server, through a proxy.
async fn through(url: &str, schema: &str) -> (Proxy, PostgresOptions) {
    let mut config: Config = url.parse().unwrap();
    let port = config.get_ports()[0];
    let proxy = Proxy::start(([127, 0, 0, 1], port).into()).await.unwrap();
    let mut proxied = Config::new();
    proxied.user(config.get_user().unwrap()).host("127.0.0.1").port(proxy.addr().port());
    proxied.dbname(config.get_dbname().unwrap());
    config = proxied;
    (proxy, PostgresOptions::from_config(config).with_schema(schema))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_found_out() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let (proxy, options) = through(&url, &schema).await;
    let adapter = open(options).await;
    let mut appended = 0;
    for side in [Side::Client, Side::Server] {
        for packets in 0..8 {
            adapter.append(append_to("o-1", 2)).await.unwrap();
            proxy.cut_after(side, packets);
            let append = adapter.append(append_to("o-2", 3));
            tokio::pin!(append);
            // The way is free again as soon as it was cut: nothing is left unknown.
            let stored = loop {
                tokio::select! {
                    stored = &mut append => break stored.unwrap(),
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
                let _ = proxy.heal();
            };
            let _ = proxy.heal();
            appended += 5;
            let events = all(&adapter).await;
            assert_whole(&events);
            assert_eq!(events.len(), appended, "cut after {packets} packets of {side:?}");
            assert_eq!(events[appended - 3..], stored[..]);
        }
    }
}

/// A read goes on where it was cut: on another connection, with the same page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_is_cut_goes_on() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let (proxy, options) = through(&url, &schema).await;
    let adapter = open(options.with_page_size(NonZeroUsize::new(100).unwrap())).await;
    for stream in ["o-1", "o-2"] {
        adapter.append(append_to(stream, 1_000)).await.unwrap();
    }
    let expected = all(&adapter).await;
    assert_eq!(expected.len(), 2_000);
    for (side, most) in [(Side::Client, 24), (Side::Server, 40)] {
        for packets in (0..most).step_by(3) {
            proxy.cut_after(side, packets);
            let read = all(&adapter);
            tokio::pin!(read);
            let read = loop {
                tokio::select! {
                    read = &mut read => break read,
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
                let _ = proxy.heal();
            };
            let _ = proxy.heal();
            assert_eq!(read, expected, "cut after {packets} packets of {side:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_connections_lose_nothing() {
    // Together they append enough for two batches on their way.
    const WRITERS: usize = 32;
    const APPENDS: usize = 20;
    let Some(url) = server().await else { return };
    let schema = fresh();
    let adapter = open(options(&url, &schema).unwrap()).await;
    adapter.append(append_to("o-1", 1)).await.unwrap();
    let client = admin(&url).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let adapter = adapter.clone();
        writers.spawn(async move {
            let stream = stream(&format!("w-{writer}"));
            let size = 1 + writer % 8;
            let mut condition = WriteCondition::StreamIsEmpty;
            for n in 1..=APPENDS {
                let append = vec![Append::new(stream.clone(), events(size), condition)];
                // What became of an append is found out; one that was not made can be repeated.
                while let Err(error) = adapter.append(append.clone()).await {
                    assert!(error.is_retryable(), "{error:?}");
                }
                condition = WriteCondition::PositionIs(Position::new((n * size) as u64 - 1));
                let read = loop {
                    match try_read(&adapter, stream.clone().into()).await {
                        Ok(read) => break read,
                        Err(error) => assert!(error.is_retryable(), "{error:?}"),
                    }
                };
                assert_eq!(read.len(), n * size);
            }
        });
    }
    let sql =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    while !writers.is_empty() {
        client.query_one(sql, &[&schema]).await.unwrap();
        let pause = tokio::time::sleep(Duration::from_millis(100));
        tokio::select! {
            Some(ended) = writers.join_next() => ended.unwrap(),
            () = pause => {}
        }
    }
    let events = all(&adapter).await;
    assert_whole(&events);
    assert_eq!(events.len(), 1 + WRITERS / 8 * 36 * APPENDS);
}

fn pool(url: &str, size: usize) -> Pool {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(url.parse().unwrap(), NoTls, recycling);
    Pool::builder(manager).max_size(size).runtime(Runtime::Tokio1).build().unwrap()
}

#[tokio::test]
async fn a_pool_of_the_callers() {
    let Some(url) = server().await else { return };
    for size in [1, 4] {
        let pool = pool(&url, size);
        let options = options(&url, &fresh()).unwrap();
        options.migrate().await.unwrap();
        let adapter = options.connect_with(pool.clone()).await.unwrap();
        let appends = (0..20).map(|n| adapter.append(append_to(&format!("o-{n}"), 3)));
        for outcome in futures_util::future::join_all(appends).await {
            outcome.unwrap();
        }
        assert_whole(&all(&adapter).await);
        assert!(pool.status().size <= size);
        adapter.close().await;
        // It stays open for its owner.
        pool.get().await.unwrap().query_one("SELECT 1", &[]).await.unwrap();
    }
}

#[test]
fn any_executor_will_do() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(url) = runtime.block_on(server()) else { return };
    drop(runtime);
    let work = async {
        let options =
            options(&url, &fresh()).unwrap().with_pool_size(NonZeroUsize::new(2).unwrap());
        let adapter = open(options).await;
        adapter.append(append_to("o-1", 300)).await.unwrap();
        assert_eq!(all(&adapter).await.len(), 300);
        adapter.close().await;
        let closed = adapter.append(append_to("o-1", 1)).await.unwrap_err();
        assert!(matches!(closed, Error::Closed { .. }), "{closed:?}");
    };
    futures_util::pin_mut!(work);
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    while work.as_mut().poll(&mut context).is_pending() {
        std::thread::park();
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

/// One append that the server refuses does not fail those that share its transaction.
#[tokio::test]
async fn a_refusal_of_the_server_is_its_own() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let adapter = open(options(&url, &schema).unwrap()).await;
    let sql = format!("ALTER TABLE {schema}.events ADD CHECK (octet_length(payload) < 1000)");
    admin(&url).await.unwrap().batch_execute(&sql).await.unwrap();
    let append = |n: usize, size: usize| {
        let payload = annals::Payload::json(&"x".repeat(size)).unwrap();
        let event = annals::NewEvent::new(annals::EventName::from_static("made"), payload);
        let adapter: PostgresAdapter = adapter.clone();
        async move {
            adapter
                .append(vec![Append::new(
                    stream(&format!("o-{n}")),
                    [event],
                    WriteCondition::Always,
                )])
                .await
        }
    };
    for round in 0..5 {
        let appends = (0..20).map(|n| append(round * 20 + n, if n % 7 == 3 { 5_000 } else { 10 }));
        for (n, outcome) in futures_util::future::join_all(appends).await.into_iter().enumerate() {
            assert_eq!(outcome.is_err(), n % 7 == 3, "append {n}: {outcome:?}");
        }
    }
    assert_whole(&all(&adapter).await);
}
