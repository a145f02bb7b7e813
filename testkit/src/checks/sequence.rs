//! Sequence numbers: the place of an event in the log.

use annals::{Append, Error, EventId, Order, ReadOptions, SequenceNumber, WriteCondition};

use crate::checks::support::ledger::{Ledger, always, light, most, needs_room, patient};
use crate::checks::support::racing_clients::{self, Start};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::harness::{Hook, Variant};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, event, events};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "seq.from_one",
        [A3],
        Required,
        [],
        from_one,
        "sequence numbers begin at 1 or later: 0 is before everything"
    ),
    check!(
        "seq.increasing",
        [A3],
        Required,
        [],
        increasing,
        "a later event of a stream has a higher sequence number"
    ),
    check!(
        "seq.across_streams",
        [A3],
        Required,
        [],
        across_streams,
        "streams and categories share one count: no number comes twice, and later ones are higher where ordered"
    ),
    check!(
        "seq.in_call",
        [A3],
        Required,
        [],
        in_call,
        "inside a call the numbers rise in the order given"
    ),
    check!(
        "seq.at_once",
        [A3],
        Stochastic,
        [],
        at_once,
        "batches that are appended at once, through several handles, return the numbers that are read"
    ),
    check!(
        "seq.contiguous",
        [A3],
        Required,
        [Need::Has(Feature::ContiguousSequence), Need::Has(Feature::LogOrder)],
        no_hole,
        "the log has an event for every sequence number"
    ),
    check!(
        "seq.refusal_burns_none",
        [A3 A5],
        Required,
        [Need::Has(Feature::ContiguousSequence), Need::Has(Feature::LogOrder)],
        refusal_burns_none,
        "a refused append uses no sequence number, whatever refused it"
    ),
    check!(
        "seq.large_numbers",
        [A3 A5 R3],
        Required,
        [Need::Hook(Hook::StartAfter)],
        large_numbers,
        "numbers beyond 32 and 53 bits are exact, and past the last one comes a typed error"
    ),
];

/// So many events that numbering them takes as long as threads are apart when they are started together.
const BATCH: usize = 1_000;

async fn from_one(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.store.stream("orders", "o-1");
    let stored = ledger.one(&stream, events(1), WriteCondition::Always).await?;
    let number = stored[0].sequence_number;
    ensure!(number > SequenceNumber::START, "the first event has sequence number {number}");
    // What begins before everything misses nothing.
    let options = ReadOptions::default().after(SequenceNumber::START);
    let found = ledger.store.read(stream, options).await?;
    ledger.store.same(&found, &stored, "read after the start")?;
    ledger.verify("after one append").await?;
    if cx.harness().hooks().contains(&Hook::StartAfter) {
        let empty = Variant::StartAfter(SequenceNumber::START);
        let mut ledger = Ledger::of(cx.nested("zero").open_as(empty).await?);
        let stream = ledger.store.stream("orders", "o-1");
        ledger.one(&stream, events(1), WriteCondition::StreamIsEmpty).await?;
        ledger.verify("in an empty store").await?;
    }
    Ok(())
}

async fn increasing(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let stream = ledger.store.stream("orders", "o-1");
    for count in [1, 2, 1, 17, 1, 1, 5] {
        ledger.one(&stream, light(count.min(room)), ledger.as_it_is(&stream)).await?;
    }
    ledger.verify("after appends to one stream").await
}

async fn across_streams(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let names = [("orders", "a"), ("orders", "b"), ("invoices", "a"), ("users", "c")];
    let streams = names.map(|(category, name)| ledger.store.stream(category, name));
    for round in 0..4_usize {
        for nth in 0..streams.len() {
            let stream = &streams[(nth * 3 + round) % streams.len()];
            let batch = light(((nth + round) % 3 + 1).min(room));
            ledger.one(stream, batch, WriteCondition::Always).await?;
        }
    }
    let second = cx.open().await?;
    let mut ledger = ledger.through(second);
    for stream in &streams {
        ledger.one(stream, light(room.min(2)), WriteCondition::Always).await?;
    }
    ledger.verify("after appends to four streams by two handles").await
}

async fn in_call(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let names = [("z", "a"), ("a", "z"), ("m", "m"), ("a", "a")];
    let streams = names.map(|(category, name)| ledger.store.stream(category, name));
    for count in [2, 7, 150].map(|count: usize| count.min(room)) {
        let mut batch = light(count);
        batch.reverse();
        ledger.one(&streams[0], batch, WriteCondition::Always).await?;
    }
    if ledger.store.capabilities.multi_stream_append && room >= 12 {
        // The numbers follow the order of the writes, not that of names, heads or sizes.
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let writes = order.map(|nth| {
                let mut batch = light(nth + 1);
                batch.reverse();
                always(&streams[nth], batch)
            });
            ledger.append(writes.to_vec()).await?;
        }
    }
    ledger.verify("after batches").await
}

/// Each to a category of its own, so that in the weaker orders nothing keeps them from drawing numbers in turn.
async fn at_once(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let handles = [ledger.store.clone(), cx.open().await?, cx.open().await?];
    for (nth, _) in cx.cases(4).enumerate() {
        let calls = handles.iter().enumerate().map(|(own, handle)| {
            let [stream, other] =
                ["", "x"].map(|part| handle.stream(&format!("at-once-{own}{part}"), "a"));
            let mut call = vec![always(&stream, light(BATCH.min(room)))];
            if handle.capabilities.multi_stream_append && room > BATCH && nth % 2 == 0 {
                call.push(always(&other, light(BATCH.min(room - BATCH))));
            }
            let handle = handle.clone();
            async move { (patient(&handle, &call).await, call) }
        });
        let start = if nth == 0 { Start::Tasks } else { Start::Threads };
        let mut all = Vec::new();
        for (stored, call) in racing_clients::at_once(start, "appends of batches", calls).await? {
            all.push((stored?, call));
        }
        all.sort_by_key(|(stored, _)| stored.first().map(|event| event.sequence_number));
        for (stored, call) in all {
            ledger.record(&call, &stored).map_err(|failure| failure.in_context("at once"))?;
        }
    }
    ledger.verify("after batches at once").await
}

async fn no_hole(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let streams = ["a", "b", "c"].map(|name| ledger.store.stream(name, name));
    for count in [1, 3, 1, 120, 2].map(|count: usize| count.min(room)) {
        for stream in &streams {
            ledger.one(stream, light(count), WriteCondition::Always).await?;
        }
        if ledger.store.capabilities.multi_stream_append && room >= 3 {
            let writes = streams.iter().map(|stream| always(stream, events(1)));
            ledger.append(writes.collect()).await?;
        }
    }
    ledger.verify_no_hole("after appends").await
}

async fn refusal_burns_none(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let stream = ledger.store.stream("orders", "o-1");
    let fresh = ledger.store.stream("orders", "o-2");
    let known = ledger.one(&stream, events(1), WriteCondition::Always).await?[0].event.clone();
    let mut kinds = Vec::new();
    for count in [1, 5, 60].map(|count: usize| count.min(room)) {
        for stream in [&stream, &fresh] {
            let never = WriteCondition::Any(Vec::new());
            let unmet = Append::new(stream.clone(), light(count), never);
            kinds.push((vec![unmet], "an unmet condition"));
            for place in [0, count - 1] {
                let mut batch = light(count);
                batch[place] = known.clone();
                kinds.push((vec![always(stream, batch)], "a known event"));
            }
        }
        let mut batch = light(count);
        let id = batch[0].id;
        batch.push(event("happened").with_id(id));
        kinds.push((vec![always(&fresh, batch)], "an event twice"));
    }
    if ledger.store.capabilities.multi_stream_append && room >= 4 {
        let unmet = |stream| Append::new(stream, events(2), WriteCondition::Any(Vec::new()));
        kinds.extend([
            (vec![always(&stream, events(2)), unmet(fresh.clone())], "the second write"),
            (vec![unmet(fresh.clone()), always(&stream, events(2))], "the first write"),
            (vec![always(&stream, events(2)), always(&fresh, vec![known])], "a known event"),
            (vec![always(&stream, events(1)), always(&stream, events(1))], "a stream twice"),
        ]);
    }
    for (writes, why) in kinds {
        for _ in 0..2 {
            let mut again = writes.clone();
            for event in again.iter_mut().flat_map(|write| &mut write.events) {
                // Twice the same refusal, without what a cache may know of the ids.
                if why == "an unmet condition" {
                    event.id = EventId::generate();
                }
            }
            ledger.refused(again, why).await?;
        }
        ledger.one(&stream, events(1), WriteCondition::Always).await?;
        ledger.verify_no_hole(&format!("after appends refused for {why}")).await?;
    }
    Ok(())
}

async fn large_numbers(cx: Context) -> Outcome {
    let max = SequenceNumber::MAX.value();
    // The last one leaves room for numbers that are left out.
    let starts = [(1 << 31) - 3, (1 << 32) - 3, (1 << 53) - 3, (1 << 62) + 1, max - (1 << 20)];
    for (nth, start) in starts.into_iter().enumerate() {
        let start = SequenceNumber::new(start);
        let cx = cx.nested(format!("start{nth}x"));
        let mut ledger = Ledger::of(cx.open_as(Variant::StartAfter(start)).await?);
        let room = most(&ledger.store);
        let streams = ["a", "b"].map(|name| ledger.store.stream("orders", name));
        for round in 0..5 {
            let stream = &streams[round % 2];
            let stored = ledger.one(stream, light(room.min(2)), ledger.as_it_is(stream)).await?;
            let number = stored[0].sequence_number;
            ensure!(number > start, "the store begins after {start}, but gave {number}");
            if round == 0 && ledger.store.capabilities.contiguous_sequence {
                ensure_eq!(number.value(), start.value() + 1, "the first number after {start}");
            }
            let after = ReadOptions::default().after(number);
            let found = ledger.store.read(stream.clone(), after).await?;
            ledger.store.same(&found, &stored[1..], &format!("read after {number}"))?;
        }
        if ledger.store.capabilities.query_conditions {
            let (own, other) = (&streams[0], ledger.stream(&streams[1]));
            let last = other.last().map_or(start, |event| event.sequence_number);
            let met = WriteCondition::no_match(streams[1].clone(), last);
            let unmet =
                WriteCondition::no_match(streams[1].clone(), SequenceNumber::new(last.value() - 1));
            let write = Append::new(own.clone(), events(1), unmet);
            ledger.unmet(vec![write], &format!("event {last} matches")).await?;
            ledger.one(own, events(1), met).await?;
        }
        ledger.verify(&format!("after the sequence number {start}")).await?;
    }
    past_the_last(&cx).await
}

/// Fills the log up to the last number, and tries to go on.
async fn past_the_last(cx: &Context) -> Outcome {
    let start = SequenceNumber::new(SequenceNumber::MAX.value() - 3);
    let cx = cx.nested("last");
    let mut ledger = Ledger::of(cx.open_as(Variant::StartAfter(start)).await?);
    needs_room(&ledger.store, 4)?;
    let stream = ledger.store.stream("orders", "o-1");
    let other = ledger.store.stream("orders", "o-2");
    for count in [4, 5, 100].map(|count: usize| count.min(most(&ledger.store))) {
        exhausted(&ledger, vec![always(&stream, light(count))]).await?;
        ledger.verify_with(&[&stream], "after more events than numbers are left").await?;
    }
    if !ledger.store.capabilities.contiguous_sequence {
        return Ok(());
    }
    let stored = ledger.one(&stream, light(3), WriteCondition::StreamIsEmpty).await?;
    for stream in [&stream, &other] {
        exhausted(&ledger, vec![always(stream, light(1))]).await?;
        ledger.verify_with(&[&other], "after the last sequence number was used").await?;
    }
    let ids: Vec<_> = stored.iter().map(|event| event.event.id).collect();
    let again = stored.into_iter().map(|event| event.into_record().event).collect();
    let why = "a retry without a sequence number left";
    ledger.duplicate(vec![always(&stream, again)], &ids, why).await?;
    if ledger.store.capabilities.order >= Order::Log {
        let last = ledger.store.latest(annals::Query::all()).await?;
        let number = last.map(|event| event.sequence_number);
        ensure_eq!(number, Some(SequenceNumber::MAX), "the last number of the log");
    }
    Ok(())
}

/// An append that needs numbers that do not exist: a typed error, which says that nothing was written.
async fn exhausted(ledger: &Ledger, writes: Vec<Append>) -> Outcome {
    match ledger.refused(writes, "the log has no sequence numbers left").await? {
        Error::Invalid(_) | Error::Backend { .. } | Error::Unavailable(_) => Ok(()),
        other => Err(Failure::new(format!(
            "without a sequence number left: expected Invalid, Unavailable or Backend, found: {other}"
        ))),
    }
}
