//! Payloads and metadata: bytes come back as they were, JSON is checked once.

use annals::{Encoding, InvalidPayload, Metadata, Payload};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\x00-\\x1f\"\\\\/]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 32, 4, |value| {
        prop_oneof![
            vec(value.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(any::<String>(), value, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

static PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"a\"",
    "\"b\":",
    "\\",
    "\\\\",
    "\\\"",
    "\\n",
    "\\u0000",
    "\\u00e9",
    "\\ud83e\\udd80",
    "\\ud800",
    "\\udc00",
    "\\uDBFF",
    "\\uDFFF",
    "\\ud7ff",
    "\\ue000",
    "\\u12",
    "null",
    "true",
    "0",
    "-",
    "1",
    "1.5",
    ".",
    "e1",
    "01",
    " ",
    "\t",
    "\n",
    "\u{C}",
    "\u{1}",
    "\u{7F}",
    "é",
    "🦀",
    "\u{FEFF}",
    "NaN",
    "'",
    "//",
];

/// Pieces of JSON in any order: sometimes JSON, mostly nearly. Exponents stay small, because the text of a number
/// may go beyond what a parser keeps.
fn nearly_json() -> impl Strategy<Value = String> {
    let pieces = vec(proptest::sample::select(PIECES), 0..8).prop_map(|all| all.concat());
    prop_oneof![
        pieces.clone(),
        pieces.clone().prop_map(|text| format!("\"{text}\"")),
        (pieces.clone(), pieces).prop_map(|(a, b)| format!("{{\"{a}\":[\"{b}\"]}}")),
    ]
}

proptest! {
    #[test]
    fn opaque_bytes_come_back(bytes in vec(any::<u8>(), 0..64)) {
        let payload = Payload::bytes(bytes.clone());
        prop_assert_eq!(payload.encoding(), &Encoding::BYTES);
        prop_assert_eq!(payload.as_bytes().as_ref(), bytes.as_slice());
        prop_assert_eq!(payload.into_bytes(), bytes);
    }

    #[test]
    fn an_encoding_of_the_callers_is_kept_and_its_bytes_are_not_read(bytes in vec(any::<u8>(), 0..16)) {
        let encoding = Encoding::from_static("msgpack");
        let payload = Payload::new(encoding.clone(), bytes.clone())?;
        prop_assert_eq!(payload.encoding(), &encoding);
        prop_assert_eq!(payload.as_bytes().as_ref(), bytes.as_slice());
        let refusal = payload.to_json::<Value>().expect_err("not JSON").to_string();
        prop_assert!(refusal.contains("msgpack") && refusal.contains("json"), "{refusal}");
    }

    #[test]
    fn values_come_back_equal(value in json()) {
        let payload = Payload::json(&value)?;
        prop_assert_eq!(payload.encoding(), &Encoding::JSON);
        prop_assert_eq!(payload.to_json::<Value>()?, value);
        prop_assert_eq!(&Payload::json_bytes(payload.as_bytes().clone())?, &payload);
        prop_assert_eq!(&Payload::new(Encoding::JSON, payload.as_bytes().clone())?, &payload);
    }

    /// The second opinion is a parser that builds the value.
    #[test]
    fn text_is_accepted_just_when_it_is_json(text in nearly_json()) {
        let parsed = serde_json::from_str::<Value>(&text);
        let checked = Payload::json_bytes(text.clone());
        prop_assert_eq!(checked.is_ok(), parsed.is_ok(), "{:?}, {:?}", checked, parsed);
        if let Ok(payload) = checked {
            prop_assert_eq!(payload.as_bytes().as_ref(), text.as_bytes());
            let object = parsed.is_ok_and(|value| value.is_object());
            prop_assert_eq!(Metadata::json_bytes(text).is_ok(), object);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_where_they_are(before in "[a-z]{0,8}") {
        let bytes = [b"\"", before.as_bytes(), b"\xFF\""].concat();
        let refused = Payload::json_bytes(bytes);
        let at = before.len() + 1;
        prop_assert!(matches!(refused, Err(InvalidPayload::NotUtf8(found)) if found == at), "{refused:?}");
    }

    #[test]
    fn only_objects_are_metadata(value in json()) {
        let metadata = Metadata::json(&value);
        prop_assert_eq!(metadata.is_ok(), value.is_object());
        match metadata {
            Ok(metadata) => prop_assert_eq!(metadata.to_json::<Value>()?, value),
            Err(why) => prop_assert!(matches!(why, InvalidPayload::NotAnObject), "{why:?}"),
        }
    }

    #[test]
    fn debug_never_shows_the_content(secret in "[a-z]{24}") {
        let payload = Payload::json(&secret)?;
        prop_assert_eq!(format!("{payload:?}"), "Payload(json, 26 bytes)");
        let metadata = Metadata::json(&std::collections::HashMap::from([("k", &secret)]))?;
        let shown = format!("{metadata:?}");
        prop_assert!(!shown.contains(&secret), "{}", shown);
    }
}

#[test]
fn text_is_kept_byte_for_byte() {
    let text = " {\r\n\"z\" : 1.50, \"a\":1E+2 ,\"a\":-0,\"\\u0000\":\"\\/\\ud83e\\udd80\"}\t";
    assert_eq!(Payload::json_bytes(text).expect("JSON").as_bytes(), text);
    assert_eq!(Metadata::json_bytes(text).expect("an object").as_bytes(), text);
}

#[test]
fn refusals_tell_where() {
    let refusal = |text: &'static str| Payload::json_bytes(text).expect_err("not JSON").to_string();
    assert_eq!(refusal("{\n\"a\": }"), "not JSON at line 2, column 6");
    assert_eq!(refusal(""), "not JSON at line 1, column 0");
    assert_eq!(
        refusal(r#"["\u00e9","\\ud800","\ud800"]"#),
        "half of a surrogate pair is escaped at byte 21"
    );
    assert_eq!(refusal(r#""\udc00\ud800""#), "half of a surrogate pair is escaped at byte 1");
}

/// Each escape alone, and each with each: a parser that builds the text is the second opinion.
#[test]
fn halves_of_pairs_are_found_in_every_spelling() {
    let escapes: Vec<String> = ["d", "D", "c", "e", "0"]
        .iter()
        .flat_map(|first| "0123456789abcdefABCDEF".chars().map(move |second| (first, second)))
        .map(|(first, second)| format!("\\u{first}{second}3F"))
        .collect();
    let judge = |text: String| {
        let built = serde_json::from_str::<String>(&text);
        assert_eq!(Payload::json_bytes(text.clone()).is_ok(), built.is_ok(), "{text}: {built:?}");
    };
    for one in &escapes {
        judge(format!("\"{one}\""));
        for other in &escapes {
            judge(format!("\"{one}{other}\""));
        }
    }
}

#[test]
fn depth_and_size_cost_no_stack() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(Payload::json_bytes(deep.clone()).expect("JSON").as_bytes(), deep.as_bytes());
    assert!(Payload::json_bytes("[".repeat(1_000_000)).is_err());
}

#[test]
fn numbers_beyond_every_parser_are_kept() {
    for number in ["1e400", "-0.0", "1208925819614629174706176", "5e-324", "0.10"] {
        assert_eq!(Payload::json_bytes(number).expect("JSON").as_bytes(), number);
    }
}

#[test]
fn a_value_that_json_cannot_say_is_refused() {
    let keyed = std::collections::HashMap::from([((1, 2), 3)]);
    assert!(matches!(Payload::json(&keyed), Err(InvalidPayload::Serialize(_))));
}

#[test]
fn reading_may_borrow_from_the_payload() {
    let payload = Payload::json("borrowed").expect("JSON");
    let text: &str = payload.to_json().expect("a text");
    assert!(payload.as_bytes().as_ptr_range().contains(&text.as_ptr()));
}

#[test]
fn no_metadata_and_empty_metadata_differ() {
    let empty = Metadata::json_bytes("{}").expect("an object");
    assert_eq!(empty.as_bytes(), "{}");
    let event = annals::NewEvent::json("opened", &1).expect("valid");
    assert_ne!(event.clone().with_metadata(empty), event);
}
