//! Names: what is accepted comes back as it was; what is not is refused with the rule that it breaks.

use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::str::FromStr;

use annals::{
    CategoryName, Encoding, EventName, InvalidName, MAX_NAME_BYTES, StreamId, StreamName, Tag,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The rule for names, said a second time.
fn verdict(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > 255 {
        return Err(InvalidName::TooLong(text.len()));
    }
    match text.char_indices().find(|(_, letter)| letter.is_control()) {
        Some((at, _)) => Err(InvalidName::Control(at)),
        None => Ok(()),
    }
}

trait Name:
    Clone
    + Debug
    + Display
    + Ord
    + Hash
    + AsRef<str>
    + Into<String>
    + Serialize
    + DeserializeOwned
    + FromStr<Err = InvalidName>
    + TryFrom<String, Error = InvalidName>
    + for<'a> TryFrom<&'a str, Error = InvalidName>
{
}

impl Name for CategoryName {}
impl Name for StreamName {}
impl Name for EventName {}
impl Name for Tag {}
impl Name for Encoding {}

fn judges_as_the_rule<N: Name>(text: &str) -> Result<(), TestCaseError> {
    let json = serde_json::to_string(text).expect("text is JSON");
    let read = serde_json::from_str::<N>(&json);
    let parsed = text.parse::<N>();
    prop_assert_eq!(N::try_from(text), parsed.clone());
    prop_assert_eq!(N::try_from(text.to_owned()), parsed.clone());
    match verdict(text) {
        Ok(()) => {
            let name = parsed.expect("the rule accepts it");
            prop_assert_eq!(name.as_ref(), text);
            prop_assert_eq!(&name.to_string(), text);
            prop_assert_eq!(format!("{name:?}"), format!("{text:?}"));
            prop_assert_eq!(Into::<String>::into(name.clone()), text);
            prop_assert_eq!(serde_json::to_string(&name).expect("a name is JSON"), json);
            prop_assert_eq!(&read.expect("the rule accepts it"), &name);
            prop_assert!(HashMap::from([(name.clone(), 1)]).contains_key(&name));
        }
        Err(why) => {
            prop_assert_eq!(parsed, Err(why.clone()));
            let refusal = read.expect_err("the rule refuses it").to_string();
            prop_assert!(refusal.starts_with(&why.to_string()), "{refusal}");
        }
    }
    Ok(())
}

/// Texts on both sides of each rule.
fn text() -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        Just('\u{0}'),
        Just('\u{1F}'),
        Just(' '),
        Just('~'),
        Just('\u{7F}'),
        Just('\u{80}'),
        Just('\u{9F}'),
        Just('\u{A0}'),
        Just('\u{C2}'),
        Just('é'),
        Just('\u{2028}'),
        Just('🦀'),
    ];
    let odd = proptest::collection::vec(prop_oneof![odd, any::<char>()], 0..8);
    let long = (any::<bool>(), 250usize..260).prop_map(|(wide, bytes)| {
        if wide {
            "é".repeat(bytes / 2) + if bytes % 2 == 1 { "e" } else { "" }
        } else {
            "n".repeat(bytes)
        }
    });
    prop_oneof![
        3 => any::<String>(),
        3 => odd.prop_map(String::from_iter),
        1 => long,
    ]
}

proptest! {
    #[test]
    fn every_kind_of_name_follows_one_rule(text in text()) {
        judges_as_the_rule::<CategoryName>(&text)?;
        judges_as_the_rule::<StreamName>(&text)?;
        judges_as_the_rule::<EventName>(&text)?;
        judges_as_the_rule::<Tag>(&text)?;
        judges_as_the_rule::<Encoding>(&text)?;
    }

    #[test]
    fn names_compare_as_their_texts(a in "[a-cA-C./ é]{1,4}", b in "[a-cA-C./ é]{1,4}") {
        let names = (EventName::new(a.as_str())?, EventName::new(b.as_str())?);
        prop_assert_eq!(names.0 == names.1, a == b);
        prop_assert_eq!(names.0.cmp(&names.1), a.cmp(&b));
    }

    /// Joining them by any sign would make one text of two streams.
    #[test]
    fn streams_are_equal_only_with_equal_parts(
        a in "[a-b./:-]{1,3}", b in "[a-b./:-]{1,3}", c in "[a-b./:-]{1,3}", d in "[a-b./:-]{1,3}",
    ) {
        let streams = (StreamId::new(a.as_str(), b.as_str())?, StreamId::new(c.as_str(), d.as_str())?);
        prop_assert_eq!(streams.0 == streams.1, (&a, &b) == (&c, &d));
        prop_assert_eq!(streams.0.to_string(), format!("{a}/{b}"));
        let json = serde_json::to_string(&streams.0).expect("a stream is JSON");
        prop_assert_eq!(serde_json::from_str::<StreamId>(&json).expect("it was written so"), streams.0);
    }
}

#[test]
fn a_literal_and_a_shared_name_are_the_same_name() {
    const LITERAL: Tag = Tag::from_static("course:42");
    let shared = Tag::new(format!("course:{}", 42)).expect("valid");
    assert_eq!(LITERAL, shared);
    assert_eq!(LITERAL.cmp(&shared), std::cmp::Ordering::Equal);
    assert_eq!(HashMap::from([(LITERAL, 1)]).get(&shared), Some(&1));
}

#[test]
#[should_panic(expected = "not a valid name")]
fn a_literal_that_is_no_name_panics() {
    let _ = EventName::from_static("line\nbreak");
}

#[test]
fn refusals_name_both_sides() {
    let refusal = |text: &str| EventName::new(text).expect_err("no name").to_string();
    assert_eq!(refusal(""), "a name must not be empty");
    assert_eq!(
        refusal(&"n".repeat(256)),
        format!("a name has at most {MAX_NAME_BYTES} bytes, got 256")
    );
    assert_eq!(
        refusal("aé\u{85}"),
        "a name must not hold a control character, found one at byte 3"
    );
}

#[test]
fn a_stream_is_refused_for_either_of_its_names() {
    assert_eq!(StreamId::new("", "x"), Err(InvalidName::Empty));
    assert_eq!(StreamId::new("x", "\0"), Err(InvalidName::Control(0)));
    assert!(serde_json::from_str::<StreamId>(r#"{"category":"x","name":""}"#).is_err());
}

#[test]
fn names_are_padded_like_text() {
    assert_eq!(format!("[{:>6}]", EventName::from_static("abc")), "[   abc]");
}
