//! Names that are taken, and halves of a log: whatever is in the way is named and left alone.

use annals_postgres::SchemaError;

use super::reason;
use crate::common::{admin, fresh, options, server};

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
