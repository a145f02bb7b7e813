//! A find equals a naive filter, sort and slice, whatever indexes are declared and whatever the pages.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::cmp::Ordering;
use std::num::NonZeroUsize;
use std::sync::Arc;

use annals_memory::MemoryState;
use annals_state::{
    By, Collection, Cursor, DocumentId, Documents, Expected, Filter, Find, Paging, Path,
    StateStore, Stored, compare, similarity,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

type Things = Documents<Value>;

const PATHS: [&str; 4] = ["a", "b", "c.x", "l[0]"];

/// Few values, so that many are equal; some that differ only beyond where keys are cut, some of other kinds.
fn values() -> impl Strategy<Value = Value> {
    let long = |end: &str| Value::from("p".repeat(1_200) + end);
    prop::sample::select(vec![
        json!(null),
        json!(1),
        json!(1.0),
        json!(2),
        json!(-1),
        json!(2.5),
        json!("x"),
        json!("y"),
        json!("xy"),
        json!("x\u{0}"),
        long("1"),
        long("2"),
        long("1"),
        long("2"),
        json!([1]),
        json!(["x", 2]),
        json!(true),
        json!(false),
        json!({ "k": 1 }),
    ])
}

fn states() -> impl Strategy<Value = Value> {
    let field = || prop::option::weighted(0.85, values());
    (field(), field(), field(), field()).prop_map(|(a, b, x, first)| {
        let mut state = Map::new();
        state.extend(a.map(|a| ("a".into(), a)));
        state.extend(b.map(|b| ("b".into(), b)));
        state.extend(x.map(|x| ("c".into(), json!({ "x": x }))));
        state.extend(first.map(|first| ("l".into(), json!([first, 1]))));
        Value::Object(state)
    })
}

fn paths() -> impl Strategy<Value = Path> {
    prop::sample::select(PATHS.to_vec()).prop_map(|path| Path::new(path).unwrap())
}

fn filters() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![
        (paths(), values()).prop_map(|(p, v)| Filter::Is(p, v)),
        (paths(), values()).prop_map(|(p, v)| Filter::Is(p, v)),
        (paths(), values()).prop_map(|(p, v)| Filter::Less(p, v)),
        (paths(), values()).prop_map(|(p, v)| Filter::AtMost(p, v)),
        (paths(), values()).prop_map(|(p, v)| Filter::More(p, v)),
        (paths(), values()).prop_map(|(p, v)| Filter::AtLeast(p, v)),
        (paths(), prop::collection::vec(values(), 0..4)).prop_map(|(p, v)| Filter::In(p, v)),
        (paths(), values()).prop_map(|(p, v)| Filter::Contains(p, v)),
        paths().prop_map(|p| Filter::matches(p, "^x|1$").unwrap()),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Any),
            inner.prop_map(|filter| !filter),
        ]
    })
}

fn sorts() -> impl Strategy<Value = Vec<By>> {
    let by = prop_oneof![
        4 => paths().prop_map(By::Ascending),
        4 => paths().prop_map(By::Descending),
        1 => paths().prop_map(|path| By::Similarity { path, to: "x y".into() }),
    ];
    prop::collection::vec(by, 0..4)
}

fn indexes() -> impl Strategy<Value = Vec<Vec<By>>> {
    let fields = prop::sample::subsequence(PATHS.to_vec(), 1..=3).prop_shuffle();
    let index = (fields, prop::array::uniform3(any::<bool>())).prop_map(|(fields, descending)| {
        let by = |(path, descending): (_, &bool)| {
            if *descending { By::descending(path) } else { By::ascending(path) }
        };
        fields.into_iter().zip(&descending).map(|field| by(field).unwrap()).collect()
    });
    prop::collection::vec(index, 0..4)
}

fn collection(indexes: Vec<Vec<By>>) -> Collection<Value> {
    let all = Collection::new("things").unwrap();
    indexes
        .into_iter()
        .enumerate()
        .fold(all, |all, (nth, index)| all.with_index(&*format!("i{nth}"), index).unwrap())
}

fn naive_order(sort: &[By], a: &(String, Value), b: &(String, Value)) -> Ordering {
    let mut order = Ordering::Equal;
    let mut ids_descend = false;
    for by in sort {
        let (one, descending) = match by {
            By::Ascending(path) => (compare(path.of(&a.1), path.of(&b.1)), false),
            By::Descending(path) => (compare(path.of(&a.1), path.of(&b.1)).reverse(), true),
            By::Similarity { path, to } => {
                let near = |state| path.of(state).as_str().map_or(0.0, |text| similarity(text, to));
                (near(&b.1).total_cmp(&near(&a.1)), true)
            }
            _ => unreachable!("no other sort is drawn"),
        };
        order = order.then(one);
        ids_descend = descending;
    }
    order.then_with(|| if ids_descend { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) })
}

fn ids<T>(found: &[Stored<T>]) -> Vec<String> {
    found.iter().map(|one| one.id.as_str().to_owned()).collect()
}

/// Through its text, as it travels.
fn travelled(cursor: &Cursor) -> Cursor {
    let again: Cursor = cursor.to_string().parse().unwrap();
    assert_eq!(again, *cursor);
    again
}

async fn equals_the_naive(things: &Things, states: &[(String, Value)], find: Find, size: usize) {
    let mut wanted: Vec<&(String, Value)> = states
        .iter()
        .filter(|(_, state)| find.filter.as_ref().is_none_or(|filter| filter.holds(state)))
        .collect();
    wanted.sort_by(|a, b| naive_order(&find.sort, a, b));
    let wanted: Vec<String> = wanted.into_iter().map(|(id, _)| id.clone()).collect();
    let plan = things.collection().plan(&find).unwrap();
    let page = |paging| things.find_page(&find, paging);

    assert_eq!(ids(&page(Paging::Everything).await.documents), wanted, "{plan}");
    assert_eq!(things.count(find.filter.clone()).await.unwrap(), wanted.len() as u64, "{plan}");

    for nth in 1..=wanted.len() / size + 2 {
        let found = page(Paging::Offset { page: nth, size }).await;
        let slice: Vec<_> = wanted.iter().skip((nth - 1) * size).take(size).cloned().collect();
        assert_eq!(ids(&found.documents), slice, "page {nth} {plan}");
        assert_eq!(found.next.is_some(), nth * size < wanted.len());
    }

    let mut found = page(Paging::First(size)).await;
    assert!(found.previous.is_none());
    let mut pages = vec![ids(&found.documents)];
    while let Some(next) = found.next {
        found = page(Paging::After(travelled(&next), size)).await;
        assert!(!found.documents.is_empty(), "a cursor led to nothing: {plan}");
        pages.push(ids(&found.documents));
    }
    assert_eq!(pages.concat(), wanted, "forward {plan}");
    for before in pages.iter().rev().skip(1) {
        found = page(Paging::Before(travelled(&found.previous.unwrap()), size)).await;
        assert_eq!(ids(&found.documents), *before, "backward {plan}");
        assert!(found.next.is_some());
    }
    if let Some(previous) = found.previous {
        let none = page(Paging::Before(previous, size)).await;
        assert!(none.documents.is_empty() && none.previous.is_none(), "{plan}");
    }

    for (at, id) in wanted.iter().enumerate().step_by(3) {
        let cursor = Cursor::of(DocumentId::new(&**id).unwrap());
        let after = page(Paging::After(travelled(&cursor), size)).await;
        assert_eq!(ids(&after.documents), wanted[at + 1..][..size.min(wanted.len() - at - 1)]);
        let before = page(Paging::Before(cursor, size)).await;
        assert_eq!(ids(&before.documents), wanted[at.saturating_sub(size)..at]);
    }
    let nobody = Cursor::of(DocumentId::from_static("nobody"));
    assert!(page(Paging::After(nobody.clone(), size)).await.documents.is_empty());
    assert!(page(Paging::Before(nobody, size)).await.documents.is_empty());
}

trait FindPage {
    fn find_page(
        &self,
        find: &Find,
        paging: Paging,
    ) -> impl Future<Output = annals_state::Found<Value>>;
}

impl FindPage for Things {
    async fn find_page(&self, find: &Find, paging: Paging) -> annals_state::Found<Value> {
        self.find(&find.clone().paging(paging)).await.unwrap()
    }
}

async fn any_find(
    store: Arc<dyn StateStore>,
    states: Vec<Value>,
    indexes: Vec<Vec<By>>,
    finds: Vec<(Option<Filter>, Vec<By>)>,
    size: usize,
) {
    let things = collection(indexes).on(store);
    let mut kept = Vec::new();
    // Ids whose order is not the one in which they are put.
    for (nth, state) in states.into_iter().enumerate() {
        let id = format!("{}", (nth * 7 + 3) % 31);
        things.put(&*id, &state, Expected::Absent).await.unwrap();
        kept.push((id, state));
    }
    for (filter, sort) in finds {
        let mut find = Find::default().sort(sort);
        find.filter = filter;
        equals_the_naive(&things, &kept, find, size).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_find_is_filter_sort_and_slice(
        states in prop::collection::vec(states(), 0..31),
        indexes in indexes(),
        finds in prop::collection::vec((prop::option::weighted(0.8, filters()), sorts()), 1..6),
        size in 1..6_usize,
        page in 1..9_usize,
    ) {
        let store = MemoryState::new().with_page_size(NonZeroUsize::new(page).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(any_find(Arc::new(store), states, indexes, finds, size));
    }

    /// A filter and a sort that an index serves, more often than chance has them.
    #[test]
    fn a_find_along_an_index_is_filter_sort_and_slice(
        states in prop::collection::vec(states(), 10..31),
        index in indexes(),
        bound in prop::collection::vec((0..5_u8, values()), 3),
        backward in any::<bool>(),
        size in 1..6_usize,
    ) {
        let Some(fields) = index.first().cloned() else { return Ok(()) };
        let path = |by: &By| match by {
            By::Ascending(path) | By::Descending(path) => path.clone(),
            _ => unreachable!("no index is by similarity"),
        };
        // The first fields are bound to values; the rest is sorted by, perhaps the other way round.
        let mut filters = Vec::new();
        let mut sort = Vec::new();
        for (by, (how, value)) in fields.iter().zip(bound) {
            match how {
                0 | 1 if sort.is_empty() => filters.push(Filter::Is(path(by), value)),
                _ => {
                    if how == 2 { filters.push(Filter::AtLeast(path(by), value)); }
                    else if how == 3 { filters.push(Filter::Less(path(by), value)); }
                    let descends = matches!(by, By::Descending(_)) != backward;
                    sort.push(if descends { By::Descending(path(by)) } else { By::Ascending(path(by)) });
                }
            }
        }
        let finds = vec![(Some(Filter::All(filters)), sort)];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(any_find(Arc::new(MemoryState::new()), states, index, finds, size));
    }
}

#[test]
fn plans_are_what_they_should_be() {
    let by = |path: &str| By::ascending(path).unwrap();
    let down = |path: &str| By::descending(path).unwrap();
    let is = |path: &str| Filter::is(path, 1).unwrap();
    let products = Collection::<Value>::new("products")
        .unwrap()
        .with_index("kind_price", [by("kind"), by("price")])
        .unwrap()
        .with_index("name", [down("name")])
        .unwrap();
    let plan = |find: Find| products.plan(&find).unwrap().to_string();
    let find = Find::default;
    let cases = [
        (find(), "along ids, everything, in order"),
        (find().sort([by("price")]), "along ids, everything, sorted in memory"),
        (find().sort([down("name")]), "along index name, everything, in order"),
        (find().sort([by("name")]), "along index name, everything, in order"),
        (find().sort([by("kind"), by("price")]), "along index kind_price, everything, in order"),
        (find().sort([by("kind"), down("price")]), "along ids, everything, sorted in memory"),
        (
            find().filter(is("kind")).sort([by("price")]),
            "along index kind_price, one range, in order",
        ),
        (
            find().filter(is("kind")).sort([down("price")]),
            "along index kind_price, one range, in order",
        ),
        (find().filter(is("kind")), "along index kind_price, one range, sorted in memory"),
        (find().filter(is("kind") & is("price")), "along index kind_price, one range, in order"),
        (find().filter(is("kind") | is("name")), "along ids, everything, in order"),
        (
            find().filter(Filter::is_in("kind", [1, 2, 1]).unwrap()),
            "along index kind_price, 2 ranges, sorted in memory",
        ),
        (
            find().filter(
                (is("kind") | Filter::is("kind", 2).unwrap()) & Filter::less("price", 9).unwrap(),
            ),
            "along index kind_price, 2 ranges, sorted in memory",
        ),
        (find().filter(!is("kind")), "along ids, everything, in order"),
        (find().filter(Filter::Any(vec![])), "along ids, nothing can match, in order"),
        (
            find().filter(Filter::less("kind", Value::Null).unwrap()),
            "along index kind_price, nothing can match, sorted in memory",
        ),
    ];
    for (find, wanted) in cases {
        let shown = format!("{find:?}");
        assert_eq!(plan(find), wanted, "{shown}");
    }
}
