//! Contexts: what caused an event, in its metadata, and the ids that are derived from its id.

use annals::{
    Context, EventId, Metadata, NewEvent, Position, SequenceNumber, StoredEvent, StreamId, Tags,
};
use serde_json::{Value, json};
use uuid::Uuid;

fn event(metadata: Option<&str>) -> NewEvent {
    let metadata = metadata.map(|text| Metadata::json_bytes(text.to_owned()).expect("an object"));
    NewEvent::json("happened", &1).expect("JSON").with_metadata(metadata)
}

fn stored(event: NewEvent) -> StoredEvent {
    let (at, stream) = (event.occurred_at, StreamId::from_static("things", "one"));
    StoredEvent::new(event, stream, Position::FIRST, SequenceNumber::new(1), at)
}

fn metadata(event: &NewEvent) -> Value {
    event.metadata.as_ref().map_or(Value::Null, |metadata| metadata.to_json().expect("JSON"))
}

/// Rule domain.X1.
#[test]
fn x1_what_an_event_caused_has_its_correlation_and_its_id_as_causation() {
    let first = stored(event(None));
    let id = first.id().to_string();
    let second = Context::caused_by(&first).stamp(event(None)).expect("a stamp");
    assert_eq!(metadata(&second), json!({ "$correlationId": id, "$causationId": id }));

    let second = stored(second);
    let third = Context::caused_by(&second).stamp(event(None)).expect("a stamp");
    let causation = second.id().to_string();
    assert_eq!(metadata(&third), json!({ "$correlationId": id, "$causationId": causation }));

    // A correlation of another program need not be a UUID.
    let foreign = stored(event(Some(r#"{"$correlationId":17,"other":[1]}"#)));
    assert_eq!(Context::caused_by(&foreign).get("$correlationId"), Some(&json!(17)));
}

/// Rule domain.X2.
#[test]
fn x2_entries_of_the_event_itself_stay_byte_for_byte() {
    let own = r#" { "big": 123456789012345678901234567890, "$schemaVersion" : 3 } "#;
    let context = Context::correlated("r").with("$schemaVersion", 9).with("a \"b\"", "c");
    let stamped = context.stamp(event(Some(own))).expect("a stamp");
    let text = stamped.metadata.expect("metadata");
    let expected = r#" { "big": 123456789012345678901234567890, "$schemaVersion" : 3 ,"$correlationId":"r","a \"b\"":"c"}"#;
    assert_eq!(std::str::from_utf8(text.as_bytes()), Ok(expected));

    let stamped = Context::correlated("r").stamp(event(Some("{ }"))).expect("a stamp");
    assert_eq!(metadata(&stamped), json!({ "$correlationId": "r" }));
}

/// Rule domain.X3.
#[test]
fn x3_without_entries_metadata_stays_as_it_is() {
    assert_eq!(Context::new().stamp(event(None)).expect("a stamp").metadata, None);
    let own = event(Some(" {}"));
    assert_eq!(Context::new().tagged().stamp(own.clone()).expect("a stamp"), own);
}

#[test]
fn a_tagged_context_tags_with_the_correlation() {
    let context = Context::correlated("request-7").tagged();
    let own = event(None).with_tags(Tags::parse(["order:1"]).expect("tags"));
    let tags = context.stamp(own).expect("a stamp").tags;
    assert_eq!(tags, Tags::parse(["order:1", "$correlationId:request-7"]).expect("tags"));
    let long = Context::correlated("x".repeat(300)).tagged();
    assert!(matches!(long.stamp(event(None)), Err(annals::Error::Invalid(_))));
    assert!(Context::correlated("x".repeat(300)).stamp(event(None)).is_ok());
}

#[test]
fn derived_ids_are_the_same_in_every_process() {
    let id: EventId = "1e1d7398-8986-57af-bb01-11a89b2f8b02".parse().expect("a UUID");
    let expected = Uuid::new_v5(&id.as_uuid(), &[0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(id.derived(1).as_uuid(), expected);
    assert_eq!(id.derived(1).to_string(), "1765cb14-52b5-5358-a176-4c169644097f");
    assert_ne!(id.derived(0), id.derived(1));
    assert_eq!(id.derived_for("a").as_uuid(), Uuid::new_v5(&id.as_uuid(), b"a"));
}
