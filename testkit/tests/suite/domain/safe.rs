//! Changes that break nothing are not refused.

use super::change;

change! { nothing: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] }

change! { another_sample: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 2 }] }

change! { a_kind_added: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 }, #[event(name = "b")] B {} } }
[A { x: 1 }, B {}] }

change! { kinds_and_fields_in_another_order: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64, y: u64 }, #[event(name = "b")] B {} } }
[A { x: 1, y: 2 }, B {}] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "b")] B {}, #[event(name = "a")] A { y: u64, x: u64 } } }
[A { x: 1, y: 2 }, B {}] }

change! { a_variant_renamed_in_rust: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] Other { x: u64 } } } [Other { x: 1 }] }

change! { a_kind_renamed_with_an_alias: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "b", alias = "a")] B { x: u64 } } } [B { x: 1 }] }

change! { two_kinds_made_one: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 }, #[event(name = "b")] B { x: u64 } } }
[A { x: 1 }, B { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a", alias = "b")] A { x: u64 } } } [A { x: 1 }] }

change! { an_optional_field_added: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64, y: Option<u64> } } }
[A { x: 1, y: Some(1) }] }

change! { a_field_with_a_default_added: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64, #[serde(default)] y: u64 } } }
[A { x: 1, y: 1 }] }

change! { a_field_renamed_in_rust: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[serde(rename = "x")] z: u64 } } } [A { z: 1 }] }

change! { a_required_field_added_with_a_version: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a", version = 2, upcast(y))] A { x: u64, y: u64 } }
  fn y(payload: &mut serde_json::Value) { payload["y"] = 7.into(); } }
[A { x: 1, y: 1 }] }

change! { a_field_removed_with_a_version: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64, y: u64 } } } [A { x: 1, y: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a", version = 2, upcast(keep))] A { x: u64 } }
  fn keep(_: &mut serde_json::Value) {} }
[A { x: 1 }] }

change! { a_field_retyped_with_a_version: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a", version = 2, upcast(text))] A { x: String } }
  fn text(payload: &mut serde_json::Value) { payload["x"] = payload["x"].to_string().into(); } }
[A { x: "1".to_owned() }] }

change! { a_kind_renamed_with_a_version: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "b", alias = "a", version = 2, upcast(y))] B { y: u64 } }
  fn y(payload: &mut serde_json::Value) { payload["y"] = payload["x"].take(); } }
[B { y: 1 }] }

change! { a_number_widened: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u8 } } } [A { x: 255 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 300 }] }

change! { a_signed_number: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u32 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: i64 } } } [A { x: -1 }] }

change! { a_required_field_made_optional: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Option<u64> } } } [A { x: Some(1) }] }

change! { nothing_left_out_instead_of_null: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Option<u64> } } } [A { x: None }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[serde(skip_serializing_if = "Option::is_none")] x: Option<u64> } } }
[A { x: None }] }

change! { a_type_around_a_value: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: String } } } [A { x: "x".to_owned() }] =>
{ #[derive(Serialize, Deserialize)] pub(super) struct Name(String);
  #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Name } } }
[A { x: Name("x".to_owned()) }] }

change! { a_variant_of_a_field_added: [],
{ #[derive(Serialize, Deserialize)] pub(super) enum Size { Small }
  #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Size } } }
[A { x: Size::Small }] =>
{ #[derive(Serialize, Deserialize)] pub(super) enum Size { Small, Large }
  #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Size } } }
[A { x: Size::Large }] }

change! { a_tag_added: [],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[event(tag = "x")] x: u64 } } } [A { x: 1 }] }
