//! Conditions on what was not yet stored: dynamic consistency boundaries.

use annals::{Append, Query, ReadOptions, SequenceNumber, Source, StreamId, WriteCondition};

use crate::checks::support::condition_world::World;
use crate::checks::support::judged_conditions::{Form, Judged};
use crate::checks::support::ledger::{Ledger, always, light, most, needs_room};
use crate::checks::support::unmet_conditions::unmet;
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, events};

const QUERIES: Need = Need::Has(Feature::QueryConditions);

pub(super) const CHECKS: &[Check] = &[
    check!(
        "cond.no_match_bounds",
        [A4],
        Required,
        [QUERIES],
        bounds,
        "events after the bound count, the one at the bound and those before it do not"
    ),
    check!(
        "cond.no_match_names",
        [A4],
        Required,
        [QUERIES],
        names,
        "any of the names asked for counts, no other"
    ),
    check!(
        "cond.no_match_tags",
        [A4],
        Required,
        [QUERIES, Need::Has(Feature::Tags)],
        tags,
        "an event with all of the tags asked for counts, no other"
    ),
    check!(
        "cond.no_match_items",
        [A4],
        Required,
        [QUERIES],
        items,
        "each alternative counts, as a whole"
    ),
    check!(
        "cond.no_match_sources",
        [A4],
        Required,
        [QUERIES],
        sources,
        "a query looks where it says, whichever stream is written to"
    ),
    check!(
        "cond.no_match_all",
        [A4],
        Required,
        [QUERIES],
        all,
        "the query without items matches every event"
    ),
    check!(
        "cond.no_match_random",
        [A4],
        Required,
        [QUERIES],
        crate::checks::model::on_queries,
        "random conditions on random queries come to what a pure model says"
    ),
    check!(
        "cond.no_match_multi",
        [A4 A1],
        Required,
        [QUERIES, Need::Has(Feature::MultiStreamAppend)],
        multi,
        "each write of a call has its own query, judged on the store before the call"
    ),
];

async fn bounds(cx: Context) -> Outcome {
    let mut world = World::open(&cx).await?;
    let [a, b] = ["a", "b"].map(|name| world.stream("orders", name));
    let other = world.stream("users", "a");
    let writer = [world.stream("writers", "w"), world.stream("writers", "v")];
    let queries = [
        Query::from(a.clone()),
        Query::from(a.category.clone()),
        Query::from(world.item(Source::Log, &["asked"], &[])?),
        Query::from(world.item(a.clone(), &["asked"], &[])?),
    ];
    // Before there is any event, then with matches first, amid others, and last.
    for query in &queries {
        world.try_query(query, &writer, true).await?;
    }
    let plan = [
        (&other, "else"),
        (&a, "asked"),
        (&b, "else"),
        (&a, "else"),
        (&b, "asked"),
        (&other, "else"),
    ];
    for (stream, name) in plan {
        world.put(stream, name, &[]).await?;
        for query in &queries {
            world.try_query(query, &writer, true).await?;
        }
    }
    let second = cx.open().await?;
    world.ledger = world.ledger.through(second);
    // Every number of the log as the bound.
    let numbers: Vec<_> = world.log.iter().map(|event| event.sequence_number).collect();
    for after in numbers {
        for query in &queries {
            let case = world.judged(query, after);
            world.judge(&writer[0], &case, Form::Guard).await?;
        }
    }
    world.far_apart().await?;
    world.ledger.verify("after conditions with bounds").await
}

/// Tries each item with each source: a stream, a category, the log.
async fn everywhere(
    world: &mut World,
    items: &[(&[&str], &[&str])],
    written: &[StreamId],
) -> Outcome {
    let stream = world.stream("orders", "a");
    for (names, tags) in items {
        let mut sources = vec![Source::from(stream.clone()), stream.category.clone().into()];
        if !names.is_empty() || !tags.is_empty() {
            sources.push(Source::Log);
        }
        for source in sources {
            let query = Query::from(world.item(source, names, tags)?);
            world.try_query(&query, written, false).await?;
        }
    }
    world.ledger.verify("after conditions on queries").await
}

async fn names(cx: Context) -> Outcome {
    let mut world = World::open(&cx).await?;
    let [a, b] = ["a", "b"].map(|name| world.stream("orders", name));
    let other = world.stream("users", "a");
    let stored = [
        "placed",
        "Placed",
        "place",
        "cancelled",
        "placed-2",
        "plaXced",
        "last",
        "placed%",
        "changed",
    ];
    for (nth, name) in stored.into_iter().enumerate() {
        world.put([&a, &b, &a, &other][nth % 4], name, &[]).await?;
    }
    for name in ["changed", "else", "cancelled", "else"] {
        world.put(&a, name, &[]).await?;
    }
    let mut many: Vec<String> = (0..120).map(|nth| format!("missing-{nth}")).collect();
    many.push("placed".to_owned());
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let items: [(&[&str], &[&str]); 14] = [
        (&["placed"], &[]),
        (&["Placed"], &[]),
        (&["PLACED"], &[]),
        (&["place"], &[]),
        (&["pla_ed"], &[]),
        (&["placed%"], &[]),
        (&["%"], &[]),
        (&["missing"], &[]),
        (&["placed", "changed"], &[]),
        (&["missing", "cancelled"], &[]),
        (&["cancelled", "missing", "last"], &[]),
        (&["placed", "placed"], &[]),
        (&[], &[]),
        (&many, &[]),
    ];
    let written = [world.stream("writers", "w"), b];
    everywhere(&mut world, &items, &written).await
}

async fn tags(cx: Context) -> Outcome {
    let mut world = World::open(&cx).await?;
    let [a, b] = ["a", "b"].map(|name| world.stream("orders", name));
    let stored: [(&StreamId, &[&str]); 13] = [
        (&a, &["x", "y", "z"]),
        (&a, &["x:1", "y"]),
        (&b, &["x", "y", "z"]),
        (&a, &["x", "y"]),
        (&a, &["y", "z"]),
        (&b, &["x", "z"]),
        (&a, &["x:10"]),
        (&a, &["X"]),
        (&a, &["x"]),
        (&a, &[]),
        (&a, &["y"]),
        (&a, &["z", "w"]),
        (&a, &["xy", "yz", "%"]),
    ];
    for (nth, (stream, tags)) in stored.into_iter().enumerate() {
        world.put(stream, ["placed", "changed"][nth % 2], tags).await?;
    }
    let many: Vec<String> = (0..40).map(|nth| format!("tag-{nth}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    world.put(&a, "placed", &many).await?;
    world.put(&a, "placed", &many[..39]).await?;
    let items: [(&[&str], &[&str]); 17] = [
        (&[], &["x"]),
        (&[], &["y"]),
        (&[], &["x", "y"]),
        (&[], &["z", "x"]),
        (&[], &["x", "y", "z"]),
        (&[], &["w", "z"]),
        (&[], &["x", "w"]),
        (&[], &["missing"]),
        (&[], &["x", "missing"]),
        (&[], &["x:1"]),
        (&[], &["x:"]),
        (&[], &["X"]),
        (&[], &["%"]),
        (&["placed"], &["x"]),
        (&["changed"], &["x", "y"]),
        (&["missing"], &["x"]),
        (&[], &many),
    ];
    let written = [world.stream("writers", "w"), b];
    everywhere(&mut world, &items, &written).await
}

async fn items(cx: Context) -> Outcome {
    let mut world = World::open(&cx).await?;
    let with_tags = world.ledger.store.capabilities.tags;
    let [a, b] = ["a", "b"].map(|name| world.stream("orders", name));
    let other = world.stream("users", "a");
    for (stream, name, tag) in [
        (&a, "placed", "x"),
        (&b, "changed", "y"),
        (&other, "placed", "y"),
        (&a, "changed", "x"),
        (&other, "changed", "z"),
        (&b, "placed", "z"),
        (&a, "else", "else"),
    ] {
        let tags = [tag];
        world.put(stream, name, if with_tags { &tags } else { &[] }).await?;
    }
    let log = || Source::Log;
    let stream = |stream: &StreamId| Source::from(stream.clone());
    let category = Source::from(other.category.clone());
    let none = || world.item(world.stream("orders", "missing"), &[], &[]);
    let mut queries = vec![
        vec![world.item(log(), &["missing"], &[])?, world.item(stream(&a), &["placed"], &[])?],
        vec![world.item(stream(&a), &["placed"], &[])?, world.item(log(), &["missing"], &[])?],
        vec![world.item(stream(&a), &["changed"], &[])?, world.item(stream(&b), &["placed"], &[])?],
        vec![world.item(stream(&b), &["missing"], &[])?, world.item(stream(&a), &["placed"], &[])?],
        vec![world.item(category.clone(), &[], &[])?, world.item(stream(&a), &["placed"], &[])?],
        vec![world.item(stream(&b), &[], &[])?, world.item(category.clone(), &["placed"], &[])?],
        vec![none()?, none()?, world.item(log(), &["placed"], &[])?],
        vec![none()?, none()?],
        vec![world.item(stream(&a), &["placed"], &[])?; 3],
    ];
    let mut many = vec![none()?; 60];
    many.push(world.item(stream(&b), &["changed"], &[])?);
    queries.push(many);
    if with_tags {
        queries.extend([
            vec![world.item(log(), &["placed"], &["x"])?, world.item(log(), &["changed"], &["y"])?],
            vec![
                world.item(log(), &["placed"], &["missing"])?,
                world.item(log(), &["missing"], &["y"])?,
            ],
            vec![
                world.item(log(), &["changed"], &["y"])?,
                world.item(stream(&a), &["placed"], &["y"])?,
            ],
            vec![world.item(stream(&b), &[], &["x"])?, world.item(stream(&a), &[], &["y"])?],
            vec![world.item(log(), &["missing"], &[])?, world.item(log(), &[], &["x"])?],
            vec![world.item(log(), &[], &["y"])?, world.item(stream(&a), &["placed"], &[])?],
        ]);
    }
    let written = [world.stream("writers", "w"), a.clone(), world.stream("orders", "c")];
    for items in queries {
        world.try_query(&Query::any_of(items), &written, false).await?;
    }
    world.ledger.verify("after conditions of several alternatives").await
}

async fn sources(cx: Context) -> Outcome {
    let mut world = World::open(&cx).await?;
    let places = [
        ("orders", "a"),
        ("orders", "ab"),
        ("orders", "A"),
        ("orders2", "a"),
        ("order", "sa"),
        ("users", "a"),
        ("a", "orders"),
        ("orders-a", "b"),
    ];
    let streams = places.map(|(category, name)| world.stream(category, name));
    let missing = [world.stream("orders", "missing"), world.stream("missing", "a")];
    for stream in &streams {
        world.put(stream, "placed", &[]).await?;
    }
    let written = [
        streams[0].clone(),
        world.stream("orders", "fresh"),
        streams[5].clone(),
        world.stream("writers", "w"),
    ];
    // By where they look alone, and for a name that no condition's own write has.
    for names in [&["placed"][..], &[]] {
        for stream in streams.iter().chain(&missing) {
            let mut sources = vec![Source::from(stream.clone()), stream.category.clone().into()];
            sources.extend((!names.is_empty()).then_some(Source::Log));
            for source in sources {
                let query = Query::from(world.item(source, names, &[])?);
                world.try_query(&query, &written, false).await?;
            }
        }
    }
    // What is stored later is found, wherever it is.
    for (nth, stream) in streams.iter().enumerate() {
        for name in ["later", "else"] {
            world.put(stream, name, &[]).await?;
        }
        for source in [Source::from(stream.clone()), stream.category.clone().into(), Source::Log] {
            let query = Query::from(world.item(source, &["later"], &[])?);
            let case = world.judged(&query, world.ledger.store.start);
            let written = &written[nth % written.len()];
            world.judge(written, &case, Form::Append(1)).await?;
        }
    }
    world.ledger.verify("after conditions on sources").await
}

async fn all(cx: Context) -> Outcome {
    let mut world = World::open(&cx).await?;
    let [a, b] =
        [("orders", "a"), ("users", "b")].map(|(category, name)| world.stream(category, name));
    let beyond = |after| Judged::new(WriteCondition::no_match(Query::all(), after), true);
    for after in [SequenceNumber::MAX, SequenceNumber::new(u64::MAX)] {
        for form in world.forms.clone() {
            world.ledger.judge(&a, &beyond(after), form).await?;
        }
    }
    for stream in [&a, &b] {
        // Others may append at the same time, so only own events are known to be in the log.
        let last = world.put(stream, "placed", &[]).await?.sequence_number;
        let bounds = [
            SequenceNumber::START,
            world.ledger.store.start,
            SequenceNumber::new(last.value() - 1),
        ];
        for written in [&a, &b, &world.stream("users", "fresh")] {
            for query in [Query::all(), Query::from(Source::Log)] {
                for after in bounds {
                    let case = Judged::new(WriteCondition::no_match(query.clone(), after), false);
                    for form in world.forms.clone() {
                        world.ledger.judge(written, &case, form).await?;
                    }
                }
                at_the_head(&mut world.ledger, written, &query).await?;
            }
        }
    }
    world.ledger.verify("after conditions on the whole log").await
}

/// Nothing comes after the head, unless others append at the same moment; a refusal then has their event.
async fn at_the_head(ledger: &mut Ledger, stream: &StreamId, query: &Query) -> Outcome {
    for _ in 0..50 {
        let last = ledger.store.read(Query::all(), ReadOptions::last(1).allow_skips()).await?;
        let head = last.first().map_or(SequenceNumber::START, |event| event.sequence_number);
        let condition = WriteCondition::no_match(query.clone(), head);
        let call = vec![Append::new(stream.clone(), light(1), condition)];
        match ledger.store.adapter.append(call.clone()).await {
            Ok(stored) => return ledger.record(&call, &stored),
            Err(annals::Error::ConditionFailed(unmet)) => {
                let number = unmet.matched.unwrap_or_default();
                let only = ReadOptions::default().after(head).until(number).allow_skips();
                let found = ledger.store.read(Query::all(), only).await?;
                ensure!(
                    found.iter().any(|event| event.sequence_number == number),
                    "an append if no event comes after {head} was refused for event {number}, which is not there"
                );
            }
            Err(other) => {
                return Err(Failure::from(other).in_context("an append at the head of the log"));
            }
        }
    }
    Ok(())
}

async fn multi(cx: Context) -> Outcome {
    let mut world = World::open(&cx).await?;
    needs_room(&world.ledger.store, 4)?;
    let streams = [("orders", "a"), ("orders", "b"), ("users", "c")]
        .map(|(category, name)| world.stream(category, name));
    let watched = [("watched", "x"), ("watched", "y"), ("seen", "z")]
        .map(|(category, name)| world.stream(category, name));
    for _ in 0..2 {
        for stream in &watched {
            world.put(stream, "placed", &[]).await?;
        }
    }
    let asks = |world: &World, nth: usize, holds: bool| {
        let events = world.ledger.stream(&watched[nth]);
        let back = if holds { 1 } else { 2 };
        let after = events[events.len() - back].sequence_number;
        WriteCondition::no_match(watched[nth].clone(), after)
    };
    // Each write asks for something else; one of them, at each place, finds a match.
    for bad in [None, Some(0), Some(1), Some(2)] {
        for start in 0..3 {
            for wrapped in [false, true] {
                let write = |nth: usize| {
                    let mut condition = asks(&world, nth, bad != Some(nth));
                    if wrapped {
                        // Several queries in one condition, of which the last decides.
                        let before = asks(&world, (nth + 1) % 3, true);
                        condition = WriteCondition::All(vec![before, condition]);
                    }
                    Append::new(streams[nth].clone(), light(1), condition)
                };
                let mut call: Vec<_> = (0..3).map(write).collect();
                call.rotate_left(start);
                let Some(bad) = bad else {
                    world.ledger.append(call).await?;
                    continue;
                };
                let found = unmet(&world.ledger, call).await?;
                ensure_eq!(found.stream, streams[bad], "the stream that the refusal names");
                let last =
                    world.ledger.stream(&watched[bad]).last().map(|last| last.sequence_number);
                ensure_eq!(found.matched, last, "the event that the refusal names");
            }
        }
    }
    // One of two alternatives is enough, whichever; both must be judged by their own query.
    for holds in 0..4 {
        let [first, second] = [0, 1].map(|nth| asks(&world, nth, holds >> nth & 1 == 1));
        let case = Judged::new(WriteCondition::Any(vec![first, second]), holds > 0);
        for form in world.forms.clone() {
            world.ledger.judge(&streams[0], &case, form).await?;
        }
    }
    own_call(&mut world.ledger, &streams).await?;
    world.ledger.verify("after calls with several queries").await
}

/// What a call itself appends does not count, and counts for the next.
async fn own_call(ledger: &mut Ledger, streams: &[StreamId; 3]) -> Outcome {
    for round in 0..2 {
        let head = ledger
            .sorted(|_| true)
            .last()
            .map_or(SequenceNumber::START, |last| last.sequence_number);
        let crossed = |ledger: &Ledger| {
            let write = |nth: usize| {
                let other = WriteCondition::no_match(streams[(nth + 1) % 3].clone(), head);
                let own = WriteCondition::no_match(streams[nth].category.clone(), head);
                let count = most(&ledger.store).min(6) / 3;
                Append::new(streams[nth].clone(), light(count), other & own)
            };
            (0..3).map(write).collect::<Vec<_>>()
        };
        let call = crossed(ledger);
        ledger.append(call).await?;
        ledger.unmet(crossed(ledger), "the same decision again").await?;
        let free = ledger.store.stream("orders", &format!("free-{round}"));
        let none = WriteCondition::no_match(streams[2].clone(), head);
        let call = vec![always(&streams[0], events(1)), Append::new(free, events(1), none)];
        ledger.unmet(call, "the last stream of the call before matches").await?;
    }
    Ok(())
}
