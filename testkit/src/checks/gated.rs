//! Never skips, made sure of: an append is held before its commit while others go on.

use std::time::Duration;

use annals::{Append, Order, Query, ReadOptions, SequenceNumber, Source, StoredEvent, StreamId};
use tokio::time::{Instant, timeout};

use crate::checks::support::ledger::{always, light, most, patient};
use crate::checks::through::pages;
use crate::engine::{Failure, Outcome, ensure};
use crate::harness::{Gate, Hook};
use crate::storage::{Check, Need, check};
use crate::subject::{Context, Subject, within};

pub(super) const CHECKS: &[Check] = &[check!(
    "r2.gated",
    [R2 R1 R5 A1],
    Required,
    [Need::Hook(Hook::Gate)],
    gated,
    "an append that is held before its commit is invisible, no page claims its number, and it is not skipped when it comes"
)];

/// What must not hang gets so long.
const LIMIT: Duration = Duration::from_secs(10);
/// What a right store may make others wait for while an append is held, at least; on a slow one twenty times as long as
/// an append takes.
const GRACE: Duration = Duration::from_millis(150);

async fn gated(cx: Context) -> Outcome {
    let (store, gate) = cx.open_gated().await?;
    let second = cx.open().await?;
    let [a, sibling, other] =
        [("a", "1"), ("a", "2"), ("b", "1")].map(|(category, name)| store.stream(category, name));
    // The first append of a handle may open connections.
    patient(&second, &[always(&a, light(1))]).await?;
    let began = Instant::now();
    patient(&second, &[always(&a, light(1))]).await?;
    let grace = (began.elapsed() * 20).clamp(GRACE, Duration::from_secs(5));
    let size = most(&store).min(3);
    for (nth, late) in [&a, &sibling, &other].into_iter().enumerate() {
        let held = vec![always(&a, light(size))];
        let passing = vec![always(late, light(size))];
        let reader = if nth == 1 { &second } else { &store };
        let case = Held { store: &store, gate: gate.as_ref(), writer: &second, reader, grace };
        case.run(held, passing).await?;
    }
    Ok(())
}

/// A query, what a read of it gave, and how far its pages claimed to have come.
type Looked = (Query, Vec<StoredEvent>, SequenceNumber);

/// One append is held before its commit while another is made.
struct Held<'a> {
    store: &'a Subject,
    gate: &'a dyn Gate,
    writer: &'a Subject,
    reader: &'a Subject,
    grace: Duration,
}

impl Held<'_> {
    async fn run(&self, held: Vec<Append>, passing: Vec<Append>) -> Outcome {
        let streams: Vec<_> = [&held, &passing].map(|call| call[0].stream.clone()).to_vec();
        let append = |store: &Subject, call: &[Append]| {
            let (store, call) = (store.clone(), call.to_vec());
            tokio::spawn(async move { patient(&store, &call).await })
        };
        self.gate.arm();
        let slow = append(self.store, &held);
        if timeout(LIMIT, self.gate.held()).await.is_err() {
            self.gate.release();
            return Err(Failure::not_run("no append stopped at the gate"));
        }
        let before = self.look(&streams).await;
        let mut fast = append(self.writer, &passing);
        let early = timeout(self.grace, &mut fast).await.ok();
        let during = self.look(&streams).await;
        self.gate.release();
        let ended = |what| move |error| Failure::new(format!("{what}: {error}"));
        let slow =
            within(LIMIT, "the append that was held", slow).await?.map_err(ended("held"))??;
        let was_early = early.is_some();
        let fast = match early {
            Some(fast) => fast,
            None => within(LIMIT, "an append beside a held one", fast).await?,
        };
        let fast = fast.map_err(ended("beside"))??;
        let (before, during) = (before?, during?);
        for (query, given, through) in before.iter().chain(&during) {
            let dirty =
                given.iter().find(|event| slow.iter().any(|it| it.event.id == event.event.id));
            if let Some(dirty) = dirty {
                return Err(Failure::new(format!(
                    "a read of {query} gave {dirty}, whose append was held before its commit"
                )));
            }
            let until = ReadOptions::default().after(self.reader.start).until(*through);
            let whole = self.reader.read(query.clone(), until).await?;
            let late = whole.iter().find(|event| !given.contains(event));
            if let Some(late) = late {
                return Err(Failure::new(format!(
                    "pages of {query} claimed all events up to {through}, and {late} appeared later"
                )));
            }
        }
        for (query, given, _) in during.iter().filter(|_| was_early) {
            let mut stored = fast.iter().filter(|event| query.matches(event));
            let unseen = stored.find(|event| !given.iter().any(|it| it.event.id == event.event.id));
            ensure!(
                unseen.is_none(),
                "a read of {query} after an append beside a held one does not show {unseen:?}"
            );
        }
        let all = self.reader.all_events(&streams).await?;
        let lost = slow
            .iter()
            .chain(&fast)
            .find(|it| !all.iter().any(|event| event.event.id == it.event.id));
        ensure!(lost.is_none(), "after a held append the store does not show {lost:?}");
        Ok(())
    }

    /// What reads of every source give now; those that wait for the held append give nothing.
    async fn look(&self, streams: &[StreamId]) -> Outcome<Vec<Looked>> {
        let mut queries: Vec<Query> = streams.iter().map(|stream| stream.clone().into()).collect();
        if self.reader.capabilities.order >= Order::Category {
            queries.extend(streams.iter().map(|stream| stream.category.clone().into()));
        }
        if self.reader.capabilities.order >= Order::Log {
            queries.push(Source::Log.into());
        }
        let mut looked = Vec::new();
        for query in queries {
            let options = ReadOptions::default().after(self.reader.start);
            let read = pages(self.reader, &query, options);
            if let Ok(given) = timeout(self.grace, read).await {
                let given = given?;
                let last = given.last().map_or(self.reader.start, |page| page.through);
                let events: Vec<_> = given.into_iter().flat_map(|page| page.events).collect();
                let through = events.last().map_or(last, |event| event.sequence_number.max(last));
                looked.push((query, events, through));
            }
        }
        Ok(looked)
    }
}
