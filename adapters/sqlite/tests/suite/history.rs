//! Rule D2: nothing that a handle remembers outlives the history of its store.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;

use annals::{
    CategoryName, Error, EventStore, NewEvent, Position, Query, QueryItem, ReadOptions,
    SequenceNumber, StreamId, WriteCondition,
};
use annals_sqlite::SqliteAdapter;
use futures_util::StreamExt as _;
use rusqlite::Connection;

fn stream(category: &'static str, name: &str) -> StreamId {
    StreamId::new(category, name).unwrap()
}

fn event(name: &'static str) -> NewEvent {
    NewEvent::json(name, &1).unwrap()
}

async fn open(path: &Path) -> EventStore {
    EventStore::new(SqliteAdapter::open(path).await.unwrap())
}

async fn append(store: &EventStore, to: StreamId, names: &[&'static str]) {
    let events: Vec<_> = names.iter().copied().map(event).collect();
    store.stream(to).append(events, WriteCondition::StreamIsEmpty).await.unwrap();
}

async fn everything(store: &EventStore) -> Vec<String> {
    let events = store.read(Query::All, ReadOptions::default()).into_vec().await.unwrap();
    events.iter().map(ToString::to_string).collect()
}

/// Another program empties the tables.
fn empty(path: &Path) {
    let sql = "BEGIN; DELETE FROM events; DELETE FROM names; DELETE FROM streams; \
               DELETE FROM event_tags; COMMIT";
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn tables_that_another_program_empties() {
    for others_write in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let (writer, reader) = (open(&path).await, open(&path).await);
        for name in ["a", "b", "c"] {
            append(&writer, stream("orders", name), &["begun", "done"]).await;
        }
        assert_eq!(everything(&reader).await, everything(&writer).await);
        let mut follow = writer.log().follow(SequenceNumber::START);
        assert_eq!(follow.next().await.unwrap().unwrap().events.len(), 6);
        empty(&path);
        if others_write {
            let other = open(&path).await;
            append(&other, stream("other", "x"), &["changed", "begun", "ended", "left"]).await;
        }
        let gone = writer.stream(stream("orders", "c"));
        let late = gone.append([event("late")], WriteCondition::PositionIs(Position::new(1))).await;
        let Err(Error::ConditionFailed(unmet)) = late else { panic!("{late:?}") };
        assert_eq!(unmet.actual, None);
        append(&writer, stream("orders", "c"), &["anew"]).await;
        let expected = everything(&open(&path).await).await;
        let first = if others_write { 5 } else { 1 };
        assert_eq!(expected.last().unwrap(), &format!("#{first} orders/c@0 anew"));
        assert_eq!(everything(&reader).await, expected);
        assert_eq!(everything(&writer).await, expected);
        let end = async {
            loop {
                match follow.next().await.unwrap() {
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        };
        let end = tokio::time::timeout(Duration::from_secs(30), end).await.unwrap();
        assert!(matches!(end, Error::AheadOfLog { .. }), "{end:?}");
    }
}

/// A handle that only had an append rejected, and one that only read nothing, remember numbers as well.
#[tokio::test]
async fn handles_that_have_seen_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let other = open(&path).await;
    append(&other, stream("orders", "o-1"), &["placed"]).await;
    let (rejected, idle) = (open(&path).await, open(&path).await);
    let known = rejected.stream(stream("orders", "o-1"));
    known.append([event("x")], WriteCondition::StreamIsEmpty).await.unwrap_err();
    let orders = idle.category(CategoryName::from_static("orders"));
    let behind = ReadOptions::default().after(SequenceNumber::new(1));
    assert_eq!(orders.read(behind).into_vec().await.unwrap(), []);
    empty(&path);
    append(&other, stream("other", "x"), &["changed"]).await;
    known.append([event("anew")], WriteCondition::Always).await.unwrap();
    let expected = ["#1 other/x@0 changed", "#2 orders/o-1@0 anew"];
    for store in [&rejected, &idle, &other, &open(&path).await] {
        assert_eq!(everything(store).await, expected);
    }
    assert_eq!(orders.read(ReadOptions::default()).into_vec().await.unwrap().len(), 1);
}

/// Nothing proves to a handle that has seen no event that the store only grew. Its reads go on all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_that_begin_before_the_first_event_while_others_append() {
    for round in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let (reader, other) = (open(&path).await, open(&path).await);
        assert_eq!(everything(&reader).await, Vec::<String>::new());
        let appends = tokio::spawn(async move {
            for nth in 0..40 {
                append(&other, stream("orders", &format!("o-{nth}")), &["begun", "done"]).await;
            }
        });
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let reader = reader.clone();
                tokio::spawn(async move {
                    let query = Query::any_of([
                        QueryItem::new(CategoryName::from_static("orders")),
                        QueryItem::new(stream("other", "x")),
                    ]);
                    loop {
                        let read = reader.read(query.clone(), ReadOptions::default());
                        let events = read.into_vec().await.unwrap();
                        let numbers: Vec<_> =
                            events.iter().map(|event| event.sequence_number.value()).collect();
                        let dense: Vec<_> = (1..=numbers.len() as u64).collect();
                        assert_eq!(numbers, dense, "round {round}");
                        if numbers.len() == 80 {
                            return;
                        }
                    }
                })
            })
            .collect();
        appends.await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_moved_or_removed_takes_no_append() {
    for remove in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let store = open(&path).await;
        append(&store, stream("orders", "o-1"), &["placed"]).await;
        if remove {
            std::fs::remove_file(&path).unwrap();
        } else {
            std::fs::rename(&path, directory.path().join("moved.db")).unwrap();
        }
        let late = store.stream(stream("orders", "o-2"));
        let error = late.append([event("late")], WriteCondition::Always).await.unwrap_err();
        assert!(matches!(error, Error::Backend(_)), "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("moved, removed or replaced"), "{cause}");
    }
}
