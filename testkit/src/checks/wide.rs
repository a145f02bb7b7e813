//! Queries of thousands of parts, the longest names of every kind, and ids at the ends of their range.

use annals::{
    Append, Encoding, EventId, EventName, MAX_NAME_BYTES, NewEvent, Payload, Query, QueryItem,
    ReadOptions, SequenceNumber, Source, StoredEvent, StreamId, WriteCondition,
};
use uuid::Uuid;

use crate::checks::support::ledger::{Ledger, always, but, light, most};
use crate::checks::support::read_world::World;
use crate::engine::{Failure, Outcome, ensure};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, event};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "scan.many_parts",
        [R3 R5],
        Required,
        [],
        many_parts,
        "queries of thousands of items, names, tags and ids, few or all of which have events, give what they ask for, whichever part asks for it"
    ),
    check!(
        "cond.many_parts",
        [A4],
        Required,
        [Need::Has(Feature::QueryConditions)],
        conditions_of_many_parts,
        "conditions on queries of thousands of parts are judged by all of them"
    ),
    check!(
        "cap.max_query_parts",
        [C1 A5],
        Required,
        [Need::Has(Feature::MaxQueryParts)],
        max_parts,
        "queries and conditions of as many parts as declared are answered, one more is invalid"
    ),
    check!(
        "name.longest",
        [R3],
        Required,
        [],
        longest,
        "event names, tags and encodings up to 255 bytes come back, and are found apart from one that ends differently"
    ),
    check!(
        "idem.extreme_ids",
        [A7 R3],
        Required,
        [],
        extreme_ids,
        "ids at the ends of their range, and with zeros in them, are as good as others"
    ),
];

/// How many names, ids and streams that have events one query asks for.
const KNOWN: usize = 1_100;
/// The first of the numbers that only the names of [`known`] have.
const FIRST_KNOWN: usize = 100_000;

/// How many parts a query may have here.
fn parts(store: &Subject) -> usize {
    let most = store.capabilities.max_query_parts;
    most.map_or(9_000, |most| usize::try_from(most.get()).unwrap_or(usize::MAX).min(9_000))
}

/// An event name of this check alone: a condition on the log would also match what others append meanwhile.
fn name(store: &Subject, nth: usize) -> Outcome<EventName> {
    EventName::new(store.category(&format!("kind-{nth}")).as_str())
        .map_err(|error| Failure::new(error.to_string()))
}

/// Events in many streams, each with a name of its own, some with many tags.
async fn world(cx: &Context) -> Outcome<(World, Vec<StreamId>)> {
    let mut ledger = Ledger::open(cx).await?;
    let store = ledger.store.clone();
    let streams: Vec<_> = (0..130).map(|nth| store.stream("wide", &format!("s{nth}"))).collect();
    for (nth, stream) in streams.iter().enumerate() {
        if nth >= 20 && nth % 13 != 0 && nth < 125 {
            continue;
        }
        let mut one = but(&light(1)[0], |_| {});
        one.name = name(&store, nth * 40)?;
        if store.capabilities.tags && nth % 4 == 0 {
            let tags: Vec<String> = (0..150 + nth).map(|nth| format!("t{nth}")).collect();
            one.tags = store.tags(&tags.iter().map(String::as_str).collect::<Vec<_>>());
        }
        ledger.one(stream, vec![one], WriteCondition::Always).await?;
    }
    Ok((World::of(ledger).await?, streams))
}

/// Queries of many parts, of which few match: the first, the last, and some between.
fn queries(world: &World, streams: &[StreamId]) -> Outcome<Vec<Query>> {
    let store = &world.ledger.store;
    let room = parts(store);
    let absent = |nth: usize| store.stream("wide", &format!("absent{nth}"));
    let named = |source: Source, names: Vec<EventName>| -> Outcome<QueryItem> {
        Ok(QueryItem::new(source).with_names(names).map_err(annals::Error::from)?)
    };
    let mut queries = Vec::new();
    let sources = world.sources();
    let narrow = streams.first().map(|stream| Source::from(stream.clone()));
    let wide = |source: &&Source| !matches!(source, Source::Stream(_));
    let wide = sources.iter().filter(wide).max_by_key(|source| **source == Source::Log).cloned();
    for source in narrow.into_iter().chain(wide) {
        // Names, and items of one name each.
        let many: Outcome<Vec<_>> =
            (0..room.saturating_sub(1)).map(|nth| name(store, nth)).collect();
        let many = many?;
        let few: Vec<_> = many.iter().take((room / 2).min(1_500)).cloned().collect();
        queries.push(named(source.clone(), many)?.into());
        let items: Outcome<Vec<_>> =
            few.iter().map(|name| named(source.clone(), vec![name.clone()])).collect();
        queries.push(Query::any_of(items?));
        if store.capabilities.tags {
            let tags = |count: usize| {
                let tags: Vec<String> = (0..count).map(|nth| format!("t{nth}")).collect();
                store.tags(&tags.iter().map(String::as_str).collect::<Vec<_>>())
            };
            for count in [150, 200, 260].into_iter().filter(|count| *count < room) {
                queries.push(QueryItem::new(source.clone()).with_tags(tags(count)).into());
            }
        }
        if Feature::KnownIds.is_declared(&store.capabilities) {
            let mut ids: Vec<_> =
                (0..room.min(5_000).saturating_sub(4)).map(|_| EventId::generate()).collect();
            let known = world.own.iter().map(StoredEvent::id);
            let known: Vec<_> =
                known.take(2).chain(world.own.last().map(StoredEvent::id)).collect();
            let middle = ids.len() / 2;
            for (place, id) in [0, middle, ids.len() + 2].into_iter().zip(known) {
                ids.insert(place.min(ids.len()), id);
            }
            queries.push(QueryItem::new(source.clone()).with_ids(ids).into());
        }
    }
    // Streams, of which most do not exist.
    let gone = (0..(room / 2).min(1_800)).map(absent);
    let wanted = streams.iter().take((room / 4).min(streams.len())).cloned();
    let items: Vec<_> =
        gone.chain(wanted).chain(streams.last().cloned()).map(QueryItem::new).collect();
    queries.push(Query::any_of(items));
    let may = |query: &Query| {
        store.capabilities.known_ids == annals::KnownIds::Forever || !query.uses_ids()
    };
    queries.retain(|query| world.may_read(query) && may(query));
    Ok(queries)
}

/// Queries for thousands of names, ids and streams of which each has events. Appends them.
async fn known(world: &mut World) -> Outcome<Vec<Query>> {
    let store = world.ledger.store.clone();
    let count = parts(&store).saturating_sub(1).min(KNOWN);
    let stream = store.stream("known", "one");
    let mut all = light(count);
    for (nth, event) in all.iter_mut().enumerate() {
        event.name = name(&store, FIRST_KNOWN + nth)?;
    }
    for part in all.chunks(most(&store)) {
        world.ledger.one(&stream, part.to_vec(), WriteCondition::Always).await?;
    }
    let item = || QueryItem::new(stream.clone());
    let names = all.iter().map(|event| event.name.clone());
    let mut queries = vec![item().with_names(names).map_err(annals::Error::from)?.into()];
    if store.capabilities.known_ids == annals::KnownIds::Forever {
        queries.push(item().with_ids(all.iter().map(|event| event.id)).into());
    }
    if store.capabilities.multi_stream_append {
        let streams: Vec<_> =
            (0..count / 2).map(|nth| store.stream("known", &format!("s{nth}"))).collect();
        for part in streams.chunks(most(&store)) {
            world.ledger.append(part.iter().map(|to| always(to, light(1))).collect()).await?;
        }
        queries.push(Query::any_of(streams.into_iter().map(QueryItem::new)));
    }
    world.refresh().await?;
    queries.retain(|query| world.may_read(query));
    Ok(queries)
}

async fn many_parts(cx: Context) -> Outcome {
    let (mut world, streams) = world(&cx).await?;
    for query in queries(&world, &streams)? {
        let all = world.widest(&query);
        let count = world.matches(&query).len() as u64;
        world.compare(&query, all).await?;
        world.compare(&query, all.backward().limit(count.max(2) - 1)).await?;
    }
    for query in known(&mut world).await? {
        // A handle that has met none of them.
        let fresh = cx.open().await?;
        world.compare_by(&fresh, &query, world.widest(&query)).await?;
    }
    Ok(())
}

async fn conditions_of_many_parts(cx: Context) -> Outcome {
    let (mut world, streams) = world(&cx).await?;
    let write = world.ledger.store.stream("written", "to");
    for query in queries(&world, &streams)? {
        let Some(last) = world.matches(&query).last().map(|last| last.sequence_number) else {
            continue;
        };
        let none = |after: SequenceNumber| {
            let condition = WriteCondition::no_match(query.clone(), after);
            vec![Append::new(write.clone(), light(1), condition)]
        };
        let before = last.prev().unwrap_or(SequenceNumber::START);
        world.ledger.unmet(none(before), "the last event of a wide query matches").await?;
        if query.scope() != Some(Source::Log)
            || query.items().iter().all(|item| item.names.is_some())
        {
            world.ledger.append(none(last)).await?;
        }
    }
    for query in known(&mut world).await? {
        let Some(last) = world.matches(&query).last().map(|last| last.sequence_number) else {
            continue;
        };
        for (after, matches) in [(last.prev().unwrap_or_default(), true), (last, false)] {
            let condition = WriteCondition::no_match(query.clone(), after);
            let call = vec![Append::new(write.clone(), light(1), condition)];
            world.ledger = world.ledger.through(cx.open().await?);
            if matches {
                world.ledger.unmet(call, "the last of thousands of known parts matches").await?;
            } else {
                world.ledger.append(call).await?;
            }
        }
    }
    world.ledger.verify_wide("after conditions of many parts").await
}

async fn max_parts(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let most = store.capabilities.max_query_parts.map_or(0, std::num::NonZeroU32::get);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if !(4..=100_000).contains(&most) {
        return Err(Failure::not_run(format!("queries of {most} parts cannot be tried")));
    }
    let stream = store.stream("wide", "one");
    let mut first = event("kind");
    first.name = name(&store, 0)?;
    ledger.one(&stream, vec![first], WriteCondition::Always).await?;
    let of_names = |parts: usize| -> Outcome<Query> {
        let names: Outcome<Vec<_>> = (0..parts - 1).map(|nth| name(&store, nth)).collect();
        let item = QueryItem::new(stream.clone()).with_names(names?);
        Ok(item.map_err(annals::Error::from)?.into())
    };
    let of_items = |parts: usize| Query::any_of((0..parts).map(|_| QueryItem::new(stream.clone())));
    for (parts, fits) in [(most, true), (most + 1, false)] {
        for query in [of_names(parts)?, of_items(parts)] {
            let found = store.try_read(query.clone(), ReadOptions::default()).await?;
            let right = match &found {
                Ok(found) => fits && found.len() == 1,
                Err(error) => !fits && matches!(error, annals::Error::Invalid(_)),
            };
            ensure!(right, "a query of {parts} parts, of at most {most}, gave {found:?}");
            if store.capabilities.query_conditions {
                let condition = WriteCondition::no_match(query, SequenceNumber::START);
                let call = vec![Append::guard(stream.clone(), condition)];
                if fits {
                    ledger.unmet(call, "an event matches").await?;
                } else {
                    ledger.invalid(call, "a condition of too many parts").await?;
                }
            }
        }
    }
    Ok(())
}

/// Pairs of names that differ in their last byte only.
fn twins(prefix: usize) -> Vec<String> {
    let lengths = [63, 64, 65, 100, 127, 128, 129, 191, 192, 199, 200, 201, 254, MAX_NAME_BYTES];
    let lengths = lengths.map(|length| length - prefix);
    lengths
        .iter()
        .flat_map(|length| ["y", "z"].map(|end| format!("{}{end}", "n".repeat(length - 1))))
        .collect()
}

async fn longest(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let stream = store.stream("long", "names");
    let prefix = store.category("").as_str().len();
    let mut queries = Vec::new();
    let mut events = Vec::new();
    let failed = |error: annals::InvalidName| Failure::new(error.to_string());
    for text in twins(0) {
        let encoding = Encoding::new(text.as_str()).map_err(failed)?;
        let payload = Payload::new(encoding, text.clone()).map_err(annals::Error::from)?;
        events.push(NewEvent::new(EventName::new(text).map_err(failed)?, payload));
    }
    if store.capabilities.tags {
        for text in twins(prefix) {
            events.push(but(&light(1)[0], |it| it.tags = store.tags(&[&text])));
        }
    }
    for part in events.chunks(most(&store)) {
        ledger.one(&stream, part.to_vec(), WriteCondition::Always).await?;
    }
    for event in &events {
        let item = QueryItem::new(stream.clone()).with_tags(event.tags.clone());
        let item = item.with_names([event.name.clone()]).map_err(annals::Error::from)?;
        queries.push(Query::from(item));
    }
    let categories = store.capabilities.order >= annals::Order::Category;
    let world = World::of(ledger).await?;
    for query in queries {
        world.compare(&query, ReadOptions::default()).await?;
        let expected = world.matches(&query);
        ensure!(expected.len() == 1, "a check chose names that are not apart");
        if categories {
            let items = query.items().iter();
            let category =
                items.map(|item| but(item, |it| it.source = stream.category.clone().into()));
            world.compare(&Query::any_of(category), ReadOptions::default()).await?;
        }
        if store.capabilities.query_conditions {
            let last = expected[0].sequence_number;
            let none = |after| WriteCondition::no_match(query.clone(), after);
            let guard = |after| vec![Append::guard(stream.clone(), none(after))];
            world
                .ledger
                .unmet(guard(last.prev().unwrap_or(SequenceNumber::START)), "it matches")
                .await?;
            store.adapter.append(guard(last)).await?;
        }
    }
    world.ledger.verify("after the longest names").await
}

async fn extreme_ids(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let random = || EventId::generate().as_uuid().as_u128();
    // The ends themselves may be taken in a store that is kept: what is random is left somewhere in the middle.
    let middle = |ends: u128| {
        let mask = 0xFFFF_FFFF_u128 << 32;
        (ends & !mask) | ((random() ^ (random() << 13)) & mask)
    };
    let mut ids: Vec<u128> = [0, 1, u128::MAX, u128::MAX - 1].map(middle).to_vec();
    for bit in [7, 31, 63, 64, 95, 126, 127] {
        ids.extend([middle(1 << bit), middle(!(1_u128 << bit)), middle((1 << bit) - 1)]);
    }
    // Zeros, quotes and backslashes among the bytes, and ids that are the same up to them.
    for byte in [0x00_u8, 0x0A, 0x22, 0x27, 0x5C, 0x7F, 0x80, 0xFF] {
        let base = random();
        for place in [1, 6, 8, 15] {
            let mut bytes = base.to_be_bytes();
            bytes[place] = byte;
            for last in [0x41, 0x42] {
                bytes[15] = if place == 15 { byte } else { last };
                ids.push(u128::from_be_bytes(bytes));
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    let ids: Vec<_> = ids.into_iter().map(|id| EventId::from_uuid(Uuid::from_u128(id))).collect();
    let stream = store.stream("ids", "extreme");
    let made = |id: &EventId| but(&light(1)[0], |it| it.id = *id);
    // Neither up nor down, so that no order of ids can pass for that of events.
    let (odd, even): (Vec<_>, Vec<_>) = ids.iter().enumerate().partition(|(nth, _)| nth % 2 == 1);
    let turned: Vec<_> = odd.iter().rev().chain(&even).map(|(_, id)| made(id)).collect();
    for part in turned.chunks(most(&store).min(40)) {
        ledger.one(&stream, part.to_vec(), WriteCondition::Always).await?;
    }
    ledger.verify("after events with extreme ids").await?;
    let fresh = store.stream("ids", "fresh");
    for id in &ids {
        ledger
            .duplicate(vec![always(&fresh, vec![made(id)])], &[*id], "an extreme id again")
            .await?;
    }
    if Feature::KnownIds.is_declared(&store.capabilities) {
        for id in &ids {
            let query = Query::from(QueryItem::new(stream.clone()).with_ids([*id]));
            let found = store.read(query, ReadOptions::default()).await?;
            let right = found.len() == 1 && found[0].id() == *id;
            ensure!(right, "the event of id {id} was asked for, found {found:?}");
        }
    }
    ledger.verify_with(&[&fresh], "after extreme ids again").await
}
