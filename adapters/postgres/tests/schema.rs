//! Schemas, names, rights and orders.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use annals::{
    Append, Error, NewEvent, Order, Payload, Query, ReadOptions, StorageAdapter, WriteCondition,
};
use annals_postgres::tokio_postgres::Config;
use annals_postgres::{PostgresOptions, SchemaError};
use futures_util::StreamExt;

use common::{
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
async fn a_foreign_or_newer_schema_is_refused_and_left_alone() {
    let Some(url) = server().await else { return };
    let admin = admin(&url).await.unwrap();
    let schema = fresh();
    admin
        .batch_execute(&format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.events (x int)"))
        .await
        .unwrap();
    let foreign = options(&url, &schema).unwrap();
    let expected = SchemaError::Taken { kind: "table".to_owned(), name: "events".to_owned() };
    assert_eq!(reason(&foreign.migrate().await.unwrap_err()), &expected);
    assert_eq!(reason(&foreign.connect().await.unwrap_err()), &expected);

    let schema = fresh();
    let newer = options(&url, &schema).unwrap();
    newer.migrate().await.unwrap();
    admin.execute(&format!("UPDATE {schema}.events_schema SET version = 7"), &[]).await.unwrap();
    let expected = SchemaError::Newer { found: 7, known: 1 };
    assert_eq!(reason(&newer.migrate().await.unwrap_err()), &expected);
    assert_eq!(
        newer.schema().status().await.unwrap().to_string(),
        "schema version 7, this release needs 1"
    );
    assert_eq!(reason(&newer.connect().await.unwrap_err()), &expected);
}

/// Every name of a log, as something of somebody else's.
#[tokio::test]
async fn whatever_is_in_the_way_is_named_and_left_alone() {
    let Some(url) = server().await else { return };
    let admin = admin(&url).await.unwrap();
    let mut cases = Vec::new();
    for ending in [
        "",
        "_names",
        "_streams",
        "_event_tags",
        "_schema",
        "_numbers",
        "_row",
        "_log",
        "_id_unique",
    ] {
        let name = format!("events{ending}");
        for (kind, sql) in [
            ("table", "CREATE TABLE {name} (x int)"),
            ("view", "CREATE VIEW {name} AS SELECT 1 AS x"),
            ("view", "CREATE MATERIALIZED VIEW {name} AS SELECT 1 AS x"),
            ("sequence", "CREATE SEQUENCE {name}"),
            ("type", "CREATE TYPE {name} AS (x int)"),
            ("type", "CREATE TYPE {name} AS ENUM ('x')"),
            ("type", "CREATE DOMAIN {name} AS int"),
        ] {
            cases.push((kind, name.clone(), sql.replace("{name}", &format!("{{schema}}.{name}"))));
        }
        let index = format!(
            "CREATE TABLE {{schema}}.other (x int); CREATE INDEX {name} ON {{schema}}.other (x)"
        );
        cases.push(("index", name, index));
    }
    for (name, returns) in [
        ("events_seek(bigint, bigint)", "bigint"),
        ("events_jsonb(bytea)", "jsonb"),
        ("events_refuse()", "int"),
    ] {
        let body = "LANGUAGE sql AS 'SELECT NULL::";
        let sql = format!("CREATE FUNCTION {{schema}}.{name} RETURNS {returns} {body}{returns}'");
        cases.push(("function", name.to_owned(), sql));
    }
    for (kind, name, sql) in cases {
        let schema = fresh();
        let sql = format!("CREATE SCHEMA {schema}; {}", sql.replace("{schema}", &schema));
        admin.batch_execute(&sql).await.unwrap();
        let options = options(&url, &schema).unwrap().with_immutable_log(true);
        let expected = SchemaError::Taken { kind: kind.to_owned(), name: name.clone() };
        let count = "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = $1::text::regnamespace) \
                     + (SELECT count(*) FROM pg_proc WHERE pronamespace = $1::text::regnamespace)";
        let before: i64 = admin.query_one(count, &[&schema]).await.unwrap().get(0);
        for error in [
            options.migrate().await.unwrap_err(),
            options.schema().status().await.unwrap_err(),
            options.clone().connect().await.unwrap_err(),
        ] {
            assert_eq!(reason(&error), &expected, "{sql}");
        }
        let after: i64 = admin.query_one(count, &[&schema]).await.unwrap().get(0);
        assert_eq!(before, after, "nothing was made beside it: {sql}");
        // Another table of the same schema is not concerned.
        options.with_table("mine").migrate().await.unwrap();
    }
}

/// Every name of the documents, as something of somebody else's, beside no log and beside one that has no documents.
#[tokio::test]
async fn what_is_in_the_way_of_documents_is_named_and_left_alone() {
    let Some(url) = server().await else { return };
    let admin = admin(&url).await.unwrap();
    let mut cases = Vec::new();
    for ending in ["_documents", "_entries", "_state_meta", "_state"] {
        for (kind, sql) in [
            ("table", "CREATE TABLE {name} (x int)"),
            ("view", "CREATE VIEW {name} AS SELECT 1 AS x"),
            ("sequence", "CREATE SEQUENCE {name}"),
        ] {
            let name = format!("events{ending}");
            cases.push((kind, name.clone(), sql.replace("{name}", &format!("{{schema}}.{name}"))));
        }
    }
    let drop_ours = "DROP VIEW {schema}.events_state; DROP TABLE {schema}.events_state_meta, \
                     {schema}.events_documents, {schema}.events_entries; DROP FUNCTION {schema}.events_commit";
    for with_log in [false, true] {
        for (kind, name, sql) in &cases {
            let schema = fresh();
            let options = options(&url, &schema).unwrap();
            let mut sql = sql.replace("{schema}", &schema);
            if with_log {
                options.migrate().await.unwrap();
                sql = format!("{}; {sql}", drop_ours.replace("{schema}", &schema));
            } else {
                sql = format!("CREATE SCHEMA {schema}; {sql}");
            }
            admin.batch_execute(&sql).await.unwrap();
            let expected = SchemaError::Taken { kind: (*kind).to_owned(), name: name.clone() };
            let error = options.migrate().await.unwrap_err();
            assert_eq!(reason(&error), &expected, "{sql}");
            if with_log {
                let error = options.connect().await.unwrap_err();
                assert_eq!(reason(&error), &expected, "{sql}");
            }
        }
    }
    for part in
        ["VIEW {}.events_state", "FUNCTION {}.events_commit", "TABLE {}.events_entries CASCADE"]
    {
        let schema = fresh();
        let options = options(&url, &schema).unwrap();
        options.migrate().await.unwrap();
        admin.batch_execute(&format!("DROP {}", part.replace("{}", &schema))).await.unwrap();
        assert_eq!(reason(&options.migrate().await.unwrap_err()), &SchemaError::Foreign, "{part}");
        assert_eq!(reason(&options.connect().await.unwrap_err()), &SchemaError::Foreign, "{part}");
    }
}

#[tokio::test]
async fn documents_whose_log_is_gone_are_named_and_left_alone() {
    let Some(url) = server().await else { return };
    let admin = admin(&url).await.unwrap();
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    options.migrate().await.unwrap();
    let sql = "DROP TABLE {s}.events, {s}.events_names, {s}.events_streams, {s}.events_event_tags, {s}.events_schema \
               CASCADE; DROP SEQUENCE IF EXISTS {s}.events_numbers; DROP VIEW IF EXISTS {s}.events_log; \
               DROP FUNCTION IF EXISTS {s}.events_seek, {s}.events_jsonb, {s}.events_refuse CASCADE; \
               DROP TYPE IF EXISTS {s}.events_row";
    admin.batch_execute(&sql.replace("{s}", &schema)).await.unwrap();
    let expected = SchemaError::WithoutLog { name: "events_state_meta".to_owned() };
    assert_eq!(reason(&options.migrate().await.unwrap_err()), &expected);
    assert_eq!(reason(&options.connect().await.unwrap_err()), &expected);
    let table = format!("SELECT version FROM {schema}.events_state_meta");
    let kept: i32 = admin.query_one(&table, &[]).await.unwrap().get(0);
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_log_without_documents_has_them_made_anew() {
    let Some(url) = server().await else { return };
    let admin = admin(&url).await.unwrap();
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    options.migrate().await.unwrap();
    let sql = "DROP VIEW {s}.events_state; DROP FUNCTION {s}.events_commit; \
               DROP TABLE {s}.events_documents, {s}.events_entries, {s}.events_state_meta";
    admin.batch_execute(&sql.replace("{s}", &schema)).await.unwrap();
    options.clone().connect().await.unwrap();
    options.migrate().await.unwrap();
    let kept = format!("SELECT count(*) FROM {schema}.events_documents");
    let kept: i64 = admin.query_one(&kept, &[]).await.unwrap().get(0);
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn what_rejects_changes_replaces_nobodys_function() {
    let Some(url) = server().await else { return };
    let (admin, schema) = (admin(&url).await.unwrap(), fresh());
    let options = options(&url, &schema).unwrap();
    options.migrate().await.unwrap();
    let foreign = format!(
        "CREATE FUNCTION {schema}.events_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    );
    admin.batch_execute(&foreign).await.unwrap();
    options.migrate().await.unwrap();
    let immutable = options.with_immutable_log(true);
    let expected =
        SchemaError::Taken { kind: "function".to_owned(), name: "events_refuse()".to_owned() };
    assert_eq!(reason(&immutable.migrate().await.unwrap_err()), &expected);
    admin.batch_execute(&format!("DROP FUNCTION {schema}.events_refuse()")).await.unwrap();
    immutable.migrate().await.unwrap();
    immutable.migrate().await.unwrap();
}

#[tokio::test]
async fn half_of_a_log_is_no_log() {
    let Some(url) = server().await else { return };
    let admin = admin(&url).await.unwrap();
    for part in [
        "VIEW {}.events_log",
        "TABLE {}.events_event_tags",
        "TYPE {}.events_row",
        "SEQUENCE {}.events_numbers",
    ] {
        let schema = fresh();
        let options = options(&url, &schema).unwrap();
        options.migrate().await.unwrap();
        admin.batch_execute(&format!("DROP {}", part.replace("{}", &schema))).await.unwrap();
        assert_eq!(reason(&options.migrate().await.unwrap_err()), &SchemaError::Foreign, "{part}");
        assert_eq!(reason(&options.connect().await.unwrap_err()), &SchemaError::Foreign, "{part}");
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

/// Policies hide rows without an error: a reader would skip events, and a condition would hold that does not.
#[tokio::test]
async fn row_level_security_that_hides_events_is_noticed() {
    let Some(url) = server().await else { return };
    let (schema, role) = (fresh(), fresh());
    let owner = options(&url, &schema).unwrap();
    open(owner.clone()).await.append(append_to("o-1", 3)).await.unwrap();
    let admin = admin(&url).await.unwrap();
    let sql = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret-of-the-role'");
    admin.batch_execute(&sql).await.unwrap();
    admin.batch_execute(&owner.schema().grants(&role).unwrap()).await.unwrap();
    let before = as_role(&url, &schema, &role).connect().await.unwrap();
    for table in [
        "events",
        "events_names",
        "events_streams",
        "events_event_tags",
        "events_documents",
        "events_entries",
        "events_state_meta",
    ] {
        let change = |what| format!("ALTER TABLE {schema}.{table} {what} ROW LEVEL SECURITY");
        admin.batch_execute(&change("ENABLE")).await.unwrap();
        let aware = as_role(&url, &schema, &role);
        let error = aware.clone().connect().await.unwrap_err();
        assert!(error.to_string().contains(table), "{error}");
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        let error = aware.with_transaction_pooler(true).connect().await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "without a session of its own: {error:?}");
        // The owner is not subject to it; a role that was connected before gets an error.
        assert_eq!(all(&owner.clone().connect().await.unwrap()).await.len(), 3);
        if table == "events" {
            let error = try_read(&before, Query::all()).await.unwrap_err();
            assert!(matches!(error, Error::Backend { .. }), "{error:?}");
        }
        admin.batch_execute(&change("DISABLE")).await.unwrap();
    }
    assert_eq!(all(&before).await.len(), 3);
    drop(before);
    admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
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

/// Options for `url` as the user `role`.
fn as_role(url: &str, schema: &str, role: &str) -> PostgresOptions {
    let mut config: Config = url.parse().unwrap();
    config.user(role).password("secret-of-the-role");
    PostgresOptions::from_config(config).with_schema(schema)
}

#[tokio::test]
async fn a_role_with_no_more_rights_than_it_needs_and_another_search_path() {
    let Some(url) = server().await else { return };
    let (schema, role) = (fresh(), fresh());
    let owner = options(&url, &schema).unwrap();
    owner.migrate().await.unwrap();
    let admin = admin(&url).await.unwrap();
    let sql = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'secret-of-the-role'; ALTER ROLE {role} SET search_path = nowhere"
    );
    admin.batch_execute(&sql).await.unwrap();
    admin.batch_execute(&owner.schema().grants(&role).unwrap()).await.unwrap();
    let adapter = as_role(&url, &schema, &role).connect().await.unwrap();
    let tags = annals::Tags::parse(["a:1"]).unwrap();
    let tagged = events(2).into_iter().map(|event| event.with_tags(tags.clone()));
    let condition = WriteCondition::no_match(Query::all(), annals::SequenceNumber::START);
    adapter.append(vec![Append::new(stream("o-1"), tagged, condition)]).await.unwrap();
    assert_whole(&all(&adapter).await);
    let none = as_role(&url, &schema, &role).with_table("other").migrate().await.unwrap_err();
    assert!(matches!(none, Error::Backend { .. }), "it may not create: {none:?}");
    drop(adapter);
    admin.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
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
