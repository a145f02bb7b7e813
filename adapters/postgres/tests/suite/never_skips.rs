//! Readers never skip: processes that append, stall and are killed, beside readers that follow.
//!
//! For five seconds, or as many as `ANNALS_SOAK_SECONDS` says; `--nocapture` shows the figures.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::{
    Append, EventId, EventName, NewEvent, Payload, Query, ReadOptions, SequenceNumber, Source,
    StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use annals_postgres::PostgresAdapter;
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::common::{admin, fresh, open, options, options_of, server};

const PROCESSES: u32 = 3;
const WRITERS: u32 = 16;
const CATEGORIES: u32 = 4;
const STREAMS: u32 = 8;

/// Which batch an event is of: the process that appended it, its writer, the batch's number and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Batch {
    process: u32,
    writer: u32,
    nth: u32,
    size: u32,
}

fn random() -> StdRng {
    StdRng::seed_from_u64(EventId::generate().as_uuid().as_u64_pair().1)
}

fn stream(random: &mut StdRng) -> StreamId {
    let category = format!("category-{}", random.random_range(0..CATEGORIES));
    StreamId::new(&*category, format!("stream-{}", random.random_range(0..STREAMS))).unwrap()
}

/// A batch of random size, on one stream or on two.
fn batch(batch: Batch, random: &mut StdRng) -> Vec<Append> {
    let mut events: Vec<_> = (0..batch.size)
        .map(|_| NewEvent::new(EventName::from_static("made"), Payload::json(&batch).unwrap()))
        .collect();
    let first = stream(random);
    let second = stream(random);
    let rest = events.split_off(events.len() / 2);
    if first == second {
        events.extend(rest);
        return vec![Append::new(first, events, WriteCondition::Always)];
    }
    vec![
        Append::new(first, events, WriteCondition::Always),
        Append::new(second, rest, WriteCondition::Always),
    ]
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("a child is started by its parent")
}

/// The name on the connections of the processes that append.
fn of_children(schema: &str) -> String {
    format!("{schema}-child")
}

/// Appends until it is killed; tells each batch that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run as a child process"]
async fn child_appends_without_end() {
    let process = variable("ANNALS_TEST_PROCESS").parse().unwrap();
    let (url, schema) = (variable("ANNALS_POSTGRES_URL"), variable("ANNALS_TEST_SCHEMA"));
    let options = options_of(&url, &schema, &of_children(&schema)).unwrap();
    let adapter = loop {
        // Its connection may be ended while it is made.
        match options.clone().connect().await {
            Ok(adapter) => break adapter,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    };
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write(adapter.clone(), process, writer)));
    for ended in writers.collect::<Vec<_>>() {
        ended.await.unwrap();
    }
}

async fn write(adapter: PostgresAdapter, process: u32, writer: u32) {
    let mut random = random();
    for nth in 0.. {
        let size = if random.random_range(0..50) == 0 { 400 } else { random.random_range(1..12) };
        let this = Batch { process, writer, nth, size };
        let append = adapter.append(batch(this, &mut random));
        // Some callers do not wait for their outcome.
        if random.random_range(0..20) == 0 {
            let _ =
                tokio::time::timeout(Duration::from_micros(random.random_range(0..3_000)), append)
                    .await;
        } else {
            match append.await {
                Ok(_) => println!("acknowledged {}", serde_json::to_string(&this).unwrap()),
                Err(error) => assert!(!error.is_condition_failed(), "{error:?}"),
            }
        }
        let stall = if random.random_range(0..100) == 0 { 200 } else { random.random_range(0..25) };
        tokio::time::sleep(Duration::from_millis(stall)).await;
    }
}

fn start(url: &str, schema: &str, process: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "never_skips::child_appends_without_end",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("ANNALS_POSTGRES_URL", url)
        .env("ANNALS_TEST_SCHEMA", schema)
        .env("ANNALS_TEST_PROCESS", process.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a process says until it ends.
fn listen(child: &mut Child) -> std::thread::JoinHandle<Vec<Batch>> {
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        // A line that was cut off by the kill was not said.
        let told =
            lines.filter_map(|line| serde_json::from_str(line.split_once("acknowledged ")?.1).ok());
        told.collect()
    })
}

/// Follows a source to the end; gives the numbers in the order seen.
async fn follow(adapter: PostgresAdapter, source: Source, done: Arc<AtomicBool>) -> Vec<u64> {
    let mut seen: Vec<u64> = Vec::new();
    loop {
        // Looked at before the read: the last read begins after the last append.
        let last_round = done.load(Ordering::SeqCst);
        let after = SequenceNumber::new(seen.last().copied().unwrap_or(0));
        let mut pages =
            adapter.read(Query::from(source.clone()), ReadOptions::default().after(after));
        let mut failed = false;
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    seen.extend(page.events.iter().map(|event| event.sequence_number.value()));
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    failed = true;
                }
            }
        }
        if last_round && !failed {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

/// Kills, stops and restarts the processes, and ends connections; gives all that was acknowledged.
async fn disturb(url: &str, schema: &str, seconds: u64) -> (Vec<Batch>, u32) {
    let admin = admin(url).await.unwrap();
    let mut random = random();
    let mut told = Vec::new();
    let mut kills = 0;
    let mut processes = Vec::new();
    let mut next = 0..;
    let mut begin = || {
        let mut child = start(url, schema, next.next().unwrap());
        let said = listen(&mut child);
        (child, said)
    };
    processes.extend((0..PROCESSES).map(|_| begin()));
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..700))).await;
        let nth = random.random_range(0..processes.len());
        match random.random_range(0..4) {
            0 => {
                let (mut child, said) = std::mem::replace(&mut processes[nth], begin());
                child.kill().unwrap();
                child.wait().unwrap();
                told.extend(said.join().unwrap());
                kills += 1;
            }
            1 => {
                let id = processes[nth].0.id().to_string();
                Command::new("kill").args(["-STOP", &id]).status().unwrap();
                tokio::time::sleep(Duration::from_millis(random.random_range(50..400))).await;
                Command::new("kill").args(["-CONT", &id]).status().unwrap();
            }
            2 => {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE application_name IN ($1, $2) ORDER BY random() LIMIT 1";
                admin.query(sql, &[&schema, &of_children(schema)]).await.unwrap();
            }
            _ => {}
        }
    }
    for (mut child, said) in processes {
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(said.join().unwrap());
    }
    (told, kills)
}

/// Waits until nothing of a killed process is under way any more. The server still does what it was sent, one statement
/// after the other, before it sees that the process is gone and ends the connection.
async fn settled(url: &str, schema: &str) {
    let admin = admin(url).await.unwrap();
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    while admin.query_one(sql, &[&of_children(schema)]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reader_skips_an_event() {
    let Some(url) = server().await else { return };
    let seconds =
        std::env::var("ANNALS_SOAK_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    let schema = fresh();
    let adapter = open(options(&url, &schema).unwrap()).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut sources = vec![Source::Log, Source::Log];
    for category in 0..CATEGORIES {
        let stream =
            StreamId::new(&*format!("category-{category}"), format!("stream-{category}")).unwrap();
        sources.extend([Source::Category(stream.category.clone()), Source::Stream(stream)]);
    }
    let readers = sources.iter().map(|source| {
        let reader = tokio::spawn(follow(adapter.clone(), source.clone(), Arc::clone(&done)));
        (source.clone(), reader)
    });
    let readers: Vec<_> = readers.collect();
    let (told, kills) = disturb(&url, &schema, seconds).await;
    settled(&url, &schema).await;
    done.store(true, Ordering::SeqCst);

    let mut seen = Vec::new();
    for (source, reader) in readers {
        seen.push((source, reader.await.unwrap(), 0));
    }
    // One pass over the log in fixed memory per event: what is there against what was seen and told.
    let mut batches: HashMap<Batch, u32> = HashMap::new();
    let mut ids = HashSet::new();
    let mut positions: HashMap<StreamId, u64> = HashMap::new();
    let mut count = 0;
    let mut pages = adapter.read(Query::all(), ReadOptions::default());
    while let Some(page) = pages.next().await {
        for event in page.unwrap().events {
            count += 1;
            assert_eq!(event.sequence_number.value(), count, "sequence numbers have no hole");
            assert!(ids.insert(event.event.id), "no event is there twice");
            let position = positions.entry(event.stream.clone()).or_default();
            assert_eq!(event.position.value(), *position, "positions have no hole");
            *position += 1;
            *batches.entry(event.payload().to_json().unwrap()).or_default() += 1;
            for (source, seen, at) in &mut seen {
                check(&event, source, seen, at);
            }
        }
    }
    for (source, seen, at) in &seen {
        assert_eq!(seen.len(), *at, "the reader of {source} saw what is not there");
    }
    assert!(batches.iter().all(|(batch, there)| batch.size == *there), "a batch is there in part");
    let lost = told.iter().filter(|batch| !batches.contains_key(batch)).count();
    assert_eq!(lost, 0, "batches that were acknowledged are lost");
    println!(
        "{seconds} s, {PROCESSES} processes of {WRITERS} writers, {kills} kills: {count} events in {} batches, {} \
         acknowledged; {} readers: 0 skipped, 0 out of order, 0 lost",
        batches.len(),
        told.len(),
        seen.len(),
    );
    assert!(!told.is_empty(), "nothing was appended");
}

/// The next event of a source is the next that its reader saw.
fn check(event: &StoredEvent, source: &Source, seen: &[u64], at: &mut usize) {
    if source.contains(&event.stream) {
        let next = seen.get(*at).copied();
        assert_eq!(
            next,
            Some(event.sequence_number.value()),
            "the reader of {source} skipped {event}"
        );
        *at += 1;
    }
}
