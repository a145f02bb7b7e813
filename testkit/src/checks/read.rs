//! Reads: which events, in which order, from which end.

use annals::{
    Append, Query, QueryItem, ReadOptions, SequenceNumber, Source, StoredEvent, WriteCondition,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::checks::support::ledger::{Ledger, most};
use crate::checks::support::read_world::{NAMES, World, named, some};
use crate::engine::{Failure, Outcome, ensure};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, events};

pub(super) const CHECKS: &[Check] = &[
    check!("scan.empty", [R3 R4], Required, [], empty, "a read that finds nothing gives no page and no error"),
    check!(
        "scan.isolation",
        [R3],
        Required,
        [],
        isolation,
        "a read gives nothing of streams and categories that it did not ask for"
    ),
    check!(
        "scan.order",
        [R2 A3],
        Required,
        [],
        order,
        "streams, categories and the log are read by sequence number, whatever else could sort them"
    ),
    check!("scan.bounds", [R2 R3], Required, [], bounds, "`after` is exclusive and `until` inclusive, at every number"),
    check!("scan.limit", [R3 R4], Required, [], limit, "a read gives as many events as asked for, 0 included"),
    check!(
        "scan.extremes",
        [R3 R4],
        Required,
        [],
        extremes,
        "bounds and limits at the ends of their range, and crossed ones"
    ),
    check!("scan.backward", [R3 R4], Required, [], backward, "from the end: the same events, the newest first"),
    check!(
        "scan.resume",
        [R2 R4],
        Required,
        [],
        resume,
        "a read can go on after any event, in steps of any size, from both ends"
    ),
    check!("latest.oracle", [R1 R3], Required, [], latest, "the latest event of every source, after every append"),
    check!(
        "latest.empty",
        [R3],
        Required,
        [],
        latest_empty,
        "there is no latest event where there is none"
    ),
];

/// Reads of nothing: streams, categories, names, tags and numbers that no event has.
async fn nothing(store: &Subject) -> Outcome {
    let unknown = ["unknown", "orders"].map(|category| store.stream(category, "unknown"));
    let mut queries: Vec<Query> = unknown.iter().map(|stream| stream.clone().into()).collect();
    let wide = store.capabilities.order;
    if wide >= annals::Order::Category {
        queries.push(store.category("unknown").into());
        queries.push(store.category("order").into());
    }
    let existing = Source::from(store.stream("orders", "o-1"));
    queries.push(named(&existing, &["unknown"]).into());
    queries.push(named(&existing, &["unknown", "happene"]).into());
    if store.capabilities.tags {
        let tags = store.tags(&["unknown"]);
        queries.push(QueryItem::new(existing.clone()).with_tags(tags.clone()).into());
        if wide >= annals::Order::Log {
            queries.push(QueryItem::new(Source::Log).with_tags(tags).into());
        }
    }
    let mut reads = Vec::new();
    for query in queries {
        let all = ReadOptions::default();
        let last = SequenceNumber::new(1_000_000_000);
        for options in [all, all.limit(1), all.limit(0), all.after(store.start), all.until(last)] {
            reads.extend([(query.clone(), options), (query.clone(), options.backward())]);
        }
    }
    // Existing events, none of them asked for.
    reads.push((existing.clone().into(), ReadOptions::default().limit(0)));
    reads.push((existing.clone().into(), ReadOptions::default().until(SequenceNumber::START)));
    reads.push((existing.into(), ReadOptions::default().after(SequenceNumber::MAX)));
    for (query, options) in reads {
        let found = store.read(query.clone(), options).await?;
        store.same(&found, &[], &format!("read of {query} ({options:?})"))?;
    }
    Ok(())
}

async fn empty(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    nothing(&store).await?;
    let streams = ["o-1", "o-2"].map(|name| store.stream("orders", name));
    // Neither a refusal nor a guard makes a stream.
    let write = Append::new(streams[0].clone(), events(1), WriteCondition::StreamExists);
    ledger.unmet(vec![write], "the stream is empty").await?;
    ledger.one(&streams[0], Vec::new(), WriteCondition::StreamIsEmpty).await?;
    let found = store.stream_events(&streams[0]).await?;
    store.same(&found, &[], "a stream that was only refused and guarded")?;
    for round in 0..2 {
        for stream in &streams {
            ledger.one(stream, events(2.min(most(&store))), WriteCondition::Always).await?;
        }
        nothing(&store).await.map_err(|failure| failure.in_context(format!("round {round}")))?;
    }
    ledger.verify("beside reads of nothing").await
}

async fn isolation(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    for source in world.sources() {
        let query = Query::from(source.clone());
        let all = world.widest(&query);
        // The world's bounds fall between events of other streams.
        let [first, last] = [4, world.own.len() / 2].map(|nth| world.own[nth].sequence_number);
        let options = [all, all.limit(1), all.limit(3), all.after(first), all.until(last)];
        world.compare_both(&query, options).await?;
        for name in NAMES {
            world.compare_both(&named(&source, &[name]).into(), [all, all.limit(2)]).await?;
        }
    }
    world.ledger.verify("of streams with names that are alike").await
}

async fn order(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let mut random = StdRng::seed_from_u64(cx.seed());
    // Names fall and rise, batches meet, times fall: no order but that of the appends fits.
    let names =
        [("z", "c"), ("z", "a"), ("m", "b"), ("z", "b"), ("a", "c"), ("m", "a"), ("a", "a")];
    let streams = names.map(|(category, name)| store.stream(category, name));
    for turn in 0..20_usize {
        let stream = match turn {
            0..7 => &streams[turn],
            7..14 => &streams[13 - turn],
            _ => &streams[random.random_range(0..7)],
        };
        let mut write =
            some(&store, stream, [2, 1, 3][turn % 3].min(most(&store)), turn, &mut random);
        // Ids fall as well.
        let mut ids: Vec<_> = write.events.iter().map(|event| event.id).collect();
        ids.reverse();
        write.events.iter_mut().zip(ids).for_each(|(event, id)| event.id = id);
        ledger.append(vec![write]).await?;
    }
    ledger.verify("appended in turn").await?;
    let world = World::of(ledger).await?;
    for source in world.sources() {
        let query = Query::from(source.clone());
        let all = world.widest(&query);
        world
            .compare_both(&query, [all, all.limit(5), all.after(world.own[3].sequence_number)])
            .await?;
        world.compare_both(&named(&source, &["changed", "placed"]).into(), [all]).await?;
    }
    Ok(())
}

async fn bounds(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let mut random = StdRng::seed_from_u64(cx.seed());
    for source in world.sources() {
        let query = Query::from(source.clone());
        let all = world.widest(&query);
        let marks = world.marks(&query, 5);
        for mark in &marks {
            world.compare_both(&query, [all.after(*mark), all.until(*mark)]).await?;
        }
        for _ in 0..12 {
            let mut pick = || marks.choose(&mut random).copied().unwrap_or_default();
            let options = all.after(pick()).until(pick());
            world.compare_both(&query, [options, options.limit(2)]).await?;
        }
        let (first, last) = (marks[2], marks[marks.len() - 2]);
        let names = named(&source, &["placed", "changed"]).into();
        world.compare_both(&names, [all.after(first), all.until(last)]).await?;
        if world.ledger.store.capabilities.tags {
            let tags = world.ledger.store.tags(&["a"]);
            let tagged = QueryItem::new(source).with_tags(tags).into();
            world.compare_both(&tagged, [all.after(first), all.until(last)]).await?;
        }
    }
    Ok(())
}

async fn limit(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    for source in world.sources() {
        let query = Query::from(source.clone());
        let all = world.widest(&query);
        let found = world.matches(&query);
        let count = found.len() as u64;
        let middle = found[found.len() / 2].sequence_number;
        for limit in [0, 1, 2, 3, count - 1, count, count + 1, count * 2, 1 << 31] {
            let options = all.limit(limit);
            world.compare_both(&query, [options]).await?;
            if limit < 3 || limit == count {
                let bounded = [options.after(middle), options.until(middle)];
                world.compare_both(&query, bounded).await?;
                world.compare_both(&named(&source, &["placed"]).into(), [options]).await?;
            }
        }
    }
    Ok(())
}

async fn extremes(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let (first, last) = (world.own[0].sequence_number.value(), world.last().value());
    let most = SequenceNumber::MAX.value();
    let far = [
        (1 << 31) - 1,
        1 << 31,
        1 << 32,
        1 << 53,
        most - 1,
        most,
        most + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    let far = far.into_iter().filter(|number| *number > last);
    let numbers: Vec<_> = [0, 1, first - 1, first, last - 1, last, last + 1, last + 2]
        .into_iter()
        .chain(far)
        .map(SequenceNumber::new)
        .collect();
    for source in world.sources() {
        let query = Query::from(source);
        let all = world.widest(&query);
        for number in &numbers {
            world.compare_both(&query, [all.after(*number), all.until(*number)]).await?;
            // Crossed bounds, and bounds that meet, hold nothing.
            let crossed = ReadOptions::default().after(*number);
            let lower = SequenceNumber::new(number.value().saturating_sub(1));
            world.compare_both(&query, [crossed.until(lower)]).await?;
            world.compare(&query, crossed.until(*number)).await?;
            world.compare(&query, crossed.until(SequenceNumber::START)).await?;
        }
        for limit in [0, 1, (1 << 31) - 1, 1 << 32, most, most + 1, u64::MAX - 1, u64::MAX] {
            let both = all.after(SequenceNumber::new(first)).until(world.last());
            world.compare_both(&query, [all.limit(limit), both.limit(limit)]).await?;
        }
        let widest = all.until(SequenceNumber::new(u64::MAX)).limit(u64::MAX);
        world.compare_both(&query, [widest]).await?;
        if query.scope() != Some(Source::Log) {
            let widest = ReadOptions::default().until(SequenceNumber::new(u64::MAX));
            world.compare_both(&query, [ReadOptions::default(), widest]).await?;
        }
    }
    Ok(())
}

async fn backward(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    for source in world.sources() {
        let query = Query::from(source.clone());
        let all = world.widest(&query).backward();
        let marks = world.marks(&query, 4);
        let count = world.matches(&query).len() as u64;
        let (low, high) = (marks[marks.len() / 3], marks[marks.len() * 2 / 3]);
        let bounded = [all, all.after(low), all.until(high), all.after(low).until(high)];
        for options in bounded {
            for limit in [None, Some(1), Some(2), Some(count - 1), Some(count + 1)] {
                let options = limit.map_or(options, |limit| options.limit(limit));
                world.compare(&query, options).await?;
            }
            let names = named(&source, &["changed", "placed"]).into();
            world.compare(&names, options).await?;
            world.compare(&names, options.limit(2)).await?;
            let items =
                Query::any_of([named(&source, &["place"]), named(&source, &["changed", "place"])]);
            world.compare(&items, options).await?;
            world.compare(&items, options.limit(2)).await?;
            if world.ledger.store.capabilities.tags {
                let tagged =
                    QueryItem::new(source.clone()).with_tags(world.ledger.store.tags(&["ab"]));
                world.compare(&tagged.clone().into(), options).await?;
                world.compare(&tagged.into(), options.limit(2)).await?;
            }
        }
        if query.scope() != Some(Source::Log) {
            world.compare(&query, ReadOptions::default().backward()).await?;
        }
    }
    Ok(())
}

async fn resume(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let store = &world.ledger.store;
    for source in world.sources() {
        let filtered = named(&source, &["placed", "changed", "place"]).into();
        for (query, is_plain) in [(Query::from(source), true), (filtered, false)] {
            let all = world.widest(&query).until(world.last());
            for event in world.matches(&query).iter().filter(|_| is_plain) {
                world.compare(&query, all.after(event.sequence_number)).await?;
            }
            for (step, backward) in [(1, false), (3, false), (7, true), (2, true)] {
                let options = if backward { all.backward() } else { all };
                let whole = store.read(query.clone(), options).await?;
                let found = walk(store, &query, options.limit(step), whole.len() + 1).await?;
                store.same(&found, &whole, &format!("{query} in steps of {step} ({options:?})"))?;
            }
        }
    }
    Ok(())
}

/// Reads on from where the last step ended, until nothing is left.
async fn walk(
    store: &Subject,
    query: &Query,
    step: ReadOptions,
    most: usize,
) -> Outcome<Vec<StoredEvent>> {
    let mut found = Vec::new();
    let mut step = step;
    for _ in 0..=most {
        let part = store.read(query.clone(), step).await?;
        let Some(last) = part.last().map(|event| event.sequence_number) else { return Ok(found) };
        match step.direction {
            annals::Direction::Forward => step.after = last,
            annals::Direction::Backward => step.until = Some(SequenceNumber::new(last.value() - 1)),
        }
        found.extend(part);
    }
    Err(Failure::new(format!("{query} in steps ({step:?}) does not end after {most} steps")))
}

async fn latest(cx: Context) -> Outcome {
    let mut world = World::small(&cx).await?;
    let mut random = StdRng::seed_from_u64(cx.seed());
    let streams: Vec<_> =
        world.ledger.sorted(|_| true).into_iter().map(|event| event.stream.clone()).collect();
    let store = world.ledger.store.clone();
    for turn in 0..12_usize {
        for source in world.sources() {
            let query = Query::from(source.clone());
            world.compare(&query, ReadOptions::last(1)).await?;
            let named = named(&source, &[NAMES[turn % NAMES.len()], "changed"]).into();
            if !world.matches(&named).is_empty() {
                world.compare(&named, ReadOptions::last(1)).await?;
            }
            world.compare(&query, ReadOptions::last(1).after(world.own[9].sequence_number)).await?;
            world
                .compare(
                    &query,
                    world.widest(&query).until(world.own[20].sequence_number).backward().limit(1),
                )
                .await?;
            let last = store.latest(query.clone()).await?;
            ensure!(last.is_some(), "{query} has no latest event");
        }
        let stream = streams.choose(&mut random).cloned();
        let stream = stream.unwrap_or_else(|| store.stream("orders", "o-1"));
        let count = [1, 3][turn % 2].min(most(&store));
        world.ledger.append(vec![some(&store, &stream, count, turn + 30, &mut random)]).await?;
        world.refresh().await?;
    }
    Ok(())
}

async fn latest_empty(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let [empty, sibling] = ["o-1", "o-2"].map(|name| store.stream("orders", name));
    let mut none: Vec<(Query, ReadOptions)> = vec![(empty.clone().into(), ReadOptions::last(1))];
    for round in 0..3 {
        if store.capabilities.order >= annals::Order::Category {
            none.push((store.category("none").into(), ReadOptions::last(1)));
            if round == 0 {
                let found = store.latest(store.category("orders")).await?;
                store.same(found.as_slice(), &[], "the latest of an empty category")?;
            }
        }
        if store.capabilities.order >= annals::Order::Log {
            let end = ReadOptions::last(1).after(SequenceNumber::MAX);
            none.push((Source::Log.into(), end));
        }
        for (query, options) in &none {
            let found = store.read(query.clone(), *options).await?;
            store.same(
                &found,
                &[],
                &format!("round {round}: the latest of {query} ({options:?})"),
            )?;
        }
        let write = Append::new(empty.clone(), events(1), WriteCondition::StreamExists);
        ledger.unmet(vec![write], "the stream is empty").await?;
        let stored = ledger.one(&sibling, events(1), WriteCondition::Always).await?;
        let sibling = Source::from(sibling.clone());
        none.push((named(&sibling, &["unknown"]).into(), ReadOptions::last(1)));
        none.push((sibling.clone().into(), ReadOptions::last(1).after(stored[0].sequence_number)));
        none.push((sibling.into(), ReadOptions::last(1).until(SequenceNumber::START)));
        none.retain(|(_, options)| {
            options.after >= stored[0].sequence_number || options.after == SequenceNumber::START
        });
    }
    ledger.one(&empty, events(1), WriteCondition::StreamIsEmpty).await?;
    ledger.verify("the latest of what was empty").await
}
