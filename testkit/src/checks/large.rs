//! Sizes that do not fit into one page, packet, column or statement.

use std::num::NonZeroUsize;

use annals::{
    Append, EventName, Metadata, NewEvent, Payload, Query, QueryItem, SequenceNumber, Source,
    WriteCondition,
};

use crate::checks::support::ledger::{Ledger, always, light, most};
use crate::checks::support::read_world::{World, named};
use crate::checks::through::claims;
use crate::engine::{Failure, Outcome, Profile, ensure};
use crate::harness::{Hook, Variant};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, but, event};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "scan.uneven",
        [R3 R4 R5],
        Required,
        [],
        uneven,
        "events of very different sizes are read whole and in order, at once and in steps with a limit, from both ends"
    ),
    check!(
        "payload.sizes_in_batch",
        [R3 A1],
        Required,
        [],
        sizes_in_batch,
        "JSON payloads and metadata around the limits of columns come back whole, alone and in one batch"
    ),
    check!(
        "append.weight",
        [A1 R3],
        Required,
        [],
        weight,
        "a call of eight mebibytes, or as many bytes as declared, is stored whole, to one stream and to several"
    ),
    check!(
        "append.max_bytes",
        [A1 A5],
        Required,
        [Need::Has(Feature::MaxAppendBytes)],
        max_bytes,
        "a call of as many bytes as declared is stored, one byte more is invalid"
    ),
    check!(
        "append.chunks",
        [A1 A3 R3],
        Required,
        [],
        chunks,
        "of thousands of events of one call each keeps its own name, payload, metadata, tags and time"
    ),
    check!(
        "idem.late_duplicate",
        [A7 A5],
        Required,
        [],
        late_duplicate,
        "a known event id among thousands of a call, wherever, keeps the whole call out"
    ),
    check!(
        "scan.sparse",
        [R3 R5 A4],
        Required,
        [],
        sparse,
        "what a query matches is found behind thousands of events that it does not match, from both ends and by conditions"
    ),
];

/// `size` bytes, which differ from those of other events and from place to place.
fn bytes(size: usize, nth: usize) -> Vec<u8> {
    let mut bytes = vec![nth.to_le_bytes()[0]; size];
    for (place, byte) in bytes.iter_mut().enumerate().step_by(997) {
        *byte ^= (place / 997).to_le_bytes()[0];
    }
    bytes
}

/// JSON of `size` bytes, at least eight.
fn json(size: usize) -> String {
    let text = "abcdefghijklmnopqrstuvw".repeat(size / 23 + 1);
    format!("{{\"x\":\"{}\"}}", &text[..size.saturating_sub(8)])
}

fn largest(store: &Subject) -> usize {
    let most = store.capabilities.max_payload_bytes;
    most.map_or(usize::MAX, |most| usize::try_from(most.get()).unwrap_or(usize::MAX))
}

fn heaviest(store: &Subject) -> usize {
    let most = store.capabilities.max_append_bytes;
    most.map_or(8 << 20, |most| usize::try_from(most.get()).unwrap_or(usize::MAX))
}

fn weight_of(event: &NewEvent) -> usize {
    let metadata = event.metadata.as_ref().map_or(0, |metadata| metadata.as_bytes().len());
    event.payload.as_bytes().len() + metadata
}

/// These events in as few calls as they fit into.
fn calls(store: &Subject, events: Vec<NewEvent>) -> Vec<Vec<NewEvent>> {
    let (count, weight) = (most(store), heaviest(store));
    let mut calls: Vec<Vec<NewEvent>> = vec![Vec::new()];
    let mut left = weight;
    for event in events {
        let size = weight_of(&event);
        if calls.last().is_some_and(|call| call.len() == count || left < size) {
            calls.push(Vec::new());
            left = weight;
        }
        left = left.saturating_sub(size);
        if let Some(call) = calls.last_mut() {
            call.push(event);
        }
    }
    calls
}

async fn uneven(cx: Context) -> Outcome {
    // Wherever pages are cut by bytes, a large event comes first, last, alone and between small ones.
    const SIZES: [usize; 13] =
        [10, 300_000, 0, 1_100_000, 0, 5, 70_000, 600_000, 2_200_000, 1, 9_000, 1_048_576, 3];
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let room = largest(&store).min(heaviest(&store));
    let streams = [("large", "a"), ("large", "b"), ("larger", "a")]
        .map(|(category, name)| store.stream(category, name));
    for nth in 0..26_usize {
        let size = SIZES[(nth * 5) % SIZES.len()].min(room);
        let sized = event(["small", "large"][usize::from(size > 50_000)]);
        let sized = but(&sized, |it| it.payload = Payload::bytes(bytes(size, nth)));
        let stream = &streams[[0, 0, 1, 0, 2][nth % 5]];
        ledger.one(stream, vec![sized], WriteCondition::Always).await?;
    }
    let world = World::of(ledger).await?;
    let mut handles = vec![store];
    if cx.harness().hooks().contains(&Hook::PageSize) {
        let four = NonZeroUsize::MIN.saturating_add(3);
        handles.push(cx.open_as(Variant::PageSize(four)).await?);
    }
    let narrow = Source::from(streams[0].clone());
    for (nth, store) in handles.iter().enumerate() {
        let wide = world.sources().into_iter().filter(|source| {
            nth == 0 && (*source == Source::Log || *source == streams[0].category.clone().into())
        });
        for source in std::iter::once(narrow.clone()).chain(wide) {
            let (whole, some) =
                (Query::from(source.clone()), Query::from(named(&source, &["large"])));
            let (all, count) = (world.widest(&whole), world.matches(&whole).len() as u64);
            claims(&world, store, &whole, all).await?;
            claims(&world, store, &whole, all.backward().limit(count - 1)).await?;
            claims(&world, store, &some, all.limit(world.matches(&some).len() as u64)).await?;
            in_steps(&world, store, &source).await?;
        }
    }
    let either = Query::any_of(streams.iter().map(|stream| QueryItem::new(stream.clone())));
    if world.may_read(&either) {
        claims(&world, &handles[0], &either, world.widest(&either)).await?;
    }
    Ok(())
}

/// A read that is continued again and again with a limit: each step returns as many events as asked for.
async fn in_steps(world: &World, store: &Subject, source: &Source) -> Outcome {
    const LIMIT: u64 = 3;
    let query = Query::from(source.clone());
    let expected = world.matches(&query);
    let (mut found, mut options) = (Vec::new(), world.widest(&query).limit(LIMIT));
    loop {
        let step = store.read(query.clone(), options).await?;
        let own = step.iter().filter(|event| store.owns(event));
        found.extend(own.cloned());
        let Some(last) = step.last() else { break };
        options = options.after(last.sequence_number);
        let end = expected.last().map_or(SequenceNumber::START, |last| last.sequence_number);
        let is_last = last.sequence_number >= end;
        ensure!(
            is_last || step.len() as u64 == LIMIT,
            "a step of {LIMIT} events of {query} gave {}, before the last one",
            step.len()
        );
        if is_last {
            break;
        }
    }
    store.same(&found, &expected, &format!("{query} in steps of {LIMIT} events"))
}

async fn sizes_in_batch(cx: Context) -> Outcome {
    const SIZES: [usize; 12] =
        [8, 255, 256, 4_096, 8_191, 8_192, 32_768, 65_535, 65_536, 65_537, 70_000, 1_100_000];
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let fits = |size: &usize| *size <= largest(&store).min(heaviest(&store));
    let sizes: Vec<usize> = SIZES.into_iter().filter(fits).collect();
    let invalid = |error| Failure::from(annals::Error::from(error));
    let mut events: Vec<NewEvent> = Vec::new();
    for size in sizes {
        let text = json(size);
        let small = but(&event("sized"), |it| it.metadata = None);
        let payload = Payload::json_bytes(text.clone()).map_err(invalid)?;
        events.push(but(&small.clone().with_id(annals::EventId::generate()), |it| {
            it.payload = payload;
        }));
        events.push(small.with_metadata(Metadata::json_bytes(text).map_err(invalid)?));
    }
    let [alone, batch] = ["alone", "batch"].map(|name| store.stream("sized", name));
    for event in &events {
        ledger.one(&alone, vec![event.clone()], WriteCondition::Always).await?;
    }
    let again = events.into_iter().map(|event| event.with_id(annals::EventId::generate()));
    for call in calls(&store, again.collect()) {
        ledger.one(&batch, call, WriteCondition::Always).await?;
    }
    ledger.verify("after payloads and metadata of many sizes").await
}

/// So many bytes together, in events of these sizes.
fn heavy(bytes_in_all: usize, each: usize, store: &Subject) -> Vec<NewEvent> {
    let each =
        each.min(largest(store)).max(bytes_in_all.div_ceil(most(store).min(1_000_000))).max(1);
    let (mut left, mut events) = (bytes_in_all, Vec::new());
    while left > 0 {
        let size = left.min(each);
        left -= size;
        events.push(but(&light(1)[0], |it| {
            it.metadata = None;
            it.payload = Payload::bytes(bytes(size, events.len()));
        }));
    }
    events
}

async fn weight(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let most_bytes = most(&store).saturating_mul(largest(&store));
    let quick = matches!(cx.profile, Profile::Quick);
    // In the longer profiles also what no limit is declared for.
    let twice = if quick || store.capabilities.max_append_bytes.is_some() { 1 } else { 2 };
    let whole = (heaviest(&store).min(32 << 20) * twice).min(most_bytes);
    let [one, two, three] = ["one", "two", "three"].map(|name| store.stream("heavy", name));
    ledger.one(&one, heavy(whole, 64 << 10, &store), WriteCondition::StreamIsEmpty).await?;
    if store.capabilities.multi_stream_append {
        let mut second = heavy(whole, 1 << 20, &store);
        let third = second.split_off(second.len() / 2);
        ledger.append(vec![always(&two, second), always(&three, third)]).await?;
    }
    if store.capabilities.order >= annals::Order::Category {
        ledger.verify_wide("after heavy calls").await?;
    } else {
        ledger.verify("after heavy calls").await?;
    }
    ledger.verify_no_hole("after heavy calls").await
}

async fn max_bytes(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let limit = heaviest(&store);
    if limit > 64 << 20 || limit > most(&store).saturating_mul(largest(&store)) {
        return Err(Failure::not_run(format!("a call of {limit} bytes cannot be tried")));
    }
    let [a, b] = ["a", "b"].map(|name| store.stream("heavy", name));
    let batch = |bytes: usize| heavy(bytes, limit.div_ceil(3), &store);
    for (bytes, fits) in [(limit, true), (limit + 1, false), (limit - 1, true)] {
        if fits {
            ledger.one(&a, batch(bytes), WriteCondition::Always).await?;
        } else if batch(bytes).len() <= most(&store) {
            ledger.invalid(vec![always(&a, batch(bytes))], "too many bytes").await?;
        }
    }
    if store.capabilities.multi_stream_append && most(&store) > 2 {
        let both = |first, second| {
            let write =
                |to, bytes| Append::new(to, heavy(bytes, bytes, &store), WriteCondition::Always);
            vec![write(a.clone(), first), write(b.clone(), second)]
        };
        let first = (limit / 2).min(largest(&store));
        if limit - first < largest(&store) {
            ledger.append(both(first, limit - first)).await?;
            let over = both(first, limit - first + 1);
            ledger.invalid(over, "too many bytes over two streams").await?;
        }
    }
    ledger.verify("after calls at the limit of bytes").await
}

/// An event that shares nothing with the others of its call.
fn unlike(store: &Subject, nth: usize) -> Outcome<NewEvent> {
    let invalid = |error| Failure::from(annals::Error::from(error));
    let name = EventName::new(format!("kind-{}", nth % 700))
        .map_err(|error| Failure::new(error.to_string()))?;
    let payload = Payload::json_bytes(format!("{{\"n\":{nth}}}")).map_err(invalid)?;
    let occurred_at =
        time::OffsetDateTime::UNIX_EPOCH + time::Duration::minutes(i64::try_from(nth).unwrap_or(0));
    let mut one = NewEvent::new(name, payload).with_occurred_at(occurred_at);
    if nth.is_multiple_of(3) {
        one.metadata = Some(Metadata::json_bytes(format!("{{\"m\":{nth}}}")).map_err(invalid)?);
    }
    if store.capabilities.tags && nth % 4 != 3 {
        one.tags = store.tags(&[&format!("t{}", nth % 900), ["x", "y"][nth % 2]]);
    }
    Ok(one)
}

async fn chunks(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let whole = if matches!(cx.profile, Profile::Quick) { 2_600 } else { 8_000 };
    let batch = |from: usize, count: usize| -> Outcome<Vec<NewEvent>> {
        (from..from + count).map(|nth| unlike(&store, nth)).collect()
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| store.stream("chunks", name));
    let room = most(&store);
    ledger.one(&a, batch(0, whole.min(room))?, WriteCondition::StreamIsEmpty).await?;
    if store.capabilities.multi_stream_append && room >= 2 {
        let each = 1_100.min(room / 2);
        let writes = [(&b, 10_000), (&c, 20_000)];
        let writes = writes.map(|(to, from)| Ok(always(to, batch(from, each)?)));
        let writes = writes.into_iter().collect::<Outcome<Vec<_>>>()?;
        ledger.append(writes).await?;
    }
    ledger.verify("after calls of thousands of events").await?;
    ledger.verify_no_hole("after calls of thousands of events").await?;
    // What is looked for is indexed for all of them.
    let last = ledger.stream(&a).len() - 1;
    for nth in [0, last / 2, last.saturating_sub(1), last] {
        let wanted = ledger.stream(&a)[nth].clone();
        let item = QueryItem::new(a.clone()).with_names([wanted.name().clone()]);
        let item = item.map_err(annals::Error::from)?.with_tags(wanted.tags().clone());
        let query = Query::from(item);
        let expected = ledger.sorted(|event| query.matches(event));
        let found = store.read(query.clone(), annals::ReadOptions::default()).await?;
        store.same(&found, &expected, &format!("a read of {query} after a call of thousands"))?;
        if store.capabilities.query_conditions {
            let last = expected.last().map_or(SequenceNumber::START, |last| last.sequence_number);
            let none = |after: Option<SequenceNumber>| {
                let after = after.unwrap_or(SequenceNumber::START);
                vec![Append::guard(b.clone(), WriteCondition::no_match(query.clone(), after))]
            };
            ledger.unmet(none(last.prev()), "an event far back in a call matches").await?;
            ledger.append(none(Some(last))).await?;
        }
    }
    Ok(())
}

async fn late_duplicate(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let [home, fresh, other] = ["home", "fresh", "other"].map(|name| store.stream("late", name));
    let known = ledger.one(&home, light(1), WriteCondition::Always).await?;
    let known = known[0].event.clone();
    let whole = 2_600.min(most(&store));
    for place in [whole / 2, 999, 1_000, 1_001, whole - 1] {
        if place >= whole {
            continue;
        }
        let mut batch = light(whole);
        batch[place] = known.clone();
        let why = format!("event {place} of {whole} is known");
        if store.capabilities.multi_stream_append && place > 1 {
            let rest = batch.split_off(place / 2);
            let call = vec![always(&fresh, batch), always(&other, rest)];
            ledger.duplicate(call, &[known.id], &why).await?;
        } else {
            ledger.duplicate(vec![always(&fresh, batch)], &[known.id], &why).await?;
        }
    }
    ledger.verify_with(&[&fresh, &other], "after calls with a known event far back").await?;
    ledger.one(&fresh, light(1), WriteCondition::StreamIsEmpty).await?;
    ledger.verify_no_hole("after calls with a known event far back").await
}

/// More than an adapter looks at for one page, or moves in one piece.
const FAR: usize = 11_000;

async fn sparse(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let stream = store.stream("sparse", "one");
    // On a log of several namespaces no other check has events of this name.
    let name = EventName::new(format!("{}rare", cx.namespace())).map_err(annals::Error::from)?;
    let rare = || vec![but(&event("rare"), |it| it.name = name.clone())];
    let rare_of = |source: &Source| {
        but(&QueryItem::new(source.clone()), |it| it.names = Some([name.clone()].into()))
    };
    let first = ledger.one(&stream, rare(), WriteCondition::Always).await?;
    // Where a call takes few, so many calls would take their time.
    let between = light(FAR.min(most(&store).saturating_mul(200)));
    for part in between.chunks(most(&store).min(10_000)) {
        ledger.one(&stream, part.to_vec(), WriteCondition::Always).await?;
    }
    ledger.one(&stream, rare(), WriteCondition::Always).await?;
    let world = World::of(ledger).await?;
    for source in world.sources() {
        let query = rare_of(&source).into();
        let all = world.widest(&query);
        for options in [all, all.limit(1), all.limit(2), all.limit(3)] {
            world.compare_both(&query, [options, options.after(first[0].sequence_number)]).await?;
        }
    }
    if store.capabilities.query_conditions {
        let rare = rare_of(&stream.clone().into());
        let none = WriteCondition::no_match(rare, first[0].sequence_number);
        let append = vec![Append::new(stream, light(1), none)];
        Ledger::of(store).unmet(append, "thousands of events later one matches").await?;
    }
    Ok(())
}
