//! Twenty classes of changes that break released events.

use annals_testkit::domain::Breaking::{
    Changed, Format, Moved, Panics, TagLost, Unknown, Unproven, Unreadable, VersionLowered,
};

use super::change;

change! { a_kind_removed: [Unknown { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 }, #[event(name = "b")] B { x: u64 } } }
[A { x: 1 }, B { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } }
[A { x: 1 }] }

change! { a_kind_renamed: [Unknown { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "b")] A { x: u64 } } } [A { x: 1 }] }

change! { a_name_given_to_another_kind: [Unreadable { .. }, ..],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a2")] Old { x: u64 }, #[event(name = "a")] A { text: String } } }
[Old { x: 1 }, A { text: String::new() }] }

change! { a_required_field_added: [Unreadable { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64, y: u64 } } } [A { x: 1, y: 1 }] }

change! { a_field_removed: [Changed { is: None, .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64, y: u64 } } } [A { x: 1, y: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] }

change! { a_field_renamed: [Unreadable { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { z: u64 } } } [A { z: 1 }] }

change! { an_optional_field_renamed: [Changed { is: None, .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Option<u64> } } } [A { x: Some(1) }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { z: Option<u64> } } } [A { z: Some(1) }] }

change! { a_field_renamed_with_an_alias_of_serde_only: [Changed { is: None, .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[serde(alias = "x")] z: u64 } } } [A { z: 1 }] }

change! { a_field_retyped: [Unreadable { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: String } } } [A { x: "1".to_owned() }] }

change! { a_number_narrowed: [Unreadable { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 300 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u8 } } } [A { x: 3 }] }

change! { an_integer_made_a_float: [Changed { is: Some(_), .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: f64 } } } [A { x: 1.0 }] }

change! { an_optional_field_made_required: [Unreadable { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Option<u64> } } } [A { x: None }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] }

change! { one_value_made_a_list: [Unreadable { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Vec<u64> } } } [A { x: vec![1] }] }

change! { a_variant_of_a_field_removed: [Unreadable { .. }],
{ #[derive(Serialize, Deserialize)] pub(super) enum Size { Small, Large }
  #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Size } } }
[A { x: Size::Small }, A { x: Size::Large }] =>
{ #[derive(Serialize, Deserialize)] pub(super) enum Size { Small }
  #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: Size } } }
[A { x: Size::Small }] }

change! { a_field_written_in_another_form: [Changed { is: Some(_), .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[serde(serialize_with = "text")] x: u64 } }
  fn text<S: serde::Serializer>(x: &u64, to: S) -> Result<S::Ok, S::Error> { to.collect_str(x) } }
[] }

change! { a_tag_removed: [TagLost { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[event(tag = "x")] x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] }

change! { a_tag_renamed: [TagLost { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[event(tag = "x")] x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[event(tag = "z")] x: u64 } } } [A { x: 1 }] }

change! { a_step_that_forgets: [Unreadable { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a", version = 2, upcast(nothing))] A { x: u64, y: u64 } }
  fn nothing(_: &mut serde_json::Value) {} }
[A { x: 1, y: 1 }] }

change! { a_step_that_panics: [Panics { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a", version = 2, upcast(panics))] A { x: u64 } }
  fn panics(payload: &mut serde_json::Value) { payload["y"] = payload["y"].as_u64().expect("a number").into(); } }
[A { x: 1 }] }

change! { a_step_inserted_whose_version_nobody_released: [Unproven { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a", version = 3, upcast(keep, keep))] A { x: u64 } }
  fn keep(_: &mut serde_json::Value) {} }
[A { x: 1 }] }

change! { a_kind_without_a_sample: [Unproven { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 } } } [A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { x: u64 }, #[event(name = "b")] B {} } }
[A { x: 1 }] }

change! { a_default_changed: [Changed { .. }],
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[serde(default, skip_serializing_if = "is_0")] x: u64 } }
  fn is_0(x: &u64) -> bool { *x == 0 } }
[A { x: 0 }, A { x: 1 }] =>
{ #[derive(Event)] pub(super) enum Happened { #[event(name = "a")] A { #[serde(default, skip_serializing_if = "is_1")] x: u64 } }
  fn is_1(x: &u64) -> bool { *x == 1 } }
[A { x: 1 }] }

mod moved {
    use annals::CategoryName;
    use annals_domain::Event;
    use annals_testkit::domain::Released;

    use super::{Changed, Moved, VersionLowered};

    #[derive(Event)]
    enum Happened {
        #[event(name = "a")]
        A { x: u64 },
    }

    #[test]
    fn a_category_renamed() {
        let at = |category| {
            Released::new().events(CategoryName::from_static(category), [Happened::A { x: 1 }])
        };
        let compared = at("parts").compare(&crate::domain::released(&at("items")));
        assert!(matches!(compared.breaking.as_slice(), [Moved { .. }]), "{:?}", compared.breaking);
    }

    #[derive(Event)]
    #[event(name = "s", version = 2, upcast(doubled))]
    struct Doubled {
        x: u64,
    }
    fn doubled(payload: &mut serde_json::Value) {
        payload["x"] = (payload["x"].as_u64().expect("a number") * 2).into();
    }

    #[derive(Event)]
    #[event(name = "s", version = 2, upcast(tripled))]
    struct Tripled {
        x: u64,
    }
    fn tripled(payload: &mut serde_json::Value) {
        payload["x"] = (payload["x"].as_u64().expect("a number") * 3).into();
    }

    #[derive(Event)]
    #[event(name = "s")]
    struct Single {
        x: u64,
    }

    #[test]
    fn a_version_lowered() {
        let place = CategoryName::from_static("items");
        let single = Released::new().events(place.clone(), [Single { x: 1 }]);
        let doubled = Released::new().events(place, [Doubled { x: 1 }]);
        let file =
            doubled.compare(&crate::domain::released(&single)).completed.expect("both versions");
        let compared = single.compare(&file);
        let [VersionLowered { to: 1, event }] = compared.breaking.as_slice() else {
            panic!("{compared:?}")
        };
        assert_eq!(event, "s version 2 in category items");
    }

    #[test]
    fn a_released_step_changed() {
        let place = CategoryName::from_static("items");
        let single = Released::new().events(place.clone(), [Single { x: 1 }]);
        let doubled = Released::new().events(place.clone(), [Doubled { x: 1 }]);
        let tripled = Released::new().events(place, [Tripled { x: 1 }]);
        let lifted = doubled.compare(&crate::domain::released(&single));
        assert!(lifted.breaking.is_empty(), "{lifted:?}");
        let file = lifted.completed.expect("what it reads as");
        assert!(doubled.compare(&file).completed.is_none());
        let compared = tripled.compare(&file);
        let [Changed { was, is, .. }] = compared.breaking.as_slice() else {
            panic!("{compared:?}")
        };
        assert_eq!((was.as_str(), is.as_deref()), ("2", Some("3")));
    }
}

#[test]
fn another_format() {
    use annals::CategoryName;
    use annals_domain::Event;
    use annals_testkit::domain::Released;

    #[derive(Event)]
    #[event(name = "a")]
    struct Text {
        x: u64,
    }
    let place = CategoryName::from_static("items");
    let mut file = crate::domain::released(&Released::new().events(place.clone(), [Text { x: 1 }]));
    // What an earlier release wrote in a format of its own.
    file.events[0].encoding = Some("cbor".to_owned());
    file.events[0].bytes = Some("a1617801".to_owned());
    let compared = Released::new().events(place, [Text { x: 1 }]).compare(&file);
    assert!(
        matches!(compared.breaking.as_slice(), [Unreadable { .. } | Format { .. }]),
        "{:?}",
        compared.breaking
    );
}
