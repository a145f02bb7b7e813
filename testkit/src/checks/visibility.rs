//! Visibility: what an append stored is seen at once, everywhere, whole, and nothing else ever is.

use std::time::Duration;

use annals::{
    Append, Order, Query, QueryItem, ReadOptions, SequenceNumber, Source, StoredEvent, StreamId,
    WriteCondition,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::checks::support::ledger::{Ledger, always, light, most, patient};
use crate::checks::support::read_world::{NAMES, TAGS, World, named, some};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, but, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "vis.read_your_writes",
        [R1],
        Required,
        [],
        read_your_writes,
        "whatever is read right after an append shows it, also what was read before"
    ),
    check!(
        "vis.two_handles",
        [R1 A2 A4 A7],
        Required,
        [],
        two_handles,
        "handles to one store agree: on reads, positions, conditions and known events"
    ),
    check!(
        "vis.sessions",
        [R1 R2],
        Stochastic,
        [],
        sessions,
        "beside other writers, nobody loses sight of what was seen or appended"
    ),
];

/// What must not hang gets so long.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn streams(store: &Subject) -> [StreamId; 4] {
    [("orders", "o-1"), ("orders", "o-2"), ("invoices", "o-1"), ("a", "b")]
        .map(|(category, name)| store.stream(category, name))
}

async fn read_your_writes(cx: Context) -> Outcome {
    let ledger = Ledger::open(&cx).await?;
    let store = ledger.store.clone();
    let mut world = World::of(ledger).await?;
    let mut random = StdRng::seed_from_u64(cx.seed());
    let streams = streams(&store);
    for turn in 0..24_usize {
        let stream = &streams[if turn < 8 { turn % 4 } else { random.random_range(0..4) }];
        let before = world.last();
        let count = [1, 3, 2][turn % 3].min(most(&store));
        let write = some(&store, stream, count, turn, &mut random);
        let stored = world.ledger.append(vec![write]).await?;
        // The first look follows the append, without anything between the two calls.
        let category = store.capabilities.order >= Order::Category;
        let seen = match turn % 3 {
            _ if category && turn % 4 == 1 => {
                store.read(stream.category.clone(), ReadOptions::default()).await?
            }
            0 => store.stream_events(stream).await?,
            1 => store.read(stream.clone(), ReadOptions::default().after(before)).await?,
            _ => store.read(stream.clone(), ReadOptions::last(count as u64)).await?,
        };
        let missing = stored.iter().find(|event| !has(&seen, event));
        if let Some(missing) = missing {
            return Err(Failure::new(format!(
                "a read of {stream}, or its category, right after its append does not show {missing}"
            )));
        }
        world.refresh().await?;
        look(&world, &store, stream, before, stored[0].sequence_number).await?;
    }
    Ok(())
}

/// Whether `event` is one of `found`.
fn has(found: &[StoredEvent], event: &StoredEvent) -> bool {
    found.iter().any(|other| other.event.id == event.event.id)
}

/// The same reads as after the append before: an answer that is remembered too long shows.
async fn look(
    world: &World,
    by: &Subject,
    stream: &StreamId,
    before: SequenceNumber,
    first: SequenceNumber,
) -> Outcome {
    for source in [stream.clone().into(), stream.category.clone().into(), Source::Log] {
        let query = Query::from(source.clone());
        if !world.may_read(&query) {
            continue;
        }
        let all = world.widest(&query);
        let beyond = all.until(SequenceNumber::MAX);
        let next = all.after(before).limit(1);
        for options in [all, beyond, all.backward(), ReadOptions::last(1), next] {
            world.compare_by(by, &query, options).await?;
        }
        world.compare_by(by, &query, all.until(first)).await?;
        for name in [NAMES[0], NAMES[4]] {
            world.compare_by(by, &named(&source, &[name]).into(), all).await?;
        }
        if by.capabilities.tags {
            let item = QueryItem::new(source).with_tags(by.tags(&TAGS[..1]));
            world.compare_by(by, &item.into(), all).await?;
        }
    }
    Ok(())
}

async fn two_handles(cx: Context) -> Outcome {
    let handles = [cx.open().await?, cx.open().await?];
    let mut world = World::of(Ledger::of(handles[0].clone())).await?;
    let mut random = StdRng::seed_from_u64(cx.seed());
    let streams = streams(&handles[0]);
    // Both have read everything before there is anything, so each could remember that.
    for handle in &handles {
        for stream in &streams {
            handle.same(&handle.stream_events(stream).await?, &[], "a new stream")?;
        }
    }
    for turn in 0..16_usize {
        let (by, other) = (&handles[turn % 2], &handles[1 - turn % 2]);
        world.ledger = world.ledger.through(by.clone());
        let stream = &streams[turn / 2 % 4];
        let before = world.last();
        let mut write = some(by, stream, (1 + turn % 2).min(most(by)), turn, &mut random);
        write.condition = world.ledger.as_it_is(stream);
        if by.capabilities.query_conditions {
            let last = world.ledger.stream(stream).last();
            let last = last.map_or(SequenceNumber::START, |last| last.sequence_number);
            write.condition = write.condition & WriteCondition::no_match(stream.clone(), last);
        }
        let repeated = write.clone();
        let stored = world.ledger.append(vec![write]).await?;
        let seen = other.stream_events(stream).await?;
        other.same(&seen, world.ledger.stream(stream), "by the handle that did not append")?;
        world.refresh().await?;
        for handle in [other, by] {
            look(&world, handle, stream, before, stored[0].sequence_number).await?;
        }
        // The other handle judges conditions and ids by what this one appended.
        let ids: Vec<_> = stored.iter().map(|event| event.event.id).collect();
        world.ledger = world.ledger.through(other.clone());
        world.ledger.duplicate(vec![repeated.clone()], &ids, "appended by another handle").await?;
        let events = light(1);
        let stale = but(&repeated, |it| it.events.clone_from(&events));
        world.ledger.unmet(vec![stale], "another handle appended meanwhile").await?;
        if by.capabilities.query_conditions {
            let none = WriteCondition::no_match(stream.clone(), before);
            let write = Append::new(streams[3].clone(), events, none);
            world.ledger.unmet(vec![write], "another handle's event matches").await?;
        }
    }
    let mut ledger = world.ledger;
    // Without a refusal in between, after which a handle may look anew.
    for turn in 0..8 {
        ledger = ledger.through(handles[turn % 2].clone());
        let condition = ledger.as_it_is(&streams[2]);
        ledger.one(&streams[2], light(1), condition).await?;
    }
    for round in 0..8 {
        at_once(&mut ledger, &handles, &streams[round % 4], round).await?;
    }
    for handle in handles {
        ledger = ledger.through(handle);
        ledger.verify("appended through two handles").await?;
    }
    Ok(())
}

/// Appends of both handles at once: of two with one condition one is done, without conditions both are.
async fn at_once(
    ledger: &mut Ledger,
    handles: &[Subject; 2],
    stream: &StreamId,
    round: usize,
) -> Outcome {
    let count = 3.min(most(&handles[0]));
    for condition in [ledger.as_it_is(stream), WriteCondition::Always] {
        let contested = !matches!(condition, WriteCondition::Always);
        let calls =
            [0, 1].map(|_| vec![Append::new(stream.clone(), light(count), condition.clone())]);
        let both = async {
            tokio::join!(patient(&handles[0], &calls[0]), patient(&handles[1], &calls[1]))
        };
        let (one, other) = within(LIMIT, "two appends at once", both).await?;
        let mut done = Vec::new();
        for (call, outcome) in calls.into_iter().zip([one, other]) {
            match outcome {
                Ok(stored) => done.push((call, stored)),
                Err(error) if contested && error.is_condition_failed() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let expected = if contested { 1 } else { 2 };
        ensure_eq!(
            done.len(),
            expected,
            "round {round}: appends of {count} to {stream}, expecting {condition}, done of two at once by two handles"
        );
        done.sort_by_key(|(_, stored)| stored.first().map(|event| event.sequence_number));
        for (call, stored) in done {
            ledger.record(&call, &stored)?;
        }
    }
    Ok(())
}

async fn sessions(cx: Context) -> Outcome {
    let handles = [cx.open().await?, cx.open().await?, cx.open().await?];
    let mut tasks = JoinSet::new();
    for session in 0..5_u64 {
        let handles = handles.clone();
        let mut random = StdRng::seed_from_u64(cx.seed().wrapping_add(session));
        tasks.spawn(async move {
            let shared = handles[0].stream("shared", "one");
            let own = handles[0].stream("shared", &format!("session-{session}"));
            let mut queries = vec![Query::from(shared.clone()), own.clone().into()];
            if handles[0].capabilities.order >= Order::Category {
                queries.push(shared.category.clone().into());
            }
            let mut seen: Vec<Vec<StoredEvent>> = vec![Vec::new(); queries.len()];
            for round in 0..12 {
                let stream = if random.random_bool(0.5) { &shared } else { &own };
                let count = random.random_range(1..3_usize).min(most(&handles[0]));
                let by = &handles[random.random_range(0..3)];
                let stored = patient(by, &[always(stream, light(count))]).await?;
                let mut newest = 0;
                for (query, seen) in queries.iter().zip(&mut seen) {
                    let handle = &handles[random.random_range(0..3)];
                    let what = format!("round {round}, {query}");
                    let latest = handle.latest(query.clone()).await?;
                    let latest = latest.map_or(0, |event| event.sequence_number.value());
                    let whole = handle.read(query.clone(), ReadOptions::default()).await?;
                    let again = whole.get(..seen.len()).unwrap_or(&whole);
                    handle.same(again, seen, &format!("{what}: what was seen before"))?;
                    let lost = stored
                        .iter()
                        .find(|event| query.matches(event) && !has(&whole, event));
                    ensure!(lost.is_none(), "{what}: the session does not see its own {lost:?}");
                    let head = whole.last().map_or(0, |event| event.sequence_number.value());
                    ensure!(
                        latest <= head,
                        "{what}: the latest was {latest}, and a later read ended at {head}"
                    );
                    let before = seen.last().map_or(0, |event| event.sequence_number.value());
                    ensure!(
                        latest >= before,
                        "{what}: the latest is {latest}, after a read that ended at {before}"
                    );
                    newest = newest.max(head);
                    *seen = whole;
                }
                if handles[0].capabilities.order >= Order::Log {
                    let handle = &handles[random.random_range(0..3)];
                    let latest = handle.latest(Source::Log).await?;
                    let latest = latest.map_or(0, |event| event.sequence_number.value());
                    ensure!(
                        latest >= newest,
                        "round {round}: the latest of the log is {latest}, after reads that ended at {newest}"
                    );
                }
            }
            Ok(())
        });
    }
    let ended = async {
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| Failure::new(error.to_string()))??;
        }
        Ok(())
    };
    within(LIMIT, "sessions", ended).await?
}
