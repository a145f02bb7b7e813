//! Queries and read options against a second definition of what they ask for.

use annals::{
    EventName, Query, QueryItem, ReadOptions, SequenceNumber, Source, StoredEvent, StreamId, Tag,
    Tags,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::{STREAMS, log, query};

/// Whether `query` asks for `event`, said a second time, on texts.
pub(crate) fn asks(query: &Query, event: &StoredEvent) -> bool {
    let source = |item: &QueryItem| match &item.source {
        Source::Log => true,
        Source::Category(category) => category.as_str() == event.stream.category.as_str(),
        Source::Stream(stream) => {
            stream.category.as_str() == event.stream.category.as_str()
                && stream.name.as_str() == event.stream.name.as_str()
        }
    };
    let name = |item: &QueryItem| {
        let wanted = item.names.as_ref().map(|names| names.iter().map(EventName::as_str).collect());
        wanted.is_none_or(|wanted: Vec<&str>| wanted.contains(&event.event.name.as_str()))
    };
    let tags = |item: &QueryItem| {
        let borne: Vec<&str> = event.event.tags.iter().map(Tag::as_str).collect();
        !item.tags.iter().any(|tag| !borne.contains(&tag.as_str()))
    };
    let mut asked = false;
    for item in query.items() {
        asked |= source(item) && name(item) && tags(item);
    }
    asked
}

/// The narrowest source that holds `streams`.
fn narrowest(streams: &[&StreamId]) -> Option<Source> {
    let &first = streams.first()?;
    Some(if streams.iter().all(|stream| *stream == first) {
        Source::Stream(first.clone())
    } else if streams.iter().all(|stream| stream.category == first.category) {
        Source::Category(first.category.clone())
    } else {
        Source::Log
    })
}

/// How `options` is called to narrow a read.
#[derive(Debug, Clone, Copy)]
enum Bound {
    After(u64),
    Until(u64),
    Limit(u64),
}

impl Bound {
    fn apply(self, options: ReadOptions) -> ReadOptions {
        match self {
            Self::After(number) => options.after(SequenceNumber::new(number)),
            Self::Until(number) => options.until(SequenceNumber::new(number)),
            Self::Limit(limit) => options.limit(limit),
        }
    }
}

fn bounds() -> impl Strategy<Value = Vec<Bound>> {
    let bound = prop_oneof![
        (0u64..9).prop_map(Bound::After),
        (0u64..9).prop_map(Bound::Until),
        (0u64..9).prop_map(Bound::Limit),
    ];
    vec(bound, 0..6)
}

proptest! {
    #[test]
    fn matching_agrees_with_the_second_definition(query in query(), log in log()) {
        for event in &log {
            prop_assert_eq!(query.matches(event), asks(&query, event), "{} {:?}", event, event);
        }
    }

    #[test]
    fn a_query_of_more_items_asks_for_what_either_asks_for(a in query(), b in query(), log in log()) {
        let both = Query::any_of(a.items().iter().chain(b.items()).cloned());
        for event in &log {
            prop_assert_eq!(both.matches(event), a.matches(event) || b.matches(event));
        }
    }

    #[test]
    fn the_scope_holds_every_match_and_is_the_narrowest(query in query()) {
        let live: Vec<_> = query.items().iter().filter(|item| item.can_match()).collect();
        let widest = live.iter().any(|item| item.source == Source::Log);
        let reached: Vec<_> = STREAMS
            .iter()
            .filter(|stream| live.iter().any(|item| item.source.contains(stream)))
            .collect();
        let expected = if widest { Some(Source::Log) } else { narrowest(&reached) };
        prop_assert_eq!(query.scope(), expected);
    }

    #[test]
    fn ids_restrict_what_the_rest_asks_for(query in query(), log in log(), step in 1usize..4) {
        let ids: Vec<_> = log.iter().step_by(step).map(StoredEvent::id).collect();
        let items = query.items().iter().map(|item| item.clone().with_ids(ids.clone()));
        let by_ids = Query::any_of(items);
        for (nth, event) in log.iter().enumerate() {
            prop_assert_eq!(by_ids.matches(event), asks(&query, event) && nth % step == 0);
        }
        let none = Query::any_of(query.items().iter().map(|item| item.clone().with_ids([])));
        prop_assert!(none.scope().is_none() && !log.iter().any(|event| none.matches(event)));
    }

    #[test]
    fn queries_survive_json(query in query()) {
        let json = serde_json::to_string(&query).expect("a query is JSON");
        prop_assert_eq!(serde_json::from_str::<Query>(&json).expect("it was written so"), query);
    }

    #[test]
    fn a_query_uses_tags_just_when_an_item_does(query in query()) {
        let tagged = query.items().iter().filter(|item| item.tags.iter().next().is_some());
        prop_assert_eq!(query.uses_tags(), tagged.count() > 0);
    }

    #[test]
    fn bounds_narrow_in_any_order(bounds in bounds()) {
        let forth = bounds.iter().fold(ReadOptions::default(), |options, bound| bound.apply(options));
        let back = bounds.iter().rev().fold(ReadOptions::default(), |options, bound| bound.apply(options));
        prop_assert_eq!(forth, back);
        let afters = bounds.iter().filter_map(|bound| if let Bound::After(n) = bound { Some(*n) } else { None });
        let untils = bounds.iter().filter_map(|bound| if let Bound::Until(n) = bound { Some(*n) } else { None });
        let limits = bounds.iter().filter_map(|bound| if let Bound::Limit(n) = bound { Some(*n) } else { None });
        prop_assert_eq!(forth.after.value(), afters.max().unwrap_or(0));
        prop_assert_eq!(forth.until.map(SequenceNumber::value), untils.min());
        prop_assert_eq!(forth.limit, limits.min());
    }

    #[test]
    fn tags_are_a_set(texts in vec("[a-d]", 0..8), wanted in vec("[a-d]", 0..4)) {
        let tags = Tags::parse(texts.iter().map(String::as_str))?;
        let set: std::collections::BTreeSet<_> = texts.iter().map(String::as_str).collect();
        prop_assert!(tags.iter().map(Tag::as_str).eq(set.iter().copied()));
        prop_assert_eq!(tags.len(), set.len());
        let all = wanted.iter().all(|tag| set.contains(tag.as_str()));
        prop_assert_eq!(tags.contains_all(&Tags::parse(wanted.iter().map(String::as_str))?), all);
    }
}

#[test]
fn the_last_events_come_newest_first() {
    let last = ReadOptions::last(3);
    assert_eq!(last, ReadOptions::default().limit(3).backward());
    assert!(!last.allow_skips && last.allow_skips().allow_skips);
}

#[test]
fn a_query_is_shown_by_what_it_asks_for() {
    let tagged = QueryItem::new(Source::Log).with_tags(Tags::parse(["x"]).expect("valid"));
    let named = QueryItem::new(STREAMS[0].clone()).with_names(["opened"]).expect("valid");
    let query = Query::any_of([tagged, named]);
    assert_eq!(query.to_string(), "the log tagged x or stream a/b.c named opened");
    assert_eq!(Query::all().to_string(), "the log");
    assert_eq!(Query::any_of([]).to_string(), "nothing");
}

#[test]
fn a_name_that_is_none_is_refused() {
    assert!(QueryItem::new(Source::Log).with_names(["opened", ""]).is_err());
}
