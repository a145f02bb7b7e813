//! Reads by query: names, tags and alternatives.

use annals::{EventName, Query, QueryItem, ReadOptions, Source, WriteCondition};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::checks::support::ledger::{Ledger, most};
use crate::checks::support::read_world::{NAMES, TAGS, World, named};
use crate::engine::Outcome;
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, but, event, events};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "scan.names",
        [R3],
        Required,
        [],
        names,
        "events of any of the names asked for, and of no other"
    ),
    check!(
        "scan.names_then_limit",
        [R3 R4],
        Required,
        [],
        names_then_limit,
        "the limit counts events that match, however far apart"
    ),
    check!(
        "scan.items",
        [R3 R4],
        Required,
        [],
        items,
        "the items of a query are alternatives; an event that several ask for comes once, in its place"
    ),
    check!(
        "scan.tags",
        [R3],
        Required,
        [Need::Has(Feature::Tags)],
        tags,
        "events that have all the tags asked for, and no others"
    ),
    check!(
        "scan.all",
        [R3],
        Required,
        [Need::Has(Feature::LogOrder)],
        all,
        "the query without items is the whole log"
    ),
    check!("scan.random", [R3 R4], Required, [], random_reads, "random reads give what a naive filter gives"),
];

async fn names(cx: Context) -> Outcome {
    let mut world = World::small(&cx).await?;
    let lists: [&[&str]; 9] = [
        &["placed", "changed"],
        &["changed", "placed"],
        &["unknown", "placed"],
        &["placed", "unknown", "cancelled"],
        &["placed", "placed"],
        &["PLACED", "Placed"],
        &["place", "placed-late", "Placed"],
        &["lace", "placed ", "pla%", "p_aced", "*"],
        &NAMES,
    ];
    let many: Vec<EventName> = (0..300)
        .map(|nth| EventName::new(format!("name-{nth}")))
        .chain([EventName::new("changed")])
        .collect::<Result<_, _>>()
        .map_err(annals::Error::from)?;
    // The same reads again after more appends: what was found before is not all.
    for (round, name) in NAMES.into_iter().enumerate().take(2) {
        for source in world.sources() {
            let all = world.widest(&source.clone().into());
            let single = NAMES.each_ref().map(std::slice::from_ref);
            for list in lists.iter().copied().chain(single) {
                let query = named(&source, list).into();
                world.compare(&query, if round == 0 { all } else { all.backward() }).await?;
            }
            let mut item = QueryItem::new(source);
            item.names = Some(many.clone());
            world.compare(&item.into(), all).await?;
        }
        let streams: Vec<_> = world.ledger.streams().cloned().collect();
        for stream in streams {
            let batch = vec![event(name), event("changed")];
            let batch = batch.into_iter().take(most(&world.ledger.store)).collect();
            world.ledger.one(&stream, batch, WriteCondition::Always).await?;
        }
        world.refresh().await?;
    }
    Ok(())
}

async fn names_then_limit(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let streams = [("orders", "o-1"), ("orders", "o-2"), ("invoices", "i-1")];
    let streams = streams.map(|(category, name)| store.stream(category, name));
    // A few events that match, with many between them, in every stream.
    for turn in 0..9_usize {
        let mut batch = events(40);
        batch[[39, 17, 0][turn / 3]] = event("wanted");
        for part in batch.chunks(most(&store).min(40)) {
            ledger.one(&streams[turn % 3], part.to_vec(), WriteCondition::Always).await?;
        }
    }
    let world = World::of(ledger).await?;
    let tags = store.capabilities.tags;
    for source in world.sources() {
        let query = named(&source, &["wanted"]).into();
        let all = world.widest(&query);
        let found = world.matches(&query);
        let count = found.len() as u64;
        let middle = found[found.len() / 2].sequence_number;
        for limit in [0, 1, 2, count - 1, count, count + 1, 100] {
            let options = all.limit(limit);
            world
                .compare_both(&query, [options, options.after(middle), options.until(middle)])
                .await?;
        }
        let either = Query::any_of([named(&source, &["wanted"]), named(&source, &["unknown"])]);
        world.compare_both(&either, [all.limit(1), all.limit(2)]).await?;
        if tags {
            let none = named(&source, &["wanted"]).with_tags(store.tags(&["a"]));
            world.compare_both(&none.into(), [all.limit(1)]).await?;
        }
    }
    Ok(())
}

async fn items(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let sources = world.sources();
    let mut queries: Vec<Query> = Vec::new();
    for (nth, source) in sources.iter().enumerate() {
        let item = |names: &[&'static str]| named(source, names);
        let other = named(&sources[(nth + 1) % sources.len()], &["changed"]);
        let third = named(&sources[(nth + 5) % sources.len()], &[]);
        let unknown = item(&["unknown"]);
        queries.extend([
            // Disjoint, overlapping, equal, one within the other; the useful one first, last, in the middle.
            Query::any_of([item(&["placed"]), item(&["changed"])]),
            Query::any_of([item(&["changed"]), item(&["placed"])]),
            Query::any_of([item(&["changed", "placed"]), item(&["placed", "place"])]),
            Query::any_of([item(&["placed"]), item(&["placed"])]),
            Query::any_of([item(&["placed"]), item(&[])]),
            Query::any_of([item(&[]), item(&["placed"])]),
            Query::any_of([item(&[]), item(&[])]),
            Query::any_of([item(&["cancelled"]), unknown.clone(), item(&["placed"])]),
            Query::any_of([unknown.clone(), unknown.clone(), item(&["changed"])]),
            Query::any_of([item(&["placed"]), other.clone()]),
            Query::any_of([other.clone(), item(&["placed"])]),
            Query::any_of([third.clone(), item(&["placed"]), other]),
            Query::any_of([third, item(&[])]),
        ]);
        let many = (0..60).map(|_| unknown.clone()).chain([item(&["placed"]), item(&["place"])]);
        queries.push(Query::any_of(many));
        if world.ledger.store.capabilities.tags {
            let tagged = |tag| item(&[]).with_tags(world.ledger.store.tags(&[tag]));
            queries.push(Query::any_of([tagged("a"), tagged("b")]));
            queries.push(Query::any_of([tagged("a"), item(&["placed"])]));
            queries.push(Query::any_of([item(&["changed"]), tagged("ab"), tagged("b")]));
        }
    }
    for query in queries.into_iter().filter(|query| world.may_read(query)) {
        let all = world.widest(&query);
        let middle = world.own[world.own.len() / 2].sequence_number;
        world.compare_both(&query, [all]).await?;
        world.compare(&query, all.limit(3)).await?;
        world.compare(&query, all.after(middle).limit(2).backward()).await?;
    }
    Ok(())
}

async fn tags(cx: Context) -> Outcome {
    let mut world = World::small(&cx).await?;
    let store = world.ledger.store.clone();
    let lists: [&[&str]; 12] = [
        &["a"],
        &["ab"],
        &["a:b"],
        &["A"],
        &["b"],
        &["unknown"],
        &["a", "b"],
        &["b", "a"],
        &["a", "unknown"],
        &["ab", "a:b"],
        &["a", "ab", "b"],
        &TAGS,
    ];
    for round in 0..2 {
        for source in world.sources() {
            let all = world.widest(&source.clone().into());
            for list in lists {
                let item = QueryItem::new(source.clone()).with_tags(store.tags(list));
                world.compare(&item.clone().into(), all).await?;
                world.compare(&item.clone().into(), all.backward().limit(2)).await?;
                let item = but(&item, |it| it.names = named(&source, &["placed", "changed"]).names);
                world.compare(&item.into(), all).await?;
            }
        }
        // All tags on one event, the same on others in part, many on one, and none.
        let stream = store.stream("orders", "tagged");
        let many: Vec<String> =
            (0..30).map(|nth| format!("tag-{nth}")).chain(["a".to_owned()]).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for list in [&TAGS[..], &TAGS[..2], &many, &[]] {
            let mut event = event("placed");
            event.tags = store.tags(list);
            world.ledger.one(&stream, vec![event], WriteCondition::Always).await?;
        }
        world.refresh().await?;
        if round == 1 {
            let source = Source::from(stream);
            let item = QueryItem::new(source).with_tags(store.tags(&many));
            world.compare(&item.into(), ReadOptions::default()).await?;
        }
    }
    Ok(())
}

async fn all(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let marks = world.marks(&Query::all(), 3);
    for query in [Query::all(), Query::any_of([]), Source::Log.into()] {
        let all = world.widest(&query);
        for options in [all, all.until(world.last()), all.limit(7), all.limit(0)] {
            world.compare_both(&query, [options]).await?;
        }
        for mark in &marks {
            world
                .compare_both(
                    &query,
                    [all.after(*mark), all.until(*mark), all.after(*mark).limit(2)],
                )
                .await?;
        }
    }
    Ok(())
}

async fn random_reads(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let marks = world.marks(&Query::all(), 16);
    for seed in cx.cases(150) {
        let mut random = StdRng::seed_from_u64(seed);
        let query = world.query(&mut random);
        let mut options = world.widest(&query);
        if random.random_bool(0.5) {
            options = options.after(marks[random.random_range(0..marks.len())]);
        }
        if random.random_bool(0.4) {
            options = options.until(marks[random.random_range(0..marks.len())]);
        }
        if random.random_bool(0.5) {
            options = options.limit(random.random_range(0..12));
        }
        if random.random_bool(0.5) {
            options = options.backward();
        }
        world.compare(&query, options).await?;
    }
    Ok(())
}
