//! Several processes on one store.

use std::time::Duration;

use annals::{Position, ReadOptions, SequenceNumber, Source, WriteCondition};

use crate::check::{Check, Failure, Feature, Need, Outcome, check, ensure, ensure_eq};
use crate::child::{Child, Work};
use crate::context::{Context, event};

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
];

const LIMIT: Duration = Duration::from_secs(20);

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

async fn never_skips(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let source = match store.capabilities.order {
        annals::Order::Log => Source::Log,
        annals::Order::Category => store.category("children").into(),
        annals::Order::Stream => store.stream("children", "writer-0").into(),
    };
    let work = Work::Append { writers: 4, from: 0 };
    let mut child = Child::spawn(&cx, work)?;
    // From here on there is something to read, whatever the source.
    loop {
        let line = child.line(LIMIT).await?;
        let line = line.ok_or(Failure::new("the child process ended before it was killed"))?;
        ensure!(!line.starts_with("failed"), "the child process {line}");
        if line.starts_with("ack writer-0 ") {
            break;
        }
    }
    let mut seen = Vec::new();
    let mut after = store.start;
    for _ in cx.cases(60) {
        let page = store.read(source.clone(), ReadOptions::default().after(after)).await?;
        after = page.last().map_or(after, |event| event.sequence_number);
        seen.extend(page);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let said = child.kill().await;
    let failed = said.iter().find(|line| line.starts_with("failed"));
    ensure!(failed.is_none(), "the child process {failed:?}");
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
