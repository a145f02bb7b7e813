//! Several processes on one store.

use std::time::Duration;

use annals::{Position, Query, ReadOptions, SequenceNumber, Source, WriteCondition};

use crate::checks::durability::{WRITERS, killed};
use crate::checks::support::polled_follow::Follow;
use crate::child::{Child, Work, heard};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, event};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "proc.conditions",
        [A4 A2],
        Stochastic,
        [Need::Has(Feature::Shared)],
        conditions,
        "of two processes with one condition exactly one wins, round after round"
    ),
    check!(
        "proc.never_skips",
        [R2 R1],
        Stochastic,
        [Need::Has(Feature::Shared)],
        never_skips,
        "what another process appends arrives in order, and nothing is skipped"
    ),
    check!(
        "proc.follow",
        [R6 R2],
        Required,
        [Need::Has(Feature::Shared)],
        follow,
        "a follow gets what another process appends"
    ),
    check!(
        "proc.follow_killed",
        [R6],
        Stochastic,
        [Need::Has(Feature::Shared)],
        follow_killed,
        "a follow gets all that a process appended before it was killed, though it may have told nobody"
    ),
];

const LIMIT: Duration = Duration::from_secs(20);
/// What a child process appends beside this one.
const APPEND: Work = Work::Append { writers: WRITERS, from: 0, large: false };

async fn conditions(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("children", "race");
    let mut child = Child::spawn(&cx, Work::Race)?;
    for (round, _) in cx.cases(20).enumerate() {
        let (line, condition) = match round.checked_sub(1) {
            None => ("empty".to_owned(), WriteCondition::StreamIsEmpty),
            Some(last) => {
                let position = Position::new(last as u64);
                (last.to_string(), WriteCondition::PositionIs(position))
            }
        };
        child.tell(&line)?;
        let here = store.append(&stream, vec![event("raced")], condition).await;
        let there = child.line(LIMIT).await?;
        there.as_deref().map_or(Ok(()), heard)?;
        let here = match here {
            Ok(_) => true,
            Err(error) if error.is_condition_failed() => false,
            Err(error) => return Err(error.into()),
        };
        let expected = if here { "lost" } else { "won" };
        ensure_eq!(
            there.as_deref(),
            Some(expected),
            "round {round}: this process won: {here}; the other"
        );
        ensure_eq!(
            store.stream_events(&stream).await?.len(),
            round + 1,
            "events after round {round}"
        );
    }
    Ok(())
}

/// The widest source in order.
fn widest(store: &Subject) -> Source {
    match store.capabilities.order {
        annals::Order::Log => Source::Log,
        annals::Order::Category => store.category("children").into(),
        annals::Order::Stream => store.stream("children", "writer-0").into(),
    }
}

/// A child process that appends, and has begun: there is something to read, whatever the source.
async fn appending(cx: &Context) -> Outcome<Child> {
    let mut child = Child::spawn(cx, APPEND)?;
    loop {
        let line = child.line(LIMIT).await?;
        let line = line.ok_or(Failure::new("the child process ended before it was killed"))?;
        heard(&line)?;
        if line.starts_with("ack writer-0 ") {
            return Ok(child);
        }
    }
}

async fn follow(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let query = Query::from(widest(&store));
    let mut follow = Follow::new(&store, &query, ReadOptions::default());
    follow.reach_head().await?;
    follow.wait().await;
    let child = appending(&cx).await?;
    while follow.found.len() < 100 {
        follow.page_with_events().await?;
    }
    child.kill().await;
    follow.same_as_read().await
}

async fn follow_killed(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let written = (0..WRITERS).map(|nth| store.stream("children", &format!("writer-{nth}")).into());
    let queries: Vec<Query> = written.chain([widest(&store).into()]).collect();
    let start = |query| Follow::new(&store, query, ReadOptions::default());
    let mut follows: Vec<_> = queries.iter().map(start).collect();
    for case in cx.cases(3) {
        for follow in &mut follows {
            follow.reach_head().await?;
            follow.wait().await;
        }
        killed(Child::spawn(&cx, APPEND)?, case, false).await?;
        // What a server commits behind this is for the next round.
        for (follow, query) in follows.iter_mut().zip(&queries) {
            let there = store.read(query.clone(), follow.options()).await?;
            let due = there.iter().filter(|event| store.owns(event)).count();
            while follow.found.len() < due {
                let next = follow.page_with_events().await;
                next.map_err(|failure| failure.in_context("behind a process that was killed"))?;
            }
            follow.same_as_read().await?;
        }
    }
    Ok(())
}

async fn never_skips(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let source = widest(&store);
    let child = appending(&cx).await?;
    let mut seen = Vec::new();
    let mut after = store.start;
    for _ in cx.cases(60) {
        let page = store.read(source.clone(), ReadOptions::default().after(after)).await?;
        after = page.last().map_or(after, |event| event.sequence_number);
        seen.extend(page);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let said = child.kill().await;
    said.iter().try_for_each(|line| heard(line))?;
    let until = ReadOptions::default().after(store.start).until(after);
    let whole = store.read(source.clone(), until).await?;
    ensure!(!whole.is_empty(), "a reader of {source} sees nothing of another process");
    let skipped: Vec<SequenceNumber> = whole
        .iter()
        .map(|event| event.sequence_number)
        .filter(|number| seen.binary_search_by_key(number, |event| event.sequence_number).is_err())
        .collect();
    ensure!(
        skipped.is_empty(),
        "a reader of {source} that polled up to {after} never got {skipped:?}"
    );
    Ok(())
}
