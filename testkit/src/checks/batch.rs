//! Batches: empty, large, limited, repeated.

use annals::{Append, EventId, Payload, Position, Query, SequenceNumber, StreamId, WriteCondition};

use crate::checks::support::ledger::{Ledger, always, describe, light, most, needs_room};
use crate::engine::{Failure, Outcome, ensure};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, event, events};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "append.batch_sizes",
        [A1 A2 A3 A7],
        Required,
        [],
        batch_sizes,
        "batches around every usual limit of a database are stored whole, and their ids remembered"
    ),
    check!("append.guard", [A7 A4], Required, [], guard, "a write without events is judged and stores nothing"),
    check!(
        "append.same_stream_twice",
        [A7 A5],
        Required,
        [],
        same_stream_twice,
        "a call that names one stream twice is refused as invalid"
    ),
    check!(
        "append.max_events",
        [A1 A5],
        Required,
        [Need::Has(Feature::MaxEventsPerAppend)],
        max_events,
        "as many events as declared are stored, one more is invalid"
    ),
    check!(
        "append.max_payload",
        [R3 A5],
        Required,
        [Need::Has(Feature::MaxPayloadBytes)],
        max_payload,
        "a payload, and metadata, as large as declared is stored, one byte more is invalid"
    ),
    check!("idem.duplicate_id", [A7 A5], Required, [], duplicate_id, "a known event id is refused, wherever it comes again"),
    check!(
        "idem.duplicate_before_condition",
        [A7],
        Required,
        [],
        duplicate_before_condition,
        "a known event id is reported as such, whatever the conditions are"
    ),
    check!("idem.retry", [A7 A5], Required, [], retry, "an append repeated is recognised; after a refusal its ids are free"),
    check!(
        "idem.distinct",
        [A7 R3],
        Required,
        [],
        distinct,
        "events with ids that are nearly alike, or with the same content, are different events"
    ),
];

async fn batch_sizes(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let limit = ledger.store.capabilities.max_events_per_append;
    let limit =
        limit.and_then(|most| usize::try_from(most.get()).ok()).filter(|most| *most < 10_000);
    // Many databases bind at most 999, 32 766 or 65 535 values, or insert 1 000 rows: sizes around what that
    // makes for rows of some columns. A stream gets one batch when it is new and more later.
    let plan: [&[usize]; 4] = [
        &[1, 2, 100, 101, 128, 129, 255, 256, 257],
        &[999, 1_000, 1_001],
        &[1_001, 7_282],
        &[1, 10_000, 1],
    ];
    for (nth, sizes) in plan.into_iter().enumerate() {
        let stream = ledger.store.stream("orders", &format!("o-{nth}"));
        let extra = limit.filter(|_| nth == 0);
        for size in sizes.iter().copied().chain(extra) {
            if limit.is_none_or(|most| size <= most) {
                ledger.one(&stream, light(size), ledger.as_it_is(&stream)).await?;
            }
        }
    }
    ledger.verify("after batches of many sizes").await?;
    ledger.verify_no_hole("after batches of many sizes").await?;
    // However many events came since, an id is known.
    let second = Ledger::of(cx.open().await?);
    let all = ledger.sorted(|_| true);
    for nth in [0, all.len() / 2, all.len() - 1] {
        let (known, id) = (all[nth].event.clone(), all[nth].event.id);
        let why = format!("event {nth} of {} comes again", all.len());
        for stream in ["o-0", "again"].map(|name| ledger.store.stream("orders", name)) {
            ledger.duplicate(vec![always(&stream, vec![known.clone()])], &[id], &why).await?;
            second.duplicate(vec![always(&stream, vec![known.clone()])], &[id], &why).await?;
        }
    }
    Ok(())
}

/// Conditions on `stream`, which has `count` events, and whether each holds.
fn conditions(ledger: &Ledger, stream: &StreamId, count: u64) -> Vec<(WriteCondition, bool)> {
    let (empty, exists) = (WriteCondition::StreamIsEmpty, WriteCondition::StreamExists);
    let at = |position| WriteCondition::PositionIs(Position::new(position));
    let mut all = vec![
        (WriteCondition::Always, true),
        (empty.clone(), count == 0),
        (exists.clone(), count > 0),
        (at(count.saturating_sub(1)), count > 0),
        (at(count), false),
        (empty.clone() & exists.clone(), false),
        (empty | exists, true),
        (WriteCondition::All(Vec::new()), true),
        (WriteCondition::Any(Vec::new()), false),
    ];
    if ledger.store.capabilities.query_conditions {
        let none = |after| WriteCondition::no_match(Query::from(stream.clone()), after);
        all.push((none(SequenceNumber::START), count == 0));
        let last = ledger.stream(stream).last();
        all.push((none(last.map_or(SequenceNumber::START, |last| last.sequence_number)), true));
    }
    all
}

async fn guard(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let existing = ledger.store.stream("orders", "existing");
    let fresh = ledger.store.stream("orders", "fresh");
    let others = [ledger.store.stream("orders", "x"), ledger.store.stream("invoices", "y")];
    let count = most(&ledger.store).min(2);
    ledger.one(&existing, events(count), WriteCondition::Always).await?;
    for (stream, count) in [(&existing, count as u64), (&fresh, 0)] {
        for (condition, holds) in conditions(&ledger, stream, count) {
            let guard = || Append::guard(stream.clone(), condition.clone());
            let mut calls = vec![vec![guard()]];
            if ledger.store.capabilities.multi_stream_append {
                let write = |nth: usize| always(&others[nth], events(1));
                let other = Append::guard(others[1].clone(), WriteCondition::Always);
                calls.extend([
                    vec![guard(), write(0)],
                    vec![write(1), guard()],
                    vec![other.clone(), guard()],
                    vec![guard(), other],
                ]);
                if most(&ledger.store) >= 2 {
                    calls.push(vec![write(0), guard(), write(1)]);
                }
            }
            for call in calls {
                if holds {
                    ledger.append(call).await?;
                } else {
                    ledger.unmet(call, "the condition of the guard does not hold").await?;
                }
            }
            ledger.verify_with(&[stream, &others[0], &others[1]], "after guards").await?;
        }
    }
    ledger.one(&fresh, events(1), WriteCondition::StreamIsEmpty).await?;
    ledger.verify("after guards and an append").await?;
    ledger.verify_no_hole("after guards").await
}

async fn same_stream_twice(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let multi = ledger.store.capabilities.multi_stream_append;
    let existing = ledger.store.stream("orders", "existing");
    let fresh = ledger.store.stream("orders", "fresh");
    let other = ledger.store.stream("invoices", "fresh");
    ledger.one(&existing, events(1), WriteCondition::Always).await?;
    for stream in [&existing, &fresh] {
        let write = || always(stream, events(1));
        let guard = || Append::guard(stream.clone(), WriteCondition::Always);
        let between = || always(&other, events(1));
        let mut calls = vec![
            vec![write(), write()],
            vec![guard(), write()],
            vec![write(), guard()],
            vec![guard(), guard()],
            vec![write(), between(), write()],
            vec![between(), write(), write()],
            vec![write(), Append::new(stream.clone(), events(1), WriteCondition::StreamExists)],
        ];
        let many = (0..20).map(|nth| ledger.store.stream("many", &format!("{nth}")));
        let many = many.map(|stream| Append::guard(stream, WriteCondition::Always));
        calls.push([write()].into_iter().chain(many).chain([write()]).collect());
        for call in calls {
            if call.iter().map(|write| write.events.len()).sum::<usize>() > most(&ledger.store) {
                continue;
            }
            if multi {
                ledger.invalid(call, "one stream twice").await?;
            } else {
                ledger.refused(call, "one stream twice").await?;
            }
            ledger.verify_with(&[&fresh, &other], "after a stream twice").await?;
        }
    }
    if multi && most(&ledger.store) >= 2 {
        // The same name in another category is another stream.
        ledger.append(vec![always(&fresh, events(1)), always(&other, events(1))]).await?;
    }
    ledger.one(&existing, events(1), WriteCondition::Always).await?;
    ledger.verify("after streams twice").await?;
    ledger.verify_no_hole("after streams twice").await
}

async fn max_events(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let limit = most(&ledger.store);
    if limit > 100_000 {
        return Err(Failure::not_run(format!("{limit} events are too many to try")));
    }
    let streams = ["a", "b"].map(|name| ledger.store.stream("orders", name));
    for round in 0..2 {
        ledger.one(&streams[0], light(limit), ledger.as_it_is(&streams[0])).await?;
        let when = format!("after more than {limit} events, round {round}");
        for over in [limit + 1, limit * 2 + 1] {
            ledger.invalid(vec![always(&streams[0], light(over))], "too many events").await?;
            ledger.invalid(vec![always(&streams[1], light(over))], "too many events").await?;
        }
        if ledger.store.capabilities.multi_stream_append {
            let both = |first, second| {
                vec![always(&streams[0], light(first)), always(&streams[1], light(second))]
            };
            ledger.invalid(both(limit, 1), "too many events over two streams").await?;
            ledger.invalid(both(1, limit), "too many events over two streams").await?;
            ledger.verify(&when).await?;
            ledger.append(both(limit / 2, limit - limit / 2)).await?;
        }
        ledger.verify(&when).await?;
    }
    ledger.verify_no_hole("after calls over the limit").await
}

async fn max_payload(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let limit = ledger.store.capabilities.max_payload_bytes.map_or(0, std::num::NonZeroU32::get);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit > 64 << 20 {
        return Err(Failure::not_run(format!("payloads of {limit} bytes are too large to try")));
    }
    let room = most(&ledger.store);
    let payload = |size: usize, json: bool| {
        if !json {
            return Ok(Payload::bytes(vec![0xA5; size]));
        }
        let text = format!("\"{}\"", "x".repeat(size.saturating_sub(2)));
        Payload::json_bytes(text).map_err(annals::Error::from)
    };
    let stream = ledger.store.stream("orders", "o-1");
    // Few that fit: each is written whole, and read several times.
    let all = 0..room.min(3);
    let cases = [
        (limit.saturating_sub(1), false, true, 0..1),
        (limit, false, true, 1..2),
        (limit + 1, false, false, all.clone()),
        (limit, true, true, 2..3),
        (limit + 1, true, false, all.clone()),
    ];
    for (size, json, fits, places) in cases {
        // No JSON has less than two bytes.
        if json && size < 2 {
            break;
        }
        for place in places.map(|place| place.min(all.end - 1)) {
            let mut batch: Vec<_> = light(all.end);
            for event in &mut batch {
                event.payload = Payload::bytes(vec![1]);
            }
            batch[place].payload = payload(size, json)?;
            let write = always(&stream, batch);
            if fits {
                ledger.append(vec![write]).await?;
            } else {
                ledger.invalid(vec![write], &format!("event {place} is too large")).await?;
            }
        }
    }
    ledger.verify("after payloads at the limit").await?;
    // The limit holds for metadata, too: an object takes a few bytes around its text.
    for (size, fits) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
        let Some(text) = size.checked_sub(8) else { continue };
        let json = format!("{{\"x\":\"{}\"}}", "x".repeat(text));
        let metadata = annals::Metadata::json_bytes(json).map_err(annals::Error::from)?;
        let mut batch = light(1);
        batch[0].payload = Payload::bytes(vec![1]);
        batch[0].metadata = Some(metadata);
        let write = always(&stream, batch);
        if fits {
            ledger.append(vec![write]).await?;
        } else {
            ledger.invalid(vec![write], "the metadata is too large").await?;
        }
    }
    ledger.verify("after metadata at the limit").await
}

async fn duplicate_id(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let home = ledger.store.stream("orders", "home");
    let sibling = ledger.store.stream("orders", "sibling");
    let foreign = ledger.store.stream("invoices", "home");
    let fresh = ledger.store.stream("invoices", "fresh");
    let mut stored = ledger.one(&home, events(room.min(3)), WriteCondition::Always).await?;
    stored.extend(ledger.one(&sibling, events(1), WriteCondition::Always).await?);
    stored.extend(ledger.one(&foreign, events(1), WriteCondition::Always).await?);
    stored.extend(ledger.one(&home, events(1), WriteCondition::Always).await?);
    let second = Ledger::of(cx.open().await?);
    for known in &stored {
        let known = known.event.clone();
        for stream in [&home, &sibling, &foreign, &fresh] {
            ledger
                .duplicate(vec![always(stream, vec![known.clone()])], &[known.id], "again")
                .await?;
            let other = event("something-else").with_id(known.id);
            second.duplicate(vec![always(stream, vec![other])], &[known.id], "its id").await?;
            for place in (0..room.min(4)).filter(|_| room > 1) {
                let mut batch = events(room.min(4));
                batch[place] = known.clone();
                let amid = format!("event {place} of four is known");
                ledger.duplicate(vec![always(stream, batch)], &[known.id], &amid).await?;
            }
        }
        if ledger.store.capabilities.multi_stream_append && room > 1 {
            let new = || always(&fresh, events(1));
            let old = || always(&sibling, vec![known.clone()]);
            for call in [vec![new(), old()], vec![old(), new()]] {
                ledger.duplicate(call, &[known.id], "one of two writes is known").await?;
            }
        }
        ledger.verify_with(&[&fresh], "after known events").await?;
    }
    twice_in_one_call(&ledger, &home, &fresh).await?;
    let two = [stored[0].event.id, stored[1].event.id];
    if room > 1 {
        let batch = vec![stored[0].event.clone(), stored[1].event.clone()];
        ledger.duplicate(vec![always(&fresh, batch)], &two, "two known events").await?;
    }
    ledger.verify_with(&[&fresh], "after known events").await?;
    ledger.one(&fresh, events(1), WriteCondition::StreamIsEmpty).await?;
    ledger.verify("after known events and an append").await?;
    ledger.verify_no_hole("after known events").await
}

async fn twice_in_one_call(ledger: &Ledger, home: &StreamId, fresh: &StreamId) -> Outcome {
    let room = most(&ledger.store);
    for (count, first, second) in [(2, 0, 1), (5, 0, 4), (5, 1, 4), (5, 2, 3), (40, 3, 39)] {
        if count > room {
            continue;
        }
        for stream in [home, fresh] {
            let mut batch = light(count);
            let id = batch[first].id;
            batch[second].id = id;
            let why = format!("events {first} and {second} of {count} have one id");
            ledger.duplicate(vec![always(stream, batch)], &[id], &why).await?;
        }
        if ledger.store.capabilities.multi_stream_append {
            let mut batch = light(count);
            let id = batch[first].id;
            batch[second].id = id;
            let rest = batch.split_off(second);
            let call = vec![always(home, batch), always(fresh, rest)];
            ledger.duplicate(call, &[id], "two writes hold one id").await?;
        }
    }
    ledger.verify_with(&[fresh], "after an id twice in one call").await
}

async fn duplicate_before_condition(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let existing = ledger.store.stream("orders", "existing");
    let fresh = ledger.store.stream("orders", "fresh");
    let other = ledger.store.stream("invoices", "other");
    let count = room.min(2);
    let stored = ledger.one(&existing, events(count), WriteCondition::Always).await?;
    let known = stored[0].event.clone();
    for (stream, count) in [(&existing, count as u64), (&fresh, 0)] {
        for (condition, _) in conditions(&ledger, stream, count) {
            let write = |events| vec![Append::new(stream.clone(), events, condition.clone())];
            ledger.duplicate(write(vec![known.clone()]), &[known.id], "a known event").await?;
            if room > 1 {
                let batch = vec![event("happened"), known.clone()];
                ledger.duplicate(write(batch), &[known.id], "a known event, last").await?;
                let twice = event("happened");
                let batch = vec![twice.clone(), twice.clone()];
                ledger.duplicate(write(batch), &[twice.id], "an event twice").await?;
            }
            if ledger.store.capabilities.multi_stream_append && room > 1 {
                let judged = || Append::new(stream.clone(), events(1), condition.clone());
                let guard = || Append::guard(stream.clone(), condition.clone());
                let again = || always(&other, vec![known.clone()]);
                let calls = [
                    vec![judged(), again()],
                    vec![again(), judged()],
                    vec![guard(), again()],
                    vec![again(), guard()],
                ];
                for call in calls {
                    ledger.duplicate(call, &[known.id], "a known event beside it").await?;
                }
            }
        }
    }
    ledger.verify_with(&[&fresh, &other], "after known events").await
}

async fn retry(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let stream = ledger.store.stream("orders", "o-1");
    let second = Ledger::of(cx.open().await?);
    for count in [1, 3, 1, 20].map(|count: usize| count.min(room)) {
        let batch = light(count);
        let ids: Vec<EventId> = batch.iter().map(|event| event.id).collect();
        let call = vec![Append::new(stream.clone(), batch, ledger.as_it_is(&stream))];
        ledger.append(call.clone()).await?;
        for handle in [&ledger, &second] {
            handle.duplicate(call.clone(), &ids, "the same append again").await?;
        }
        ledger.one(&stream, events(1), WriteCondition::Always).await?;
        ledger.duplicate(call.clone(), &ids, "the same append again, later").await?;
        if room > count {
            let mut more = call.clone();
            more[0].events.push(event("happened"));
            ledger.duplicate(more, &ids, "the same append with an event more").await?;
        }
        let mut part = call;
        part[0].events.drain(..count / 2);
        ledger.duplicate(part, &ids, "the latter half of it again").await?;
        ledger.verify("after an append was repeated").await?;

        let refused = light(count);
        let wrong = Append::new(stream.clone(), refused.clone(), WriteCondition::StreamIsEmpty);
        ledger.unmet(vec![wrong.clone()], "the stream has events").await?;
        ledger.unmet(vec![wrong], "the stream still has events").await?;
        ledger.one(&stream, refused, ledger.as_it_is(&stream)).await?;
        ledger.verify("after a refused append was made with the same ids").await?;
    }
    if ledger.store.capabilities.multi_stream_append && room > 1 {
        let other = ledger.store.stream("invoices", "i-1");
        let call = vec![
            Append::new(stream.clone(), events(1), ledger.as_it_is(&stream)),
            Append::new(other.clone(), events(1), WriteCondition::StreamIsEmpty),
        ];
        let ids: Vec<_> = call.iter().map(|write| write.events[0].id).collect();
        ledger.append(call.clone()).await?;
        ledger.duplicate(call.clone(), &ids, "the same append again").await?;
        ledger.duplicate(call[1..].to_vec(), &ids[1..], "its second write again").await?;
        ledger.verify("after an append to two streams was repeated").await?;
    }
    ledger.verify_no_hole("after repeated appends").await
}

async fn distinct(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.store.stream("orders", "o-1");
    let id = EventId::generate().as_uuid().as_u128();
    let near = [1, 1 << 31, 1 << 63, 1 << 64, 1 << 95, 1 << 127].map(|bit: u128| id ^ bit);
    let halves = [id & u128::from(u64::MAX), id | u128::from(u64::MAX) << 64];
    for id in [id].into_iter().chain(near).chain(halves) {
        let id = EventId::from_uuid(uuid::Uuid::from_u128(id));
        ledger.one(&stream, vec![event("happened").with_id(id)], WriteCondition::Always).await?;
    }
    ledger.verify("after ids that differ in one bit").await?;
    let template = event("happened");
    for _ in 0..3 {
        let call = vec![always(&stream, vec![template.clone().with_id(EventId::generate())])];
        let described = describe(&call);
        let stored = ledger.append(call).await?;
        ensure!(stored.len() == 1, "{described} returned {} events", stored.len());
    }
    needs_room(&ledger.store, 2)?;
    let same = [(); 2].map(|()| template.clone().with_id(EventId::generate()));
    ledger.one(&stream, same.to_vec(), WriteCondition::Always).await?;
    ledger.verify("after events of the same content").await
}
