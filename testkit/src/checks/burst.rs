//! Many appends that one task begins before any of them ends, so that adapters that queue them, or commit several
//! together, do: the same in every run. And what calls that were refused may have taught an adapter.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use annals::{
    Append, Error, EventId, EventName, NewEvent, Predicate, Query, QueryItem, ReadOptions,
    SequenceNumber, Source, StoredEvent, StreamId, WriteCondition,
};
use futures_util::future::join_all;

use crate::checks::support::ledger::{Ledger, always, describe, light, most, patient};
use crate::checks::support::predicates::Panics;
use crate::checks::support::read_world::World;
use crate::engine::{Failure, Outcome, ensure};
use crate::error::chain;
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, event, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "append.burst",
        [A1 A2 A4 A7],
        Required,
        [],
        burst,
        "of many appends begun together to few streams, each ends as if it were alone, whatever is refused beside it"
    ),
    check!(
        "cond.panic_burst",
        [A6 A4],
        Required,
        [Need::Has(Feature::CustomConditions)],
        panic_burst,
        "predicates that panic among many appends begun together keep out their own calls, and no others"
    ),
    check!(
        "append.refused_names",
        [A5 R3 D2],
        Required,
        [],
        refused_names,
        "streams, names and tags that a refused call was the first to name mean nothing, and later what they are given"
    ),
];

/// What must not hang gets so long.
const LIMIT: Duration = Duration::from_secs(20);

/// How an append of a burst must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Stored,
    Unmet,
    Known(EventId),
    /// This event is in another append of the burst as well: one of them is stored, the other is a duplicate.
    Either(EventId),
    /// Its predicate panics: it may unwind, or return an error.
    Panics,
}

#[derive(Debug)]
struct Never;

impl Predicate for Never {
    fn expectation(&self) -> String {
        "never".to_owned()
    }

    fn holds(&self, _: Option<&StoredEvent>) -> bool {
        false
    }
}

/// The calls of a burst: to four streams, of which two are new. A new stream, and one that has events, is first met by a
/// call that is refused.
fn calls(ledger: &Ledger, nth: usize, panics: bool) -> Vec<(Vec<Append>, Due)> {
    let store = &ledger.store;
    let stream = |name: &str| store.stream("burst", &format!("{name}{nth}"));
    let [old, older, fresh, new] = ["old", "older", "fresh", "new"].map(stream);
    let known = ledger.stream(&old)[0].event.clone();
    let room = most(store);
    let is_old = |to: &StreamId| *to == old || *to == older;
    let unmet = |to: &StreamId| {
        // It fails at the start of the burst and at its end, whatever comes between.
        if is_old(to) {
            return WriteCondition::StreamIsEmpty;
        }
        WriteCondition::PositionIs(annals::Position::new(1_000_000))
    };
    let with = |event: &NewEvent, count: usize| {
        let mut batch = light(count.min(room));
        *batch.last_mut().unwrap_or(&mut light(1)[0]) = event.clone();
        batch
    };
    let mut calls: Vec<(Vec<Append>, Due)> = Vec::new();
    for (turn, to) in [&fresh, &old, &new, &older].into_iter().cycle().take(28).enumerate() {
        let count = 1 + turn % 3;
        calls.push(match (turn + turn / 4) % 4 {
            0 if panics => {
                let condition = WriteCondition::custom(Panics);
                (vec![Append::new(to.clone(), light(count.min(room)), condition)], Due::Panics)
            }
            0 | 1 => (vec![always(to, with(&known, count))], Due::Known(known.id)),
            2 => (vec![Append::new(to.clone(), light(count.min(room)), unmet(to))], Due::Unmet),
            _ if store.capabilities.custom_conditions => {
                let condition = WriteCondition::custom(Never);
                (vec![Append::new(to.clone(), light(count.min(room)), condition)], Due::Unmet)
            }
            _ => (vec![Append::new(to.clone(), light(1), unmet(to))], Due::Unmet),
        });
        calls.push((vec![always(to, light(count.min(room)))], Due::Stored));
        if turn % 5 == 1 {
            let twice = event("twice");
            for to in [to, &old] {
                calls.push((vec![always(to, with(&twice, 2))], Due::Either(twice.id)));
            }
        }
        if turn % 5 == 2 && store.capabilities.multi_stream_append && room >= 2 {
            let both = [to, if *to == old { &new } else { &old }];
            let write = both.map(|to| always(to, light(1))).to_vec();
            calls.push((write.clone(), Due::Stored));
            let mut write = both.map(|to| always(to, light(1))).to_vec();
            write[1].condition = unmet(both[1]);
            calls.push((write, Due::Unmet));
        }
    }
    // The same in each of the four streams: what is refused comes first there in one burst, later in others.
    let shift = nth * 7 % calls.len();
    calls.rotate_left(shift);
    calls
}

/// How a call ended; `None` if it unwound.
pub(super) type Ended = Option<annals::Result<Vec<StoredEvent>>>;

pub(super) async fn run(handles: &[Subject], calls: &[(Vec<Append>, Due)]) -> Outcome<Vec<Ended>> {
    let (work, calls) = (handles.to_vec(), calls.to_vec());
    // In one task: each is begun before the next, and where one waits the next goes on.
    let all = tokio::spawn(async move {
        let one = |(nth, (call, _)): (usize, &(Vec<Append>, Due))| {
            let (store, call) = (work[nth % work.len()].clone(), call.clone());
            async move {
                let mut append = Box::pin(async { patient(&store, &call).await });
                poll_fn(|cx| {
                    let polled = catch_unwind(AssertUnwindSafe(|| append.as_mut().poll(cx)));
                    polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
                })
                .await
            }
        };
        join_all(calls.iter().enumerate().map(one)).await
    });
    let ended = within(LIMIT, "the appends of a burst", all).await?;
    ended.map_err(|error| Failure::new(error.to_string()))
}

/// Each ended as it must, by itself; what was stored is recorded, in the order of its numbers.
pub(super) fn judge(
    ledger: &mut Ledger,
    calls: Vec<(Vec<Append>, Due)>,
    ended: Vec<Ended>,
) -> Outcome {
    let mut stored = Vec::new();
    let mut either: Vec<(EventId, usize)> = Vec::new();
    for ((call, due), ended) in calls.into_iter().zip(ended) {
        let described = describe(&call);
        let is_right = match (&ended, due) {
            (Some(Ok(_)), Due::Stored | Due::Either(_)) | (None, Due::Panics) => true,
            (Some(Err(error)), Due::Panics) => !error.is_retryable(),
            (Some(Err(Error::ConditionFailed(unmet))), Due::Unmet) => {
                call.iter().any(|write| write.stream == unmet.stream)
            }
            (Some(Err(Error::DuplicateEvent(id))), Due::Known(known) | Due::Either(known)) => {
                *id == known
            }
            _ => false,
        };
        let found = || match &ended {
            None => "a panic".to_owned(),
            Some(Ok(events)) => format!("{} events stored", events.len()),
            Some(Err(error)) => chain(error),
        };
        ensure!(is_right, "{described}, in a burst: expected {due:?}, found {}", found());
        if let Due::Either(id) = due {
            let made = usize::from(matches!(ended, Some(Ok(_))));
            match either.iter_mut().find(|(known, _)| *known == id) {
                Some((_, count)) => *count += made,
                None => either.push((id, made)),
            }
        }
        if let Some(Ok(events)) = ended {
            stored.push((call, events));
        }
    }
    if let Some((id, count)) = either.into_iter().find(|(_, count)| *count != 1) {
        return Err(Failure::new(format!(
            "event {id}, appended twice in a burst, was stored {count} times"
        )));
    }
    stored.sort_by_key(|(_, events)| events.first().map(|event| event.sequence_number));
    for (call, events) in stored {
        ledger.record(&call, &events).map_err(|failure| failure.in_context("in a burst"))?;
    }
    Ok(())
}

async fn bursts(cx: Context, panics: bool) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let (store, other) = (ledger.store.clone(), cx.open().await?);
    for nth in 0..8 {
        for name in ["old", "older"] {
            let stream = store.stream("burst", &format!("{name}{nth}"));
            ledger.one(&stream, light(1), WriteCondition::StreamIsEmpty).await?;
        }
        let calls = calls(&ledger, nth, panics);
        let handles =
            if nth % 3 == 2 { vec![store.clone(), other.clone()] } else { vec![store.clone()] };
        let ended = run(&handles, &calls).await?;
        judge(&mut ledger, calls, ended)?;
        ledger.verify("after a burst of appends").await?;
        // What the burst left in the adapter is right, too.
        for name in ["old", "fresh", "new", "older"] {
            let stream = store.stream("burst", &format!("{name}{nth}"));
            ledger.one(&stream, light(1), ledger.as_it_is(&stream)).await?;
        }
    }
    ledger.verify("after bursts of appends").await?;
    ledger.verify_no_hole("after bursts of appends").await
}

async fn burst(cx: Context) -> Outcome {
    bursts(cx, false).await
}

async fn panic_burst(cx: Context) -> Outcome {
    bursts(cx, true).await
}

/// An event of this name, with this tag where there are tags.
fn called(store: &Subject, text: &str) -> Outcome<NewEvent> {
    let name = EventName::new(text).map_err(|error| Failure::new(error.to_string()))?;
    let mut one = light(1)[0].clone();
    one.name = name;
    if store.capabilities.tags {
        one.tags = store.tags(&[text]);
    }
    Ok(one)
}

/// Calls that must be refused, which are the first to name a stream, a category, an event name and a tag.
fn refusals(ledger: &Ledger, home: &StreamId, text: &str) -> Outcome<Vec<Vec<Append>>> {
    let store = &ledger.store;
    let stream = store.stream(&format!("category-{text}"), text);
    let known = ledger.stream(home)[0].event.clone();
    let one = || called(store, text);
    let write = |condition| Ok::<_, Failure>(Append::new(stream.clone(), [one()?], condition));
    let unmet = WriteCondition::Any(Vec::new());
    let mut calls = vec![
        vec![write(WriteCondition::StreamExists)?],
        vec![write(unmet.clone())?],
        vec![write(WriteCondition::PositionIs(annals::Position::FIRST))?],
    ];
    if most(store) >= 2 {
        calls.push(vec![always(&stream, vec![one()?, known.clone()])]);
        if store.capabilities.multi_stream_append {
            let other = store.stream(&format!("category-{text}"), "other");
            calls.push(vec![write(WriteCondition::Always)?, always(&other, vec![known])]);
            calls.push(vec![
                write(WriteCondition::Always)?,
                Append::new(home.clone(), light(1), unmet),
            ]);
        }
    }
    if store.capabilities.custom_conditions {
        calls.push(vec![write(WriteCondition::custom(Never))?]);
    }
    Ok(calls)
}

async fn refused_names(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let (first, second) = (ledger.store.clone(), cx.open().await?);
    let home = first.stream("refused", "home");
    ledger.one(&home, light(1), WriteCondition::StreamIsEmpty).await?;
    let count = refusals(&ledger, &home, "count")?.len();
    for nth in 0..count {
        let [refused, between] = [format!("refused{nth}"), format!("between{nth}")];
        let call = refusals(&ledger, &home, &refused)?.swap_remove(nth);
        ledger.refused(call.clone(), "it must be refused").await?;
        if nth % 2 == 1 {
            ledger.refused(call, "it must be refused again").await?;
        }
        let stream = |text: &str| first.stream(&format!("category-{text}"), text);
        for store in [&first, &second] {
            nothing_of(store, &stream(&refused), &refused).await?;
        }
        // What the refused call was given, the next ones are given: through another handle, then through the same.
        let texts = if nth % 2 == 0 { [&between, &refused] } else { [&refused, &between] };
        for (store, text) in [&second, &first].into_iter().zip(texts) {
            ledger = ledger.through(store.clone());
            let batch = vec![called(store, text)?];
            ledger.one(&stream(text), batch, WriteCondition::StreamIsEmpty).await?;
        }
        ledger = ledger.through(first.clone());
        for text in [&refused, &between] {
            let (stream, batch) = (stream(text), vec![called(&first, text)?]);
            ledger.one(&stream, batch, ledger.as_it_is(&stream)).await?;
        }
    }
    let world = World::of(ledger).await?;
    for store in [&first, &second] {
        for event in &world.own {
            let mut sources = vec![Source::from(event.stream.clone())];
            sources.push(event.stream.category.clone().into());
            for source in sources {
                let item = QueryItem::new(source).with_names([event.name().clone()]);
                let item = item.map_err(annals::Error::from)?.with_tags(event.tags().clone());
                let query = Query::from(item);
                if world.may_read(&query) {
                    world.compare_by(store, &query, ReadOptions::default()).await?;
                }
            }
        }
    }
    world.ledger.verify("after calls that were refused").await?;
    let last = world.ledger.through(second);
    last.verify("after calls that were refused, through another handle").await?;
    last.verify_no_hole("after calls that were refused").await
}

/// The store knows nothing by these names.
async fn nothing_of(store: &Subject, stream: &StreamId, text: &str) -> Outcome {
    let one = called(store, text)?;
    let mut sources = vec![Source::from(stream.clone())];
    if store.capabilities.order >= annals::Order::Category {
        sources.push(stream.category.clone().into());
    }
    for source in sources {
        for named in [false, true] {
            let mut item = QueryItem::new(source.clone());
            if named {
                item = item.with_names([one.name.clone()]).map_err(annals::Error::from)?;
                item = item.with_tags(one.tags.clone());
            }
            let found = store.read(item.clone(), ReadOptions::default()).await?;
            ensure!(found.is_empty(), "a call was refused, and a read of {source} gives {found:?}");
            if store.capabilities.query_conditions {
                let none = WriteCondition::no_match(item, SequenceNumber::START);
                let guard = vec![Append::guard(stream.clone(), none)];
                let judged = store.adapter.append(guard).await;
                judged.map_err(|error| {
                    Failure::from(error).in_context("nothing matches what a refused call named")
                })?;
            }
        }
    }
    Ok(())
}
