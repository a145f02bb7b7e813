//! What was acknowledged survives.

use std::collections::HashMap;
use std::time::Duration;

use annals::{Position, ReadOptions, StoredEvent, WriteCondition};

use crate::child::{Child, Work, heard};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::harness::Hook;
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, events, within};
use crate::synced::Synced;

pub(super) const CHECKS: &[Check] = &[
    check!(
        "dur.reopen",
        [D1 R3],
        Required,
        [Need::Has(Feature::Durable)],
        reopen,
        "a store that is closed and opened again holds the same events, and goes on"
    ),
    check!(
        "dur.open_race",
        [D1 R1],
        Required,
        [Need::Has(Feature::Durable)],
        open_race,
        "many that open a fresh store at once all open the same one"
    ),
    check!(
        "dur.kill9",
        [D1 A1 A2 A3],
        Stochastic,
        [Need::Has(Feature::Durable)],
        kill9,
        "after kill -9 under load: what was acknowledged is there, the rest whole or absent, nothing twice"
    ),
    check!(
        "dur.power_loss",
        [D1 A1],
        Stochastic,
        [Need::Has(Feature::Durable), Need::Hook(Hook::Files)],
        power_loss,
        "after the loss of all that was not synced: what was acknowledged is there, the rest whole or absent"
    ),
];

const LIMIT: Duration = Duration::from_secs(20);
/// Writers in a child process.
pub(super) const WRITERS: u32 = 4;

async fn reopen(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let streams = [store.stream("orders", "o-1"), store.stream("orders", "o-2")];
    for stream in &streams {
        store.fill(stream, 3).await?;
    }
    let refused = store.append(&streams[0], events(1), WriteCondition::StreamIsEmpty).await;
    ensure!(refused.is_err(), "an append to a stream with events was let pass as if it were empty");
    let before = store.all_events(&streams).await?;
    drop(store);

    let store = cx.open().await?;
    ensure_eq!(store.all_events(&streams).await?, before, "after it was opened again");
    let third = WriteCondition::PositionIs(Position::new(2));
    let next = store.append(&streams[0], events(1), third).await?;
    ensure_eq!(next[0].position, Position::new(3), "the position of the next event");
    let last = before.iter().map(|event| event.sequence_number).max();
    ensure!(
        Some(next[0].sequence_number) > last,
        "the next event got number {}, after {last:?}",
        next[0].sequence_number
    );
    Ok(())
}

async fn open_race(cx: Context) -> Outcome {
    for case in cx.cases(2) {
        let cx = cx.nested(format!("x{case:x}"));
        let mut opened = tokio::task::JoinSet::new();
        for nth in 0..8 {
            let cx = cx.clone();
            opened.spawn(async move {
                let store = cx.open().await?;
                store.fill(&store.stream("openers", &nth.to_string()), 2).await
            });
        }
        while let Some(ended) = opened.join_next().await {
            ended.map_err(|error| Failure::new(format!("an opener ended: {error}")))??;
        }
        let store = cx.open().await?;
        let streams: Vec<_> =
            (0..8).map(|nth: i32| store.stream("openers", &nth.to_string())).collect();
        ensure_eq!(store.all_events(&streams).await?.len(), 16, "events of all that opened it");
    }
    Ok(())
}

async fn kill9(cx: Context) -> Outcome {
    let mut said: Vec<String> = Vec::new();
    for (round, case) in cx.cases(6).enumerate() {
        let from = u32::try_from(round).unwrap_or_default() * WRITERS;
        let large = round % 2 == 1;
        let child = Child::spawn(&cx, Work::Append { writers: WRITERS, from, large })?;
        said.extend(killed(child, case, large).await?);
        survived(&cx, &said, from + WRITERS).await?;
    }
    Ok(())
}

async fn power_loss(cx: Context) -> Outcome {
    for (round, case) in cx.cases(4).enumerate() {
        // What this process reads and appends afterwards is not kept track of.
        let cx = cx.nested(round);
        let files = cx.harness().files(cx.namespace()).await;
        let files =
            files.map_err(|error| Failure::new(format!("the harness names no files: {error}")))?;
        let synced = Synced::of(cx.namespace(), files).map_err(Failure::not_run)?;
        let large = round % 2 == 1;
        let work = Work::Append { writers: WRITERS, from: 0, large };
        let child = Child::spawn_with(&cx, work, synced.variables())?;
        let said = killed(child, case, large).await?;
        if !synced.was_loaded() {
            return Err(Failure::not_run("the child process loads no library before its own"));
        }
        let lost = synced.lose_power();
        lost.map_err(|error| Failure::new(format!("what was not synced stays: {error}")))?;
        survived(&cx, &said, WRITERS).await?;
    }
    Ok(())
}

/// What a child process with writers said until it was killed: at any moment after its first acknowledgement, and if
/// `large`, while a large batch is on its way.
pub(super) async fn killed(mut child: Child, case: u64, large: bool) -> Outcome<Vec<String>> {
    let (mut said, mut acknowledged, mut is_due) = (Vec::new(), 0, false);
    while !is_due {
        let line = child.line(LIMIT).await?;
        let line = line.ok_or(Failure::new("the child process ended before it was killed"))?;
        heard(&line)?;
        acknowledged += u64::from(line.starts_with("ack"));
        let count = line.strip_prefix("trying ").and_then(|line| line.split(' ').next_back());
        let is_large = count.and_then(|count| count.parse().ok()).is_some_and(|it: u64| it > 5);
        is_due = acknowledged > case % 40 && (!large || is_large);
        said.push(line);
    }
    if large {
        // Somewhere between its first byte and its acknowledgement.
        tokio::time::sleep(Duration::from_millis(case % 16)).await;
    }
    said.extend(child.kill().await);
    Ok(said)
}

/// The store opens again, holds what it must, and goes on.
async fn survived(cx: &Context, said: &[String], writers: u32) -> Outcome {
    let store = within(LIMIT, "opening after a crash", cx.open()).await??;
    judge(&store, said, writers).await?;
    let next = store.stream("children", "after");
    within(LIMIT, "an append after a crash", store.fill(&next, 1)).await?.map(drop)
}

/// What the writers said against what is there.
async fn judge(store: &Subject, said: &[String], writers: u32) -> Outcome {
    let mut tried: HashMap<String, Vec<usize>> = HashMap::new();
    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    for line in said {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next_back()) {
            (Some("trying"), Some(stream), Some(count)) => {
                tried.entry(stream.to_owned()).or_default().extend(count.parse::<usize>());
            }
            (Some("ack"), Some(stream), Some(last)) => {
                acknowledged.insert(stream.to_owned(), last.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }
    let mut all: Vec<StoredEvent> = Vec::new();
    for writer in 0..writers {
        let name = format!("writer-{writer}");
        let found = store.stream_events(&store.stream("children", &name)).await?;
        let positions: Vec<u64> = found.iter().map(|event| event.position.value()).collect();
        ensure!(
            positions.iter().copied().eq(0..positions.len() as u64),
            "{name} has the positions {positions:?}"
        );
        if let Some(last) = acknowledged.get(&name) {
            ensure!(
                positions.last() >= Some(last),
                "{name} was told that position {last} is stored, and ends at {:?}",
                positions.last()
            );
        }
        let batches = tried.get(&name).map(Vec::as_slice).unwrap_or_default();
        let whole = batches.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        ensure!(
            found.is_empty() || whole.into_iter().any(|sum| sum == found.len()),
            "{name} has {} events, which is no whole number of its batches {batches:?}",
            found.len()
        );
        all.extend(found);
    }
    all.sort_by_key(|event| event.sequence_number);
    let twice = all.windows(2).find(|pair| pair[0].sequence_number == pair[1].sequence_number);
    ensure!(twice.is_none(), "a sequence number was given twice: {twice:?}");
    let mut ids: Vec<_> = all.iter().map(|event| event.event.id).collect();
    ids.sort_unstable();
    ensure!(ids.windows(2).all(|pair| pair[0] != pair[1]), "an event is stored twice");
    if store.capabilities.contiguous_sequence && Feature::LogOrder.is_declared(&store.capabilities)
    {
        let log =
            store.read(annals::Query::all(), ReadOptions::default().after(store.start)).await?;
        let hole = log
            .windows(2)
            .find(|pair| pair[0].sequence_number.value() + 1 != pair[1].sequence_number.value());
        ensure!(hole.is_none(), "the log has a hole: {hole:?}");
    }
    Ok(())
}
