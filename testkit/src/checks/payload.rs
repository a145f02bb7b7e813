//! Payloads and metadata come back as they were.

use annals::{Encoding, EventName, Metadata, NewEvent, Payload, StoredEvent, WriteCondition};

use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::generate::{self, Generator};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, event};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "payload.domain",
        [R3],
        Required,
        [],
        domain,
        "JSON of every shape comes back with the same value"
    ),
    check!(
        "payload.exact_bytes",
        [R3],
        Required,
        [Need::Has(Feature::ExactPayloadBytes)],
        exact_bytes,
        "white space, key order, repeated keys, escapes and number forms come back byte for byte"
    ),
    check!("payload.nul", [R3], Required, [], nul, "U+0000 is stored wherever JSON can have it"),
    check!(
        "payload.numbers",
        [R3],
        Required,
        [],
        numbers,
        "numbers at the limits are neither rounded nor refused"
    ),
    check!(
        "payload.depth",
        [R3],
        Required,
        [],
        depth,
        "deep nesting is stored, and the store goes on"
    ),
    check!(
        "payload.unicode",
        [R3],
        Required,
        [],
        unicode,
        "text of every script and form is kept apart and exact"
    ),
    check!(
        "payload.size",
        [R3],
        Required,
        [],
        size,
        "payloads from nothing to megabytes come back whole"
    ),
    check!(
        "payload.opaque",
        [R3],
        Required,
        [],
        opaque,
        "bytes of every value come back under their encoding"
    ),
    check!(
        "payload.random",
        [R3],
        Required,
        [Need::Has(Feature::ExactPayloadBytes)],
        random,
        "random JSON comes back, in batches of different payloads"
    ),
    check!(
        "meta.null_vs_empty",
        [R3],
        Required,
        [],
        null_vs_empty,
        "no metadata and an empty object stay different"
    ),
    check!(
        "meta.exact",
        [R3],
        Required,
        [],
        meta_exact,
        "each event of a batch keeps its own metadata"
    ),
    check!(
        "meta.random",
        [R3],
        Required,
        [Need::Has(Feature::ExactPayloadBytes)],
        meta_random,
        "metadata of every shape comes back"
    ),
];

fn json_event(text: &str) -> NewEvent {
    let payload = Payload::json_bytes(text.to_owned());
    let payload =
        payload.unwrap_or_else(|error| panic!("a check chose bad JSON {text:?}: {error}"));
    NewEvent::new(EventName::from_static("said"), payload)
}

/// Whether the two texts are the same JSON: to the byte where that is declared.
fn same_json(store: &Subject, found: &[u8], expected: &[u8]) -> bool {
    if found == expected {
        return true;
    }
    if store.capabilities.exact_payload_bytes {
        return false;
    }
    let parse = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    parse(found).is_some_and(|found| Some(found) == parse(expected))
}

fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(120).collect();
    format!("{text:?} ({} bytes)", bytes.len())
}

/// Appends the payloads, each alone and then all in one batch, and compares what comes back.
async fn round_trips(cx: &Context, texts: &[(&str, String)]) -> Outcome {
    let store = cx.open().await?;
    let limit = store.capabilities.max_payload_bytes.map_or(usize::MAX, |most| most.get() as usize);
    let texts: Vec<_> = texts.iter().filter(|(_, text)| text.len() <= limit).collect();
    let stream = store.stream("payloads", "each");
    for (what, text) in &texts {
        let returned = store.append(&stream, vec![json_event(text)], WriteCondition::Always).await;
        let returned = returned.map_err(|error| Failure::from(error).in_context(what))?;
        compare(&store, what, text, &returned[0])?;
        let read = store.latest(stream.clone()).await?;
        let read = read.ok_or_else(|| Failure::new(format!("{what}: nothing is read back")))?;
        compare(&store, what, text, &read)?;
    }
    let batch = store.stream("payloads", "batch");
    let most = store.capabilities.max_events_per_append.map_or(1_000, |most| most.get() as usize);
    for part in texts.chunks(most.min(1_000)) {
        let events = part.iter().map(|(_, text)| json_event(text)).collect();
        store.append(&batch, events, WriteCondition::Always).await?;
    }
    let read = store.stream_events(&batch).await?;
    ensure_eq!(read.len(), texts.len(), "events of the batch");
    for ((what, text), stored) in texts.iter().zip(&read) {
        compare(&store, what, text, stored)?;
    }
    Ok(())
}

fn compare(store: &Subject, what: &str, text: &str, stored: &StoredEvent) -> Outcome {
    let found = stored.event.payload.as_bytes();
    ensure!(
        same_json(store, found, text.as_bytes()),
        "{what}: appended {}, found {}",
        shown(text.as_bytes()),
        shown(found)
    );
    ensure_eq!(*stored.event.payload.encoding(), Encoding::JSON, "{what}: the encoding");
    Ok(())
}

fn of_kind(prefix: &str) -> Vec<(&'static str, String)> {
    let all = generate::payloads().into_iter();
    all.filter(|(what, _)| what.starts_with(prefix)).collect()
}

async fn domain(cx: Context) -> Outcome {
    round_trips(&cx, &of_kind("shape")).await
}

async fn exact_bytes(cx: Context) -> Outcome {
    round_trips(&cx, &of_kind("exact")).await
}

async fn nul(cx: Context) -> Outcome {
    round_trips(&cx, &of_kind("nul")).await
}

async fn numbers(cx: Context) -> Outcome {
    let mut numbers = of_kind("number");
    if !cx.open().await?.capabilities.exact_payload_bytes {
        // Without exact bytes only what a double keeps can be compared.
        numbers.retain(|(_, text)| text.parse::<f64>().is_ok_and(f64::is_finite));
    }
    round_trips(&cx, &numbers).await
}

async fn depth(cx: Context) -> Outcome {
    round_trips(&cx, &of_kind("depth")).await
}

async fn unicode(cx: Context) -> Outcome {
    round_trips(&cx, &of_kind("unicode")).await
}

async fn size(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let limit = store.capabilities.max_payload_bytes.map_or(usize::MAX, |most| most.get() as usize);
    let largest =
        if matches!(cx.profile, crate::engine::Profile::Quick) { 4 << 20 } else { 16 << 20 };
    let sizes =
        [0, 1, 2, 255, 256, 1_000, 1_001, 2_704, 8_191, 8_192, 65_535, 65_536, 1 << 20, largest];
    let stream = store.stream("payloads", "sizes");
    let sizes: Vec<usize> = sizes.into_iter().filter(|size| *size <= limit).collect();
    for size in &sizes {
        // Not one byte repeated, so that a shifted or compressed part shows.
        let bytes: Vec<u8> =
            (0..*size).map(|nth| (nth ^ (nth >> 8) ^ (nth >> 16)).to_le_bytes()[0]).collect();
        let sent = NewEvent::new(EventName::from_static("sized"), Payload::bytes(bytes.clone()));
        let stored = store.append(&stream, vec![sent], WriteCondition::Always).await;
        stored.map_err(|error| Failure::from(error).in_context(format!("{size} bytes")))?;
        let read = store.latest(stream.clone()).await?;
        let found = read.map(|event| event.event.payload.as_bytes().clone()).unwrap_or_default();
        ensure!(found == bytes, "{size} bytes were appended, {} others read back", found.len());
    }
    let read = store.stream_events(&stream).await?;
    let found: Vec<usize> = read.iter().map(|event| event.event.payload.as_bytes().len()).collect();
    ensure_eq!(found, sizes, "the sizes of all payloads");
    Ok(())
}

async fn opaque(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("payloads", "opaque");
    let every_byte: Vec<u8> = (0..=255).collect();
    let contents: [&[u8]; 6] =
        [&every_byte, b"", b"\0", b"\xFF\xFE", b"{\"not\": json", b"\r\n\0\x1A"];
    let encodings = ["bytes", "json+zstd", "protobuf", "application/cbor; v=1", "ünï"];
    let mut sent = Vec::new();
    for (encoding, content) in encodings.iter().cycle().zip(contents.iter().cycle()).take(30) {
        let encoding = Encoding::new(*encoding).unwrap_or(Encoding::BYTES);
        let payload = Payload::new(encoding, content.to_vec());
        let payload =
            payload.unwrap_or_else(|error| panic!("a check chose a bad payload: {error}"));
        let opaque = NewEvent::new(EventName::from_static("opaque"), payload.clone());
        sent.push((payload, opaque));
    }
    for (_, event) in &sent {
        store.append(&stream, vec![event.clone()], WriteCondition::Always).await?;
    }
    let read = store.stream_events(&stream).await?;
    for ((expected, _), stored) in sent.iter().zip(&read) {
        let found = &stored.event.payload;
        ensure_eq!(
            found.encoding(),
            expected.encoding(),
            "the encoding of {}",
            shown(expected.as_bytes())
        );
        ensure!(
            found.as_bytes() == expected.as_bytes(),
            "opaque bytes {} came back as {}",
            shown(expected.as_bytes()),
            shown(found.as_bytes())
        );
    }
    ensure_eq!(read.len(), sent.len(), "opaque events");
    Ok(())
}

/// Where bytes are not exact, what random numbers become cannot be told from what they must not become.
async fn random(cx: Context) -> Outcome {
    for case in cx.cases(4) {
        let mut generator = Generator::new(case);
        let texts: Vec<_> = (0..10).map(|_| ("random", generator.json(4))).collect();
        round_trips(&cx.nested(format!("x{case:x}")), &texts).await?;
    }
    Ok(())
}

fn with_metadata(metadata: Option<&str>) -> NewEvent {
    let metadata = metadata.map(|text| Metadata::json_bytes(text.to_owned()));
    let metadata = metadata.transpose();
    event("noted").with_metadata(metadata.unwrap_or_else(|error| panic!("bad metadata: {error}")))
}

/// Appends events with this metadata, each alone and all in a batch, and compares what comes back.
async fn metadata_round_trips(cx: &Context, all: &[Option<&str>]) -> Outcome {
    let store = cx.open().await?;
    for (name, size) in [("alone", 1), ("batch", all.len())] {
        let stream = store.stream("metadata", name);
        let most = store
            .capabilities
            .max_events_per_append
            .map_or(size, |most| size.min(most.get() as usize));
        let mut returned = Vec::new();
        for part in all.chunks(most) {
            let events = part.iter().map(|metadata| with_metadata(*metadata)).collect();
            returned.extend(store.append(&stream, events, WriteCondition::Always).await?);
        }
        let read = store.stream_events(&stream).await?;
        for (what, events) in [("append returned", &returned), ("a read gave", &read)] {
            ensure_eq!(events.len(), all.len(), "events that {what}");
            for (expected, stored) in all.iter().zip(events) {
                let found = stored.event.metadata.as_ref().map(Metadata::as_bytes);
                let same = match (found, expected) {
                    (None, None) => true,
                    (Some(found), Some(expected)) => same_json(&store, found, expected.as_bytes()),
                    _ => false,
                };
                let found = found.map(|bytes| shown(bytes));
                ensure!(same, "metadata {expected:?} ({name}): {what} {found:?}");
            }
        }
    }
    Ok(())
}

async fn null_vs_empty(cx: Context) -> Outcome {
    let all = [None, Some("{}"), None, Some("{\"a\":null}"), Some("{}"), Some("{\"\":{}}")];
    metadata_round_trips(&cx, &all).await
}

async fn meta_exact(cx: Context) -> Outcome {
    let mut all = vec![
        Some(r#"{"actor":"user-1"}"#),
        Some(r#"{"actor":"user-2","roles":["a","b"],"n":1}"#),
        None,
        Some(r#"{"text":"grüße 日本 🦀","nul":"\u0000"}"#),
    ];
    if cx.open().await?.capabilities.exact_payload_bytes {
        all.extend([Some(" { \"z\": 1.0 ,\n\"a\":1e2 } "), Some(r#"{"a":1,"a":2}"#)]);
    }
    metadata_round_trips(&cx, &all).await
}

async fn meta_random(cx: Context) -> Outcome {
    for case in cx.cases(3) {
        let mut generator = Generator::new(case);
        let texts: Vec<String> =
            (0..8).map(|_| format!("{{\"m\":{}}}", generator.json(3))).collect();
        let all: Vec<Option<&str>> = texts.iter().map(|text| Some(text.as_str())).collect();
        metadata_round_trips(&cx.nested(format!("x{case:x}")), &all).await?;
    }
    Ok(())
}
