//! Frames as they are stored: those of every version, and arbitrary ones.

use annals::{Encoding, EventName, Metadata, NewEvent, Payload, Tags};
use annals_layers::{Codec, Compression, Dictionary, Key, KeyId, KeyRing};
use annals_testkit::NewEventBuilder;
use proptest::prelude::*;

use super::{Outcome, one, raw};
use crate::common::ring;

/// Frames of version 1 as this crate first wrote them, by `print_fixtures`.
const FIXTURES: &str = include_str!("../../fixtures/frames.txt");
fn fixed_event() -> NewEvent {
    let id = "018f4d6e-0000-7000-8000-00000000002a".parse().unwrap();
    let at = time::macros::datetime!(2024-05-06 07:08:09.101112 UTC);
    let payload =
        Payload::json_bytes(format!("[{}]", ["{\"city\":\"Ulm\",\"sum\":12}"; 12].join(",")))
            .unwrap();
    NewEvent::from_parts(id, EventName::from_static("kept"), payload, at)
        .with_tags(Tags::parse(["a", "b"]).unwrap())
        .with_metadata(Metadata::json_bytes("{ \"by\": 1.0 }").unwrap())
}
fn fixed_codecs() -> Vec<(&'static str, Codec)> {
    let gcm = |bytes: usize| KeyRing::new(KeyId(1), &Key::aes_gcm(&vec![3; bytes]).unwrap());
    let words =
        b"{\"city\":\"Ulm\",\"sum\":12} a dictionary of raw content, which needs no training"
            .repeat(3);
    let dictionary = Dictionary::new(9, &words, 3);
    vec![
        ("clear-zlib", Codec::new().with_compression(Compression::Zlib(6))),
        ("clear-zstd", Codec::new().with_compression(Compression::Zstd(3))),
        (
            "clear-dictionary",
            Codec::new().with_compression(Compression::Dictionary(dictionary.clone())),
        ),
        ("siv-raw", Codec::new().with_keys(ring())),
        ("siv-zstd", Codec::new().with_keys(ring()).with_compression(Compression::Zstd(3))),
        (
            "siv-dictionary",
            Codec::new().with_keys(ring()).with_compression(Compression::Dictionary(dictionary)),
        ),
        ("gcm128-zlib", Codec::new().with_keys(gcm(16)).with_compression(Compression::Zlib(6))),
        ("gcm192-raw", Codec::new().with_keys(gcm(24))),
        ("gcm256-zlib", Codec::new().with_keys(gcm(32)).with_compression(Compression::Zlib(6))),
        ("clear-reserved", Codec::new()),
        ("siv-named", Codec::new().with_keys(ring())),
        ("siv-open", Codec::new().with_keys(ring()).with_open_metadata()),
    ]
}
/// The event of a fixture: some have a payload of another encoding.
fn event_of(name: &str) -> NewEvent {
    let mut event = fixed_event();
    let encoding = match name {
        "clear-reserved" => "annals-frame",
        "siv-named" => "text",
        _ => return event,
    };
    let bytes = event.payload.into_bytes();
    event.payload = Payload::from_store(Encoding::from_static(encoding), bytes);
    event
}
#[tokio::test]
async fn l23_frames_of_every_version_are_read_for_ever() -> Outcome {
    let codecs = fixed_codecs();
    let mut seen = 0;
    for line in FIXTURES.lines().filter(|line| !line.starts_with('#')) {
        let (name, hex) = line.split_once(' ').unwrap();
        let (_, codec) = codecs.iter().find(|(what, _)| *what == name).unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let mut stored = fixed_event();
        if name != "siv-open" {
            stored.metadata = None;
        }
        stored.payload = Payload::from_store(Encoding::from_static("annals-frame"), bytes);
        let back = one(codec.clone(), stored).await?;
        assert_eq!(back.event, event_of(name), "{name}");
        seen += 1;
    }
    assert_eq!(seen, codecs.len());
    Ok(())
}
/// Makes the lines of a further version's fixtures: `cargo test --test suite seals::frames::print_fixtures -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "makes fixtures of a new version"]
async fn print_fixtures() {
    for (name, codec) in fixed_codecs() {
        let stored = raw(codec, event_of(name)).await.unwrap();
        let hex: String = stored
            .payload()
            .as_bytes()
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        println!("{name} {hex}");
    }
}
proptest! {
    /// A frame of arbitrary bytes is an error or an event, never a panic, and never larger than the bound.
    #[test]
    fn l7_arbitrary_frames_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), head in 0..4_u8) {
        if let [first, second, third, ..] = bytes.as_mut_slice() {
            (*first, *second, *third) = (1, 0, head);
        }
        let (_, with_dictionary) = fixed_codecs().remove(2);
        let codec = with_dictionary.with_max_payload(std::num::NonZeroU32::new(1_000).unwrap());
        let mut event = fixed_event();
        event.metadata = None;
        event.payload = Payload::from_store(Encoding::from_static("annals-frame"), bytes);
        if let Ok(event) = futures_executor::block_on(one(codec, event)) {
            prop_assert!(event.payload().as_bytes().len() <= 2_320);
        }
    }

    /// What goes in comes out, under every codec.
    #[test]
    fn l9_every_payload_comes_back_equal(bytes in prop::collection::vec(any::<u8>(), 0..3_000), nth in 0..12_usize) {
        let (_, codec) = fixed_codecs().remove(nth);
        let event = NewEventBuilder::new().with_name("kept").build();
        let mut event = event.with_metadata(None);
        event.payload = Payload::bytes(bytes);
        let back = futures_executor::block_on(async {
            let stored = raw(codec.clone(), event.clone()).await?;
            one(codec, stored.event.clone()).await
        });
        prop_assert_eq!(&back.unwrap().event, &event);
    }
}
