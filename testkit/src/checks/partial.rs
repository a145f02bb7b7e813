//! Nothing in between: readers beside an append see all of it or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::{
    Append, EventId, EventName, NewEvent, Order, ReadOptions, SequenceNumber, Source, StoredEvent,
    StreamId, WriteCondition,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::checks::support::ledger::{Ledger, always, light, most, patient};
use crate::checks::visibility::{LIMIT, streams};
use crate::engine::{Failure, Outcome, ensure};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, events, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "vis.batch_atomic",
        [A1 R1],
        Required,
        [],
        batch_atomic,
        "readers during an append see all of its events or none, over all its streams"
    ),
    check!(
        "vis.refused_invisible",
        [A5 A1],
        Required,
        [],
        refused_invisible,
        "what was refused was never visible, not even for a moment"
    ),
];

/// Runs `work`; until it ends, looks again and again: in the same task, whenever `work` waits, and in a task
/// beside it by a handle of its own.
async fn watched<L, F>(cx: &Context, work: impl Future<Output = Outcome>, look: L) -> Outcome
where
    L: Fn(Subject) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send,
{
    let done = Arc::new(AtomicBool::new(false));
    let watch = |store: Subject| {
        let (done, look) = (Arc::clone(&done), look.clone());
        async move {
            loop {
                let last = done.load(Ordering::SeqCst);
                look(store.clone()).await?;
                if last {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
        }
    };
    let beside = tokio::spawn(watch(cx.open().await?));
    let here = watch(cx.open().await?);
    let work = async {
        let ended = work.await;
        done.store(true, Ordering::SeqCst);
        ended
    };
    let both = async {
        let (ended, here): (Outcome, Outcome) = tokio::join!(work, here);
        let beside: Outcome = beside.await.map_err(|error| Failure::new(error.to_string()))?;
        ended.and(here).and(beside)
    };
    within(LIMIT, "an append with readers beside it", both).await?
}

/// Events that tell in their names which of how many of a call they are, spread over `parts` streams.
fn marked(count: usize, parts: usize) -> Outcome<Vec<NewEvent>> {
    let mut batch = light(count);
    let call = EventId::generate();
    for (nth, event) in batch.iter_mut().enumerate() {
        let name = format!("{nth} of {count} in {parts} of {call}");
        event.name = EventName::new(name).map_err(annals::Error::from)?;
    }
    Ok(batch)
}

/// Proves that each call of which an event was found has `share(count, parts)` of its events there.
fn whole(
    found: &[StoredEvent],
    what: &str,
    share: impl Fn(usize, usize) -> usize,
) -> Outcome<Vec<String>> {
    let mut calls: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for event in found {
        let name = event.event.name.as_str();
        let parts: Vec<&str> = name.split(' ').collect();
        let [_, "of", count, "in", parts, "of", call] = parts[..] else { continue };
        let number = |text: &str| text.parse().unwrap_or(usize::MAX);
        let call = calls.entry(call.to_owned()).or_default();
        *call = (call.0 + 1, share(number(count), number(parts)));
    }
    if let Some((_, (seen, all))) = calls.iter().find(|(_, (seen, all))| seen != all) {
        return Err(Failure::new(format!("{what} shows {seen} of the {all} events of one append")));
    }
    Ok(calls.into_keys().collect())
}

async fn batch_atomic(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let room = most(&store);
    // The last is more than one statement of an adapter may take.
    let mut cases = vec![(1, 2), (1, 40), (1, 1_200)];
    if store.capabilities.multi_stream_append {
        cases.extend([(2, 2), (2, 60), (3, 150)]);
    }
    for (nth, (parts, count)) in cases.into_iter().enumerate() {
        let count = count.min(room / parts * parts);
        if count < 2 {
            continue;
        }
        for order in 0..parts.min(2) {
            // One case is spread over two categories.
            let category = |part| format!("c{nth}-{order}-{}", if nth == 4 { part % 2 } else { 0 });
            let stream = |part| store.stream(&category(part), &format!("s{part}"));
            let mut streams: Vec<_> = (0..parts).map(stream).collect();
            if order == 1 {
                streams.reverse();
            }
            let head = match store.capabilities.order {
                Order::Log => store.latest(Source::Log).await?,
                _ => None,
            };
            let head = head.map_or(SequenceNumber::START, |event| event.sequence_number);
            let write = async {
                for _ in 0..2 {
                    let batch = marked(count, parts)?;
                    let writes = streams.iter().zip(batch.chunks(count / parts));
                    let writes: Vec<_> =
                        writes.map(|(stream, part)| always(stream, part.to_vec())).collect();
                    patient(&store, &writes).await?;
                }
                Ok(())
            };
            let seen = streams.clone();
            watched(&cx, write, move |store| look_for_parts(store, seen.clone(), head)).await?;
        }
    }
    Ok(())
}

/// Every read shows whole calls, and what one stream shows, a stream that is read later shows as well.
async fn look_for_parts(
    store: Subject,
    mut streams: Vec<StreamId>,
    head: SequenceNumber,
) -> Outcome {
    let all = ReadOptions::default();
    let mut before: Vec<String> = Vec::new();
    for _ in 0..2 {
        for stream in &streams {
            let found = store.stream_events(stream).await?;
            let what = format!("a read of {stream} during an append");
            let calls = whole(&found, &what, |count, parts| count / parts)?;
            let lost = before.iter().find(|call| !calls.contains(call));
            ensure!(
                lost.is_none(),
                "{what} shows nothing of an append that was seen in another of its streams"
            );
            before = calls;
        }
        streams.reverse();
    }
    let mut wide = Vec::new();
    if store.capabilities.order >= Order::Category {
        let mut categories: Vec<_> = streams.iter().map(|it| it.category.clone()).collect();
        categories.dedup();
        wide.extend(categories.into_iter().map(|category| (Source::from(category), all)));
    }
    if store.capabilities.order >= Order::Log {
        wide.push((Source::Log, all.after(head)));
    }
    if streams.len() == 1 {
        wide.push((streams[0].clone().into(), all));
    }
    for (source, options) in wide {
        for options in [options, options.backward()] {
            let mut found = store.read(source.clone(), options).await?;
            found.retain(|event| streams.contains(&event.stream));
            let covered = streams.iter().filter(|stream| source.contains(stream)).count();
            let share = |count, parts| count / parts * covered;
            whole(&found, &format!("a read of {source} during an append"), share)?;
        }
        if !streams.iter().all(|stream| source.contains(stream)) {
            continue;
        }
        // The last event that is visible is the last of its call.
        let latest = store.latest(source.clone()).await?;
        let latest = latest.filter(|event| streams.contains(&event.stream));
        let name = latest.as_ref().map(|event| event.event.name.as_str()).unwrap_or_default();
        if let [nth, "of", count, ..] = name.split(' ').collect::<Vec<_>>()[..] {
            let last = nth.parse::<usize>().map_or(0, |nth| nth + 1);
            ensure!(
                last.to_string() == count,
                "the latest event of {source} during an append is number {last} of its {count} events"
            );
        }
    }
    Ok(())
}

async fn refused_invisible(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let [existing, fresh, other, _] = streams(&store);
    let room = most(&store);
    let known = ledger.one(&existing, events(2.min(room)), WriteCondition::Always).await?;
    ledger.one(&other, events(1), WriteCondition::Always).await?;
    let expected: Vec<_> = [&existing, &fresh, &other]
        .map(|stream| (stream.clone(), ledger.stream(stream).to_vec()))
        .to_vec();
    let count = 20.min(room);
    let duplicate = |place: usize| {
        let mut batch = light(count);
        batch[place].id = known[0].event.id;
        batch
    };
    let (exists, empty) = (WriteCondition::StreamExists, WriteCondition::StreamIsEmpty);
    let mut calls = vec![
        vec![Append::new(existing.clone(), light(count), empty.clone())],
        vec![Append::new(fresh.clone(), light(count), exists.clone())],
        vec![always(&existing, duplicate(count - 1))],
        vec![always(&fresh, duplicate(count / 2))],
        vec![always(&fresh, light(1)), always(&fresh, light(1))],
    ];
    if store.capabilities.query_conditions {
        let none = WriteCondition::no_match(existing.clone(), SequenceNumber::START);
        calls.push(vec![Append::new(fresh.clone(), light(1), none)]);
    }
    if store.capabilities.multi_stream_append && room >= 4 {
        let part = || light(room.min(40) / 2);
        calls.push(vec![always(&existing, part()), Append::new(fresh.clone(), part(), exists)]);
        calls.push(vec![always(&fresh, part()), Append::new(other.clone(), part(), empty)]);
        let last = duplicate(count - 1).split_off(count - 1);
        calls.push(vec![always(&fresh, part()), always(&other, last)]);
        let guard = Append::guard(fresh.clone(), WriteCondition::Any(Vec::new()));
        calls.push(vec![always(&existing, part()), guard]);
    }
    calls.shuffle(&mut StdRng::seed_from_u64(cx.seed()));
    for call in calls {
        let refuse = async {
            for _ in 0..3 {
                ledger.refused(call.clone(), "it must not be seen").await?;
            }
            Ok(())
        };
        let expected = expected.clone();
        watched(&cx, refuse, move |store| only(store, expected.clone())).await?;
    }
    ledger.verify_with(&[&fresh], "after refusals").await
}

/// Every read returns just these events.
async fn only(store: Subject, expected: Vec<(StreamId, Vec<StoredEvent>)>) -> Outcome {
    for (stream, events) in &expected {
        let when = "while an append is refused";
        let found = store.stream_events(stream).await?;
        store.same(&found, events, &format!("{when}, the events of {stream}"))?;
        let latest = store.latest(stream.clone()).await?;
        let last = &events[events.len().saturating_sub(1)..];
        store.same(latest.as_slice(), last, &format!("{when}, the latest of {stream}"))?;
        if store.capabilities.order >= Order::Category {
            let category = &stream.category;
            let found = store.read(category.clone(), ReadOptions::default()).await?;
            let of = expected.iter().filter(|(stream, _)| stream.category == *category);
            let mut events: Vec<_> = of.flat_map(|(_, events)| events.iter().cloned()).collect();
            events.sort_by_key(|event| event.sequence_number);
            store.same(&found, &events, &format!("{when}, the events of {category}"))?;
        }
    }
    Ok(())
}
