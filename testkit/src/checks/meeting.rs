//! Appends that meet through two handles while one of them is held before its commit.

use std::time::Duration;

use annals::{
    Append, Error, EventId, Position, Query, QueryItem, SequenceNumber, StreamId, WriteCondition,
};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use crate::checks::support::ledger::{Ledger, always, light, most};
use crate::checks::support::polled_read::{LIMIT, handles, long, streams};
use crate::checks::support::read_world::named;
use crate::engine::{Failure, Outcome, ensure};
use crate::harness::Hook;
use crate::pages::Pages;
use crate::storage::{Check, Need, check};
use crate::subject::{Context, Subject, event, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "cond.gated",
        [A4 A7],
        Required,
        [Need::Hook(Hook::Gate)],
        gated,
        "of two handles whose appends exclude each other one wins, though the other's is held before its commit"
    ),
    check!(
        "through.new_names",
        [R2 R5],
        Required,
        [],
        new_names,
        "a read of streams, names and tags that begin to exist while it goes on claims nothing that it skips"
    ),
];

/// What appends are made of, both of which cannot be stored.
fn pairs(ledger: &Ledger, nth: usize) -> Vec<[Vec<Append>; 2]> {
    let store = &ledger.store;
    let to = |name: &str| store.stream("meeting", &format!("{name}{nth}"));
    let [fresh, old, beside] = ["fresh", "old", "beside"].map(to);
    let both = |to: &StreamId, condition: &WriteCondition| {
        [0, 1].map(|_| vec![Append::new(to.clone(), light(1), condition.clone())])
    };
    let mut pairs = vec![
        both(&fresh, &WriteCondition::StreamIsEmpty),
        both(&old, &WriteCondition::PositionIs(Position::FIRST)),
    ];
    let same = event("same");
    pairs.push([&old, &beside].map(|to| vec![always(to, vec![same.clone()])]));
    if store.capabilities.query_conditions {
        let none = WriteCondition::no_match(fresh.clone(), SequenceNumber::START);
        pairs.push(both(&fresh, &none));
        if store.capabilities.order >= annals::Order::Category {
            let item = named(&fresh.category.clone().into(), &["never-before"]);
            let none = WriteCondition::no_match(item, SequenceNumber::START);
            let write = |to: &StreamId| {
                vec![Append::new(to.clone(), [event("never-before")], none.clone())]
            };
            pairs.push([write(&fresh), write(&beside)]);
        }
    }
    if store.capabilities.multi_stream_append && most(store) > BESIDE {
        pairs.extend((0..3).map(|turn| {
            let guarded = ["left", "right"].map(|name| to(&format!("{name}-{turn}-")));
            guards(store, &guarded, nth)
        }));
    }
    pairs
}

/// How many streams of its own each of two calls has that guard what the other writes: adapters that lock less than all
/// streams of a call lock others of one than of the other.
const BESIDE: usize = 8;

/// Two calls, each of which guards that the stream is empty which the other writes to.
fn guards(store: &Subject, guarded: &[StreamId; 2], nth: usize) -> [Vec<Append>; 2] {
    [[0, 1], [1, 0]].map(|[guard, write]| {
        let name = |beside: usize| format!("{}-{beside}-{nth}", guarded[write].name);
        let mut call: Vec<_> = (0..BESIDE)
            .map(|beside| always(&store.stream("meeting", &name(beside)), light(1)))
            .collect();
        call.push(always(&guarded[write], light(1)));
        call.push(Append::guard(guarded[guard].clone(), WriteCondition::StreamIsEmpty));
        call
    })
}

async fn gated(cx: Context) -> Outcome {
    let (store, gate) = cx.open_gated().await?;
    let mut ledger = Ledger::of(store.clone());
    let second = cx.open().await?;
    let warm = store.stream("meeting", "warm");
    ledger = ledger.through(second.clone());
    // The first append of a handle may open connections.
    ledger.one(&warm, light(1), WriteCondition::Always).await?;
    let began = Instant::now();
    ledger.one(&warm, light(1), WriteCondition::Always).await?;
    // Longer than the second append takes if nothing keeps it waiting.
    let grace = (began.elapsed() * 20).clamp(Duration::from_millis(60), Duration::from_secs(4));
    ledger = ledger.through(store.clone());
    let count = pairs(&ledger, 0).len();
    for nth in 0..count {
        let old = store.stream("meeting", &format!("old{nth}"));
        ledger.one(&old, light(1), WriteCondition::StreamIsEmpty).await?;
        let [held, passing] = pairs(&ledger, nth).swap_remove(nth);
        let append = |store: &Subject, call: &[Append]| {
            let (store, call) = (store.clone(), call.to_vec());
            tokio::spawn(async move { store.adapter.append(call).await })
        };
        gate.arm();
        let slow = append(&store, &held);
        if timeout(LIMIT, gate.held()).await.is_err() {
            gate.release();
            return Err(Failure::not_run("no append stopped at the gate"));
        }
        let mut fast = append(&second, &passing);
        let early = timeout(grace, &mut fast).await.ok();
        gate.release();
        let slow = within(LIMIT, "an append that was held", slow).await?;
        let fast = match early {
            Some(fast) => fast,
            None => within(LIMIT, "an append beside one that was held", fast).await?,
        };
        let ended = |error: tokio::task::JoinError| Failure::new(error.to_string());
        let mut winners = 0;
        for (call, outcome) in [(held, slow.map_err(ended)?), (passing, fast.map_err(ended)?)] {
            let ids: Vec<EventId> =
                call.iter().flat_map(|write| &write.events).map(|it| it.id).collect();
            match outcome {
                Ok(stored) => {
                    winners += 1;
                    ensure!(
                        winners == 1,
                        "two appends were stored that exclude each other: {call:?}"
                    );
                    ledger.record(&call, &stored)?;
                }
                Err(Error::ConditionFailed(_)) => {}
                Err(Error::DuplicateEvent(id)) if ids.contains(&id) => {}
                Err(other) => {
                    return Err(Failure::from(other).in_context("an append that met another"));
                }
            }
        }
        ensure!(
            winners == 1,
            "neither of two appends was stored, though only one excludes the other"
        );
        ledger.verify("after appends that met").await?;
        ledger = ledger.through(if nth % 2 == 0 { second.clone() } else { store.clone() });
        ledger.verify("after appends that met, through the other handle").await?;
        ledger = ledger.through(store.clone());
    }
    ledger.verify_no_hole("after appends that met").await
}

async fn new_names(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 300).await?;
    let others = cx.open().await?;
    for (round, store) in handles(&cx).await?.into_iter().enumerate() {
        let [existing, ..] = streams(&store);
        let wide = store.capabilities.order >= annals::Order::Category;
        let made = |kind: &str, nth: usize| format!("{kind}{round}-{nth}");
        // Of what does not exist yet: streams, names, and tags.
        let mut items = vec![named(&existing.clone().into(), &["even", "rare"])];
        let mut events = Vec::new();
        for nth in 0..4 {
            let name = annals::EventName::new(made("new", nth));
            let name = name.map_err(|error| Failure::new(error.to_string()))?;
            let mut one = light(1)[0].clone();
            one.name = name.clone();
            let item = QueryItem::new(existing.clone()).with_names([name]);
            items.push(item.map_err(annals::Error::from)?);
            events.push((existing.clone(), one.clone()));
            if store.capabilities.tags {
                one = light(1)[0].clone();
                one.tags = store.tags(&[&made("tag", nth)]);
                items.push(QueryItem::new(existing.clone()).with_tags(one.tags.clone()));
                events.push((existing.clone(), one));
            }
            if wide {
                let stream = store.stream("orders", &made("stream", nth));
                items.push(QueryItem::new(stream.clone()));
                events.push((stream, light(1)[0].clone()));
            }
        }
        let query = Query::any_of(items);
        let options = annals::ReadOptions::default();
        let mut read = store.adapter.read(query.clone(), options);
        let mut shape = Pages::new(&store.capabilities, &query, options);
        let (mut found, mut events) = (Vec::new(), events.into_iter());
        ledger = ledger.through(others.clone());
        while let Some(page) = within(LIMIT, "a page", read.next()).await? {
            let page = page?;
            shape.take(&page)?;
            let through = page.through;
            found.extend(page.events);
            // What is claimed was appended before the page was returned.
            let claimed =
                ledger.sorted(|event| event.sequence_number <= through && query.matches(event));
            let known: Vec<_> = found
                .iter()
                .filter(|event| store.owns(event))
                .take(claimed.len())
                .cloned()
                .collect();
            store.same(
                &known,
                &claimed,
                &format!("what pages up to {through} returned of new names"),
            )?;
            for (stream, event) in events.by_ref().take(3) {
                ledger.one(&stream, vec![event], WriteCondition::Always).await?;
            }
        }
        shape.end()?;
        for (stream, event) in events {
            ledger.one(&stream, vec![event], WriteCondition::Always).await?;
        }
        let whole = store.read(query.clone(), options).await?;
        store.same(
            &whole,
            &ledger.sorted(|event| query.matches(event)),
            "a read of new names later",
        )?;
    }
    Ok(())
}
