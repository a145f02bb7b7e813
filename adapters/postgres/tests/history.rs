//! Rule D2: nothing that a handle remembers outlives the history of its store, whatever takes the store back.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "common/log.rs"]
mod log;
#[path = "common/recorder.rs"]
mod recorder;

use std::path::Path;
use std::time::Duration;

use annals::{
    Error, EventPages, EventStore, Order, Position, Query, ReadOptions, SequenceNumber,
    WriteCondition,
};
use annals_postgres::PostgresOptions;
use annals_servers::PostgresServer;
use futures_util::StreamExt as _;
use tokio_postgres::error::SqlState;

use common::{TABLES, admin, fresh, options, server, truncate};
use log::{CATEGORY, connect, event, everything, fill, stream};
use recorder::{record, records};

const SCHEMA: &str = "annals";

/// What happens to the store under open handles.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// Its tables are emptied at once.
    Truncated,
    /// The same, and numbers are drawn from 1 again.
    Restarted,
    /// All rows are deleted.
    Deleted,
    /// It is dropped and made again.
    Remade,
    /// What it was like after two streams is put back, as from a dump.
    Restored,
}

const CHANGES: [Change; 5] =
    [Change::Truncated, Change::Restarted, Change::Deleted, Change::Remade, Change::Restored];

async fn change(change: Change, options: &PostgresOptions, url: &str, schema: &str) {
    let client = admin(url).await.unwrap();
    let all = |verb: &str| TABLES.map(|table| format!("{verb} {schema}.events{table};")).concat();
    let truncate = truncate(schema);
    let put_back = TABLES.map(|table| {
        format!("INSERT INTO {schema}.events{table} SELECT * FROM {schema}.dump{table};")
    });
    let sql = match change {
        Change::Truncated => truncate,
        Change::Restarted => format!("{truncate} RESTART IDENTITY"),
        Change::Deleted => all("DELETE FROM"),
        Change::Remade => format!("DROP SCHEMA {schema} CASCADE"),
        Change::Restored => format!("BEGIN; {truncate}; {} COMMIT", put_back.concat()),
    };
    // A change of a living store may meet its statements in a deadlock, and is then made again.
    for tries in 1.. {
        match client.batch_execute(&sql).await {
            Ok(()) => break,
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) && tries < 20 => {
                client.batch_execute("ROLLBACK").await.unwrap();
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    if change == Change::Remade {
        options.migrate().await.unwrap();
    }
}

/// Keeps what the store is like now, as a dump would.
async fn dump(url: &str, schema: &str) {
    let copies = TABLES.map(|table| {
        format!("CREATE TABLE {schema}.dump{table} AS SELECT * FROM {schema}.events{table};")
    });
    admin(url).await.unwrap().batch_execute(&copies.concat()).await.unwrap();
}

/// What a living handle does after the store went back to `left` streams of two events, of which `e` was none: nothing
/// that it remembers is believed.
async fn assert_judged_anew(store: &EventStore, order: Order, others_wrote: bool) {
    let gone = store.stream(stream("e"));
    let late = gone.append([event("late")], WriteCondition::PositionIs(Position::new(1))).await;
    let Err(Error::ConditionFailed(unmet)) = late else { panic!("{late:?}") };
    assert_eq!(unmet.actual, None);
    let names = [event("begun"), event("other name")];
    gone.append(names, WriteCondition::StreamIsEmpty).await.unwrap();
    if others_wrote {
        let new = store.stream(stream("new"));
        let known = WriteCondition::PositionIs(Position::new(1));
        new.append([event("more")], known).await.unwrap();
    }
    let events = store.read(Query::All, ReadOptions::default().allow_skips()).into_vec().await;
    let events = events.unwrap();
    if order == Order::Log {
        let numbers = events.iter().map(|event| event.sequence_number.value());
        assert!(numbers.eq(1..=events.len() as u64), "there are no holes");
    }
    for of_stream in events.iter().map(|event| &event.stream) {
        let positions = events.iter().filter(|event| event.stream == *of_stream);
        let positions: Vec<_> = positions.map(|event| event.position.value()).collect();
        assert!(positions.iter().copied().eq(0..positions.len() as u64), "{of_stream} is whole");
    }
}

async fn ends_ahead(mut follow: EventPages) {
    let end = async {
        while let Some(page) = follow.next().await {
            match page {
                Ok(_) => {}
                Err(Error::AheadOfLog { .. }) => return,
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("a follow ended without an error");
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), end).await;
    assert!(ended.is_ok(), "a follow goes on; the adapters' last records: {:#?}", records());
}

async fn handles_survive(order: Order, pooler: bool, connections: Option<usize>) {
    record();
    let Some(url) = server().await else { return };
    for how in CHANGES {
        for others_write in [true, false] {
            println!("{how:?}, others write first: {others_write}");
            let schema = fresh();
            let mut options = options(&url, &schema).unwrap().with_order(order);
            options = options.with_transaction_pooler(pooler);
            if let Some(connections) = connections.and_then(std::num::NonZeroUsize::new) {
                options = options.with_pool_size(connections);
            }
            options.migrate().await.unwrap();
            let (writer, reader) = (connect(&options).await, connect(&options).await);
            fill(&writer, &["a", "b"]).await;
            // Of these two one had an append rejected, and one read nothing: they remember numbers as well.
            let (rejected, idle) = (connect(&options).await, connect(&options).await);
            let known = rejected.stream(stream("a"));
            known.append([event("x")], WriteCondition::StreamIsEmpty).await.unwrap_err();
            let behind = ReadOptions::default().after(SequenceNumber::MAX).allow_skips();
            let nothing = idle.read(CATEGORY, behind).into_vec().await.unwrap();
            assert_eq!(nothing, []);
            dump(&url, &schema).await;
            fill(&writer, &["c", "d", "e"]).await;
            assert_eq!(everything(&writer).await, everything(&reader).await);
            let source = writer.stream(stream("d"));
            let mut follow = source.follow(SequenceNumber::START);
            assert_eq!(follow.next().await.unwrap().unwrap().events.len(), 2);

            change(how, &options, &url, &schema).await;
            let other = connect(&options).await;
            if others_write {
                fill(&other, &["new"]).await;
            }
            assert_judged_anew(&writer, order, others_write).await;
            let expected = everything(&other).await;
            assert_eq!(everything(&reader).await, expected, "no event has a wrong name");
            assert_eq!(everything(&writer).await, expected);
            fill(&reader, &["f"]).await;
            fill(&other, &["g"]).await;
            known.append([event("x")], WriteCondition::Always).await.unwrap();
            let expected = everything(&connect(&options).await).await;
            for store in [&writer, &reader, &other, &rejected, &idle] {
                assert_eq!(everything(store).await, expected);
            }
            ends_ahead(follow).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_order_of_the_log() {
    handles_survive(Order::Log, false, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_connection() {
    handles_survive(Order::Log, false, Some(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_of_transactions() {
    handles_survive(Order::Log, true, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_order_of_categories() {
    handles_survive(Order::Category, false, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_order_of_streams() {
    handles_survive(Order::Stream, false, None).await;
}

/// Two batches are on their way when the store goes back, again and again: whatever is acknowledged since is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_appends() {
    let Some(url) = server().await else { return };
    let schema = fresh();
    let options = options(&url, &schema).unwrap();
    options.migrate().await.unwrap();
    let store = connect(&options).await;
    for round in 0..5 {
        let appends = (0..200).map(|nth| {
            let store = store.clone();
            tokio::spawn(async move {
                let name = stream(&format!("{round}-{nth}"));
                let events = [event("begun"), event("done")];
                store.stream(name).append(events, WriteCondition::Always).await
            })
        });
        let appends: Vec<_> = appends.collect();
        change(Change::Truncated, &options, &url, &schema).await;
        for append in appends {
            append.await.unwrap().unwrap();
        }
        fill(&store, &["last"]).await;
        let events = everything(&store).await;
        assert_eq!(events, everything(&connect(&options).await).await);
        assert!(events.last().unwrap().ends_with("last@1 last"), "{:?}", events.last());
        change(Change::Truncated, &options, &url, &schema).await;
    }
}

/// Whether the folder that the environment names has not this program of PostgreSQL: packages of a server alone lack it.
fn lacks(program: &str) -> bool {
    let folder = std::env::var_os("ANNALS_POSTGRES_BIN");
    let lacks = folder.is_some_and(|folder| !Path::new(&folder).join(program).exists());
    if lacks {
        println!("NOT RUN: the folder ANNALS_POSTGRES_BIN has no {program}");
    }
    lacks
}

/// A standby that lacks the last commits takes over, under handles that name both servers.
async fn fail_over(order: Order) {
    record();
    if server().await.is_none() || lacks("pg_basebackup") {
        return;
    }
    let servers = tokio::task::spawn_blocking(|| {
        let primary = PostgresServer::start().unwrap();
        let standby = primary.standby().unwrap();
        (primary, standby)
    });
    let (primary, standby) = servers.await.unwrap();
    let (one, two) = (primary.addr(), standby.addr());
    let both = format!("postgres://postgres@{one},{two}/postgres?target_session_attrs=read-write");
    let options = options(&both, SCHEMA).unwrap().with_order(order);
    options.migrate().await.unwrap();
    let (writer, reader) = (connect(&options).await, connect(&options).await);
    fill(&writer, &["a", "b"]).await;
    tokio::task::block_in_place(|| {
        standby.catch_up(&primary).unwrap();
        standby.stop().unwrap();
    });
    fill(&writer, &["c", "d", "e"]).await;
    assert_eq!(everything(&reader).await, everything(&writer).await);
    let mut follow = writer.stream(stream("d")).follow(SequenceNumber::START);
    assert_eq!(follow.next().await.unwrap().unwrap().events.len(), 2);
    tokio::task::block_in_place(|| {
        primary.kill().unwrap();
        standby.start_again().unwrap();
        standby.promote().unwrap();
    });
    let other = connect(&options).await;
    assert_eq!(everything(&other).await.len(), 4, "the last commits are lost");
    fill(&other, &["new"]).await;
    again(&writer).await;
    assert_judged_anew(&writer, order, true).await;
    let expected = everything(&connect(&options).await).await;
    assert_eq!(everything(&reader).await, expected);
    assert_eq!(everything(&writer).await, expected);
    ends_ahead(follow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over() {
    fail_over(Order::Log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_in_the_weaker_orders() {
    fail_over(Order::Category).await;
    fail_over(Order::Stream).await;
}

/// What the tools of PostgreSQL put back, under open handles.
async fn put_back(
    order: Order,
    keep: impl Fn(&PostgresServer),
    take_back: impl Fn(&PostgresServer),
) {
    record();
    if server().await.is_none() {
        return;
    }
    let server = tokio::task::spawn_blocking(|| PostgresServer::start().unwrap()).await.unwrap();
    let options = options(&server.url(), SCHEMA).unwrap().with_order(order);
    options.migrate().await.unwrap();
    let (writer, reader) = (connect(&options).await, connect(&options).await);
    fill(&writer, &["a", "b"]).await;
    tokio::task::block_in_place(|| keep(&server));
    again(&writer).await;
    fill(&writer, &["c", "d", "e"]).await;
    assert_eq!(everything(&reader).await, everything(&writer).await);
    let mut follow = writer.stream(stream("d")).follow(SequenceNumber::START);
    assert_eq!(follow.next().await.unwrap().unwrap().events.len(), 2);
    tokio::task::block_in_place(|| take_back(&server));
    again(&writer).await;
    fill(&connect(&options).await, &["new"]).await;
    assert_judged_anew(&writer, order, true).await;
    let expected = everything(&connect(&options).await).await;
    assert_eq!(everything(&reader).await, expected, "no event has a wrong name");
    assert_eq!(everything(&writer).await, expected);
    ends_ahead(follow).await;
}

/// Waits until an append is answered again: the first calls may find their connections lost.
async fn again(store: &EventStore) {
    let anew = async {
        while store.stream(stream("a")).append([], WriteCondition::Always).await.is_err() {}
    };
    tokio::time::timeout(Duration::from_secs(60), anew).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_put_back() {
    if lacks("pg_dump") {
        return;
    }
    for order in [Order::Log, Order::Stream] {
        put_back(order, |it| it.dump(SCHEMA).unwrap(), |it| it.restore().unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_data_is_put_back() {
    let keep = |it: &PostgresServer| {
        it.stop().unwrap();
        it.copy_data().unwrap();
        it.start_again().unwrap();
    };
    let take_back = |it: &PostgresServer| {
        it.stop().unwrap();
        it.put_back_data().unwrap();
        it.start_again().unwrap();
    };
    put_back(Order::Log, keep, take_back).await;
}
