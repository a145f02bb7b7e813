//! What is in the file, who may change it, and what is left of a store that was closed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use annals::{
    Append, Error, EventName, Metadata, NewEvent, Payload, Query, ReadOptions, SequenceNumber,
    StorageAdapter, Tags, WriteCondition,
};
use annals_sqlite::{SchemaError, SqliteAdapter, SqliteOptions};
use futures_util::future::{join_all, select};
use futures_util::{FutureExt, TryStreamExt};
use rusqlite::Connection;

use crate::common::{all, append_to, assert_whole, events_of, stream};

#[tokio::test]
async fn an_immutable_log_refuses_changes_by_any_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    let tagged = NewEvent::new(EventName::from_static("made"), Payload::bytes(&b"x"[..]))
        .with_tags(Tags::parse(["a"]).unwrap());
    let write = |event: &NewEvent| {
        vec![Append::new(stream("o-1"), [event.clone()], WriteCondition::Always)]
    };
    adapter.append(write(&tagged)).await.unwrap();
    adapter.close().await;
    // It can be made immutable later, and stays so.
    let later = SqliteOptions::new().with_immutable_log(true).open(&path).await.unwrap();
    later.close().await;
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    let before = all(&adapter).await;
    let other = Connection::open(&path).unwrap();
    for table in ["names", "streams", "events", "event_tags"] {
        let column: String = other
            .query_row(&format!("SELECT name FROM pragma_table_info('{table}')"), [], |row| {
                row.get(0)
            })
            .unwrap();
        for statement in [
            format!("DELETE FROM {table}"),
            format!("UPDATE {table} SET {column} = {column}"),
            format!("INSERT OR REPLACE INTO {table} SELECT * FROM {table}"),
        ] {
            let error = other.execute(&statement, []).unwrap_err();
            assert!(error.to_string().contains("the log is immutable"), "{statement}: {error}");
        }
    }
    assert_eq!(all(&adapter).await, before);
    // Appends go on, and what is known is still told.
    adapter.append(append_to("o-1", 2)).await.unwrap();
    let error = adapter.append(write(&tagged)).await.unwrap_err();
    assert!(matches!(error, Error::DuplicateEvent(id) if id == tagged.id), "{error:?}");
}

#[tokio::test]
async fn other_programs_read_names_and_json_in_a_view() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    let before_1970 = time::macros::datetime!(1969-12-31 23:59:59.999999 UTC);
    let placed = NewEvent::json("order-placed", &serde_json::json!({ "total": 12 }))
        .unwrap()
        .with_metadata(Metadata::json(&serde_json::json!({ "actor": "Ann" })).unwrap())
        .with_tags(Tags::parse(["b", "a"]).unwrap())
        .with_occurred_at(before_1970);
    let opaque = NewEvent::new(EventName::from_static("scanned"), Payload::bytes(&[0xff, 0][..]));
    let id = placed.id.to_string();
    let write = Append::new(stream("o-1"), [placed, opaque], WriteCondition::Always);
    let stored = adapter.append(vec![write]).await.unwrap();
    let other = Connection::open(&path).unwrap();
    let sql = "SELECT category || '/' || stream || '@' || position || ' ' || name || ' ' || id || ' ' \
               || occurred_at || ' ' || (json ->> 'total') || ' ' || (metadata ->> 'actor') || ' ' || tags \
               FROM log WHERE sequence_number = 1";
    let row: String = other.query_row(sql, [], |row| row.get(0)).unwrap();
    let expected =
        format!("orders/o-1@0 order-placed {id} 1969-12-31T23:59:59.999999Z 12 Ann [\"a\",\"b\"]");
    assert_eq!(row, expected);
    let sql = "SELECT json IS NULL AND metadata IS NULL AND encoding = 'bytes' AND payload = x'ff00', \
               CAST(strftime('%s', recorded_at) AS INTEGER) FROM log WHERE sequence_number = 2";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (right, second): (bool, i64) = other.query_row(sql, [], row).unwrap();
    assert!(right);
    assert_eq!(second, stored.last().unwrap().recorded_at.unix_timestamp());
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let adapter = SqliteAdapter::open(directory.path().join("log.db")).await.unwrap();
    let clone = adapter.clone();
    let mut pages = clone.read(Query::all(), ReadOptions::default());
    let appends = (0..50).map(|n| adapter.append(append_to(&format!("o-{n}"), 40)));
    join_all(appends).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let first = pages.try_next().await.unwrap().unwrap();
    assert!(first.events.len() < 2_000, "there is more than a page");
    adapter.close().await;
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let closed = |error: Error| assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    closed(clone.append(append_to("o-1", 1)).await.unwrap_err());
    closed(pages.try_next().await.unwrap_err());
    assert!(pages.try_next().await.unwrap().is_none(), "a read ends after its error");
    closed(crate::common::try_read(&clone, Query::all()).await.unwrap_err());
    // Closing again is nothing.
    clone.close().await;
    let again = SqliteAdapter::open(directory.path().join("log.db")).await.unwrap();
    assert_eq!(all(&again).await.len(), 2_000);
}

#[tokio::test]
async fn whoever_closes_a_store_finds_it_closed() {
    let large = NewEvent::new(EventName::from_static("made"), Payload::bytes(vec![7; 3 << 20]));
    for round in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let adapter = SqliteAdapter::open(directory.path().join("log.db")).await.unwrap();
        let write = Append::new(stream("o-1"), [large.clone()], WriteCondition::Always);
        adapter.append(vec![write]).await.unwrap();
        // Readers have something to do when the store is closed.
        let mut reads: Vec<_> =
            (0..16).map(|_| adapter.read(Query::all(), ReadOptions::default())).collect();
        for read in &mut reads {
            let _ = read.try_next().now_or_never();
        }
        if round % 2 == 0 {
            // One that gave up waiting.
            let _ = adapter.close().now_or_never();
        }
        select(Box::pin(adapter.close()), Box::pin(adapter.close())).await;
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[tokio::test]
async fn stores_in_memory_are_apart() {
    let one = SqliteAdapter::open(":memory:").await.unwrap();
    let other = SqliteAdapter::open_in_memory().await.unwrap();
    one.append(append_to("o-1", 300)).await.unwrap();
    assert_whole(&all(&one).await);
    assert_eq!(all(&other).await, []);
    assert!(!one.capabilities().durable && !one.capabilities().shared);
    one.close().await;
    for append in [Vec::new(), append_to("o-1", 1)] {
        let error = one.append(append).await.unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn paths_are_paths() {
    let error = SqliteAdapter::open("").await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let directory = tempfile::tempdir().unwrap();
    // SQLite would take the first two for URIs: the one in memory, the other of another file.
    for name in ["file:a?mode=memory", "file:b%20c", "d ü'\"?#%"] {
        let path = directory.path().join(name);
        let adapter = SqliteAdapter::open(&path).await.unwrap();
        adapter.append(append_to("o-1", 1)).await.unwrap();
        assert_eq!(all(&adapter).await.len(), 1);
        assert!(path.is_file(), "{name}");
    }
}

/// A file of an archive: the first numbers of the log are not in it.
async fn begins_late(path: &Path, first: u64) -> SqliteAdapter {
    SqliteAdapter::open(path).await.unwrap().close().await;
    let seed = format!(
        "INSERT INTO names VALUES (1, 'orders'), (2, 'made'), (3, 'json');
         INSERT INTO streams VALUES ({first}, 1, 'o-0');
         INSERT INTO events VALUES ({first}, {first}, 0, 1, 2, 3, zeroblob(16), 0, 0, NULL, NULL, x'7b7d');"
    );
    Connection::open(path).unwrap().execute_batch(&seed).unwrap();
    SqliteAdapter::open(path).await.unwrap()
}

#[tokio::test]
async fn a_log_that_begins_late_is_read_whole_in_both_directions() {
    let directory = tempfile::tempdir().unwrap();
    let first = 1 << 53;
    let adapter = begins_late(&directory.path().join("log.db"), first).await;
    adapter.append(append_to("o-1", 5_000)).await.unwrap();
    let forward = all(&adapter).await;
    let numbers = forward.iter().map(|event| event.sequence_number.value());
    assert!(numbers.eq(first..=first + 5_000));
    for limit in [None, Some(10_000)] {
        let mut options = ReadOptions::default().backward();
        options.limit = limit;
        let mut backward = events_of(adapter.read(Query::all(), options)).await.unwrap();
        backward.reverse();
        assert_eq!(backward, forward);
    }
    let options = ReadOptions::default().until(SequenceNumber::new(first - 1));
    assert_eq!(events_of(adapter.read(Query::all(), options)).await.unwrap(), []);
}

#[tokio::test]
async fn one_append_that_the_file_refuses_leaves_its_neighbours_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    // A rule of somebody else's.
    let rule = "CREATE TRIGGER rule BEFORE INSERT ON events WHEN NEW.payload = x'626164' \
                BEGIN SELECT RAISE(ABORT, 'no bad events'); END";
    Connection::open(&path).unwrap().execute_batch(rule).unwrap();
    let appends = (0..40).map(|n| {
        let payload = if n == 20 { "bad" } else { "good" };
        let event = NewEvent::new(EventName::from_static("made"), Payload::bytes(payload));
        let write = Append::new(stream(&format!("o-{}", n % 3)), [event], WriteCondition::Always);
        adapter.append(vec![write])
    });
    for (n, outcome) in join_all(appends).await.into_iter().enumerate() {
        match outcome {
            Ok(_) => assert_ne!(n, 20),
            Err(Error::Backend { .. }) => assert_eq!(n, 20),
            Err(other) => panic!("{other:?}"),
        }
    }
    let events = all(&adapter).await;
    assert_whole(&events);
    assert_eq!(events.len(), 39);
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let options = SqliteOptions::new()
        .with_queue_bound(NonZeroU32::new(8).unwrap())
        .with_lock_timeout(Duration::from_millis(200));
    let adapter = options.open(&path).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let outcomes = join_all((0..9).map(|_| adapter.append(append_to("o-1", 1)))).await;
    let told: Vec<String> = outcomes
        .into_iter()
        .map(|outcome| match outcome.unwrap_err() {
            Error::Unavailable(failure) => failure.source.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    let full = told.iter().filter(|told| told.contains("the queue of appends is full"));
    assert_eq!(full.count(), 5, "{told:?}");
    other.execute_batch("ROLLBACK").unwrap();
    // One that is larger than the bound has the queue for itself.
    assert_eq!(adapter.append(append_to("o-1", 100)).await.unwrap().len(), 100);
}

#[tokio::test]
async fn the_write_ahead_log_shrinks_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let adapter = SqliteAdapter::open(&path).await.unwrap();
    let size = || std::fs::metadata(directory.path().join("log.db-wal")).unwrap().len() >> 20;
    let payload = Payload::bytes(vec![7; 1 << 20]);
    let large = || {
        let event = || NewEvent::new(EventName::from_static("made"), payload.clone());
        let events: Vec<_> = (0..70).map(|_| event()).collect();
        vec![Append::new(stream("large"), events, WriteCondition::Always)]
    };
    adapter.append(large()).await.unwrap();
    adapter.append(append_to("o-1", 1)).await.unwrap();
    assert!(size() < 8, "the log has {} MiB", size());
    // A program that goes on reading keeps the log, but no append waits for it for long.
    let other = Connection::open(&path).unwrap();
    let count = || other.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0));
    other.execute_batch("BEGIN").unwrap();
    assert_eq!(count().unwrap(), 71);
    adapter.append(large()).await.unwrap();
    adapter.append(append_to("o-1", 1)).await.unwrap();
    assert!(size() >= 70, "the log has {} MiB", size());
    assert_eq!(count().unwrap(), 71);
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(count().unwrap(), 142);
    adapter.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_followed_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, count) in [("one.db", 1), ("other.db", 2)] {
        let adapter = SqliteAdapter::open(path(name)).await.unwrap();
        adapter.append(append_to(name, count)).await.unwrap();
        adapter.close().await;
    }
    std::os::unix::fs::symlink(path("one.db"), path("link.db")).unwrap();
    let adapter = SqliteAdapter::open(path("link.db")).await.unwrap();
    let payload = Payload::bytes(vec![7; 1 << 20]);
    let event = || NewEvent::new(EventName::from_static("made"), payload.clone());
    let events: Vec<_> = (0..70).map(|_| event()).collect();
    let large = Append::new(stream("large"), events, WriteCondition::Always);
    adapter.append(vec![large]).await.unwrap();
    adapter.append(append_to("one.db", 1)).await.unwrap();
    // The log beside the file is kept bounded, also where the link is elsewhere.
    let size = std::fs::metadata(path("one.db-wal")).unwrap().len() >> 20;
    assert!(size < 8, "the log has {size} MiB");
    std::fs::remove_file(path("link.db")).unwrap();
    std::os::unix::fs::symlink(path("other.db"), path("link.db")).unwrap();
    // Connections of readers are opened only now, of the file that is written to.
    assert_eq!(all(&adapter).await.len(), 72);
    adapter.close().await;
    let adapter = SqliteAdapter::open(path("link.db")).await.unwrap();
    assert_eq!(all(&adapter).await.len(), 2);
}

#[tokio::test]
async fn recorded_at_is_of_the_clock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    crate::common::assert_clock_counts(async |clock| {
        SqliteOptions::new().with_clock(clock).open(&path).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn metadata_has_a_bound() {
    crate::common::assert_metadata_is_bounded(&SqliteAdapter::open_in_memory().await.unwrap())
        .await;
}

#[tokio::test]
async fn the_schema_is_made_beforehand_by_a_call_or_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new().with_immutable_log(true);
    let (called, by_hand) = (directory.path().join("called.db"), directory.path().join("hand.db"));
    options.schema(&called).migrate().await.unwrap();
    options.schema(&called).migrate().await.unwrap();
    let sql = options.schema(&by_hand).sql(0).unwrap();
    Connection::open(&by_hand).unwrap().execute_batch(&format!("BEGIN; {sql} COMMIT")).unwrap();
    let dump = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection
            .prepare("SELECT name || coalesce(sql, '') FROM sqlite_schema ORDER BY 1")
            .unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    assert_eq!(dump(&called), dump(&by_hand));
    for path in [&called, &by_hand] {
        assert_eq!(options.schema(path).status().await.unwrap().found, 1);
        let adapter = options.clone().open(path).await.unwrap();
        adapter.append(append_to("o-1", 3)).await.unwrap();
        assert_whole(&all(&adapter).await);
    }
    let later = options.schema(&called).sql(9).unwrap_err();
    assert!(matches!(later, Error::Invalid(_)), "{later:?}");
}

/// What of a store is gone, and what the next opening says of the rest, which it leaves alone.
#[tokio::test]
async fn half_of_a_store_is_no_store() {
    let log = "DROP VIEW log; DROP TABLE event_tags; DROP TABLE events; DROP TABLE streams; DROP TABLE names;";
    let documents = "DROP VIEW state; DROP TABLE state_entries; DROP TABLE state_documents; DROP TABLE state_schema;";
    let taken =
        |kind: &str, name: &str| SchemaError::Taken { kind: kind.into(), name: name.into() };
    let cases = [
        (log.to_owned(), Some(SchemaError::WithoutLog { name: "state_schema".into() })),
        (format!("{log} {documents}"), Some(SchemaError::Foreign)),
        (documents.to_owned(), None),
        ("DROP TABLE event_tags".into(), Some(SchemaError::Foreign)),
        ("DROP INDEX events_id".into(), Some(SchemaError::Foreign)),
        ("DROP VIEW log; CREATE TABLE log (x)".into(), Some(taken("table", "log"))),
        ("DROP TABLE state_documents".into(), Some(SchemaError::Foreign)),
        ("DROP TABLE state_schema".into(), Some(taken("table", "state_documents"))),
        (format!("{documents} CREATE TABLE State (x)"), Some(taken("table", "State"))),
        (
            "DROP TABLE state_schema; CREATE TABLE state_schema (x)".into(),
            Some(taken("table", "state_schema")),
        ),
        ("UPDATE state_schema SET version = -1".into(), Some(taken("table", "state_schema"))),
        ("DELETE FROM state_schema".into(), Some(taken("table", "state_schema"))),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (nth, (sql, expected)) in cases.into_iter().enumerate() {
        let path = directory.path().join(format!("{nth}.db"));
        SqliteOptions::new().schema(&path).migrate().await.unwrap();
        Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        let before = std::fs::read(&path).unwrap();
        let opened = SqliteAdapter::open(&path).await;
        let Some(expected) = expected else {
            let adapter = opened.unwrap();
            adapter.append(append_to("o-1", 3)).await.unwrap();
            assert_whole(&all(&adapter).await);
            continue;
        };
        let Err(Error::Invalid(reason)) = opened else { panic!("{sql}: {opened:?}") };
        assert_eq!(reason.downcast_ref::<SchemaError>(), Some(&expected), "{sql}");
        assert!(std::fs::read(&path).unwrap() == before, "{sql}: the file was changed");
    }
}
