//! Event ids in queries and conditions.

use annals::{
    Append, Error, EventId, Order, Query, QueryItem, ReadOptions, SequenceNumber, Source,
    StoredEvent, WriteCondition,
};

use crate::checks::support::ledger::{always, light};
use crate::checks::support::polled_read::streams;
use crate::checks::support::read_world::{World, named};
use crate::checks::through::pages;
use crate::engine::{Outcome, ensure_err};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, event};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "scan.ids",
        [R3 R5],
        Required,
        [Need::Has(Feature::KnownIds)],
        ids,
        "events are found by their ids, beside every other part of an item, in any order declared"
    ),
    check!(
        "cond.ids",
        [A4],
        Required,
        [Need::Has(Feature::KnownIds), Need::Has(Feature::QueryConditions)],
        conditions,
        "conditions on ids are judged by id, source, names and tags together"
    ),
    check!(
        "cap.ids_refused",
        [C1],
        Required,
        [Need::Lacks(Feature::KnownIds)],
        refused,
        "without known_ids forever, queries for ids are rejected in reads and conditions"
    ),
    check!(
        "cond.last_event",
        [A4 A2],
        Required,
        [],
        last_event,
        "a condition on the last event of a stream is judged by its id alone"
    ),
];

fn id_of(event: &StoredEvent) -> EventId {
    event.id()
}

/// Items that ask for ids: own ones and unknown ones, alone and beside names, tags and sources.
fn queries(world: &World) -> Vec<Query> {
    let (store, own) = (&world.ledger.store, &world.own);
    let ids = |step: usize| own.iter().step_by(step).map(id_of).chain([EventId::generate()]);
    let log = QueryItem::new(Source::Log);
    let mut queries = vec![
        log.clone().with_ids([EventId::generate()]).into(),
        log.clone().with_ids([id_of(&own[0])]).into(),
        log.clone().with_ids([id_of(&own[own.len() - 1]), id_of(&own[2]), id_of(&own[2])]).into(),
        log.clone().with_ids(ids(3)).into(),
        log.clone().with_ids(ids(1)).into(),
        Query::any_of([log.clone().with_ids(ids(5)), log.clone().with_ids(ids(2))]),
    ];
    for stream in world.ledger.streams() {
        for source in [Source::from(stream.clone()), stream.category.clone().into()] {
            queries.push(QueryItem::new(source.clone()).with_ids(ids(2)).into());
            queries.push(named(&source, &["placed", "changed"]).with_ids(ids(1)).into());
            let tagged = QueryItem::new(source).with_tags(store.tags(&["a"]));
            queries.push(tagged.with_ids(ids(1)).into());
        }
    }
    queries.retain(|query| store.capabilities.tags || !query.uses_tags());
    queries
}

async fn ids(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let store = &world.ledger.store;
    let middle = world.own[world.own.len() / 2].sequence_number;
    let all = ReadOptions::default();
    for query in queries(&world) {
        // Wider than the order or not: ids are found wherever they are.
        let options = [all, all.limit(1), all.limit(3), all.after(middle), all.until(middle)];
        for options in options.into_iter().flat_map(|options| [options, options.backward()]) {
            compare(&world, store, &query, options).await?;
        }
    }
    // Beside an item without ids the query is as wide as its sources.
    let [stream, ..] = streams(store);
    let mixed = [
        QueryItem::new(stream).with_ids([id_of(&world.own[0])]),
        QueryItem::new(world.own[0].stream.clone()),
    ];
    let mixed = Query::any_of(mixed);
    if store.capabilities.order >= Order::Category || world.may_read(&mixed) {
        compare(&world, store, &mixed, all).await?;
    }
    Ok(())
}

async fn compare(world: &World, store: &Subject, query: &Query, options: ReadOptions) -> Outcome {
    let pages = pages(store, query, options).await?;
    let found: Vec<_> = pages.into_iter().flat_map(|page| page.events).collect();
    let expected = crate::checks::support::read_world::select(world.matches(query), options);
    store.same(&found, &expected, &format!("the read of {query} ({options:?})"))
}

async fn conditions(cx: Context) -> Outcome {
    let mut world = World::small(&cx).await?;
    let target = world.ledger.store.stream("orders", "by id");
    for query in queries(&world) {
        let found = world.matches(&query);
        let last = found.last().map(|last| last.sequence_number);
        let marks = [SequenceNumber::START, world.own[3].sequence_number];
        for after in marks.into_iter().chain(last) {
            let condition = WriteCondition::no_match(query.clone(), after);
            if found.iter().any(|event| event.sequence_number > after) {
                let call = vec![Append::new(target.clone(), light(1), condition)];
                world.ledger.unmet(call, "an event with that id matches").await?;
            } else {
                world.ledger.one(&target, light(1), condition).await?;
            }
        }
    }
    world.ledger.verify("after conditions on ids").await
}

async fn refused(cx: Context) -> Outcome {
    let world = World::small(&cx).await?;
    let store = &world.ledger.store;
    let stream = world.own[0].stream.clone();
    let all = ReadOptions::default();
    for source in [Source::Log, stream.category.clone().into(), stream.clone().into()] {
        for ids in [vec![], vec![id_of(&world.own[0])]] {
            let query = Query::from(QueryItem::new(source.clone()).with_ids(ids));
            for options in [all, all.backward(), all.allow_skips(), all.follow()] {
                let found = store.try_read(query.clone(), options).await?;
                ensure_err!(found, Error::Unsupported { .. }, "a read of {query} ({options:?})");
            }
            if store.capabilities.query_conditions {
                let condition = WriteCondition::no_match(query.clone(), SequenceNumber::START);
                let call = vec![Append::new(stream.clone(), light(1), condition)];
                let ended = store.adapter.append(call).await;
                ensure_err!(ended, Error::Unsupported { .. }, "a condition on {query}");
            }
        }
    }
    world.ledger.verify("after queries for ids that were rejected").await
}

async fn last_event(cx: Context) -> Outcome {
    let mut world = World::small(&cx).await?;
    let store = world.ledger.store.clone();
    let [stream, other] = [store.stream("orders", "o-1"), store.stream("orders", "o-2")];
    let is = WriteCondition::LastEventIs;
    let empty = store.stream("orders", "of nothing");
    for nth in 0..4 {
        let last = |world: &World, stream| world.ledger.stream(stream).last().map(id_of);
        let known = last(&world, &stream).unwrap_or_else(EventId::generate);
        let of_other = last(&world, &other).unwrap_or_else(EventId::generate);
        let earlier = world.ledger.stream(&stream).first().map_or(of_other, id_of);
        for wrong in [EventId::generate(), of_other, earlier] {
            for call in [
                vec![Append::new(stream.clone(), light(1), is(wrong))],
                vec![Append::guard(stream.clone(), is(wrong))],
                vec![Append::new(stream.clone(), light(1), is(wrong) & WriteCondition::Always)],
                vec![Append::new(empty.clone(), light(1), is(wrong))],
            ] {
                world.ledger.unmet(call, "another event is the last one").await?;
            }
        }
        let known = is(known);
        world.ledger.append(vec![Append::guard(stream.clone(), known.clone())]).await?;
        let holds = match nth % 4 {
            0 => known,
            1 => known & world.ledger.as_it_is(&stream),
            2 => is(of_other) | known,
            _ => WriteCondition::All(vec![WriteCondition::Any(vec![known])]),
        };
        let stored = world.ledger.one(&stream, vec![event("placed")], holds).await?;
        // What this call appended is the last event for the next one.
        let id = stored.last().map_or_else(EventId::generate, id_of);
        world.ledger.one(&stream, light(1), is(id)).await?;
        world.ledger.append(vec![always(&other, light(1))]).await?;
    }
    // Two streams that differ in nothing but their events.
    let pair = [store.stream("pair", "a"), store.stream("pair", "b")];
    for _ in 0..2 {
        for stream in &pair {
            world.ledger.one(stream, light(1), world.ledger.as_it_is(stream)).await?;
        }
        for (stream, other) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            let wrong = world.ledger.stream(other).last().map_or_else(EventId::generate, id_of);
            let call = vec![Append::new(stream.clone(), light(1), is(wrong))];
            world.ledger.unmet(call, "it is the last event of another stream").await?;
        }
    }
    // Of the event's own call it is not yet the last one.
    let mut own = light(1);
    own[0] = event("placed");
    let call = vec![Append::new(stream.clone(), own.clone(), is(own[0].id))];
    world.ledger.unmet(call, "the event is not stored yet").await?;
    world.ledger.verify("after conditions on the last event").await
}
