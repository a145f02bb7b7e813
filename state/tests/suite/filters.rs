//! What filters, patterns and similarity mean.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use annals_state::{Filter, MAX_FILTER_DEPTH, Path, Pattern, StateError, similarity};
use serde_json::{Value, json};

fn state() -> Value {
    json!({
        "name": "Green tea", "price": 4.5, "stock": 12, "none": null, "yes": true,
        "tags": ["loose", "organic", 7], "lines": [{ "sku": "a" }, { "sku": "b" }], "of": { "x": 1, "y": [2] },
    })
}

fn holds(filter: annals_state::Result<Filter>) -> bool {
    filter.unwrap().holds(&state())
}

#[test]
fn equality() {
    assert!(holds(Filter::is("price", 4.5)));
    assert!(holds(Filter::is("stock", 12.0)), "numbers compare as decimals");
    assert!(!holds(Filter::is("stock", "12")));
    assert!(holds(Filter::is("none", Value::Null)));
    assert!(holds(Filter::is("missing.deep[3]", Value::Null)), "what is missing is null");
    assert!(!holds(Filter::is("price", Value::Null)));
    assert!(holds(Filter::is("of", json!({ "y": [2.0], "x": 1 }))));
    assert!(holds(Filter::is("lines[1].sku", "b")));
    assert!(!holds(Filter::is("name", "green tea")), "case counts");
}

#[test]
fn comparisons_hold_between_values_of_one_kind() {
    assert!(holds(Filter::less("price", 5)) && !holds(Filter::less("price", 4.5)));
    assert!(holds(Filter::at_most("price", 4.5)) && !holds(Filter::at_most("price", 4)));
    assert!(holds(Filter::more("price", 4)) && !holds(Filter::more("price", 4.5)));
    assert!(holds(Filter::at_least("price", 4.5)) && !holds(Filter::at_least("price", 5)));
    assert!(holds(Filter::less("name", "H")) && holds(Filter::at_least("yes", false)));
    assert!(holds(Filter::more("tags", json!(["loose"]))));
    for (path, value) in
        [("price", json!("5")), ("name", json!(9)), ("none", json!(1)), ("missing", json!(1))]
    {
        for new in [Filter::less, Filter::at_most, Filter::more, Filter::at_least] {
            let filter: annals_state::Result<Filter> = new(path, value.clone());
            assert!(!holds(filter), "{path} {value}");
        }
    }
    assert!(
        !holds(Filter::at_most("none", Value::Null))
            && !holds(Filter::at_least("missing", Value::Null))
    );
}

#[test]
fn membership() {
    assert!(holds(Filter::is_in("stock", [1, 12])) && !holds(Filter::is_in("stock", [1])));
    assert!(!holds(Filter::is_in("stock", Vec::<Value>::new())));
    assert!(holds(Filter::is_in("missing", [Value::Null])));
    assert!(holds(Filter::contains("tags", "organic")) && holds(Filter::contains("tags", 7.0)));
    assert!(!holds(Filter::contains("tags", "org")), "an element is equal, not alike");
    assert!(holds(Filter::contains("name", "een t")) && !holds(Filter::contains("name", "TEA")));
    assert!(!holds(Filter::contains("stock", 1)) && !holds(Filter::contains("of", "x")));
    assert!(holds(Filter::contains("lines", json!({ "sku": "a" }))));
}

#[test]
fn patterns() {
    assert!(
        holds(Filter::matches("name", "(?i)^GREEN")) && !holds(Filter::matches("name", "^tea"))
    );
    assert!(!holds(Filter::matches("stock", "12")) && !holds(Filter::matches("missing", "")));
    assert!(holds(Filter::matches("stock", "12").map(|f| !f)), "negation is plain");
    let backtracker = Filter::matches("text", "^(a+)+$").unwrap();
    assert!(!backtracker.holds(&json!({ "text": "a".repeat(100_000) + "b" })));
    for pattern in ["(", "a{1000}{1000}", "\\w{400}{30}", &"a".repeat(1_001)] {
        assert!(matches!(Pattern::new(pattern), Err(StateError::Invalid(_))), "{pattern}");
    }
}

#[test]
fn groups() {
    let yes = || Filter::is("stock", 12).unwrap();
    let no = || Filter::is("stock", 13).unwrap();
    let all = |filter: Filter| filter.holds(&state());
    assert!(all(yes() & yes()) && !all(yes() & no()) && all(no() | yes()) && !all(no() | no()));
    assert!(all(!no()) && !all(!yes()) && all(!(no() & yes()) & yes()));
    assert!(all(Filter::All(vec![])) && !all(Filter::Any(vec![])));
    assert!(all(!Filter::less("missing", 1).unwrap()));
}

#[test]
fn a_filter_has_a_text() {
    let filter = (Filter::is("a[0].b", 1).unwrap() | !Filter::matches("c", "x+").unwrap())
        & Filter::is_in("d", ["e"]).unwrap();
    let text = serde_json::to_string(&filter).unwrap();
    assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
    assert!(serde_json::from_str::<Filter>(r#"{"matches":["a","("]}"#).is_err());
    assert!(serde_json::from_str::<Filter>(r#"{"is":["a[",1]}"#).is_err());
    let deep = "{\"not\":".repeat(MAX_FILTER_DEPTH * 10);
    assert!(serde_json::from_str::<Filter>(&deep).is_err(), "no text exhausts the stack");
    assert_eq!(serde_json::from_str::<Path>("\"a.b\"").unwrap().to_string(), "a.b");
}

#[test]
fn similarity_is_that_of_trigrams() {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    // What `similarity` of PostgreSQL's pg_trgm returns.
    assert!(near(similarity("word", "two words"), 0.363_636_4));
    assert!(near(similarity("cat", "cat"), 1.0));
    assert!(near(similarity("Cat dog", "dog, CAT!"), 1.0));
    assert!(near(similarity("cat", "dog"), 0.0));
    assert!(near(similarity("", ""), 0.0) && near(similarity("a", ""), 0.0));
    assert!(near(similarity("hello", "hallo"), 1.0 / 3.0));
}
