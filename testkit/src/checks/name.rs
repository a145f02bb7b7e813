//! Names are kept apart, whatever they hold.

use std::collections::BTreeMap;

use annals::{
    EventName, Payload, Position, Query, QueryItem, ReadOptions, Source, StreamId, StreamName,
    Tags, WriteCondition,
};

use crate::engine::{Failure, Outcome, ensure, ensure_eq, ensure_err};
use crate::generate::{self, Generator};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, event};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "name.pairs",
        [A2 A4 R3],
        Required,
        [],
        pairs,
        "(\"a-b\", \"c\") and (\"a\", \"b-c\") are different streams, in events and in conditions"
    ),
    check!("name.wildcard", [A2 R3], Required, [], wildcard, "pattern characters in names match themselves only"),
    check!("name.collation", [A2 R3], Required, [], collation, "names are case-sensitive, not trimmed and never normalised"),
    check!("name.length", [A2 R3], Required, [], length, "names from 1 to 255 bytes are stored, and none is cut"),
    check!("name.hostile", [A2 R3], Required, [], hostile, "quotes, SQL, reserved words and scripts of all kinds are ordinary"),
    check!(
        "name.events",
        [R3],
        Required,
        [],
        events,
        "event names come back as they were, and are found by exactly that"
    ),
    check!(
        "name.tags",
        [R3],
        Required,
        [Need::Has(Feature::Tags)],
        tags,
        "tags come back as they were, and are found by exactly that"
    ),
    check!("name.fuzz", [A2 R2 R3], Required, [], fuzz, "of random names streams partition their category, and categories the log"),
];

/// Every stream holds exactly its own events, and its condition speaks of it alone.
async fn kept_apart(store: &Subject, streams: &[StreamId]) -> Outcome {
    for stream in streams {
        let stored =
            store.append(stream, vec![event("first")], WriteCondition::StreamIsEmpty).await;
        let stored = stored.map_err(|error| {
            Failure::from(error).in_context(format!("the first event of stream {stream:?}"))
        })?;
        ensure_eq!(
            stored[0].position,
            Position::FIRST,
            "position of the first event of {stream:?}"
        );
        ensure_eq!(stored[0].stream, *stream, "the stream of what append returned");
    }
    for stream in streams {
        let again = store.append(stream, vec![event("again")], WriteCondition::StreamIsEmpty).await;
        ensure_err!(again, annals::Error::ConditionFailed(_), "a second first event of {stream:?}");
        let at_first = WriteCondition::PositionIs(Position::FIRST);
        let second = store.append(stream, vec![event("second")], at_first).await;
        let second =
            second.map_err(|error| Failure::from(error).in_context(format!("{stream:?}")))?;
        ensure_eq!(
            second[0].position,
            Position::new(1),
            "position of the second event of {stream:?}"
        );
    }
    for stream in streams {
        let found = store.stream_events(stream).await?;
        ensure_eq!(found.len(), 2, "events of stream {stream:?}");
        ensure!(
            found.iter().all(|event| event.stream == *stream),
            "stream {stream:?} holds {found:?}"
        );
        let latest = store.latest(stream.clone()).await?;
        ensure_eq!(latest, found.last().cloned(), "the latest of stream {stream:?}");
    }
    categories_hold_their_streams(store, streams).await
}

async fn categories_hold_their_streams(store: &Subject, streams: &[StreamId]) -> Outcome {
    if !Feature::CategoryOrder.is_declared(&store.capabilities) {
        return Ok(());
    }
    let mut expected: BTreeMap<_, usize> = BTreeMap::new();
    for stream in streams {
        *expected.entry(stream.category.clone()).or_default() += 2;
    }
    for (category, count) in expected {
        let found = store.read(category.clone(), ReadOptions::default()).await?;
        let own = found.iter().filter(|event| streams.contains(&event.stream)).count();
        ensure_eq!(own, count, "events of category {category:?}");
    }
    Ok(())
}

/// One stream for each pair of names.
fn cross(store: &Subject, names: &[&str]) -> Vec<StreamId> {
    let pairs = names.iter().flat_map(|category| names.iter().map(move |name| (category, name)));
    pairs.map(|(category, name)| store.stream(category, name)).collect()
}

async fn pairs(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let mut streams = cross(&store, &["a", "a-b", "b", "a.b", "a/b", "a:b", "a|b", "a b"]);
    // Where the parts meet: one separator, moved.
    for separator in
        ["-", "_", ".", "/", ":", "|", " ", "#", "$", "@", "~", "::", "--", "\u{1F980}"]
    {
        streams.push(store.stream(&format!("x{separator}y"), "z"));
        streams.push(store.stream("x", &format!("y{separator}z")));
    }
    kept_apart(&store, &streams).await
}

/// The names of one group, as categories and as streams.
async fn group(cx: &Context, groups: &[usize]) -> Outcome {
    let store = cx.open().await?;
    let all = generate::name_groups();
    let names: Vec<&String> = groups.iter().filter_map(|nth| all.get(*nth)).flatten().collect();
    let mut streams: Vec<StreamId> = names.iter().map(|name| store.stream("one", name)).collect();
    streams
        .extend(names.iter().filter(|name| name.len() < 220).map(|name| store.stream(name, "one")));
    kept_apart(&store, &streams).await
}

async fn wildcard(cx: Context) -> Outcome {
    group(&cx, &[1]).await
}

async fn collation(cx: Context) -> Outcome {
    group(&cx, &[2, 3, 4, 5, 6, 7]).await
}

async fn length(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let mut streams = Vec::new();
    for length in [1, 2, 31, 32, 62, 63, 64, 65, 100, 127, 128, 199, 200, 254, 255] {
        streams.push(store.stream("long", &"n".repeat(length)));
        if length > 2 {
            // The same but for the end.
            streams.push(store.stream("long", &format!("{}z", "n".repeat(length - 1))));
        }
        let room = 255 - store.category("c").as_str().len();
        if (3..=room).contains(&length) {
            streams.push(store.stream(&"k".repeat(length), "one"));
            streams.push(store.stream(&format!("{}z", "k".repeat(length - 1)), "one"));
        }
    }
    streams.push(store.stream("long", &"é".repeat(127)));
    streams.push(store.stream("long", &"日".repeat(85)));
    kept_apart(&store, &streams).await
}

async fn hostile(cx: Context) -> Outcome {
    group(&cx, &[8, 9, 10, 11, 12, 13, 14]).await
}

async fn events(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("events", "all");
    let mut names: Vec<String> = generate::names();
    names.push("n".repeat(255));
    names.sort();
    names.dedup();
    let most = store.capabilities.max_events_per_append.map_or(500, |most| most.get() as usize);
    let mut proposed = Vec::new();
    for name in &names {
        let name =
            EventName::new(name.as_str()).map_err(|error| Failure::new(error.to_string()))?;
        proposed.push(annals::NewEvent::new(name, Payload::bytes("x")));
    }
    for part in proposed.chunks(most.min(500)) {
        store.append(&stream, part.to_vec(), WriteCondition::Always).await?;
    }
    let found = store.stream_events(&stream).await?;
    let back: Vec<&str> = found.iter().map(|event| event.event.name.as_str()).collect();
    ensure_eq!(back, names.iter().map(String::as_str).collect::<Vec<_>>(), "event names read back");
    for expected in &found {
        let item = QueryItem::new(stream.clone()).with_names([expected.event.name.clone()]);
        let item = item.map_err(annals::Error::from)?;
        let by_name = store.read(Query::from(item), ReadOptions::default()).await?;
        ensure_eq!(by_name.len(), 1, "events named {:?}", expected.event.name);
    }
    Ok(())
}

async fn tags(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("tags", "all");
    let mut names: Vec<String> = generate::names();
    names.retain(|name| name.len() < 220);
    names.sort();
    names.dedup();
    let mut proposed = Vec::new();
    for pair in names.windows(2) {
        let both: Vec<&str> = pair.iter().map(String::as_str).collect();
        proposed.push(event("tagged").with_tags(store.tags(&both)));
    }
    let most = store.capabilities.max_events_per_append.map_or(500, |most| most.get() as usize);
    for part in proposed.chunks(most.min(500)) {
        store.append(&stream, part.to_vec(), WriteCondition::Always).await?;
    }
    let found = store.stream_events(&stream).await?;
    for (sent, stored) in proposed.iter().zip(&found) {
        ensure_eq!(stored.event.tags, sent.tags, "tags read back");
    }
    for (nth, name) in names.iter().enumerate() {
        let tag: Tags = store.tags(&[name]);
        let item = QueryItem::new(stream.clone()).with_tags(tag);
        let tagged = store.read(Query::from(item), ReadOptions::default()).await?;
        let expected = if nth == 0 || nth + 1 == names.len() { 1 } else { 2 };
        ensure_eq!(tagged.len(), expected, "events tagged {name:?}");
    }
    Ok(())
}

async fn fuzz(cx: Context) -> Outcome {
    for case in cx.cases(2) {
        let store = cx.nested(format!("x{case:x}")).open().await?;
        let mut generator = Generator::new(case);
        let mut names: Vec<String> = (0..40).map(|_| generator.name()).collect();
        names.sort();
        names.dedup();
        let mut streams: Vec<StreamId> = Vec::new();
        for name in &names {
            let category = generator.pick(&names).clone();
            let room: String = category.chars().take(50).collect();
            let stream = StreamId {
                category: store.category(&room),
                name: StreamName::new(name.as_str())
                    .map_err(|error| Failure::new(error.to_string()))?,
            };
            streams.push(stream);
        }
        kept_apart(&store, &streams).await?;
        if Feature::LogOrder.is_declared(&store.capabilities) {
            let after = ReadOptions::default().after(store.start);
            let mut log = store.read(Source::Log, after).await?;
            log.retain(|event| store.owns(event));
            ensure_eq!(log.len(), streams.len() * 2, "events of all streams in the log");
        }
    }
    Ok(())
}
