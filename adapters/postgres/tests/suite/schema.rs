//! Schemas, names, rights and orders.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod rights;
mod taken;

use annals::{
    Append, Error, NewEvent, Order, Payload, Query, ReadOptions, StorageAdapter, WriteCondition,
};
use annals_postgres::tokio_postgres::Config;
use annals_postgres::{PostgresOptions, SchemaError};
use futures_util::StreamExt;

use crate::common::{
    admin, all, append_to, assert_whole, events, fresh, open, options, server, stream, try_read,
};

fn reason(error: &Error) -> &SchemaError {
    let Error::Invalid(reason) = error else { panic!("expected Invalid, got {error:?}") };
    reason.downcast_ref().unwrap_or_else(|| panic!("expected a SchemaError, got {reason}"))
}

#[tokio::test]
async fn nothing_is_created_unless_asked() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    let error = options.clone().connect().await.unwrap_err();
    assert_eq!(reason(&error), &SchemaError::Outdated { found: 0, known: 1 });
    assert_eq!(options.schema().status().await.unwrap().found, 0);
    let sql = "SELECT count(*) FROM pg_namespace WHERE nspname = $1";
    let there: i64 = admin(&url).await.unwrap().query_one(sql, &[&schema]).await.unwrap().get(0);
    assert_eq!(there, 0, "to look makes no schema");
    options.migrate().await.unwrap();
    options.migrate().await.unwrap();
    assert_eq!(options.schema().status().await.unwrap().found, 1);
    options.connect().await.unwrap().close().await;
}

#[tokio::test]
async fn the_statements_printed_make_the_same_log() {
    let Some(url) = server().await else { return };
    let options = options(&url, &fresh()).unwrap().with_immutable_log(true);
    let sql = options.schema().sql(0).unwrap();
    admin(&url).await.unwrap().batch_execute(&sql).await.unwrap();
    assert_eq!(options.schema().status().await.unwrap().found, 1);
    let adapter = options.connect().await.unwrap();
    adapter.append(append_to("o-1", 3)).await.unwrap();
    assert_whole(&all(&adapter).await);
}

#[tokio::test]
async fn many_migrate_at_once() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    let mut openers = tokio::task::JoinSet::new();
    for nth in 0..12 {
        // Two logs of one schema.
        let options = options.clone().with_table(format!("log{}", nth % 2));
        openers.spawn(async move {
            let adapter = open(options).await;
            adapter.append(append_to("o-1", 1)).await.unwrap();
        });
    }
    openers.join_all().await;
    for table in ["log0", "log1"] {
        let adapter = options.clone().with_table(table).connect().await.unwrap();
        let events = all(&adapter).await;
        assert_eq!(events.len(), 6);
        assert_whole(&events);
    }
}

#[tokio::test]
async fn defaults_of_the_database_do_not_matter() {
    let Some(url) = server().await else { return };
    let settings = "-c plpgsql.extra_errors=all -c default_transaction_isolation=serializable \
                    -c check_function_bodies=on";
    let mut config: Config = url.parse().unwrap();
    config.options(settings);
    let schema = fresh();
    let options = PostgresOptions::from_config(config.clone()).with_schema(&schema);
    let immutable = options.clone().with_immutable_log(true);
    let mut openers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let options = immutable.clone();
        openers.spawn(async move { options.migrate().await.unwrap() });
    }
    openers.join_all().await;
    let adapter = immutable.connect().await.unwrap();
    adapter.append(append_to("o-1", 300)).await.unwrap();
    // From the middle of a stream: the function that finds the place runs.
    for after in [0, 1, 150, 299, 300] {
        let from = ReadOptions::default().after(annals::SequenceNumber::new(after));
        let pages: Vec<_> = adapter.read(stream("o-1").into(), from).collect().await;
        let read: usize = pages.into_iter().map(|page| page.unwrap().events.len()).sum();
        assert_eq!(read as u64, 300 - after);
    }
    let sql = format!("SELECT count(*) FROM {schema}.events_log WHERE json IS NOT NULL");
    let (client, connection) =
        config.connect(annals_postgres::tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0), 300);
}

#[tokio::test]
async fn any_name_of_schema_and_table() {
    let Some(url) = server().await else { return };
    let id = fresh();
    let names = [
        "Ord\"ers",
        "o'rders; DROP TABLE x;--",
        "日志",
        "{names}",
        "with space",
        "select",
        "$$",
        "a.b",
    ];
    for name in names {
        let options = options(&url, &format!("{id}{name}")).unwrap().with_table(name);
        let adapter = open(options.clone()).await;
        adapter.append(append_to("o-1", 3)).await.unwrap();
        adapter.append(append_to("o-1", 3)).await.unwrap();
        assert_whole(&all(&adapter).await);
        let from = ReadOptions::default().after(annals::SequenceNumber::new(2));
        let page = adapter.read(stream("o-1").into(), from).next().await.unwrap().unwrap();
        assert_eq!(page.events.len(), 4);
        let repeat = adapter.append(vec![Append::new(
            stream("o-1"),
            [page.events[0].event.clone()],
            WriteCondition::Always,
        )]);
        assert!(matches!(repeat.await, Err(Error::DuplicateEvent(_))));
        assert_eq!(options.schema().status().await.unwrap().found, 1);
    }
    for (schema, table) in [
        ("pg_catalog", "t"),
        ("pg_mine", "t"),
        ("information_schema", "t"),
        ("", "events"),
        ("s", ""),
        ("s", "a\0b"),
        ("s", &"x".repeat(53)[..]),
        ("$annals$", "t"),
    ] {
        let error = options(&url, "s")
            .unwrap()
            .with_schema(schema)
            .with_table(table)
            .migrate()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_immutable_log_refuses_every_change() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let adapter = open(options(&url, &schema).unwrap().with_immutable_log(true)).await;
    let tags = annals::Tags::parse(["a:1"]).unwrap();
    let event = NewEvent::json("made", &1).unwrap().with_tags(tags);
    adapter
        .append(vec![Append::new(stream("o-1"), [event], WriteCondition::Always)])
        .await
        .unwrap();
    let admin = admin(&url).await.unwrap();
    for table in ["events", "events_names", "events_streams", "events_event_tags"] {
        for change in [
            format!("DELETE FROM {schema}.{table}"),
            format!("TRUNCATE {schema}.{table}"),
            format!(
                "UPDATE {schema}.{table} SET {} = 5",
                match table {
                    "events" => "position",
                    "events_names" => "name_id",
                    "events_streams" => "category_id",
                    _ => "tag_id",
                }
            ),
        ] {
            let error = admin.batch_execute(&change).await.unwrap_err();
            let text = error.as_db_error().map(ToString::to_string).unwrap_or_default();
            assert!(text.contains("the log is immutable"), "{change}: {text}");
        }
    }
    adapter.append(append_to("o-1", 2)).await.unwrap();
    assert_whole(&all(&adapter).await);
}

#[tokio::test]
async fn a_view_shows_json() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let adapter = open(options(&url, &schema).unwrap()).await;
    let json = |text: &'static str| Payload::json_bytes(text).unwrap();
    let name = annals::EventName::from_static("made");
    let payloads = [json("{\"total\": 12}"), json("\"\\u0000\""), Payload::bytes(&b"\xff"[..])];
    let events = payloads.map(|payload| NewEvent::new(name.clone(), payload));
    adapter.append(vec![Append::new(stream("o-1"), events, WriteCondition::Always)]).await.unwrap();
    let sql = format!(
        "SELECT category, stream, name, encoding, (json->>'total')::int, json IS NULL, tags \
         FROM {schema}.events_log ORDER BY sequence_number"
    );
    let rows = admin(&url).await.unwrap().query(&sql, &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), "orders");
    assert_eq!(rows[0].get::<_, &str>(1), "o-1");
    assert_eq!(rows[0].get::<_, Option<i32>>(4), Some(12));
    assert!(rows[1].get::<_, bool>(5), "what jsonb cannot hold is NULL");
    assert_eq!(rows[2].get::<_, &str>(3), "bytes");
}

#[tokio::test]
async fn a_log_has_one_order() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let by_category = options(&url, &schema).unwrap().with_order(Order::Category);
    let adapter = open(by_category).await;
    adapter.append(append_to("o-1", 2)).await.unwrap();
    for order in [Order::Log, Order::Stream] {
        let other = options(&url, &schema).unwrap().with_order(order);
        assert!(matches!(other.migrate().await, Err(Error::Invalid(_))));
        let error = other.connect().await.unwrap_err();
        assert!(error.to_string().contains("the log keeps the order of each category"), "{error}");
    }
    let error = try_read(&adapter, Query::all()).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
}

#[tokio::test]
async fn a_collation_that_is_not_by_bytes() {
    let Some(url) = server().await else { return };
    let (schema, database) = (fresh(), fresh());
    let admin = admin(&url).await.unwrap();
    let sql = format!(
        "CREATE DATABASE {database} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'"
    );
    if let Err(error) = admin.batch_execute(&sql).await {
        eprintln!("NOT RUN: this PostgreSQL has no Turkish: {error}");
        return;
    }
    let mut config: Config = url.parse().unwrap();
    config.dbname(&database);
    let adapter = open(PostgresOptions::from_config(config).with_schema(schema)).await;
    let names = ["i", "I", "ı", "İ", "ä", "a\u{308}", "ss", "ß", "a", "a ", "A"];
    for name in names {
        let made = Append::new(stream(name), events(2), WriteCondition::StreamIsEmpty);
        adapter.append(vec![made]).await.unwrap();
    }
    for name in names {
        assert_eq!(try_read(&adapter, stream(name).into()).await.unwrap().len(), 2, "{name:?}");
    }
    assert_whole(&all(&adapter).await);
    adapter.close().await;
}
