//! Rule L22: what layers show of themselves, in traces, in errors and as `Debug`.
//!
//! A program of its own: a test without a subscriber beside this one could tell `tracing` that nobody listens.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

use std::fmt::{Debug, Write};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::{
    Append, Metadata, NewEvent, Payload, Query, ReadOptions, StorageAdapter, StreamId,
    WriteCondition,
};
use annals_layers::{
    Backoff, ChainKey, Chained, Codec, Compression, Dictionary, Encoded, Erasure, Fork, Key, KeyId,
    KeyRing, Notary, Personal, Retrying, Shredding, Signer, StoredKeys, Subject, SubjectKeys,
    Traced,
};
use annals_memory::{MemoryAdapter, MemoryState};
use futures_executor::block_on;
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

type Outcome = Result<(), annals::BoxError>;

const STREAM: StreamId = StreamId::from_static("people", "joe");
/// What no trace, no error and no `Debug` may show: payload, metadata, personal value, dictionary, and keys as text and as
/// bytes.
const HIDDEN: [&str; 8] = [
    "s3cret",
    "m3tadata",
    "p3rsonal",
    "d1ctionary",
    "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=",
    "97, 97, 97",
    "98, 98, 98",
    "99, 99, 99",
];

/// The fields of all spans and records, at every level.
#[derive(Debug, Clone, Default)]
struct Shown(Arc<Mutex<String>>);

impl Visit for &Shown {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0.lock().unwrap(), "{field}={value:?};").unwrap();
    }
}

impl<S: Subscriber> Layer<S> for Shown {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().push_str(span.metadata().name());
        span.record(&mut &*self);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut &*self);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.lock().unwrap().push_str(event.metadata().name());
        event.record(&mut &*self);
    }
}

#[derive(Serialize)]
struct Joined {
    name: Personal<String>,
    said: &'static str,
}

fn event() -> NewEvent {
    let name = Personal::new(Subject::new("joe").unwrap(), "p3rsonal".to_owned());
    let event = NewEvent::json("joined", &Joined { name, said: "s3cret" }).unwrap();
    event.with_metadata(Metadata::json_bytes(r#"{"by":"m3tadata"}"#).unwrap())
}

async fn all(from: &dyn StorageAdapter) -> annals::Result<Vec<annals::StoredEvent>> {
    let mut events = Vec::new();
    let mut pages = from.read(Query::all(), ReadOptions::default());
    while let Some(page) = pages.next().await {
        events.extend(page?.events);
    }
    Ok(events)
}

/// An error as logs show it: its text and those of its causes, and its `Debug`.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error:?} {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, " {error:?} {error}").unwrap();
        cause = error.source();
    }
    text
}

/// Calls every layer, well and badly, and returns what errors and `Debug` show.
async fn work() -> Result<String, annals::BoxError> {
    let key = Key::from_base64(HIDDEN[4])?;
    let ring = KeyRing::new(KeyId(1), &key);
    let dictionary = Dictionary::new(1, &b"d1ctionary of raw content".repeat(9), 3);
    let compression = Compression::Dictionary(dictionary.clone());
    let codec = Codec::new().with_compression(compression).with_keys(ring.clone());
    let chain_key = ChainKey::from_bytes(&[b'b'; 32]);
    let memory = MemoryAdapter::new();
    let chain = Chained::keyed(memory.clone(), chain_key.clone())?;
    let sealed = Encoded::new(chain.clone(), codec.clone())?;
    let keys = Arc::new(StoredKeys::new(Arc::new(MemoryState::new()), ring.clone()));
    let subjects: Arc<dyn SubjectKeys> = Arc::clone(&keys) as _;
    let shredding = Shredding::new(sealed.clone(), Arc::clone(&subjects))?;
    let sleep = |_: Duration| std::future::ready(()).boxed();
    let store =
        Retrying::new(Traced::new(shredding.clone()), sleep, Backoff::new(NonZeroU32::MIN))?;
    let fork = Fork::open(store.clone(), MemoryAdapter::new()).await?;
    let signer = Signer::from_bytes("example.com/log", &[b'c'; 32])?;
    let mut notary = Notary::open(memory.clone(), Arc::new(MemoryState::new()), "log").await?;
    let erasure = Erasure::new(subjects);

    let joined = event();
    let write = |event: &NewEvent, condition| vec![Append::new(STREAM, [event.clone()], condition)];
    store.append(write(&joined, WriteCondition::Always)).await?;
    assert_eq!(all(&store).await?.len(), 1);
    notary.catch_up().await?;
    let mut shown = format!(
        "{key:?} {ring:?} {dictionary:?} {codec:?} {chain_key:?} {chain:?} {sealed:?} {keys:?} \
         {shredding:?} {store:?} {fork:?} {signer:?} {:?} {notary:?} {erasure:?} {:?}",
        signer.verifier(),
        keys.current(&Subject::new("joe")?).await?,
    );
    // What is rejected, and what cannot be read: by a condition, by an id, for a value that is misspelt, forged, or without
    // its key.
    let twice = NewEvent::json("joined", &"s3cret twice")?.with_id(joined.id);
    let misspelt = r#"{"$personal":"joe","value":"p3rsonal","x":"s3cret"}"#;
    let misspelt = NewEvent::new(joined.name.clone(), Payload::json_bytes(misspelt)?);
    for (event, condition) in [
        (&event(), WriteCondition::StreamIsEmpty),
        (&twice, WriteCondition::Always),
        (&misspelt, WriteCondition::Always),
    ] {
        shown += &said(&store.append(write(event, condition)).await.unwrap_err());
    }
    let others = KeyRing::new(KeyId(1), &Key::generate()?);
    let unknown = KeyRing::new(KeyId(2), &Key::generate()?);
    for ring in [others, unknown] {
        let layer = Encoded::new(chain.clone(), codec.clone().with_keys(ring))?;
        shown += &said(&all(&layer).await.unwrap_err());
    }
    shown += &said(&all(&Chained::new(memory)?).await.unwrap_err());
    let forgotten = erasure.forget(&Subject::new("joe")?, &signer).await?;
    shown += &said(&store.append(write(&event(), WriteCondition::Always)).await.unwrap_err());
    assert_eq!(all(&store).await?.len(), 1);
    Ok(shown + &forgotten)
}

#[test]
fn l22_neither_traces_nor_errors_nor_debug_show_keys_or_plaintext() -> Outcome {
    let traced = Shown::default();
    let subscriber = tracing_subscriber::registry().with(traced.clone());
    let shown = tracing::subscriber::with_default(subscriber, || block_on(work()))?;
    let traced = traced.0.lock().unwrap().clone();
    assert!(traced.contains("annals.append") && traced.contains("annals.page"), "{traced}");
    for hidden in HIDDEN {
        assert!(!traced.contains(hidden), "{hidden} is in a trace: {traced}");
        assert!(!shown.contains(hidden), "{hidden} is shown: {shown}");
    }
    Ok(())
}
