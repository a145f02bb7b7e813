//! Options, connection strings and servers that do not fit: typed errors, and nobody waits without bound.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Debug;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{admin, all, append_to, assert_whole, fresh, open, options, server};
use annals::{Error, StorageAdapter};
use annals_postgres::PostgresOptions;
use annals_postgres::tokio_postgres::Config;
use annals_servers::PostgresServer;

fn assert_invalid<T: Debug>(outcome: Result<T, Error>, what: &str) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{what}: {error:?}");
}

fn assert_backend<T: Debug>(outcome: Result<T, Error>, what: &str) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Backend { .. }), "{what}: {error:?}");
}

/// Nobody listens there: whatever was sent would be `Unavailable`.
fn nowhere() -> PostgresOptions {
    PostgresOptions::new("postgres://x@127.0.0.1:1/x").unwrap()
}

#[tokio::test]
async fn options_out_of_their_bounds_are_invalid() {
    type Change = fn(PostgresOptions) -> PostgresOptions;
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    let changes: &[(&str, Change)] = &[
        ("lock timeout 0", |options| options.with_lock_timeout(Duration::ZERO)),
        ("lock timeout of a nanosecond", |o| o.with_lock_timeout(Duration::from_nanos(1))),
        ("lock timeout of a month", |options| options.with_lock_timeout(MONTH)),
        ("pool timeout 0", |options| options.with_pool_timeout(Duration::ZERO)),
        ("pool timeout without end", |options| options.with_pool_timeout(Duration::MAX)),
        ("statement timeout 0", |options| options.with_statement_timeout(Duration::ZERO)),
        ("statement timeout of a month", |options| options.with_statement_timeout(MONTH)),
        ("statement timeout behind a pooler", |options| {
            options.with_transaction_pooler(true).with_statement_timeout(Duration::MAX)
        }),
        ("pool size", |options| options.with_pool_size(NonZeroUsize::MAX)),
        ("threads", |options| options.with_threads(NonZeroUsize::MAX)),
        ("page size", |options| options.with_page_size(NonZeroUsize::MAX)),
        ("queue bound", |options| options.with_queue_bound(NonZeroU32::MAX)),
        ("cache bound", |options| options.with_cache_bound(NonZeroUsize::MAX)),
        ("schema", |options| options.with_schema("")),
    ];
    for (what, change) in changes {
        assert_invalid(change(nowhere()).connect().await, what);
        assert_invalid(change(nowhere()).migrate().await, what);
        assert_invalid(change(nowhere()).schema().status().await, what);
    }
    let within = nowhere()
        .with_lock_timeout(Duration::from_millis(1))
        .with_statement_timeout(Duration::from_secs(24 * 60 * 60))
        .with_pool_size(NonZeroUsize::new(10_000).unwrap())
        .with_page_size(NonZeroUsize::new(65_536).unwrap());
    assert_eq!(within.lock_timeout(), Duration::from_millis(1));
    assert_eq!(within.page_size().get(), 65_536);
    let error = within.connect().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "the bounds are permitted: {error:?}");
}

#[tokio::test]
async fn with_a_pool_of_the_callers_options_have_bounds_too() {
    use annals_postgres::deadpool_postgres::{Manager, Pool};
    let config: Config = "postgres://x@127.0.0.1:1/x".parse().unwrap();
    let manager = Manager::new(config, annals_postgres::tokio_postgres::NoTls);
    let pool = Pool::builder(manager).build().unwrap();
    let endless = nowhere().with_statement_timeout(Duration::MAX);
    assert_invalid(endless.connect_with(pool).await, "statement timeout");
}

#[tokio::test]
async fn a_connection_that_makes_no_sense_is_invalid_before_anything_is_sent() {
    let strings = [
        "user=x dbname=x",
        "postgres:///x",
        "host=127.0.0.1,127.0.0.1,127.0.0.1 port=1,2",
        "host=a,b hostaddr=127.0.0.1 port=1",
        "host=127.0.0.1 port=0",
        "host='' port=1",
        "postgres://x@127.0.0.1:1/x?channel_binding=require",
        "postgres://x@127.0.0.1:1/x?channel_binding=require&sslmode=disable",
        "postgres://x@127.0.0.1:1/x?sslmode=require&sslrootcert=/there/is/no/such.pem",
        "postgres://x@127.0.0.1:1/x?sslmode=require&sslrootcert=/dev/null",
        "host=/there/is/no/folder sslmode=require",
        "postgres://x@127.0.0.1:1/x?connect_timeout=99999999999",
    ];
    for text in strings {
        let options = PostgresOptions::new(text).unwrap();
        assert_invalid(options.clone().connect().await, text);
        assert_invalid(options.migrate().await, text);
    }
    for change in [
        |config: &mut Config| {
            config.application_name("a\0b");
        },
        |config: &mut Config| {
            config.user("a\0b");
        },
        |config: &mut Config| {
            config.password("a\0b");
        },
        |config: &mut Config| {
            config.dbname("a\0b");
        },
        |config: &mut Config| {
            config.options("a\0b");
        },
        |config: &mut Config| {
            config.host("a\0b");
        },
    ] {
        let mut config: Config = "postgres://x@127.0.0.1:1/x".parse().unwrap();
        change(&mut config);
        assert_invalid(PostgresOptions::from_config(config).connect().await, "a NUL");
    }
}

/// A server that wants passwords of all but its superuser, with one user of its own.
async fn strict_server(role: &str) -> Option<PostgresServer> {
    let server = match tokio::task::spawn_blocking(PostgresServer::start).await.unwrap() {
        Ok(server) => server,
        Err(error) => {
            assert!(std::env::var("CI").map_or(true, |ci| ci != "true"), "{error}");
            eprintln!("NOT RUN: {error}");
            return None;
        }
    };
    let client = admin(&server.url()).await.unwrap();
    let sql = format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'first'");
    client.batch_execute(&sql).await.unwrap();
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    Some(server)
}

#[tokio::test]
async fn what_a_server_rejects_for_good_is_no_reason_to_retry() {
    let Some(server) = strict_server("shop").await else { return };
    let url =
        |user: &str, more: &str| format!("postgres://{user}@{}/postgres?{more}", server.addr());
    for (what, url) in [
        ("a password that is missing", url("shop", "")),
        ("a password that is wrong", url("shop:second", "")),
        ("a user that is not there", url("nobody:first", "")),
        ("encryption that it does not have", url("shop:first", "sslmode=require")),
    ] {
        let options = PostgresOptions::new(&url).unwrap();
        // The rules are read again some time after it was asked to.
        let options = || options.clone().with_schema("strict");
        while matches!(options().connect().await, Err(Error::Invalid(_))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_backend(options().connect().await, what);
        assert_backend(options().migrate().await, what);
    }
}

#[tokio::test]
async fn passwords_are_asked_for_anew_and_shown_nowhere() {
    let Some(server) = strict_server("shop").await else { return };
    let client = admin(&server.url()).await.unwrap();
    let url = format!("postgres://shop:wrong@{}/postgres", server.addr());
    let current = Arc::new(std::sync::Mutex::new(Ok("first".to_owned())));
    let (asked, given) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&current));
    let counter = Arc::clone(&asked);
    let options = options(&url, "rotating").unwrap().with_pool_timeout(Duration::from_secs(5));
    let options = options.with_password_provider(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        let next = given.lock().unwrap().clone();
        async move {
            tokio::task::yield_now().await;
            next
        }
    });
    let adapter = open(options.clone()).await;
    adapter.append(append_to("o-1", 1)).await.unwrap();
    let before = asked.load(Ordering::Relaxed);
    assert!(before >= 3, "asked {before} times for migration, writer and reader");
    let shown = format!("{options:?} {adapter:?}");
    assert!(!shown.contains("first") && !shown.contains("wrong"), "{shown}");

    // The password changes and all connections are lost.
    client.batch_execute("ALTER ROLE shop PASSWORD 'second'").await.unwrap();
    *current.lock().unwrap() = Ok("second".to_owned());
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop'";
    client.query(cut, &[]).await.unwrap();
    adapter.append(append_to("o-1", 1)).await.unwrap();
    assert_whole(&all(&adapter).await);
    assert!(asked.load(Ordering::Relaxed) > before);

    // A provider that fails is asked again later.
    *current.lock().unwrap() = Err("the vault is sealed");
    client.query(cut, &[]).await.unwrap();
    let error = loop {
        match adapter.append(append_to("o-1", 1)).await {
            // It was sent before the end of its session was seen; nothing can be looked up then.
            Ok(_) | Err(Error::OutcomeUnknown(_)) => {}
            Err(error) => break error,
        }
    };
    let chain = format!("{error:?}");
    assert!(matches!(error, Error::Unavailable(_)) && chain.contains("sealed"), "{chain}");
    assert!(!chain.contains("second") && !chain.contains("wrong"), "{chain}");
    *current.lock().unwrap() = Ok("second".to_owned());
    let stored = adapter.append(append_to("o-1", 1)).await.unwrap();
    let whole = all(&adapter).await;
    assert_whole(&whole);
    assert_eq!(whole.last(), stored.last());

    // One that panics costs its call only, and one that never answers no longer than the wait for a connection.
    let panics =
        options.clone().with_password_provider(|| -> std::future::Ready<Result<String, String>> {
            panic!("no password today")
        });
    assert!(matches!(panics.connect().await, Err(Error::Unavailable(_))));
    let endless = options.clone().with_pool_timeout(Duration::from_millis(50));
    let endless = endless.with_password_provider(std::future::pending::<Result<String, String>>);
    assert!(matches!(endless.connect().await, Err(Error::Unavailable(_))));
    let wrong = options.with_password_provider(async || Ok::<_, String>("wrong-of-annals"));
    let error = wrong.connect().await.unwrap_err();
    assert!(matches!(error, Error::Backend { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("wrong-of-annals"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_a_server_with_few_connections_wait_for_their_own() {
    let Some(url) = server().await else { return };
    let (role, schema) = (fresh(), fresh());
    let client = admin(&url).await.unwrap();
    let owner = options(&url, &schema).unwrap();
    let sql = format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 3");
    client.batch_execute(&sql).await.unwrap();
    open(owner.clone()).await.append(append_to("o-1", 5)).await.unwrap();
    client.batch_execute(&owner.schema().grants(&role).unwrap()).await.unwrap();
    let mut config: Config = url.parse().unwrap();
    config.user(&role).application_name(&role);
    let few = PostgresOptions::from_config(config)
        .with_schema(&schema)
        .with_pool_size(NonZeroUsize::new(50).unwrap())
        .with_pool_timeout(Duration::from_secs(60));
    let adapter = few.connect().await.unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let adapter = adapter.clone();
        readers.spawn(async move {
            for _ in 0..5 {
                let read = crate::common::try_read(&adapter, annals::Query::all()).await.unwrap();
                assert!(read.len() >= 5);
            }
        });
    }
    // Appends find room beside them, although readers had all connections first.
    for _ in 0..3 {
        adapter.append(append_to("o-2", 1)).await.unwrap();
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    adapter.append(append_to("o-2", 1)).await.unwrap();
    assert_whole(&all(&adapter).await);
    let brief = as_crowded(&url, &role, &schema).connect().await;
    adapter.close().await;
    let error = brief.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "the wait has a bound: {error:?}");
}

/// A pool that the caller brought may wait without end: the adapter does not.
#[tokio::test]
async fn a_pool_of_the_callers_that_is_used_up_is_waited_for_within_bounds() {
    use annals_postgres::deadpool_postgres::{Manager, Pool};
    let Some(url) = server().await else { return };
    let manager = Manager::new(url.parse().unwrap(), annals_postgres::tokio_postgres::NoTls);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let options = options(&url, &fresh()).unwrap();
    options.migrate().await.unwrap();
    let brief = options.with_pool_timeout(Duration::from_millis(200));
    let adapter = brief.connect_with(pool.clone()).await.unwrap();
    let held = pool.get().await.unwrap();
    for error in [
        adapter.append(append_to("o-1", 1)).await.unwrap_err(),
        crate::common::try_read(&adapter, annals::Query::all()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
    drop(held);
    adapter.append(append_to("o-1", 1)).await.unwrap();
    assert_eq!(all(&adapter).await.len(), 1);
}

/// Another program of the same role, which does not wait for long.
fn as_crowded(url: &str, role: &str, schema: &str) -> PostgresOptions {
    let mut config: Config = url.parse().unwrap();
    config.user(role);
    PostgresOptions::from_config(config)
        .with_schema(schema)
        .with_pool_timeout(Duration::from_millis(200))
}

#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().name() == "annals.plain_text" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn plain_text_is_warned_of_once() {
    use tracing_subscriber::layer::SubscriberExt as _;
    let warnings = Warnings::default();
    let _listens =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(warnings.clone()));
    let brief = |url: &str| {
        let options = PostgresOptions::new(url).unwrap();
        options.with_pool_timeout(Duration::from_millis(1)).connect()
    };
    // Nobody has these addresses; whether anybody answers does not matter.
    for (url, expected) in [
        ("postgres://x@192.0.2.1/x?sslmode=disable", 0),
        ("postgres://x@127.0.0.1:1/x", 0),
        ("postgres://x@localhost:1/x", 0),
        ("postgres://x@192.0.2.1/x", 1),
        ("postgres://x@192.0.2.1/x?sslmode=prefer", 1),
    ] {
        brief(url).await.unwrap_err();
        assert_eq!(warnings.0.load(Ordering::Relaxed), expected, "{url}");
    }
}

#[tokio::test]
async fn recorded_at_is_of_the_clock() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let with = async |clock| open(options(&url, &schema).unwrap().with_clock(clock)).await;
    crate::common::assert_clock_counts(with).await;
    let mut client = admin(&url).await.unwrap();
    for time in crate::common::UNSTORABLE {
        let adapter = with(crate::common::Stopped(time)).await;
        let transaction = client.transaction().await.unwrap();
        assert_invalid(
            adapter.append_in(&transaction, append_to("o-3", 1)).await,
            "in a transaction",
        );
    }
}

#[tokio::test]
async fn metadata_has_a_bound() {
    let Some(url) = server().await else { return };
    let adapter = open(options(&url, &fresh()).unwrap()).await;
    crate::common::assert_metadata_is_bounded(&adapter).await;
}
