//! Positions: the place of an event in its stream.

use std::collections::HashMap;
use std::time::Duration;

use annals::{Append, EventId, StoredEvent, WriteCondition};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::checks::support::ledger::{Ledger, always, light, most, patient};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, event, events, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "pos.zero_based",
        [A2],
        Required,
        [],
        zero_based,
        "the first event of every stream is at position 0"
    ),
    check!(
        "pos.contiguous",
        [A2],
        Required,
        [],
        contiguous,
        "positions go on without a hole over batches of any size"
    ),
    check!(
        "pos.per_stream",
        [A2],
        Required,
        [],
        per_stream,
        "streams that grow in turn each count for themselves"
    ),
    check!("pos.after_refusal", [A2 A5], Required, [], after_refusal, "a refused append uses no position, whatever refused it"),
    check!(
        "pos.contiguous_concurrent",
        [A2 A3],
        Stochastic,
        [],
        contiguous_concurrent,
        "appends to one stream at once neither interleave nor leave holes"
    ),
];

async fn zero_based(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let names =
        [("orders", "a"), ("orders", "b"), ("invoices", "a"), ("invoices", "c"), ("a", "a")];
    let streams = names.map(|(category, name)| ledger.store.stream(category, name));
    for (nth, stream) in streams.iter().enumerate() {
        let condition = match nth % 2 {
            0 => WriteCondition::Always,
            _ => WriteCondition::StreamIsEmpty,
        };
        let batch = events([1, 3, 2, 1, 5][nth].min(room));
        ledger.one(stream, batch, condition).await?;
        ledger.one(stream, events(1), WriteCondition::Always).await?;
    }
    // A stream that was only guarded, or refused, has no events yet.
    let guarded = ledger.store.stream("orders", "guarded");
    ledger.one(&guarded, Vec::new(), WriteCondition::StreamIsEmpty).await?;
    let write = Append::new(guarded.clone(), events(1), WriteCondition::StreamExists);
    ledger.unmet(vec![write], "the stream is empty").await?;
    ledger.one(&guarded, events(1), WriteCondition::Always).await?;
    ledger.verify("after the first appends").await
}

async fn contiguous(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let stream = ledger.store.stream("orders", "o-1");
    for count in [1, 1, 2, 1, 3, 10, 1, 1, 101, 2] {
        ledger.one(&stream, light(count.min(room)), WriteCondition::Always).await?;
    }
    for seed in cx.cases(12) {
        let mut random = StdRng::seed_from_u64(seed);
        let condition = match random.random_range(0..3) {
            0 => WriteCondition::Always,
            1 => WriteCondition::StreamExists,
            _ => ledger.as_it_is(&stream),
        };
        let count = random.random_range(1_usize..20).min(room);
        ledger.one(&stream, light(count), condition).await?;
    }
    ledger.verify("after many batches").await
}

async fn per_stream(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let (room, multi) = (most(&ledger.store), ledger.store.capabilities.multi_stream_append);
    let streams = [("orders", "a"), ("orders", "b"), ("invoices", "a"), ("invoices", "ab")]
        .map(|(category, name)| ledger.store.stream(category, name));
    let mut random = StdRng::seed_from_u64(cx.seed());
    for nth in 0..40 {
        let write = |stream: usize, count: usize| always(&streams[stream], light(count));
        let (one, count) = (random.random_range(0..4), random.random_range(1_usize..4).min(room));
        let mut writes = vec![write(one, count)];
        if multi && nth % 4 == 3 && room > count {
            writes.push(write((one + random.random_range(1..4)) % 4, 1));
        }
        ledger.append(writes).await?;
    }
    ledger.verify("after appends in turn").await
}

async fn after_refusal(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let streams = [ledger.store.stream("orders", "o-1"), ledger.store.stream("orders", "o-2")];
    for stream in &streams {
        let first = ledger.one(stream, events(1), WriteCondition::Always).await?;
        for count in [1, 3].map(|count: usize| count.min(room)) {
            let write = Append::new(stream.clone(), light(count), WriteCondition::StreamIsEmpty);
            ledger.unmet(vec![write], "the stream has events").await?;
            ledger.one(stream, events(1), WriteCondition::Always).await?;

            let mut batch = light(count);
            batch[count - 1].id = first[0].event.id;
            ledger.duplicate(vec![always(stream, batch)], &[first[0].event.id], "known").await?;
            ledger.one(stream, events(count), ledger.as_it_is(stream)).await?;

            if room > 1 {
                let twice = event("happened");
                let batch = vec![twice.clone(), twice.clone()];
                ledger.duplicate(vec![always(stream, batch)], &[twice.id], "twice").await?;
                ledger.one(stream, events(1), ledger.as_it_is(stream)).await?;
            }
        }
    }
    ledger.verify("after refusals of each kind").await
}

/// What concurrent appends to the same streams returned: each in the order of its call.
type Batches = Vec<(Vec<EventId>, Vec<StoredEvent>)>;

async fn contiguous_concurrent(cx: Context) -> Outcome {
    for (nth, seed) in cx.cases(6).enumerate() {
        let store = cx.open().await?;
        let streams = [0, 1].map(|at| store.stream("orders", &format!("{nth}-{at}")));
        let mut writers = JoinSet::new();
        for writer in 0..8_u64 {
            let handle = if writer % 2 == 0 { store.clone() } else { cx.open().await? };
            let streams = streams.clone();
            let seed = seed.wrapping_add(writer);
            writers.spawn(async move { write_many(&handle, &streams, seed).await });
        }
        let mut batches: Batches = Vec::new();
        while let Some(done) =
            within(Duration::from_secs(20), "an append beside others", writers.join_next()).await?
        {
            batches.extend(done.map_err(|error| Failure::new(error.to_string()))??);
        }
        for stream in &streams {
            let found = store.stream_events(stream).await?;
            let of_stream = |(_, stored): &&(_, Vec<StoredEvent>)| stored[0].stream == *stream;
            let all: usize = batches.iter().filter(of_stream).map(|(ids, _)| ids.len()).sum();
            ensure_eq!(found.len(), all, "the number of events of stream {stream}");
            for (at, event) in found.iter().enumerate() {
                ensure_eq!(event.position.value(), at as u64, "the position of item {at}");
            }
            let place: HashMap<_, _> =
                found.iter().enumerate().map(|(at, event)| (event.event.id, at)).collect();
            for (ids, stored) in batches.iter().filter(of_stream) {
                let Some(&first) = place.get(&ids[0]) else {
                    return Err(Failure::new(format!("event {} is lost", ids[0])));
                };
                let there = found.get(first..first + ids.len()).unwrap_or_default();
                let same = there.iter().map(|event| event.event.id).eq(ids.iter().copied());
                ensure!(same, "the batch at position {first} of {stream} is mixed with another");
                store.same(there, stored, "what is read, against what append returned")?;
            }
        }
    }
    Ok(())
}

/// A few appends without a condition, each of a few events, to one stream or both. They must succeed; a store
/// may be too busy for a while.
async fn write_many(
    store: &Subject,
    streams: &[annals::StreamId; 2],
    seed: u64,
) -> Outcome<Batches> {
    let mut random = StdRng::seed_from_u64(seed);
    let room = most(store);
    let mut batches = Vec::new();
    for _ in 0..4 {
        let first = random.random_range(0..2_usize);
        let mut writes = vec![light(random.random_range(1..5_usize).min(room))];
        if store.capabilities.multi_stream_append && room > 8 && random.random_bool(0.3) {
            writes.push(light(random.random_range(1..5_usize)));
        }
        let writes: Vec<_> = writes
            .into_iter()
            .enumerate()
            .map(|(nth, batch)| always(&streams[(first + nth) % 2], batch))
            .collect();
        let stored = patient(store, &writes).await?;
        let mut rest = stored.as_slice();
        for write in &writes {
            let ids: Vec<_> = write.events.iter().map(|event| event.id).collect();
            ensure!(rest.len() >= ids.len(), "append returned too few events");
            let (these, more) = rest.split_at(ids.len());
            batches.push((ids, these.to_vec()));
            rest = more;
        }
        ensure!(rest.is_empty(), "append returned {} events too many", rest.len());
    }
    Ok(batches)
}
