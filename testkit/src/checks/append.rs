//! Appending: what is stored, what is returned, in which order, and what else stays as it was.

use annals::{
    Append, EventId, Metadata, NewEvent, Payload, ReadOptions, SequenceNumber, WriteCondition,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use time::{Duration, OffsetDateTime};

use crate::checks::support::ledger::{Ledger, always, light, most, needs_room};
use crate::engine::{Failure, Outcome, ensure};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, event, events};

pub(super) const CHECKS: &[Check] = &[
    check!("append.roundtrip", [A1 R3], Required, [], roundtrip, "an event and later ones come back whole"),
    check!(
        "append.returned_equals_stored",
        [R3],
        Required,
        [],
        returned_equals_stored,
        "what append returns equals what every read gives, field by field"
    ),
    check!(
        "append.batch_order",
        [A2 A3],
        Required,
        [],
        batch_order,
        "a batch keeps the order given, whatever ids, times and names would sort to"
    ),
    check!(
        "append.no_writes",
        [A1],
        Required,
        [],
        no_writes,
        "a call without writes stores and returns nothing"
    ),
    check!(
        "append.atomic",
        [A1 A5],
        Required,
        [],
        atomic,
        "an event that is refused, anywhere in a batch, keeps the whole batch out"
    ),
    check!(
        "append.other_streams_untouched",
        [A1 A2],
        Required,
        [],
        other_streams_untouched,
        "an append changes no stream but its own, however alike the names"
    ),
];

async fn roundtrip(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.store.stream("orders", "o-1");
    ledger.one(&stream, vec![event("placed")], WriteCondition::Always).await?;
    ledger.verify("after the first append").await?;
    for _ in 0..3 {
        ledger.one(&stream, vec![event("changed")], WriteCondition::Always).await?;
        ledger.verify("after an append").await?;
    }
    Ok(())
}

/// Events that differ in every field.
fn varied(store: &Subject, count: usize) -> Outcome<Vec<NewEvent>> {
    let names = ["placed", "changed", "Changed", "cancelled by hand"];
    let one = |nth: usize| {
        let mut event = event(names[nth % names.len()]);
        event.payload = match nth % 3 {
            0 => Payload::json(&serde_json::json!({ "nth": nth })).map_err(annals::Error::from)?,
            1 => Payload::bytes(vec![u8::try_from(nth % 256).unwrap_or_default(); nth]),
            _ => event.payload,
        };
        event.metadata = match nth % 4 {
            0 => None,
            1 => Some(Metadata::json(&serde_json::json!({})).map_err(annals::Error::from)?),
            _ => event.metadata,
        };
        if store.capabilities.tags {
            let tag = format!("nth:{nth}");
            let all = [tag.as_str(), "order", "a:b"];
            event.tags = store.tags(&all[..nth % 4]);
        }
        let ago = i64::try_from(nth).unwrap_or_default();
        let occurred_at = event.occurred_at - Duration::microseconds(ago * 3_600_000_001);
        Ok(event.with_occurred_at(occurred_at))
    };
    (0..count).map(one).collect::<Result<_, Failure>>()
}

async fn returned_equals_stored(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let stream = store.stream("orders", "o-1");
    let batch = varied(&store, most(&store).min(13))?;
    let mut returned = ledger.one(&stream, batch, WriteCondition::StreamIsEmpty).await?;
    for next in varied(&store, 4)? {
        returned.extend(ledger.one(&stream, vec![next], WriteCondition::Always).await?);
    }
    if store.capabilities.multi_stream_append && most(&store) >= 4 {
        let other = store.stream("invoices", "i-1");
        let writes = [(&stream, 2), (&other, 2)];
        let writes = writes.map(|(to, count)| Ok(always(to, varied(&store, count)?)));
        let writes = writes.into_iter().collect::<Outcome<Vec<_>>>()?;
        let both = ledger.append(writes).await?;
        returned.extend(both.into_iter().filter(|event| event.stream == stream));
    }
    ledger.verify("after five appends").await?;
    ledger.through(cx.open().await?).verify("by a second handle").await?;
    let one = ReadOptions::default().limit(1);
    let first = store.read(stream.clone(), one).await?;
    store.same(&first, &returned[..1], "the first")?;
    for stored in &returned {
        let number = stored.sequence_number;
        let alone = ReadOptions::default().after(before(number)).until(number);
        let found = store.read(stream.clone(), alone).await?;
        store.same(&found, std::slice::from_ref(stored), &format!("event {number} alone"))?;
    }
    Ok(())
}

fn before(number: SequenceNumber) -> SequenceNumber {
    SequenceNumber::new(number.value().saturating_sub(1))
}

async fn batch_order(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    for (nth, seed) in cx.cases(8).enumerate() {
        let mut random = StdRng::seed_from_u64(seed);
        let mut batch = light(random.random_range(2_usize..40).min(room));
        match nth % 3 {
            // Falling ids and times, so that no sorting by them goes unseen.
            0 => batch.reverse(),
            1 => batch.shuffle(&mut random),
            _ => {}
        }
        let count = batch.len();
        for (at, event) in batch.iter_mut().enumerate() {
            let names = ["z", "b", "happened", "a"];
            event.name = annals::EventName::from_static(names[(at + nth) % names.len()]);
            let seconds = i64::try_from(count - at).unwrap_or_default();
            event.occurred_at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds);
        }
        let stream = ledger.store.stream("orders", &format!("o-{}", nth % 3));
        ledger.one(&stream, batch, WriteCondition::Always).await?;
    }
    ledger.verify("after shuffled batches").await
}

async fn no_writes(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.store.stream("orders", "o-1");
    for _ in 0..3 {
        let returned = ledger.append(Vec::new()).await?;
        ensure!(returned.is_empty(), "a call without writes returned {} events", returned.len());
        ledger.one(&stream, events(1), WriteCondition::Always).await?;
    }
    ledger.append(Vec::new()).await?;
    ledger.verify("after calls without writes").await?;
    ledger.verify_no_hole("after calls without writes").await
}

/// Batches with one event that must be refused, at every place that adapters treat differently.
async fn atomic(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    needs_room(&ledger.store, 2)?;
    let existing = ledger.store.stream("orders", "o-1");
    let fresh = ledger.store.stream("orders", "o-2");
    let stored = ledger.one(&existing, events(2), WriteCondition::Always).await?;
    let known = stored[1].event.id;
    let room = most(&ledger.store);
    let year_zero = time::Date::from_calendar_date(0, time::Month::June, 1)
        .map_err(|error| Failure::not_run(error.to_string()))?
        .midnight()
        .assume_utc();
    for count in [1, 2, 5, 130].map(|count: usize| count.min(room)) {
        for place in [0, count / 2, count - 1] {
            for stream in [&existing, &fresh] {
                let when = format!("event {place} of {count} to {stream} is bad");
                let mut batch = light(count);
                batch[place].id = known;
                let write = always(stream, batch);
                ledger.duplicate(vec![write.clone()], &[known], "a known event id").await?;
                ledger.verify_with(&[&fresh], &when).await?;
                let mut write = write;
                write.events[place].id = EventId::generate();
                write.events[place].occurred_at = year_zero;
                ledger.invalid(vec![write], "an event of the year 0").await?;
                ledger.verify_with(&[&fresh], &when).await?;
                if !ledger.store.capabilities.tags {
                    let mut batch = light(count);
                    batch[place].tags = ledger.store.tags(&["undeclared"]);
                    ledger.refused(vec![always(stream, batch)], "tags are not declared").await?;
                    ledger.verify_with(&[&fresh], &when).await?;
                }
            }
        }
    }
    // The events of a refused batch are not known: the good ones may come again.
    let mut batch = light(room.min(5));
    let good = batch.clone();
    let last = batch.len() - 1;
    batch[last].id = known;
    ledger.duplicate(vec![always(&fresh, batch)], &[known], "a known event id, last").await?;
    ledger.one(&fresh, good, WriteCondition::StreamIsEmpty).await?;
    ledger.verify("after the refused batch without its bad event").await?;
    ledger.verify_no_hole("after refused batches").await
}

async fn other_streams_untouched(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let names = [
        ("orders", "o-1"),
        ("orders", "o-10"),
        ("orders", "o"),
        ("orders", "O-1"),
        ("orders2", "o-1"),
        ("order", "o-1"),
        ("orders", "orders"),
        ("o-1", "orders"),
    ];
    let streams = names.map(|(category, name)| ledger.store.stream(category, name));
    for (nth, stream) in streams.iter().enumerate() {
        let untouched: Vec<_> = streams[nth..].iter().collect();
        ledger.verify_with(&untouched, &format!("before the first append to {stream}")).await?;
        ledger.one(stream, events(1), WriteCondition::StreamIsEmpty).await?;
    }
    for stream in &streams {
        let condition = ledger.as_it_is(stream);
        let write = Append::new(stream.clone(), events(most(&ledger.store).min(2)), condition);
        ledger.append(vec![write]).await?;
        ledger.verify(&format!("after an append to {stream}")).await?;
    }
    Ok(())
}
