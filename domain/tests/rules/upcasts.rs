//! The layer that shows raw events under today's names and schema versions.

use annals::{
    Append, CategoryName, Error, EventStore, Metadata, NewEvent, Predicate, Query, QueryItem,
    ReadOptions, SequenceNumber, Source, StoredEvent, StreamId, WriteCondition,
};
use annals_domain::{Event, Registry, Upcast, decode};
use annals_memory::MemoryAdapter;
use futures_util::StreamExt;
use serde_json::{Value, json};

#[derive(Event, Debug, Clone, PartialEq)]
enum ItemEvent {
    #[event(name = "item-renamed", alias = "item-name-changed", version = 3, upcast(split, join))]
    Renamed { name: String, parts: u32 },
    #[event(name = "item-sold", alias = "item-gone")]
    Sold,
}

fn split(payload: &mut Value) {
    payload["parts"] = json!(1);
}

fn join(payload: &mut Value) {
    payload["parts"] = json!(payload["parts"].as_u64().unwrap_or_default() + 10);
}

const STREAM: StreamId = StreamId::from_static("items", "i-1");

fn event(name: &str, payload: &Value, metadata: Option<&str>) -> NewEvent {
    let metadata = metadata.map(|text| Metadata::json_bytes(text.to_owned()).expect("an object"));
    NewEvent::json(name, payload).expect("an event").with_metadata(metadata)
}

/// A raw store, and the same seen through the layer.
fn stores() -> (EventStore, EventStore) {
    let adapter = MemoryAdapter::new();
    let registry = Registry::new().events::<ItemEvent>(CategoryName::from_static("items"));
    let layer = Upcast::new(adapter.clone(), registry);
    (EventStore::new(adapter), EventStore::new(layer))
}

async fn append(store: &EventStore, event: NewEvent) -> StoredEvent {
    let appended = store.stream(STREAM).append([event], WriteCondition::Always).await;
    appended.expect("an append").into_vec().remove(0)
}

fn named(name: &str) -> Query {
    QueryItem::new(Source::Log).with_names([name.to_owned()]).expect("a name").into()
}

#[tokio::test]
async fn events_are_shown_under_todays_name_and_version() {
    let (raw, store) = stores();
    append(
        &raw,
        event(
            "item-name-changed",
            &json!({ "name": "n" }),
            Some(r#"{ "big": 123456789012345678901234567890 }"#),
        ),
    )
    .await;
    append(
        &raw,
        event(
            "item-renamed",
            &json!({ "name": "n", "parts": 2 }),
            Some(r#"{"$schemaVersion":2,"a":1}"#),
        ),
    )
    .await;
    append(
        &raw,
        event("item-renamed", &json!({ "name": "n", "parts": 3 }), Some(r#"{"$schemaVersion":3}"#)),
    )
    .await;
    append(&raw, event("item-gone", &json!({}), None)).await;
    append(&raw, event("unknown", &json!([]), None)).await;
    let read = store.log().read(ReadOptions::default()).into_vec().await.expect("a read");
    let shown: Vec<_> = read
        .iter()
        .map(|event| {
            (
                event.name().as_str(),
                event.payload().to_json::<Value>().expect("JSON")["parts"].clone(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("item-renamed", json!(11)),
            ("item-renamed", json!(12)),
            ("item-renamed", json!(3)),
            ("item-sold", Value::Null),
            ("unknown", Value::Null),
        ]
    );
    let text = |event: &StoredEvent| {
        event
            .metadata()
            .map(|metadata| String::from_utf8(metadata.as_bytes().to_vec()).expect("UTF-8"))
    };
    assert_eq!(
        text(&read[0]).as_deref(),
        Some(r#"{ "big": 123456789012345678901234567890 ,"$schemaVersion":3}"#)
    );
    assert_eq!(text(&read[1]).as_deref(), Some(r#"{"$schemaVersion":3,"a":1}"#));
    // What is lifted once is not lifted again by a typed read.
    let typed: Vec<_> =
        read[..4].iter().map(|event| decode::<ItemEvent>(event).expect("it reads")).collect();
    let renamed = |parts| Some(ItemEvent::Renamed { name: "n".to_owned(), parts });
    assert_eq!(typed, [renamed(11), renamed(12), renamed(3), Some(ItemEvent::Sold)]);

    for name in ["item-renamed", "item-name-changed"] {
        let found = store.read(named(name), ReadOptions::default()).into_vec().await;
        assert_eq!(found.expect("a read"), read[..3], "{name}");
    }
    let last = store.read(named("item-sold"), ReadOptions::last(1)).into_vec().await;
    assert_eq!(last.expect("a read"), read[3..4]);
    let follow: Vec<_> =
        store.follow(named("item-sold"), SequenceNumber::START).take(1).collect().await;
    assert_eq!(follow[0].as_ref().expect("a page").events, read[3..4]);
    assert_eq!(store.adapter().name(), "upcast(memory)");
}

/// That the last event has this name.
#[derive(Debug)]
struct LastIs(&'static str);

impl Predicate for LastIs {
    fn expectation(&self) -> String {
        self.0.to_owned()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        last.is_some_and(|last| *last.name() == self.0)
    }
}

#[tokio::test]
async fn conditions_ask_for_old_names_and_see_todays() {
    let (raw, store) = stores();
    append(&raw, event("item-gone", &json!({}), None)).await;
    let with = |condition| Append::new(STREAM, [event("item-sold", &json!({}), None)], condition);
    let none = WriteCondition::no_match(named("item-sold"), SequenceNumber::START);
    let nested = WriteCondition::StreamExists & none;
    assert!(store.append([with(nested)]).await.is_err_and(|error| error.is_condition_failed()));
    let old = WriteCondition::custom(LastIs("item-gone"));
    assert!(store.append([with(old)]).await.is_err_and(|error| error.is_condition_failed()));
    store.append([with(WriteCondition::custom(LastIs("item-sold")))]).await.expect("it is");
    // What append returns is what is read.
    let old = append(&store, event("item-gone", &json!({}), None)).await;
    assert_eq!(old.name(), &"item-sold");
    assert_eq!(store.log().latest().await.expect("a read"), Some(old));
}

#[tokio::test]
async fn an_event_of_a_newer_program_ends_a_read_behind_what_came_before() {
    let (raw, store) = stores();
    append(&raw, event("item-sold", &json!({}), None)).await;
    append(&raw, event("item-sold", &json!({}), Some(r#"{"$schemaVersion":9}"#))).await;
    append(&raw, event("item-sold", &json!({}), None)).await;
    for (options, seen, through) in [
        (ReadOptions::default(), 1, 1),
        (ReadOptions::default().backward(), 1, 3),
        (ReadOptions::default().follow(), 1, 1),
    ] {
        let mut pages = store.log().pages(options);
        let page = pages.next().await.expect("a page").expect("what came before");
        assert_eq!((page.events.len(), page.through), (seen, SequenceNumber::new(through)));
        assert!(!page.at_head);
        let error = pages.next().await.expect("an error").expect_err("unreadable");
        assert!(matches!(error, Error::Backend(_)), "{error}");
        assert!(pages.next().await.is_none());
    }
}
