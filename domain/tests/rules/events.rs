//! Rules E: typed events in the log. E6 is in `compile_fail`.

use annals::{
    EventStore, Metadata, NewEvent, Payload, Position, SequenceNumber, StoredEvent, StreamId, Tags,
    WriteCondition,
};
use annals_domain::{
    Boundary, Cbor, Error, Event, Format, Json, Kind, Registry, Slice, State, decode, new_event,
};
use annals_memory::MemoryAdapter;
use serde_json::{Value, json};

use crate::world::{World, WorldEvent};

#[derive(Event, Debug, Clone, PartialEq)]
enum CourseEvent {
    #[event(name = "course-defined", alias = "course-created", alias = "course-made")]
    Defined {
        #[event(tag = "course")]
        course: String,
        #[serde(default)]
        capacity: u32,
    },
    #[event(name = "seat-taken")]
    SeatTaken {
        #[event(tag = "course")]
        course: String,
        #[event(tag = "student")]
        student: u64,
    },
    #[event(name = "closed")]
    Closed,
    #[event(name = "noted")]
    Noted(#[event(tag = "note")] String),
    Renamed(Renamed),
}

#[derive(Event, Debug, Clone, PartialEq)]
#[event(name = "item-renamed", version = 3, upcast(split, rename))]
struct Renamed {
    #[serde(rename = "newName")]
    name: String,
    payload: Vec<u8>,
    log: String,
}

/// Each step says that it ran.
fn split(payload: &mut Value) {
    payload["payload"] = json!([1]);
    payload["log"] = json!(format!("{}1", payload["log"].as_str().unwrap_or_default()));
}

fn rename(payload: &mut Value) {
    payload["newName"] = payload["name"].clone();
    payload["log"] = json!(format!("{}2", payload["log"].as_str().unwrap_or_default()));
}

fn renamed() -> Renamed {
    Renamed { name: "a \"b\"".to_owned(), payload: vec![1, 2], log: String::new() }
}

fn stored(name: &str, payload: &Value, version: Option<Value>) -> StoredEvent {
    let event = NewEvent::json(name, payload).expect("an event").with_metadata(
        version.map(|version| Metadata::json(&json!({ "$schemaVersion": version })).expect("JSON")),
    );
    let (at, stream) = (event.occurred_at, StreamId::from_static("courses", "c-1"));
    StoredEvent::new(event, stream, Position::new(4), SequenceNumber::new(17), at)
}

fn read(name: &str, payload: &Value, version: Option<Value>) -> Result<Option<CourseEvent>, Error> {
    decode(&stored(name, payload, version))
}

#[tokio::test]
async fn e1_an_event_is_written_under_the_name_of_its_kind_and_read_back_equal() {
    let stream = EventStore::new(MemoryAdapter::new()).stream(StreamId::from_static("c", "c-1"));
    let cases = [
        (
            CourseEvent::Defined { course: "c 1".to_owned(), capacity: 3 },
            ("course-defined", json!({ "course": "c 1", "capacity": 3 })),
            Tags::parse(["course:c 1"]),
        ),
        (
            CourseEvent::SeatTaken { course: "c".to_owned(), student: 7 },
            ("seat-taken", json!({ "course": "c", "student": 7 })),
            Tags::parse(["course:c", "student:7"]),
        ),
        (CourseEvent::Closed, ("closed", json!({})), Ok(Tags::NONE)),
        (CourseEvent::Noted("x".to_owned()), ("noted", json!("x")), Tags::parse(["note:x"])),
        (
            CourseEvent::Renamed(renamed()),
            ("item-renamed", json!({ "newName": "a \"b\"", "payload": [1, 2], "log": "" })),
            Ok(Tags::NONE),
        ),
    ];
    for (event, (name, payload), tags) in cases {
        let (same, new) = new_event(event.clone()).expect("an event");
        assert_eq!(same, event, "encoding returns the event");
        let stored = stream.append([new], WriteCondition::Always).await.expect("an append");
        assert_eq!(stored[0].name(), &name);
        assert_eq!(stored[0].payload().to_json::<Value>().expect("JSON"), payload);
        assert_eq!(stored[0].tags(), &tags.expect("tags"));
        let version =
            stored[0].metadata().map(|metadata| metadata.to_json::<Value>().expect("JSON"));
        assert_eq!(version, (name == "item-renamed").then(|| json!({ "$schemaVersion": 3 })));
        assert_eq!(decode(&stored[0]).expect("an event"), Some(event));
    }
    let names: Vec<_> = CourseEvent::KINDS.iter().map(Kind::name).collect();
    assert_eq!(names, ["course-defined", "seat-taken", "closed", "noted", "item-renamed"]);
}

#[test]
fn e2_an_event_under_an_alias_reads_as_the_current_kind() {
    let defined = CourseEvent::Defined { course: "c".to_owned(), capacity: 2 };
    for name in ["course-defined", "course-created", "course-made"] {
        let read = read(name, &json!({ "course": "c", "capacity": 2 }), None).expect("an event");
        assert_eq!(read, Some(defined.clone()));
    }
    let names: Vec<_> = Kind::names_of(CourseEvent::KINDS).map(String::from).collect();
    assert_eq!(names[..3], ["course-defined", "course-created", "course-made"]);
}

#[test]
fn e3_older_versions_pass_each_later_step_once_and_in_order() {
    let old = |log: &str| json!({ "name": "n", "newName": "kept", "payload": [9], "log": log });
    let log = |version: Option<Value>| match read("item-renamed", &old(""), version) {
        Ok(Some(CourseEvent::Renamed(renamed))) => (renamed.log, renamed.name, renamed.payload),
        other => panic!("{other:?}"),
    };
    assert_eq!(log(None), ("12".to_owned(), "n".to_owned(), vec![1]));
    assert_eq!(log(Some(json!(1))), ("12".to_owned(), "n".to_owned(), vec![1]));
    assert_eq!(log(Some(json!(2))), ("2".to_owned(), "n".to_owned(), vec![9]));
    assert_eq!(log(Some(json!(3))), (String::new(), "kept".to_owned(), vec![9]));

    for (version, says) in [
        (json!(4), "schema version 4 is unknown, 3 is the highest"),
        (json!(0), "schema version 0 is unknown, 3 is the highest"),
        (json!("3"), "the payload does not read as the type that was asked for"),
    ] {
        let error = read("item-renamed", &old(""), Some(version)).expect_err("not readable");
        assert_eq!(error.to_string(), "event item-renamed at courses/c-1@4 (#17) cannot be read");
        let Error::Decode(at) = error else { panic!("{error}") };
        assert_eq!(at.source.to_string(), says);
        assert_eq!((at.position, at.sequence_number), (Position::new(4), SequenceNumber::new(17)));
    }
    // A kind without steps has versions, too.
    assert!(read("closed", &json!({}), Some(json!(2))).is_err());
}

#[test]
fn e4_a_name_that_the_type_lacks_is_no_event_of_it() {
    assert_eq!(read("course-moved", &json!({}), None).expect("no event"), None);
}

#[test]
fn e5_extra_fields_do_not_hinder_reading() {
    let more = json!({ "course": "c", "room": { "floor": 3 }, "capacity": 1 });
    let defined = CourseEvent::Defined { course: "c".to_owned(), capacity: 1 };
    assert_eq!(read("course-defined", &more, None).expect("an event"), Some(defined));
    let closed = read("closed", &json!({ "why": "full" }), None).expect("an event");
    assert_eq!(closed, Some(CourseEvent::Closed));
    assert!(read("course-defined", &json!({ "capacity": 1 }), None).is_err(), "a field is missing");
}

#[derive(Event, Debug, Clone, PartialEq)]
#[event(format = Cbor)]
enum Measured {
    #[event(name = "measured", version = 2, upcast(in_kelvin))]
    Measured {
        kelvin: f64,
        #[serde(with = "as_text")]
        label: u8,
    },
}

fn in_kelvin(payload: &mut Value) {
    payload["kelvin"] = json!(payload["celsius"].as_f64().unwrap_or_default() + 273.25);
}

/// Writes a number as text.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(value: &u8, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[test]
fn an_event_may_have_another_format_and_still_reads_json() {
    let event = Measured::Measured { kelvin: 0.1 + 0.2, label: 7 };
    let (event, new) = new_event(event).expect("an event");
    assert_eq!(new.payload.encoding(), &Cbor::ENCODING);
    let at = |new: NewEvent| {
        let (at, stream) = (new.occurred_at, StreamId::from_static("m", "m"));
        StoredEvent::new(new, stream, Position::FIRST, SequenceNumber::new(1), at)
    };
    assert_eq!(decode(&at(new.clone())).expect("CBOR"), Some(event.clone()));

    let mut json = new.clone();
    json.payload = Json::write(&json!({ "kelvin": 0.1 + 0.2, "label": "7" })).expect("JSON");
    assert_eq!(decode(&at(json)).expect("JSON"), Some(event));

    // Version 1 was written in CBOR as well.
    let mut old = new.clone();
    old.payload = Cbor::write(&json!({ "celsius": 1.0, "label": "7" })).expect("CBOR");
    old.metadata = None;
    let lifted = Measured::Measured { kelvin: 274.25, label: 7 };
    assert_eq!(decode(&at(old)).expect("an old event"), Some(lifted));

    let mut bytes = new;
    bytes.payload = Payload::bytes(vec![1, 2]);
    let error = decode::<Measured>(&at(bytes)).expect_err("another encoding");
    let Error::Decode(error) = error else { panic!("{error}") };
    assert_eq!(error.source.to_string(), "the payload is encoded as bytes, not as cbor");
}

#[test]
fn a_registry_knows_which_kinds_are_where() {
    let registry = Registry::new().aggregate::<World>().aggregate::<World>();
    let registry = registry.events::<CourseEvent>(annals::Source::Category(
        annals::CategoryName::from_static("courses"),
    ));
    let find = |category: &'static str, name| {
        registry.find(&StreamId::from_static(category, "x"), name).map(Kind::name)
    };
    assert_eq!(find("worlds", "World.Created"), Some("World.Created"));
    assert_eq!(find("courses", "World.Created"), None);
    assert_eq!(find("courses", "course-made"), Some("course-defined"));
    assert_eq!(WorldEvent::KINDS.len(), 2);
}

#[derive(Event, Debug)]
enum Clashing {
    #[event(name = "World.Made", alias = "World.Created")]
    Made,
}

#[test]
#[should_panic(expected = "two kinds of events in the log are called World.Created")]
fn a_registry_rejects_one_name_for_two_kinds() {
    drop(Registry::new().aggregate::<World>().events::<Clashing>(annals::Source::Log));
}

/// What a person's address is said by since release 2, and what said it before.
#[derive(Event, Debug, Clone, PartialEq)]
enum AddressEvent {
    #[event(name = "street-changed")]
    StreetChanged { street: String },
    #[event(name = "city-changed", alias = "town-changed", alias = "village-changed")]
    CityChanged { city: String },
    /// Said both.
    #[event(name = "moved")]
    Moved { street: String, city: String },
    /// Means nothing any more.
    #[event(name = "looked-at")]
    LookedAt,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Address {
    street: String,
    city: String,
    changes: u32,
}

impl State for Address {
    type Event = AddressEvent;

    fn apply(&mut self, event: AddressEvent) {
        match event {
            AddressEvent::StreetChanged { street } => {
                self.street = street;
                self.changes += 1;
            }
            AddressEvent::CityChanged { city } => {
                self.city = city;
                self.changes += 1;
            }
            AddressEvent::Moved { street, city } => {
                self.apply(AddressEvent::StreetChanged { street });
                self.apply(AddressEvent::CityChanged { city });
            }
            AddressEvent::LookedAt => {}
        }
    }
}

#[tokio::test]
async fn old_events_are_split_merged_and_dropped_where_they_are() {
    let store = EventStore::new(MemoryAdapter::new());
    let stream = store.stream(StreamId::from_static("people", "ann"));
    let old = [
        ("moved", json!({ "street": "Elm", "city": "Ulm" })),
        ("looked-at", json!({ "by": "Bob" })),
        ("town-changed", json!({ "city": "Bonn" })),
        ("village-changed", json!({ "city": "Au" })),
    ];
    let old = old.map(|(name, payload)| NewEvent::json(name, &payload).expect("an event"));
    stream.append(old, WriteCondition::StreamIsEmpty).await.expect("an append");
    let boundary = Boundary::new(store, stream.id().clone());
    let people = Slice::<Address>::all().within(annals::CategoryName::from_static("people"));
    let read = boundary.read(people.clone()).await.expect("a read");
    let expected = Address { street: "Elm".to_owned(), city: "Au".to_owned(), changes: 4 };
    assert_eq!(read.state(), &expected);
    // Positions and versions are those of the events as they were appended.
    let next = |_: &Address| AddressEvent::StreetChanged { street: "Oak".to_owned() };
    let stored = boundary.execute(people, next).await.expect("an event");
    assert_eq!(stored[0].position, Position::new(4));
}
