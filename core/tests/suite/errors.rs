//! Errors name both sides and the cause once, and never show a payload or metadata.

use std::error::Error as _;
use std::fmt::Debug;

use annals::{
    Append, Error, EventId, EventStore, Handlers, InvalidName, InvalidPayload, Metadata, NewEvent,
    Payload, SequenceNumber, StreamId, Tags, WriteCondition,
};
use annals_memory::MemoryAdapter;

const SECRET: &str = "s3cr3t";
const STREAM: StreamId = StreamId::from_static("profiles", "joe");

fn secretive() -> NewEvent {
    let object = serde_json::json!({ SECRET: SECRET });
    NewEvent::json("created", &object)
        .expect("valid")
        .with_metadata(Metadata::json(&object).expect("an object"))
}

/// An error and its causes.
fn chain(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |&error| error.source())
}

/// Everything that a log may hold of an error.
fn told(error: &Error) -> String {
    let shown = chain(error).map(|error| format!("{error} {error:?} {error:#?}"));
    shown.collect::<Vec<_>>().join("\n")
}

fn keeps_the_secret(told: &str) {
    assert!(!told.contains(SECRET), "{told}");
}

#[tokio::test]
async fn no_error_of_the_store_tells_what_events_say() {
    let store = EventStore::new(MemoryAdapter::new());
    let stream = store.stream(STREAM);
    let stored = stream.append([secretive()], WriteCondition::Always).await.expect("appends");
    let again = secretive().with_id(stored[0].event.id);
    let too_early = secretive().with_occurred_at(time::macros::datetime!(0000-01-01 0:00 UTC));
    let twice = vec![Append::new(STREAM, [secretive()], WriteCondition::Always); 2];
    let nothing = Handlers::new("nothing", ());
    for error in [
        stream.append([secretive()], WriteCondition::StreamIsEmpty).await.expect_err("exists"),
        stream.append([again], WriteCondition::Always).await.expect_err("known"),
        stream.append([too_early], WriteCondition::Always).await.expect_err("too early"),
        store.append(twice).await.expect_err("a stream twice"),
        stream.project(&nothing).await.expect_err("no handler"),
    ] {
        keeps_the_secret(&told(&error));
    }
    let shown: [&dyn Debug; 4] = [
        &stored,
        &secretive(),
        &Append::new(STREAM, [secretive()], WriteCondition::Always),
        &store,
    ];
    for shown in shown {
        keeps_the_secret(&format!("{shown:?} {shown:#?}"));
    }
    keeps_the_secret(&stored[0].to_string());
    assert_eq!(stored[0].to_string(), "#1 profiles/joe@0 created");
}

#[test]
fn no_refusal_of_a_payload_quotes_it() {
    let text = |shape: &str| shape.replace('$', SECRET);
    for json in ["{\"$\":}", "\"$", "\"$\\ud800\"", "$", "[\"$\",]", "{\"$\":1,}"].map(text) {
        keeps_the_secret(&told(&Payload::json_bytes(json).expect_err("not JSON").into()));
    }
    let bytes = [b"\"", SECRET.as_bytes(), b"\xFF\""].concat();
    keeps_the_secret(&told(&Payload::json_bytes(bytes).expect_err("not UTF-8").into()));
    keeps_the_secret(&told(&Metadata::json(SECRET).expect_err("no object").into()));
}

#[test]
fn each_variant_says_what_happened() {
    let id = EventId::generate();
    let shown = |error: Error| error.to_string();
    assert_eq!(shown(Error::DuplicateEvent(id)), format!("event {id} is already in the log"));
    let unsupported = Error::unsupported("memory", "tags");
    assert_eq!(shown(unsupported), "memory does not support tags");
    assert_eq!(shown(Error::invalid("why")), "invalid call: why");
    assert_eq!(shown(Error::unavailable("why")), "the store is temporarily unavailable");
    let unknown = Error::outcome_unknown("why");
    assert_eq!(shown(unknown), "the store may have written the append or not");
    assert_eq!(shown(Error::corrupt("why")), "the store is corrupt");
    assert_eq!(shown(Error::backend("why")), "the store failed");
    assert_eq!(shown(Error::closed("memory")), "memory is closed");
    let (after, head) = (SequenceNumber::new(9), SequenceNumber::new(7));
    let back = Error::AheadOfLog { after, head };
    assert_eq!(shown(back), "the store went back to event 7, behind event 9");
}

/// The first adapter that an error leaves names it, and no layer around it changes that.
#[test]
fn a_store_side_error_names_adapter_and_operation_once() {
    type New = fn(&'static str) -> Error;
    let errors: [(New, &str); 4] = [
        (Error::unavailable, "memory is temporarily unavailable (append)"),
        (Error::outcome_unknown, "memory may have written the append or not (append)"),
        (Error::corrupt, "memory is corrupt (append)"),
        (Error::backend, "memory failed (append)"),
    ];
    for (error, expected) in errors {
        let error = error("why").at("memory", "append").at("layer", "read");
        assert_eq!(error.to_string(), expected);
        let failure = error.failure().expect("a store-side error");
        assert_eq!((&*failure.adapter, failure.operation), ("memory", "append"));
    }
    assert!(Error::invalid("why").at("memory", "append").failure().is_none());
}

/// A cause is told by the text or by the source, so that a report of the chain says it once.
#[test]
fn a_cause_is_told_once() {
    let errors = [
        Error::invalid("why"),
        Error::unavailable("why"),
        Error::outcome_unknown("why"),
        Error::corrupt("why"),
        Error::backend("why"),
        Error::from(InvalidName::Empty),
        Error::from(InvalidPayload::NotAnObject),
    ];
    for error in errors {
        let said = chain(&error).map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let causes = ["why", "a name must not be empty", "metadata is a JSON object"];
        let told: usize = causes.iter().map(|cause| said.matches(cause).count()).sum();
        assert_eq!(told, 1, "{said}");
    }
}

#[tokio::test]
async fn a_projectors_error_is_the_source() {
    let stream = EventStore::new(MemoryAdapter::new()).stream(STREAM);
    stream.append([secretive()], WriteCondition::Always).await.expect("appends");
    let strict = Handlers::new("strict", ()).on("created", |(), _| Err(InvalidName::Empty.into()));
    let error = stream.project(&strict).await.expect_err("refused");
    let source = error.source().expect("the projector's own");
    assert_eq!(source.downcast_ref(), Some(&InvalidName::Empty));
    assert!(!error.to_string().contains(&source.to_string()));
}

#[test]
fn bad_names_and_payloads_are_invalid_calls() {
    let name = NewEvent::json("", &1).expect_err("no name");
    assert!(matches!(&name, Error::Invalid(why) if why.is::<InvalidName>()), "{name:?}");
    let keyed = std::collections::HashMap::from([((1, 2), 3)]);
    let payload = NewEvent::json("created", &keyed).expect_err("no JSON");
    assert!(matches!(&payload, Error::Invalid(why) if why.is::<InvalidPayload>()), "{payload:?}");
    assert!(Tags::parse(["ok", ""]).is_err());
}
