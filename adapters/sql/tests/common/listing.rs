//! Lists of streams and categories, for the tests of every adapter.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use annals::{
    Append, CategoryName, CategorySummary, Error, EventName, NewEvent, Page, Payload, Query,
    ReadOptions, Result, StorageAdapter, StoredEvent, StreamId, StreamName, StreamSummary, Tags,
    WriteCondition,
};
use futures_util::TryStreamExt;

/// Names whose order by bytes is not that of any language, and some that events and tags bear, too.
const NAMES: [&str; 12] = [
    "a",
    "A",
    "a ",
    "a.b",
    "a_b",
    "a%",
    "\u{e4}",
    "a\u{308}",
    "made",
    "z",
    "\u{1F600}",
    "\u{FF5E}",
];

fn limit(limit: usize) -> NonZeroUsize {
    NonZeroUsize::new(limit).expect("not 0")
}

async fn events(adapter: &impl StorageAdapter) -> Vec<StoredEvent> {
    let read = adapter.read(Query::all(), ReadOptions::default().allow_skips());
    let pages: Vec<Page> = read.try_collect().await.expect("reads");
    pages.into_iter().flat_map(|page| page.events).collect()
}

fn summaries(events: &[StoredEvent]) -> (Vec<CategorySummary>, Vec<StreamSummary>) {
    let mut categories: BTreeMap<&CategoryName, Vec<&StoredEvent>> = BTreeMap::new();
    let mut streams: BTreeMap<&StreamId, Vec<&StoredEvent>> = BTreeMap::new();
    for event in events {
        categories.entry(&event.stream.category).or_default().push(event);
        streams.entry(&event.stream).or_default().push(event);
    }
    let times = |of: &[&StoredEvent]| [of[0].recorded_at, of[of.len() - 1].recorded_at];
    let categories = categories.into_iter().map(|(category, of)| {
        let streams: BTreeSet<_> = of.iter().map(|event| &event.stream).collect();
        CategorySummary::new(category.clone(), streams.len() as u64, of.len() as u64, times(&of))
    });
    let streams = streams.into_iter();
    let streams =
        streams.map(|(stream, of)| StreamSummary::new(stream.clone(), of.len() as u64, times(&of)));
    (categories.collect(), streams.collect())
}

/// What is listed page by page is what the log has, also after `disturbed`; a closed adapter lists nothing. The store is
/// empty at first, and nobody else appends.
pub(crate) async fn assert_lists<A: StorageAdapter>(
    adapter: &A,
    streams: impl AsyncFn(
        &CategoryName,
        Option<&StreamName>,
        NonZeroUsize,
    ) -> Result<Vec<StreamSummary>>,
    categories: impl AsyncFn(Option<&CategoryName>, NonZeroUsize) -> Result<Vec<CategorySummary>>,
    disturbed: impl Future<Output = ()>,
) {
    assert_eq!(categories(None, limit(5)).await.expect("lists"), []);
    let category = |name: &str| CategoryName::new(name).expect("valid");
    assert_eq!(streams(&category("a"), None, limit(5)).await.expect("lists"), []);
    // Streams of a category are not made one after the other, and get their events at several times.
    for round in 0..3 {
        for (nth, name) in NAMES.iter().rev().enumerate() {
            for of in NAMES.iter().skip(nth % 3).step_by(1 + nth % 4) {
                let event = || {
                    let event = NewEvent::new(EventName::from_static("made"), Payload::bytes("x"));
                    event.with_tags(Tags::parse(["b", "made"]).expect("valid"))
                };
                let made: Vec<_> = (0..=(nth + round) % 3).map(|_| event()).collect();
                let stream = StreamId::new(*of, *name).expect("valid");
                let write = Append::new(stream, made, WriteCondition::Always);
                adapter.append(vec![write]).await.expect("appends");
            }
        }
    }
    let (all_categories, all_streams) = summaries(&events(adapter).await);
    assert_eq!(all_categories.len(), NAMES.len());
    for size in [1, 2, 5, 12, 13, 65_536] {
        let mut found: Vec<CategorySummary> = Vec::new();
        loop {
            let after = found.last().map(|last| last.category.clone());
            let page = categories(after.as_ref(), limit(size)).await.expect("lists");
            assert!(page.len() <= size);
            let is_last = page.len() < size;
            found.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(found, all_categories, "pages of {size}");
        for of in &all_categories {
            let mut found: Vec<StreamSummary> = Vec::new();
            loop {
                let after = found.last().map(|last| last.stream.name.clone());
                let page = streams(&of.category, after.as_ref(), limit(size)).await.expect("lists");
                assert!(page.len() <= size);
                let is_last = page.len() < size;
                found.extend(page);
                if is_last {
                    break;
                }
            }
            let expected =
                all_streams.iter().filter(|stream| stream.stream.category == of.category);
            assert!(found.iter().eq(expected), "{} by pages of {size}: {found:#?}", of.category);
        }
    }
    // Behind a name that is not there; and what is only the name of an event or tag.
    let after = category("aa");
    let page = categories(Some(&after), limit(100)).await.expect("lists");
    assert!(page.iter().eq(all_categories.iter().filter(|listed| listed.category > after)));
    assert_eq!(streams(&category("b"), None, limit(5)).await.expect("lists"), []);
    for outcome in [
        streams(&category("a"), None, limit(65_537)).await.err(),
        categories(None, NonZeroUsize::MAX).await.err(),
    ] {
        assert!(matches!(outcome, Some(Error::Invalid(_))), "{outcome:?}");
    }
    disturbed.await;
    assert_eq!(categories(None, limit(1)).await.expect("lists").len(), 1);
    adapter.close().await;
    for outcome in [
        streams(&category("a"), None, limit(1)).await.err(),
        categories(None, limit(1)).await.err(),
    ] {
        assert!(matches!(outcome, Some(Error::Closed { .. })), "{outcome:?}");
    }
}
