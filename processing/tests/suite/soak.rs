//! Three processes that keep one view, of which one is killed again and again while others append: at the end each event is
//! counted once. For some seconds, or as many as `ANNALS_SOAK_SECONDS` says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "it lasts a time")]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::stores::{Ground, Kind};
use crate::support::{Count, Counts};
use annals::{EventStore, NewEvent, StreamId, WriteCondition};
use annals_postgres::PostgresOptions;
use annals_processing::{Processor, SystemTimer};
use annals_sqlite::SqliteOptions;
use annals_state::{Collection, StateStore};

const FILE: &str = "ANNALS_TEST_PATH";
const SCHEMA: &str = "ANNALS_TEST_SCHEMA";
const URL: &str = "ANNALS_TEST_URL";
const PROCESSES: usize = 3;

async fn open(place: &[(&'static str, String)]) -> (EventStore, Arc<dyn StateStore>) {
    match place {
        [(_, file)] => {
            // Several processes are at work on the file: SQLite does not let them take turns.
            let patient = SqliteOptions::new().with_lock_timeout(Duration::from_secs(60));
            let adapter = patient.open(file).await.unwrap();
            (EventStore::new(adapter.clone()), Arc::new(adapter.state()))
        }
        [(_, url), (_, schema)] => {
            let options = PostgresOptions::new(url).unwrap().with_schema(schema);
            let options = options.with_pool_timeout(Duration::from_secs(20));
            options.migrate().await.unwrap();
            let adapter = options.connect().await.unwrap();
            (EventStore::new(adapter.clone()), Arc::new(adapter.state()))
        }
        other => panic!("{other:?}"),
    }
}

fn processor(store: &EventStore, state: Arc<dyn StateStore>) -> Processor {
    let counts = Collection::<Count>::new("counts").unwrap().on(state);
    let timer = SystemTimer::new();
    let processor = Processor::view("counts", store, counts, Counts::default(), timer).unwrap();
    let beat = Duration::from_millis(50);
    processor
        .with_beat(beat)
        .with_takeover(beat * 4)
        .with_batch(7, 1 << 20)
        .with_poison_after(u32::MAX)
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "run as a child process"]
async fn child_keeps_the_view() {
    let told = |name| std::env::var(name).ok().map(|value| (name, value));
    let place: Vec<_> = [FILE, URL, SCHEMA].into_iter().filter_map(told).collect();
    let (store, state) = open(&place).await;
    processor(&store, state).run().await.unwrap();
}

fn start(place: &[(&'static str, String)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "soak::child_keeps_the_view", "--ignored", "--test-threads=1"])
        .envs(place.iter().map(|(name, value)| (*name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// So long, and a kill every so often.
fn plan() -> (Duration, Duration) {
    match std::env::var("ANNALS_SOAK_SECONDS") {
        Ok(seconds) => (Duration::from_secs(seconds.parse().unwrap()), Duration::from_secs(1)),
        Err(_) => (Duration::from_secs(4), Duration::from_millis(400)),
    }
}

async fn soak(place: Vec<(&'static str, String)>) {
    let (time, pause) = plan();
    let (store, state) = open(&place).await;
    let mut running: Vec<Child> = (0..PROCESSES).map(|_| start(&place)).collect();
    let begun = Instant::now();
    let (mut kills, mut events) = (0, 0_u64);
    while begun.elapsed() < time {
        for nth in 0..7 {
            let name = format!("s-{}", nth % 5);
            let stream = store.stream(StreamId::new("orders", name).unwrap());
            let event = NewEvent::json("counted", &nth).unwrap();
            stream.append([event], WriteCondition::Always).await.unwrap();
            events += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        if begun.elapsed() >= pause * (kills + 1) {
            kills += 1;
            let victim = &mut running[kills as usize % PROCESSES];
            assert_eq!(victim.try_wait().unwrap(), None, "a process ended by itself");
            victim.kill().unwrap();
            victim.wait().unwrap();
            *victim = start(&place);
        }
    }
    for mut child in running {
        assert_eq!(child.try_wait().unwrap(), None, "a process ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    processor(&store, Arc::clone(&state)).settle().await.unwrap();
    let counts = Collection::<Count>::new("counts").unwrap().on(state);
    assert_eq!(counts.get("total").await.unwrap().unwrap().value.events, events);
    let mut counted = 0;
    for nth in 0..5 {
        counted += counts.get(format!("s-{nth}")).await.unwrap().unwrap().value.events;
    }
    assert_eq!(counted, events);
    println!("{events} events counted once, {kills} kills in {time:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_and_kills_over_sqlite() {
    let ground = Ground::of(&[Kind::Sqlite]).unwrap();
    let file = ground.file("soak.db").display().to_string();
    soak(vec![(FILE, file)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_and_kills_over_postgres() {
    let ground = tokio::task::spawn_blocking(|| Ground::of(&[Kind::Postgres])).await.unwrap();
    let Some(ground) = ground else { return };
    let schema = format!("soak{}", annals::EventId::generate().as_uuid().simple());
    soak(vec![(URL, ground.url().to_owned()), (SCHEMA, schema)]).await;
}
