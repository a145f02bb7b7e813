//! What a codec promises beyond the contract of storage: rules L2 to L11, L22 and L23.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

mod frames;
mod keys;

use std::sync::Arc;

use crate::common::{ring, sealed};
use annals::{
    Append, Encoding, Error, EventName, EventStore, Metadata, NewEvent, Payload, Predicate, Query,
    ReadOptions, SequenceNumber, StorageAdapter, StoredEvent, StreamId, Tags, WriteCondition,
};
use annals_layers::{
    Clear, Codec, Compression, DecodeError, Dictionary, Encoded, Key, KeyId, KeyRing, Sealed,
    Undecodable,
};
use annals_memory::MemoryAdapter;
use futures_util::StreamExt;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const EARTH: StreamId = StreamId::from_static("worlds", "earth");
const SECRET: &str = "nobody-reads-this-sentence";

fn event(text: &str) -> NewEvent {
    NewEvent::json("said", &text)
        .unwrap()
        .with_metadata(Metadata::json(&serde_json::json!({ "by": text })).unwrap())
        .with_tags(Tags::parse(["tone:loud", "place:here"]).unwrap())
}

/// Appends through the codec, and returns what lies in the store.
async fn raw(codec: Codec, event: NewEvent) -> annals::Result<StoredEvent> {
    let memory = MemoryAdapter::new();
    let layer = Encoded::new(memory.clone(), codec)?;
    layer.append(vec![Append::new(EARTH, [event], WriteCondition::Always)]).await?;
    let stored = EventStore::new(memory).stream(EARTH).latest().await?;
    Ok(stored.expect("it was appended"))
}

/// Reads a store that holds these events, which nobody's codec made.
async fn read(codec: Codec, events: Vec<(StreamId, NewEvent)>) -> Vec<annals::Result<StoredEvent>> {
    let memory = MemoryAdapter::new();
    for (stream, event) in events {
        let write = Append::new(stream, [event], WriteCondition::Always);
        memory.append(vec![write]).await.unwrap();
    }
    let layer = Encoded::new(memory, codec).unwrap();
    let mut pages = layer.read(Query::all(), ReadOptions::default());
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        match page {
            Ok(page) => all.extend(page.events.into_iter().map(Ok)),
            Err(error) => all.push(Err(error)),
        }
    }
    all
}

fn cause(outcome: &annals::Result<StoredEvent>) -> &DecodeError {
    let error = outcome.as_ref().expect_err("it cannot be read");
    &Undecodable::of(error).expect("it says which event").cause
}

async fn one(codec: Codec, event: NewEvent) -> annals::Result<StoredEvent> {
    read(codec, vec![(EARTH, event)]).await.remove(0)
}

fn with_bytes(event: &StoredEvent, bytes: Vec<u8>) -> NewEvent {
    let mut changed = event.event.clone();
    changed.payload = Payload::from_store(event.payload().encoding().clone(), bytes);
    changed
}

fn codecs() -> Vec<(&'static str, Codec)> {
    let samples: Vec<String> = (0..2_000)
        .map(|n| format!("{{\"order\":{n},\"city\":\"Ulm\",\"sum\":{}}}", n * 7))
        .collect();
    let dictionary = Dictionary::new(9, &Dictionary::train(&samples, 4_096).unwrap(), 3);
    let gcm = |bytes: usize| KeyRing::new(KeyId(1), &Key::aes_gcm(&vec![3; bytes]).unwrap());
    vec![
        ("siv", Codec::new().with_keys(ring())),
        ("gcm 128", Codec::new().with_keys(gcm(16))),
        ("gcm 192", Codec::new().with_keys(gcm(24))),
        ("gcm 256", Codec::new().with_keys(gcm(32))),
        ("zlib", Codec::new().with_compression(Compression::Zlib(6))),
        ("zlib, gcm", Codec::new().with_compression(Compression::Zlib(6)).with_keys(gcm(32))),
        ("zstd", Codec::new().with_compression(Compression::Zstd(3))),
        ("zstd, siv", sealed()),
        ("dictionary", Codec::new().with_compression(Compression::Dictionary(dictionary.clone()))),
        ("dictionary, siv", sealed().with_compression(Compression::Dictionary(dictionary))),
        ("nothing", Codec::new()),
    ]
}

#[tokio::test]
async fn l2_raw_rows_hide_payload_and_metadata_and_show_the_rest() -> Outcome {
    for (what, codec) in
        codecs().into_iter().filter(|(what, _)| what.contains("siv") || what.contains("gcm"))
    {
        let given = event(SECRET);
        let stored = raw(codec, given.clone()).await?;
        let bytes = stored.payload().as_bytes();
        assert!(!bytes.windows(10).any(|part| SECRET.as_bytes()[..10] == *part), "{what}");
        assert!(stored.metadata().is_none(), "{what}");
        assert_eq!(
            (stored.id(), stored.name(), stored.tags()),
            (given.id, &given.name, &given.tags),
            "{what}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn l3_every_flipped_bit_and_every_cut_is_an_error_that_names_the_event() -> Outcome {
    let stored = raw(sealed(), event(SECRET)).await?;
    let bytes = stored.payload().as_bytes().to_vec();
    let mut damaged: Vec<Vec<u8>> = (0..bytes.len()).map(|end| bytes[..end].to_vec()).collect();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        damaged.push(flipped);
    }
    for bytes in damaged {
        let outcome = one(sealed(), with_bytes(&stored, bytes)).await;
        let undecodable = Undecodable::of(outcome.as_ref().unwrap_err()).unwrap();
        assert_eq!(
            (undecodable.sequence_number, &undecodable.stream, undecodable.id),
            (SequenceNumber::new(1), &EARTH, stored.id())
        );
        let text = format!("{outcome:?}");
        assert!(text.contains(&stored.id().to_string()) && !text.contains(SECRET));
    }
    Ok(())
}

#[tokio::test]
async fn l3_a_frame_that_is_moved_is_forged() -> Outcome {
    let split = StreamId::from_static("world", "searth");
    for (what, codec) in
        codecs().into_iter().filter(|(what, _)| what.contains("siv") || what.contains("gcm"))
    {
        let stored = raw(codec.clone(), event(SECRET)).await?;
        let own = stored.event.clone();
        let moved = [
            (EARTH, own.clone().with_id(annals::EventId::generate())),
            (StreamId::from_static("worlds", "mars"), own.clone()),
            (split.clone(), own.clone()),
            (EARTH, {
                let mut other = own.clone();
                other.name = EventName::from_static("shouted");
                other
            }),
            (
                EARTH,
                own.clone().with_occurred_at(own.occurred_at + time::Duration::microseconds(1)),
            ),
            (EARTH, own.clone().with_tags(Tags::parse(["tone:loud"])?)),
            (EARTH, own.clone().with_tags(Tags::parse(["tone:loudplace:here"])?)),
            (EARTH, own.clone().with_metadata(Metadata::json(&serde_json::json!({}))?)),
        ];
        for (stream, event) in moved {
            let outcome = read(codec.clone(), vec![(stream, event)]).await.remove(0);
            assert_eq!(cause(&outcome), &DecodeError::Forged, "{what}");
            assert!(matches!(outcome, Err(Error::Corrupt(_))), "{what}");
        }
        assert!(one(codec, own).await.is_ok(), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn l4_a_wrong_key_is_corrupt_and_a_missing_one_is_named() -> Outcome {
    let stored = raw(sealed(), event(SECRET)).await?;
    let other = KeyRing::new(KeyId(7), &Key::generate()?);
    let outcome = one(Codec::new().with_keys(other), stored.event.clone()).await;
    assert_eq!(cause(&outcome), &DecodeError::Forged);
    for codec in [Codec::new().with_keys(KeyRing::new(KeyId(8), &Key::generate()?)), Codec::new()] {
        let outcome = one(codec, stored.event.clone()).await;
        assert_eq!(cause(&outcome), &DecodeError::UnknownKey(7));
        assert!(matches!(&outcome, Err(Error::Backend(_))));
    }
    // A key of another algorithm under the same id opens nothing.
    let gcm = KeyRing::new(KeyId(7), &Key::aes_gcm(&[1; 32])?);
    assert_eq!(
        cause(&one(Codec::new().with_keys(gcm), stored.event.clone()).await),
        &DecodeError::Forged
    );

    let (_, with_dictionary) =
        codecs().into_iter().find(|(what, _)| *what == "dictionary").unwrap();
    let long = event(&"{\"order\":1,\"city\":\"Ulm\"}".repeat(20));
    let packed = raw(with_dictionary, long).await?;
    let outcome = one(Codec::new(), packed.event.clone()).await;
    assert_eq!(cause(&outcome), &DecodeError::UnknownDictionary(9));
    Ok(())
}

#[tokio::test]
async fn sealed_reads_return_what_cannot_be_opened_and_go_on() -> Outcome {
    let stored = raw(sealed(), event(SECRET)).await?;
    let clear = event("open");
    let codec = Codec::new().with_sealed_reads();
    let all = read(codec, vec![(EARTH, stored.event.clone()), (EARTH, clear.clone())]).await;
    let first = Sealed::of(all[0].as_ref().unwrap()).expect("it is sealed");
    assert_eq!((first.key, &first.frame), (Some(7), stored.payload().as_bytes()));
    assert_eq!(all[1].as_ref().unwrap().event, clear);
    assert!(Sealed::of(all[1].as_ref().unwrap()).is_none());
    // What was forged stays an error.
    let mut bytes = stored.payload().to_owned().into_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let outcome = one(sealed().with_sealed_reads(), with_bytes(&stored, bytes)).await;
    assert_eq!(cause(&outcome), &DecodeError::Forged);
    Ok(())
}

#[tokio::test]
async fn l5_clear_events_are_taken_only_where_permitted() -> Outcome {
    // Unframed, and in a frame that is not encrypted.
    let framed = raw(Codec::new().with_compression(Compression::Zlib(6)), event("open")).await?;
    for clear in [event("open"), framed.event.clone()] {
        let outcome = one(sealed(), clear.clone()).await;
        assert_eq!(cause(&outcome), &DecodeError::InTheClear);
        assert!(matches!(outcome, Err(Error::Corrupt(_))));
        let twice = vec![
            (EARTH, clear.clone()),
            (EARTH, clear.clone().with_id(annals::EventId::generate())),
        ];
        let until = sealed().with_clear(Clear::Until(SequenceNumber::new(1)));
        let all = read(until, twice.clone()).await;
        assert!(all[0].is_ok() && *cause(&all[1]) == DecodeError::InTheClear && all.len() == 2);
        assert!(read(sealed().with_clear(Clear::Accepted), twice).await.iter().all(Result::is_ok));
        let open = sealed().with_open_names([EventName::from_static("said")]);
        assert!(one(open, clear).await.is_ok());
    }
    // Events of an open name are stored in the clear, all others are not.
    let open = sealed().with_open_names([EventName::from_static("said")]);
    let stored = raw(open.clone(), event(SECRET)).await?;
    assert!(one(Codec::new(), stored.event.clone()).await.is_ok());
    let other = NewEvent::json("whispered", SECRET)?;
    let stored = raw(open, other).await?;
    assert_eq!(cause(&one(Codec::new(), stored.event.clone()).await), &DecodeError::UnknownKey(7));
    Ok(())
}

#[tokio::test]
async fn l6_what_precedes_an_unreadable_event_is_returned_first() -> Outcome {
    let (first, last) = (raw(sealed(), event("first")).await?, raw(sealed(), event("last")).await?);
    let memory = MemoryAdapter::new();
    for event in [first.event.clone(), event("clear"), last.event.clone()] {
        memory.append(vec![Append::new(EARTH, [event], WriteCondition::Always)]).await?;
    }
    let layer = Encoded::new(memory, sealed())?;
    let cases = [
        (ReadOptions::default(), first.id(), 1),
        (ReadOptions::default().follow(), first.id(), 1),
        (ReadOptions::default().backward(), last.id(), 3),
    ];
    for (options, precedes, through) in cases {
        let mut pages = layer.read(Query::all(), options);
        let page = pages.next().await.unwrap()?;
        assert_eq!(page.events.iter().map(StoredEvent::id).collect::<Vec<_>>(), [precedes]);
        assert_eq!((page.through, page.at_head), (SequenceNumber::new(through), false));
        let error = pages.next().await.unwrap().unwrap_err();
        assert_eq!(Undecodable::of(&error).unwrap().cause, DecodeError::InTheClear);
        assert!(pages.next().await.is_none());
    }
    Ok(())
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7F {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[tokio::test]
async fn l7_lengths_that_lie_are_errors() -> Outcome {
    for (what, codec) in codecs() {
        let text = "{\"order\":1,\"city\":\"Ulm\"}".repeat(9);
        let stored = raw(codec.clone(), event(&text)).await?;
        let bytes = stored.payload().as_bytes().to_vec();
        if bytes[1] != 0 || what == "nothing" {
            continue;
        }
        let at = if bytes[2] == 3 { 7 } else { 3 };
        let (length, rest) = (bytes[at..at + 2].to_vec(), bytes[at + 2..].to_vec());
        let true_length = u64::from(length[0] & 0x7F) | u64::from(length[1]) << 7;
        let lies = [
            varint(true_length - 1),
            varint(true_length + 1),
            varint(1),
            varint(0),
            varint(1 << 40),
            varint(u64::MAX),
            vec![length[0], length[1] | 0x80, 0],
            vec![0xFF; 10],
            vec![0xFF],
        ];
        for lie in lies {
            let changed = [&bytes[..at], &lie, &rest].concat();
            let outcome = one(codec.clone(), with_bytes(&stored, changed)).await;
            assert!(
                matches!(cause(&outcome), DecodeError::Damaged(_) | DecodeError::TooLarge(_)),
                "{what} {lie:?}"
            );
            assert!(matches!(outcome, Err(Error::Corrupt(_))), "{what}");
        }
        for end in 2..bytes.len() {
            assert!(
                one(codec.clone(), with_bytes(&stored, bytes[..end].to_vec())).await.is_err(),
                "{what}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(
            one(codec, with_bytes(&stored, longer)).await.is_err(),
            "{what}: something follows"
        );
    }
    Ok(())
}

#[tokio::test]
async fn l8_noise_grows_by_the_overhead_and_json_gets_smaller() -> Outcome {
    let mut noise = vec![0; 4_096];
    let mut state = 88_172_645_463_325_252_u64;
    for byte in &mut noise {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 32) as u8;
    }
    let json = format!("[{}]", ["{\"city\":\"Ulm\",\"sum\":12}"; 60].join(","));
    for (what, codec) in codecs() {
        let name = EventName::from_static("measured");
        let stored =
            raw(codec.clone(), NewEvent::new(name.clone(), Payload::bytes(noise.clone()))).await?;
        assert!(stored.payload().as_bytes().len() <= noise.len() + 40, "{what}");
        let stored = raw(codec, NewEvent::new(name, Payload::json_bytes(json.clone())?)).await?;
        let is_smaller = stored.payload().as_bytes().len() < json.len() / 2;
        assert_eq!(is_smaller, what.contains('z') || what.contains("dict"), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn l9_every_encoding_and_absent_and_empty_metadata_come_back_equal() -> Outcome {
    let long: &str = &"e".repeat(255);
    let metadata = [None, Some("{}"), Some("{ \"a\" : 1.0 }")];
    for (what, codec) in codecs().into_iter().chain([("open", sealed().with_open_metadata())]) {
        let layer = Encoded::new(MemoryAdapter::new(), codec)?;
        let store = EventStore::new(layer.clone());
        for name in [long, "json", "bytes", "annals-frame", "annals-chain", "annals-sealed"] {
            for metadata in metadata {
                let payload = Payload::new(Encoding::new(name)?, &b"[1, 2]"[..])?;
                let metadata = metadata.map(Metadata::json_bytes).transpose()?;
                let event =
                    NewEvent::new(EventName::from_static("kept"), payload).with_metadata(metadata);
                // Past the facade, which reserves some of these names.
                layer
                    .append(vec![Append::new(EARTH, [event.clone()], WriteCondition::Always)])
                    .await?;
                assert_eq!(
                    store.stream(EARTH).latest().await?.unwrap().event,
                    event,
                    "{what} {name}"
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn open_metadata_is_readable_and_bound() -> Outcome {
    let stored = raw(sealed().with_open_metadata(), event(SECRET)).await?;
    assert_eq!(stored.metadata(), event(SECRET).metadata.as_ref());
    assert!(one(sealed(), stored.event.clone()).await.is_ok());
    let changed = stored.event.clone().with_metadata(Metadata::json(&serde_json::json!({}))?);
    assert_eq!(cause(&one(sealed(), changed).await), &DecodeError::Forged);
    Ok(())
}

#[derive(Debug)]
struct LastSaid(&'static str);

impl Predicate for LastSaid {
    fn expectation(&self) -> String {
        format!("{} as the last word", self.0)
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        last.is_some_and(|last| last.payload().to_json::<String>().is_ok_and(|text| text == self.0))
    }
}

#[tokio::test]
async fn l10_predicates_see_the_decoded_event() -> Outcome {
    let memory = MemoryAdapter::new();
    let store = EventStore::new(Encoded::new(memory.clone(), sealed())?).stream(EARTH);
    store.append([event("yes")], WriteCondition::Always).await?;
    store.append([event("yes")], WriteCondition::custom(LastSaid("yes"))).await?;
    let own: Arc<dyn Predicate> = Arc::new(LastSaid("no"));
    let refused = store.append([event("x")], WriteCondition::Custom(Arc::clone(&own))).await;
    let Err(Error::ConditionFailed(unmet)) = refused else { panic!("it is refused") };
    assert_eq!(unmet.failed, WriteCondition::Custom(own));

    // An event that cannot be read: nothing is written, unless an alternative decides.
    memory.append(vec![Append::new(EARTH, [event("clear")], WriteCondition::Always)]).await?;
    let custom = || WriteCondition::custom(LastSaid("clear"));
    let refused = store.append([event("x")], custom()).await.unwrap_err();
    assert_eq!(Undecodable::of(&refused).unwrap().cause, DecodeError::InTheClear);
    let refused =
        store.append([event("x")], custom() & WriteCondition::StreamIsEmpty).await.unwrap_err();
    assert!(Undecodable::of(&refused).is_some());
    assert_eq!(EventStore::new(memory).stream(EARTH).latest().await?.unwrap().position.value(), 2);
    store.append([event("x")], custom() | WriteCondition::StreamExists).await?;
    Ok(())
}

#[tokio::test]
async fn l11_capabilities_are_those_inside_with_less_room() -> Outcome {
    let (inner, codec) = (MemoryAdapter::new(), sealed());
    let layer = Encoded::new(inner.clone(), codec)?;
    let most = layer.capabilities().max_payload_bytes;
    assert_eq!(layer.capabilities(), inner.capabilities().with_max_payload_bytes(most));
    assert_eq!(layer.name(), "zstd+aes(memory)");
    let size = usize::try_from(most.unwrap().get())?;
    let noise: Vec<u8> = (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let text = format!("{{\"x\":\"{}\"}}", "x".repeat(size - 8));
    let event = NewEvent::new(EventName::from_static("large"), Payload::bytes(noise))
        .with_metadata(Metadata::json_bytes(text)?);
    let store = EventStore::new(layer).stream(EARTH);
    store.append([event.clone()], WriteCondition::Always).await?;
    assert_eq!(store.latest().await?.unwrap().event, event);
    Ok(())
}
