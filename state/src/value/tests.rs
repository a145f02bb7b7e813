use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Kind, Path, compare, encode, invert, is_too_deep, kind_tags};

fn key(value: &Value) -> Vec<u8> {
    let mut key = Vec::new();
    encode(value, &mut key);
    key
}

fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-20..20_i64).prop_map(Value::from),
        (-20..20_i32).prop_map(|n| Value::from(f64::from(n) / 4.0)),
        (any::<i64>(), -30..30_i32).prop_map(|(n, e)| {
            #[expect(clippy::cast_precision_loss, reason = "any number will do")]
            let number = n as f64 * 10_f64.powi(e);
            Value::from(number)
        }),
        prop::sample::select(vec![
            json!(0.0),
            json!(-0.0),
            json!(u64::MAX),
            json!(u64::MAX - 1),
            json!(i64::MIN),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_993_u64),
            json!(9_007_199_254_740_992.0),
            json!(1e300),
            json!(5e-324),
            json!(100),
            json!(101),
            json!(1e2),
        ]),
    ]
}

fn texts() -> impl Strategy<Value = String> {
    let letters = vec!["", "a", "b", "\0", "\u{1}", "\u{2}", "é", "\u{10FFFF}", "\u{FFFF}", "A"];
    prop::collection::vec(prop::sample::select(letters), 0..4).prop_map(|parts| parts.concat())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        numbers(),
        texts().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((texts(), inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Pairs that differ little more often than chance has them.
fn pairs() -> impl Strategy<Value = (Value, Value)> {
    prop_oneof![
        (values(), values()),
        (numbers(), numbers()),
        (texts(), texts()).prop_map(|(a, b)| (a.into(), b.into())),
        values().prop_map(|value| (value.clone(), value)),
        (values(), values(), values()).prop_map(|(a, b, c)| (json!([a, b]), json!([a, c]))),
        (values(), texts(), values())
            .prop_map(|(a, k, b)| (json!({ "a": a }), json!({ "a": a, k: b }))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn keys_are_in_the_order_of_values((a, b) in pairs()) {
        let order = compare(&a, &b);
        prop_assert_eq!(compare(&b, &a), order.reverse());
        prop_assert_eq!(key(&a).cmp(&key(&b)), order, "{} {}", a, b);
        let inverted = |value| { let mut key = key(value); invert(&mut key); key };
        prop_assert_eq!(inverted(&a).cmp(&inverted(&b)), order.reverse());
    }

    #[test]
    fn no_key_begins_another((a, b) in pairs()) {
        let (x, y) = (key(&a), key(&b));
        prop_assert_eq!(y.starts_with(&x), compare(&a, &b).is_eq());
    }

    #[test]
    fn keys_of_several_values_compare_part_by_part((a, b) in pairs(), (c, d) in pairs()) {
        let order = compare(&a, &b).then_with(|| compare(&c, &d));
        prop_assert_eq!([key(&a), key(&c)].concat().cmp(&[key(&b), key(&d)].concat()), order);
    }

    #[test]
    fn keys_begin_with_a_tag_of_their_kind(a in values()) {
        let (first, last) = kind_tags(Kind::of(&a));
        prop_assert!((first..=last).contains(&key(&a)[0]));
    }

    #[test]
    fn whole_numbers_are_not_rounded(a in any::<i64>(), b in any::<u64>()) {
        prop_assert_eq!(compare(&json!(a), &json!(b)), i128::from(a).cmp(&i128::from(b)));
    }

    #[test]
    fn floats_compare_as_floats(a in any::<f64>(), b in any::<f64>()) {
        if let Some(order) = a.partial_cmp(&b) && a.is_finite() && b.is_finite() {
            prop_assert_eq!(compare(&json!(a), &json!(b)), order);
        }
    }

    #[test]
    fn a_float_compares_with_a_whole_number_as_what_it_says(a in any::<i32>(), b in any::<i32>()) {
        prop_assert_eq!(compare(&json!(f64::from(a)), &json!(b)), a.cmp(&b));
        prop_assert_eq!(compare(&json!(f64::from(a) + 0.5), &json!(b)), (i64::from(a) * 2 + 1).cmp(&(i64::from(b) * 2)));
    }

    #[test]
    fn a_value_and_what_is_read_of_its_text_have_one_key(a in values()) {
        let read: Value = serde_json::from_str(&a.to_string()).unwrap();
        prop_assert_eq!(key(&a), key(&read));
    }

    #[test]
    fn a_path_is_its_text(steps in prop::collection::vec(
        prop_oneof![texts().prop_map(Ok), (0..5_usize).prop_map(Err)], 1..5,
    )) {
        // Built as text in the form with brackets, which every name has.
        let text: String = steps.iter().map(|step| match step {
            Ok(name) => format!("[{}]", Value::from(&**name)),
            Err(nth) => format!("[{nth}]"),
        }).collect();
        let path = Path::new(&text).unwrap();
        prop_assert_eq!(Path::new(&path.to_string()).unwrap(), path.clone());
        let mut state = json!("found");
        for step in steps.iter().rev() {
            state = match step {
                Ok(name) => json!({ name: state }),
                Err(nth) => { let mut parts = vec![Value::Null; *nth]; parts.push(state); parts.into() }
            };
        }
        prop_assert_eq!(path.of(&state), "found");
    }
}

#[test]
fn the_order_is_that_of_the_page() {
    let ascending = [
        json!(null),
        json!(false),
        json!(true),
        json!(-1e300),
        json!(i64::MIN),
        json!(-2),
        json!(-1.5),
        json!(-1),
        json!(-1e-300),
        json!(0),
        json!(5e-324),
        json!(0.1),
        json!(1),
        json!(1.5),
        json!(9),
        json!(10),
        json!(99),
        json!(100),
        json!(9_007_199_254_740_992_u64),
        json!(9_007_199_254_740_993_u64),
        json!(18_446_744_073_709_551_614_u64),
        json!(18_446_744_073_709_551_615_u64),
        json!(1e300),
        json!(""),
        json!("\u{0}"),
        json!("\u{1}"),
        json!("B"),
        json!("a"),
        json!("a\u{0}"),
        json!("aa"),
        json!("é"),
        json!([]),
        json!([null]),
        json!([1]),
        json!([1, 0]),
        json!([2]),
        json!(["a"]),
        json!([[]]),
        json!({}),
        json!({ "a": 1 }),
        json!({ "a": 1, "b": 0 }),
        json!({ "a": 2 }),
        json!({ "b": 0 }),
    ];
    for (nth, a) in ascending.iter().enumerate() {
        for (mth, b) in ascending.iter().enumerate() {
            assert_eq!(compare(a, b), nth.cmp(&mth), "{a} {b}");
            assert_eq!(key(a).cmp(&key(b)), nth.cmp(&mth), "{a} {b}");
        }
    }
    assert_eq!(compare(&json!(1), &json!(1.0)), Ordering::Equal);
    assert_eq!(compare(&json!(0), &json!(-0.0)), Ordering::Equal);
    assert_eq!(compare(&json!(1e2), &json!(100)), Ordering::Equal);
}

#[test]
fn paths_that_are_none() {
    let long = "a".repeat(1_001);
    let deep = "a.".repeat(32) + "a";
    let wrong = [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[",
        "a]",
        "a[]",
        "a[x]",
        "a[-1]",
        "a[01]",
        "a[0",
        "a[0]b",
        "a[\"b]",
        "[\"b\"",
        "a[99999999999999999999999]",
        "a.[0]",
        &long,
        &deep,
    ];
    for text in wrong {
        let error = Path::new(text).expect_err(text);
        assert!(matches!(error, crate::StateError::Invalid(_)), "{error}");
    }
    let state = json!({ "a": [{ "b": 1 }], "$": 2 });
    assert_eq!(*Path::new("$").unwrap().of(&state), state);
    assert_eq!(Path::new("[\"$\"]").unwrap().to_string(), "[\"$\"]");
    assert_eq!(*Path::new("[\"$\"]").unwrap().of(&state), 2);
    for missing in ["b", "a.b", "a[1]", "a[0][0]", "a[0].b.c"] {
        assert_eq!(*Path::new(missing).unwrap().of(&state), Value::Null);
    }
}

#[test]
fn depth() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    assert!(!is_too_deep(&nested(128)));
    assert!(is_too_deep(&nested(129)));
}
