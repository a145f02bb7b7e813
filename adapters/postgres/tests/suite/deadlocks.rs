//! Operators lock tables of the store, and so meet appends in deadlocks.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use annals::{Append, EventStore, WriteCondition};
use annals_postgres::tokio_postgres::Client;

use crate::common::{admin, fresh, options, server, truncate};
use crate::log::{connect, event, everything, fill, stream};

fn lock_table(schema: &str, table: &str) -> String {
    format!("LOCK TABLE {schema}.events{table} IN ACCESS EXCLUSIVE MODE")
}

/// Waits until so many sessions wait for locks of this kind.
async fn until_waiting(watcher: &Client, what: &str, count: i64) {
    let waiting = format!("SELECT count(*) FROM pg_locks WHERE NOT granted AND {what}");
    while watcher.query_one(&waiting, &[]).await.unwrap().get::<_, i64>(0) < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Locks of the tables of `schema`.
fn of_tables(schema: &str) -> String {
    format!(
        "locktype = 'relation' AND relation IN \
         (SELECT oid FROM pg_class WHERE relnamespace = '{schema}'::regnamespace)"
    )
}

/// An operator locks two tables of the store and so meets an append in a deadlock. The append is made afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_meets_a_deadlock() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    options.migrate().await.unwrap();
    let store = connect(&options).await;
    fill(&store, &["first"]).await;
    let operator = admin(&url).await.unwrap();
    let watcher = admin(&url).await.unwrap();
    // The append notices the deadlock, and not the operator.
    operator.batch_execute("SET deadlock_timeout = '1min'").await.unwrap();
    for other in ["_streams", "_names"] {
        operator.batch_execute(&format!("BEGIN; {}", lock_table(&schema, ""))).await.unwrap();
        let append = tokio::spawn({
            let store = store.clone();
            async move {
                let name = stream(&format!("next{other}"));
                let events = [event("begun"), event("ended")];
                store.stream(name).append(events, WriteCondition::StreamIsEmpty).await
            }
        });
        until_waiting(&watcher, &of_tables(&schema), 1).await;
        operator.batch_execute(&lock_table(&schema, other)).await.unwrap();
        operator.batch_execute("COMMIT").await.unwrap();
        append.await.unwrap().unwrap();
    }
    let positions = everything(&store).await;
    assert_eq!(positions.len(), 2 + 2 * 2, "each append is made once");
}

/// A batch is committed, the one behind it is the victim of a deadlock while it is judged, and the store goes back before
/// the answer of the first is taken in: what that answer confirms is of a history that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_lands_after_all_was_forgotten() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    // An append waits for a lock until the test releases it.
    let options = options(&url, &schema).unwrap().with_lock_timeout(Duration::from_secs(60));
    options.migrate().await.unwrap();
    let adapter = options.clone().connect().await.unwrap();
    let store = EventStore::new(adapter.clone());
    fill(&store, &["first"]).await;
    let (mut ahead, behind) = (admin(&url).await.unwrap(), admin(&url).await.unwrap());
    let (operator, watcher) = (admin(&url).await.unwrap(), admin(&url).await.unwrap());
    operator.batch_execute("SET deadlock_timeout = '1min'").await.unwrap();

    // The key of the lock of the log.
    let open = ahead.transaction().await.unwrap();
    let write = Append::new(stream("undone"), [event("first")], WriteCondition::Always);
    adapter.append_in(&open, vec![write]).await.unwrap();
    let key = "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks \
               WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    let key: i64 = open.query_one(key, &[]).await.unwrap().get(0);
    open.rollback().await.unwrap();
    let locked = format!("locktype = 'advisory' AND classid = ({key} >> 32 & 4294967295)::oid");

    // One append waits for the lock, then somebody else, while a crowd is queued for two batches.
    let lock = format!("SELECT pg_advisory_lock({key})");
    let unlock = format!("SELECT pg_advisory_unlock({key})");
    ahead.batch_execute(&lock).await.unwrap();
    let append = |nth: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            let events = [event("begun"), event("first")];
            store.stream(stream(&format!("s-{nth}"))).append(events, WriteCondition::Always).await
        })
    };
    let mut appends = vec![append(0)];
    until_waiting(&watcher, &locked, 1).await;
    let behind = tokio::spawn(async move {
        behind.batch_execute(&lock).await.unwrap();
        behind
    });
    until_waiting(&watcher, &locked, 2).await;
    appends.extend((1..200).map(append));
    tokio::time::sleep(Duration::from_millis(100)).await;
    ahead.batch_execute(&unlock).await.unwrap();
    let behind = behind.await.unwrap();

    // The first batch waits for the lock of the log, and the operator for the first batch.
    until_waiting(&watcher, &locked, 1).await;
    let steps = [
        format!("BEGIN; {}", lock_table(&schema, "")),
        lock_table(&schema, "_names"),
        format!("{}; COMMIT", truncate(&schema)),
    ];
    let operate = tokio::spawn(async move {
        for step in steps {
            operator.batch_execute(&step).await.unwrap();
        }
    });
    until_waiting(&watcher, &of_tables(&schema), 1).await;
    behind.batch_execute(&unlock).await.unwrap();
    operate.await.unwrap();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    fill(&store, &["last"]).await;
    let events = everything(&store).await;
    assert_eq!(events, everything(&connect(&options).await).await);
    assert!(events.last().unwrap().ends_with("last@1 last"), "{:?}", events.last());
}
