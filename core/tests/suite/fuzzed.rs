//! What holds for any bytes: payloads and names. `fuzz/` runs the same functions for longer.

use std::fmt::{Debug, Display};

use annals::{
    CategoryName, Encoding, EventName, InvalidName, MAX_NAME_BYTES, Metadata, Payload, StreamName,
    Tag,
};
use serde::de::{DeserializeOwned, IgnoredAny};

/// A payload is JSON exactly if it is UTF-8, has JSON's grammar and no half of a surrogate pair, and keeps its bytes.
pub(crate) fn payload(bytes: &[u8]) {
    let opaque = Payload::bytes(bytes.to_vec());
    assert_eq!(opaque.as_bytes(), bytes);
    assert_eq!(again(&opaque), opaque);
    // A parser that builds the value knows no more than is accepted, but that it does not take what is too large or deep.
    let built = serde_json::from_slice::<serde_json::Value>(bytes);
    let grammar =
        str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match Payload::json_bytes(bytes.to_vec()) {
        Ok(payload) => {
            assert!(grammar);
            assert_eq!(payload.as_bytes(), bytes);
            assert_eq!(again(&payload), payload);
            assert_eq!(Metadata::json_bytes(bytes.to_vec()).is_ok(), object);
        }
        Err(why) => {
            assert!(built.is_err(), "{why}, but it is {built:?}");
            assert!(Metadata::json_bytes(bytes.to_vec()).is_err());
        }
    }
}

/// A text is a name of every kind or of none, by the one rule, and comes back as it was.
pub(crate) fn name(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let is_name =
        !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control);
    judged::<CategoryName>(text, is_name);
    judged::<StreamName>(text, is_name);
    judged::<EventName>(text, is_name);
    judged::<Tag>(text, is_name);
    judged::<Encoding>(text, is_name);
}

fn judged<N>(text: &str, is_name: bool)
where
    N: AsRef<str> + Debug + DeserializeOwned + Display + Ord + serde::Serialize,
    N: for<'a> TryFrom<&'a str, Error = InvalidName>,
{
    let name = N::try_from(text);
    assert_eq!(name.is_ok(), is_name, "{text:?}");
    let Ok(name) = name else { return };
    assert_eq!((name.as_ref(), &*name.to_string()), (text, text));
    assert_eq!(again(&name), name);
}

/// The same through its form in JSON.
fn again<T: DeserializeOwned + serde::Serialize>(value: &T) -> T {
    let json = serde_json::to_vec(value).expect("it has a form in JSON");
    serde_json::from_slice(&json).expect("its form is read back")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        // Pieces that mean something to one of the parsers, among any others.
        let pieces: &[&[u8]] = &[
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b",",
            b"\"",
            b"\\u",
            b"\\ud800",
            b"\\udc00",
            b"1e",
            b"-0",
            b"null",
            b" ",
            b"\xc2\x85",
            b"\xed\xa0\x80",
            b"\x7f",
            b"\xc3\xa9",
        ];
        let piece = prop_oneof![
            proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
            vec(any::<u8>(), 0..4),
            "[a-z]{0,90}".prop_map(String::into_bytes),
        ];
        vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_payload_or_rejected(bytes in bytes()) {
            super::payload(&bytes);
        }

        #[test]
        fn any_text_is_a_name_or_rejected(bytes in bytes()) {
            super::name(&bytes);
        }
    }
}
