//! What personal values promise: rules L15 and L21, and their part of L10, L11, L22 and L23.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

mod fixtures;
mod wrapped;

use std::sync::Arc;

use crate::common::ring;
use annals::{
    Append, Encoding, Error, Metadata, NewEvent, Payload, Predicate, Query, ReadOptions,
    StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use annals_layers::{
    Chained, DecodeError, IsForgotten, Personal, Shredding, StoredKeys, Subject, SubjectKeys,
    Undecodable,
};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_state::{CollectionName, Scan, StateStore};
use futures_util::{StreamExt, TryStreamExt};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const EARTH: StreamId = StreamId::from_static("worlds", "earth");
const MARS: StreamId = StreamId::from_static("worlds", "mars");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Enrolled {
    course: String,
    student: Personal<String>,
    marks: Vec<Personal<u32>>,
    note: String,
}

fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}

fn enrolled() -> Enrolled {
    Enrolled {
        course: "tea".to_owned(),
        student: Personal::new(subject("ada"), "Ada Lovelace".to_owned()),
        marks: vec![Personal::new(subject("bob"), 1), Personal::new(subject("ada"), 2)],
        note: r#"she wrote {"$personal":"ada","value":1} on "paper" ü"#.to_owned(),
    }
}

struct Store {
    memory: MemoryAdapter,
    state: Arc<MemoryState>,
    keys: Arc<StoredKeys>,
    layer: Shredding<MemoryAdapter>,
}

impl Store {
    fn new() -> Self {
        let (memory, state) = (MemoryAdapter::new(), Arc::new(MemoryState::new()));
        let keys = Arc::new(StoredKeys::new(Arc::clone(&state) as _, ring()));
        let layer = Shredding::new(memory.clone(), Arc::clone(&keys) as _).unwrap();
        Self { memory, state, keys, layer }
    }

    async fn append(&self, event: NewEvent) -> annals::Result<Vec<StoredEvent>> {
        self.layer.append(vec![Append::new(EARTH, [event], WriteCondition::Always)]).await
    }

    async fn raw(&self) -> Vec<StoredEvent> {
        all(&self.memory).await.unwrap()
    }

    async fn read(&self) -> annals::Result<Vec<StoredEvent>> {
        all(&self.layer).await
    }
}

async fn all(store: &dyn StorageAdapter) -> annals::Result<Vec<StoredEvent>> {
    let pages: Vec<_> = store.read(Query::all(), ReadOptions::default()).try_collect().await?;
    Ok(pages.into_iter().flat_map(|page| page.events).collect())
}

fn text(event: &StoredEvent) -> String {
    String::from_utf8(event.payload().as_bytes().to_vec()).unwrap()
}

fn json(text: &str) -> NewEvent {
    NewEvent::new("said".try_into().unwrap(), Payload::json_bytes(text.to_owned()).unwrap())
}

fn cause(error: &Error) -> &DecodeError {
    &Undecodable::of(error).expect("it says which event").cause
}

#[tokio::test]
async fn l21_after_forget_only_the_values_of_the_subject_are_redacted() -> Outcome {
    let store = Store::new();
    let metadata = Metadata::json_bytes(r#"{"by":{"$personal":"ada","value": [1, 2] }}"#)?;
    let event = NewEvent::json("enrolled", &enrolled())?.with_metadata(metadata);
    store.append(event.clone()).await?;
    let raw = store.raw().await;
    let shown = format!("{} {:?}", text(&raw[0]), raw[0].metadata().unwrap().as_bytes());
    assert!(!shown.contains("Lovelace") && !shown.contains("[1, 2]") && shown.contains("tea"));
    assert_eq!(store.read().await?[0].event, event, "before, it is as it was appended");

    let evidence = store.keys.forget(&subject("ada")).await?;
    assert!(evidence.key.is_some());
    let after = store.read().await?.remove(0);
    let expected = Enrolled {
        student: Personal::Redacted { subject: subject("ada") },
        marks: vec![
            Personal::new(subject("bob"), 1),
            Personal::Redacted { subject: subject("ada") },
        ],
        ..enrolled()
    };
    assert_eq!(after.payload().to_json::<Enrolled>()?, expected);
    let before = text(&StoredEvent::new(
        event,
        EARTH,
        after.position,
        after.sequence_number,
        after.recorded_at,
    ));
    let redacted = r#""ada","redacted":true}"#;
    let by_hand = before.replacen(r#""ada","value":"Ada Lovelace"}"#, redacted, 1);
    assert_eq!(text(&after), by_hand.replacen(r#""ada","value":2}"#, redacted, 1));
    assert_eq!(
        after.metadata().unwrap().as_bytes(),
        r#"{"by":{"$personal":"ada","redacted":true}}"#
    );
    assert_eq!(store.keys.forget(&subject("ada")).await?, evidence, "twice is harmless");
    assert_eq!(store.raw().await, raw, "no event was changed");
    Ok(())
}

#[tokio::test]
async fn l21_the_forgotten_are_refused_until_they_are_readmitted() -> Outcome {
    let store = Store::new();
    store.append(NewEvent::json("enrolled", &enrolled())?).await?;
    store.keys.forget(&subject("ada")).await?;
    let refused = store.append(NewEvent::json("enrolled", &enrolled())?).await;
    let Err(Error::Invalid(reason)) = refused else { panic!("{refused:?}") };
    assert_eq!(reason.downcast_ref(), Some(&IsForgotten(subject("ada"))));
    assert_eq!(store.raw().await.len(), 1);
    store.keys.readmit(&subject("ada")).await?;
    store.keys.readmit(&subject("ada")).await?;
    store.append(NewEvent::json("enrolled", &enrolled())?).await?;
    let read = store.read().await?;
    let [old, new] = [&read[0], &read[1]].map(|it| it.payload().to_json::<Enrolled>().unwrap());
    assert_eq!(old.student.value(), None, "a new key opens nothing old");
    assert_eq!(new, enrolled());
    // Somebody nobody has heard of is forgotten all the same.
    assert_eq!(store.keys.forget(&subject("eve")).await?.key, None);
    assert!(store.keys.current(&subject("eve")).await.is_err());
    Ok(())
}

#[tokio::test]
async fn l21_a_sealed_or_misspelt_personal_value_is_invalid() -> Outcome {
    let store = Store::new();
    for wrong in [
        r#"{"$personal":"ada", "value":1}"#,
        r#"{"$personal" :"ada","value":1}"#,
        r#"{ "$personal":"ada","value":1}"#,
        r#"{"value":1,"$personal":"ada"}"#,
        r#"{"$personal":"ada","value":1,"more":2}"#,
        r#"{"$personal":"ada","value":1,"$personal":"bob"}"#,
        r#"{"\u0024personal":"ada","value":1}"#,
        r#"{"$\u0070ersonal" : "ada","value":1}"#,
        r#"{"$personal":7,"value":1}"#,
        r#"{"$personal":"","value":1}"#,
        r#"{"$personal":"ada"}"#,
        r#"{"$personal":"ada","redacted":false}"#,
        r#"{"$personal":"ada","sealed":"AAAA"}"#,
        r#"{"$personal":"ada","value":{"$personal":"bob","value":1}}"#,
        r#"[{"$personal":"ada","value":[{"a":{"\u0024personal":1}}]}]"#,
    ] {
        let refused = store.append(json(wrong)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{wrong}: {refused:?}");
        let metadata = Metadata::json_bytes(format!("{{\"m\":{wrong}}}"))?;
        let refused = store.append(json("1").with_metadata(metadata)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{wrong}: {refused:?}");
    }
    let cbor = Payload::from_store(Encoding::new("cbor")?, &b"\xa1\x69$personal\x63ada"[..]);
    let refused = store.append(NewEvent::new("said".try_into()?, cbor)).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert!(store.raw().await.is_empty());
    assert!(all_documents(&*store.state).await.is_empty(), "nobody got a key for it");
    Ok(())
}

async fn all_documents(state: &dyn StateStore) -> Vec<annals_state::Document> {
    let mut all = Vec::new();
    for collection in ["annals.subjects", "annals.subject_keys"] {
        let scan = Scan::along_ids(CollectionName::from_static(collection));
        let pages: Vec<_> = state.scan(scan).try_collect().await.unwrap();
        all.extend(pages.into_iter().flatten().map(|scanned| scanned.document));
    }
    all
}

#[tokio::test]
async fn l21_text_inside_strings_and_what_only_looks_like_a_marker_is_kept() -> Outcome {
    let store = Store::new();
    for (right, is_sealed) in [
        (r#""$personal""#, false),
        (r#"["$personal","ada"]"#, false),
        (r#"{"a":"$personal"}"#, false),
        (r#"{"$personal ":"ada","value":1}"#, false),
        (r#"{"a":"{\"$personal\":\"ada\",\"value\":1}"}"#, false),
        (r#"{"a":"\\\"","$personal2":"\u00e4"}"#, false),
        (r#"{"$personal":"ada","redacted":true}"#, false),
        (r#"[{"$personal":"\u0061da","value": {"a" : [1, "}\\\"{", {}]} 	}, 3]"#, true),
        (r#"{"$personal":"ada","value":null}"#, true),
        (r#"{"$personal":"ada","value":"$personal"}"#, true),
    ] {
        store.append(json(right)).await?;
        assert_eq!(text(&store.read().await?.pop().unwrap()), right);
        let stored = text(store.raw().await.last().unwrap());
        assert_eq!(stored.contains(",\"sealed\":\""), is_sealed, "{right}: {stored}");
    }
    let bytes = Payload::bytes(&[0_u8, 255, b'"', b'{'][..]);
    store.append(NewEvent::new("said".try_into()?, bytes.clone())).await?;
    assert_eq!(store.read().await?.pop().unwrap().payload(), &bytes);
    Ok(())
}

/// Reads an event that the layer did not store as it is.
async fn tampered(store: &Store, stream: StreamId, event: NewEvent) -> annals::Result<StoredEvent> {
    let memory = MemoryAdapter::new();
    memory.append(vec![Append::new(stream, [event], WriteCondition::Always)]).await?;
    let layer = Shredding::new(memory, Arc::clone(&store.keys) as _)?;
    Ok(all(&layer).await?.remove(0))
}

#[tokio::test]
async fn l21_a_sealed_value_that_is_changed_or_moved_is_corrupt() -> Outcome {
    let store = Store::new();
    let both = r#"[{"$personal":"ada","value":"first"},{"$personal":"ada","value":"other"}]"#;
    store.append(json(both)).await?;
    let raw = store.raw().await.remove(0);
    let stored = text(&raw);
    let with = |text: String| {
        let mut event = raw.event.clone();
        event.payload = Payload::from_store(Encoding::JSON, text);
        event
    };
    assert!(tampered(&store, EARTH, raw.event.clone()).await.is_ok());
    // Every byte of the first value's Base64, and its end.
    let start = stored.find("sealed\":\"").unwrap() + 9;
    let end = start + stored[start..].find('"').unwrap();
    for at in start..end {
        let mut bytes = stored.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let read = tampered(&store, EARTH, with(String::from_utf8(bytes)?)).await;
        let error = read.expect_err("a byte of it was changed");
        let cause = cause(&error);
        let expected = matches!(
            cause,
            DecodeError::Forged
                | DecodeError::Damaged(_)
                | DecodeError::UnknownDataKey(_)
                | DecodeError::Unknown(..)
        );
        assert!(expected, "{at}: {cause}");
    }
    let cut = format!("{}{}", &stored[..end - 4], &stored[end..]);
    let cut = tampered(&store, EARTH, with(cut)).await.unwrap_err();
    assert!(matches!(cut, Error::Corrupt(_)), "{cut}");
    // One value for the other, another stream, id, name, subject.
    let (first, second) = stored.split_once("},{").unwrap();
    let swapped = format!("[{},{}]", &second.strip_suffix(']').unwrap(), &first[1..]);
    let swapped = swapped.replacen("[\"", "[{\"", 1).replacen("},\"", "},{\"", 1);
    let swapped = format!("{}}}]", swapped.strip_suffix(']').unwrap());
    serde_json::from_str::<serde_json::Value>(&swapped)?;
    let mut renamed = raw.event.clone();
    renamed.name = "heard".try_into()?;
    for (stream, event) in [
        (EARTH, with(swapped)),
        (MARS, raw.event.clone()),
        (EARTH, raw.event.clone().with_id(annals::EventId::generate())),
        (EARTH, renamed),
        (EARTH, with(stored.replacen("ada", "bob", 1))),
    ] {
        let error = tampered(&store, stream, event).await.expect_err("it was moved");
        assert!(matches!(error, Error::Corrupt(_)) && cause(&error) == &DecodeError::Forged);
    }
    // A key store that never had the key is another thing than a key that was destroyed.
    let other = Store::new();
    let error = tampered(&other, EARTH, raw.event.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error}");
    assert!(matches!(cause(&error), DecodeError::UnknownDataKey(_)));
    Ok(())
}

#[tokio::test]
async fn l21_what_precedes_an_unreadable_event_is_returned_first() -> Outcome {
    let store = Store::new();
    store.append(json("1")).await?;
    store.append(json(r#"{"$personal":"ada","value":2}"#)).await?;
    store.append(json("3")).await?;
    let keys = Arc::new(StoredKeys::new(Arc::new(MemoryState::new()), ring()));
    let other = Shredding::new(store.memory.clone(), keys)?;
    let mut pages = other.read(Query::all(), ReadOptions::default());
    let page = pages.next().await.unwrap()?;
    assert_eq!((page.events.len(), page.through.value(), page.at_head), (1, 1, false));
    assert!(pages.next().await.unwrap().is_err());
    assert!(pages.next().await.is_none());
    Ok(())
}

#[derive(Debug)]
struct SaysAda;

impl Predicate for SaysAda {
    fn expectation(&self) -> String {
        "the last event says Ada".to_owned()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        last.is_some_and(|last| text(last).contains("value\":\"Ada"))
    }
}

#[tokio::test]
async fn l10_predicates_see_the_opened_event_and_the_redacted_one() -> Outcome {
    let store = Store::new();
    let own: Arc<dyn Predicate> = Arc::new(SaysAda);
    let custom = || WriteCondition::Custom(Arc::clone(&own));
    let append = async |condition: WriteCondition, text: &str| {
        store.layer.append(vec![Append::new(EARTH, [json(text)], condition)]).await
    };
    append(WriteCondition::StreamIsEmpty, r#"{"$personal":"ada","value":"Ada"}"#).await?;
    append(custom(), r#"{"$personal":"ada","value":"Ada"}"#).await?;
    store.keys.forget(&subject("ada")).await?;
    let error = append(custom(), "1").await.unwrap_err();
    let Error::ConditionFailed(unmet) = &error else { panic!("{error:?}") };
    let WriteCondition::Custom(failed) = &unmet.failed else { panic!("{unmet}") };
    assert!(Arc::ptr_eq(failed, &own), "it names the predicate of the call");
    append(WriteCondition::Any(vec![custom(), WriteCondition::Always]), "1").await?;
    Ok(())
}

#[tokio::test]
async fn l11_capabilities_have_room_for_what_sealing_adds() -> Outcome {
    let store = Store::new();
    let inner = store.memory.capabilities();
    let outer = store.layer.capabilities();
    let most = inner.max_payload_bytes.map(|most| most.get() / 4);
    assert_eq!(outer.max_payload_bytes.map(std::num::NonZeroU32::get), most);
    assert_eq!(outer.with_max_payload_bytes(inner.max_payload_bytes), inner);
    let least = r#"{"$personal":"a","value":1}"#;
    let many = format!("[{}]", vec![least; 500].join(","));
    store.append(json(&many)).await?;
    let grown = store.raw().await[0].payload().as_bytes().len();
    assert!(grown <= 4 * many.len(), "{grown} of {}", many.len());
    Ok(())
}

#[tokio::test]
async fn l15_a_chain_is_verified_the_same_after_a_subject_was_forgotten() -> Outcome {
    let keys = Arc::new(StoredKeys::new(Arc::new(MemoryState::new()), ring()));
    let layer = Shredding::new(Chained::new(MemoryAdapter::new())?, Arc::clone(&keys) as _)?;
    for _ in 0..5 {
        let event = NewEvent::json("enrolled", &enrolled())?;
        layer.append(vec![Append::new(EARTH, [event], WriteCondition::Always)]).await?;
    }
    let before = layer.inner().verify(&EARTH, None).await?;
    keys.forget(&subject("ada")).await?;
    let after = layer.inner().verify(&EARTH, before.head).await?;
    assert_eq!((after.events, &after.findings), (5, &vec![]));
    assert_eq!(after, before);
    Ok(())
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
        prop::sample::select(vec!["$personal", "\"$personal\":", "\\", "\"", "}", "{\"value\":"])
            .prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key =
            prop_oneof!["[a-z]{0,3}", Just("value".to_owned()), Just("\"$personal\"".to_owned())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// What goes in comes out, and no personal value lies in the store.
    #[test]
    fn l21_every_event_comes_back_equal(values in prop::collection::vec((value(), any::<bool>()), 0..5)) {
        let store = Store::new();
        let canary = serde_json::json!({ "canary": 1 });
        let wrap = |(nth, (value, personal)): (usize, &(serde_json::Value, bool))| {
            let value = serde_json::json!([value, canary]);
            if *personal {
                serde_json::to_value(Personal::new(subject(&format!("s{}", nth % 2)), value)).unwrap()
            } else {
                value
            }
        };
        let list: Vec<_> = values.iter().enumerate().map(wrap).collect();
        let event = NewEvent::json("said", &list).unwrap();
        futures_executor::block_on(async {
            store.append(event.clone()).await.unwrap();
            assert_eq!(store.read().await.unwrap()[0].event, event);
            let shown = text(&store.raw().await[0]).matches("canary").count();
            assert_eq!(shown, values.iter().filter(|(_, personal)| !personal).count());
        });
    }

    /// Bytes that nobody checked are an event or an error, never a panic, neither appended nor read.
    #[test]
    fn l21_arbitrary_text_never_panics(parts in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", "\"", "\\", ",", ":", "\"$personal\"", "\"$personal\":\"a\"", ",\"value\":", ",\"sealed\":\"",
        ",\"redacted\":true}", "1", " ", "\\u0024", "AAAA", "null",
    ]), 0..16)) {
        let text = parts.concat();
        let payload = Payload::from_store(Encoding::JSON, text.clone());
        let event = NewEvent::new("said".try_into().unwrap(), payload);
        futures_executor::block_on(async {
            let store = Store::new();
            let appended = store.append(event.clone()).await;
            assert!(matches!(appended, Ok(_) | Err(Error::Invalid(_))), "{appended:?}");
            if appended.is_ok() && serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                assert_eq!(store.read().await.unwrap()[0].event, event);
            }
            let read = tampered(&store, EARTH, event).await;
            assert!(matches!(read, Ok(_) | Err(Error::Corrupt(_) | Error::Backend(_))), "{read:?}");
        });
    }
}
