//! Trace records: named, at their level, and silent about what events say above trace level.
//!
//! A program of its own: a test without a subscriber beside these could tell `tracing` that nobody listens.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use annals::{
    Append, EventStore, Handlers, Metadata, NewEvent, Query, ReadOptions, StreamId, WriteCondition,
};
use annals_memory::MemoryAdapter;
use futures_util::FutureExt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

const STREAM: StreamId = StreamId::from_static("profiles", "joe");
const SECRET: &str = "s3cr3t";
const META: &str = "m3tadata";

#[derive(Debug, Clone)]
struct Record {
    name: &'static str,
    level: Level,
    target: String,
    fields: String,
}

#[derive(Debug, Clone, Default)]
struct Records(Arc<Mutex<Vec<Record>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // How long it took differs from run to run.
        match field.name() {
            "micros" => write!(self.0, "micros;"),
            name => write!(self.0, "{name}={value:?};"),
        }
        .expect("a string takes all");
    }
}

impl<S: Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let at = event.metadata();
        let record = Record {
            name: at.name(),
            level: *at.level(),
            target: at.target().to_owned(),
            fields: fields.0,
        };
        self.0.lock().expect("no panic").push(record);
    }
}

/// The records of `work`, which must not wait.
fn records<T>(work: impl Future<Output = T>) -> (Vec<Record>, T) {
    let records = Records::default();
    let subscriber = tracing_subscriber::registry().with(records.clone());
    let done = tracing::subscriber::with_default(subscriber, || {
        work.now_or_never().expect("memory never waits")
    });
    let seen = records.0.lock().expect("no panic").clone();
    (seen, done)
}

fn secretive() -> NewEvent {
    let metadata = Metadata::json(&serde_json::json!({ "by": META })).expect("an object");
    NewEvent::json("created", SECRET).expect("valid").with_metadata(metadata)
}

fn shown(records: &[Record]) -> Vec<(&str, &str)> {
    records.iter().map(|record| (record.name, record.fields.as_str())).collect()
}

#[test]
fn an_append_leaves_its_records() {
    let event = secretive();
    let id = event.id;
    let stream = EventStore::new(MemoryAdapter::new()).stream(STREAM);
    let (records, stored) = records(stream.append([event], WriteCondition::StreamIsEmpty));
    assert_eq!(stored.expect("appends").len(), 1);
    assert_eq!(
        shown(&records),
        [
            ("annals.appending", r#"adapter="memory";stream=profiles/joe;streams=1;events=1;"#),
            ("annals.payload", format!(r#"id={id};event=created;payload="s3cr3t";"#).as_str()),
            ("annals.appended", r#"adapter="memory";first=1;last=1;events=1;micros;"#),
        ]
    );
}

#[test]
fn a_refusal_and_a_failure_are_told_apart() {
    let store = EventStore::new(MemoryAdapter::new());
    let stream = store.stream(STREAM);
    let (seen, _) = records(stream.append([secretive()], WriteCondition::StreamExists));
    let refused = seen.last().expect("a record");
    assert_eq!((refused.name, refused.level), ("annals.append_rejected", Level::DEBUG));
    assert!(refused.fields.contains("stream profiles/joe is empty"), "{}", refused.fields);

    let twice = vec![Append::new(STREAM, [secretive()], WriteCondition::Always); 2];
    let (seen, _) = records(store.append(twice));
    let failed = seen.last().expect("a record");
    assert_eq!((failed.name, failed.level), ("annals.append_failed", Level::WARN));
    assert!(failed.fields.contains("written to twice"), "{}", failed.fields);
}

#[test]
fn a_read_that_fails_leaves_a_record() {
    let store = EventStore::new(MemoryAdapter::new());
    let options = ReadOptions::default().from_position(annals::Position::FIRST);
    let (seen, read) = records(async { store.log().read(options).into_vec().await });
    assert!(matches!(read, Err(annals::Error::Invalid(_))), "{read:?}");
    let failed = seen.last().expect("a record");
    assert_eq!((failed.name, failed.level), ("annals.read_failed", Level::WARN));
    assert!(failed.fields.contains("positions"), "{}", failed.fields);
}

#[test]
fn a_read_leaves_one_record() {
    let store = EventStore::new(MemoryAdapter::new());
    let options = ReadOptions::default().limit(7);
    let (seen, _) = records(async { store.read(Query::from(STREAM), options).into_vec().await });
    let [read] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((read.name, read.level), ("annals.reading", Level::DEBUG));
    assert!(read.fields.contains("query=stream profiles/joe;"), "{}", read.fields);
    assert!(read.fields.contains("limit: Some(7)"), "{}", read.fields);
}

#[test]
fn a_resumed_projection_reads_only_what_is_new() {
    let stream = EventStore::new(MemoryAdapter::new()).stream(STREAM);
    let count = Handlers::new("count", 0).on_missing(|count, _| {
        *count += 1;
        Ok(())
    });
    let (seen, projection) = records(async {
        let two = [secretive(), secretive()];
        stream.append(two, WriteCondition::Always).await.expect("appends");
        let mut projection = stream.project(&count).await.expect("folds");
        stream.resume(&count, &mut projection).await.expect("folds");
        projection
    });
    assert_eq!(projection.state, 2);
    let reads: Vec<_> = seen.iter().filter(|record| record.name == "annals.reading").collect();
    let [first, second] = reads.as_slice() else { panic!("{reads:?}") };
    assert!(first.fields.contains("after: SequenceNumber(0)"), "{}", first.fields);
    assert!(second.fields.contains("after: SequenceNumber(2)"), "{}", second.fields);
}

#[test]
fn payloads_appear_at_trace_level_only_and_metadata_never() {
    let store = EventStore::new(MemoryAdapter::new());
    let stream = store.stream(STREAM);
    let (seen, ()) = records(async {
        let event = secretive();
        stream.append([event.clone()], WriteCondition::Always).await.expect("appends");
        stream.append([event], WriteCondition::Always).await.expect_err("known");
        stream.append([secretive()], WriteCondition::StreamIsEmpty).await.expect_err("exists");
        let twice = vec![Append::new(STREAM, [secretive()], WriteCondition::Always); 2];
        store.append(twice).await.expect_err("a stream twice");
        stream.read(ReadOptions::default()).into_vec().await.expect("reads");
        stream.latest().await.expect("reads");
    });
    assert!(seen.len() > 10);
    for record in seen {
        assert_eq!(record.target, "annals");
        assert!(record.name.starts_with("annals."), "{record:?}");
        assert!(!record.fields.contains(META), "{record:?}");
        let tells = record.fields.contains(SECRET);
        assert_eq!(tells, record.level == Level::TRACE, "{record:?}");
    }
}
