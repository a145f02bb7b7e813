//! Follows beside others: many of them, dropped and slow ones, with a single connection, and while others append.

use std::time::Duration;

use annals::{Append, Order, Query, ReadOptions, Source, WriteCondition};
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinSet;

use crate::checks::follow::followed;
use crate::checks::support::dropped_appends::poll_times;
use crate::checks::support::ledger::{Ledger, light, most, patient};
use crate::checks::support::polled_follow::{Follow, LIMIT, feed, join, task};
use crate::checks::support::polled_read::{LONG, handles, long, streams};
use crate::checks::support::read_world::named;
use crate::engine::{Failure, Outcome};
use crate::harness::{Hook, Variant};
use crate::storage::{Check, Need, check};
use crate::subject::{Context, events, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "follow.dropped",
        [R6 A6],
        Required,
        [],
        dropped,
        "follows that are dropped, at whatever point, leave nothing taken"
    ),
    check!(
        "follow.pool_of_one",
        [R6 R4],
        Required,
        [Need::Hook(Hook::PoolOfOne)],
        pool_of_one,
        "with a single connection appends and reads go on while follows wait"
    ),
    check!(
        "follow.many",
        [R6],
        Required,
        [],
        many,
        "two hundred follows of one adapter get each its own events"
    ),
    check!(
        "follow.slow",
        [R6 R4],
        Required,
        [],
        slow,
        "a reader that rests slows only itself, and gets all when it goes on"
    ),
    check!(
        "follow.gated",
        [R6 R2],
        Required,
        [Need::Hook(Hook::Gate)],
        gated,
        "an event that commits late arrives, although a higher number was there before"
    ),
    check!(
        "follow.race",
        [R6 R2],
        Stochastic,
        [],
        race,
        "follows that begin while others append get every event once, in order"
    ),
];

/// What a right store may make others wait for while an append is held.
const GRACE: Duration = Duration::from_millis(50);

async fn dropped(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 150).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        let [stream, ..] = streams(&store);
        for round in 0..3 {
            let mut open = Vec::new();
            for query in followed(&store) {
                for polls in 0..4 {
                    // Given up at whatever wait.
                    let follow = ReadOptions::default().after(store.start).follow();
                    let mut pages = store.adapter.read(query.clone(), follow);
                    poll_times(polls, true, |cx| pages.poll_next_unpin(cx)).await;
                    drop(pages);
                    drop(store.adapter.read(query.clone(), follow).next().now_or_never());
                }
                for _ in 0..4 {
                    let mut waiting = Follow::new(&store, &query, ReadOptions::default());
                    waiting.reach_head().await?;
                    waiting.wait().await;
                    open.push(waiting);
                    let mut resting = Follow::new(&store, &query, ReadOptions::default());
                    resting.page().await?;
                    open.push(resting);
                }
            }
            // Every second one goes before the append, the others while it wakes them.
            let rest = open.split_off(open.len() / 2);
            drop(open);
            feed(&mut ledger, &stream, "rare", 1 + round).await?;
            drop(rest);
            for query in followed(&store) {
                let mut follow = Follow::new(&store, &query, ReadOptions::default());
                follow.catch_up(&ledger).await?;
            }
        }
    }
    within(LIMIT, "reads after dropped follows", ledger.verify("after dropped follows")).await?
}

async fn pool_of_one(cx: Context) -> Outcome {
    let ledger = long(&cx, LONG).await?;
    let store = cx.open_as(Variant::PoolOfOne).await?;
    let mut ledger = ledger.through(store.clone());
    let [stream, ..] = streams(&store);
    let mut follows = Vec::new();
    for query in followed(&store).into_iter().cycle().take(12) {
        let mut follow = Follow::new(&store, &query, ReadOptions::default());
        follow.reach_head().await?;
        follow.wait().await;
        follows.push(follow);
    }
    for round in 0..3 {
        let append = feed(&mut ledger, &stream, "rare", 1 + round);
        within(LIMIT, "an append while follows wait", append).await??;
        let read = store.stream_events(&stream);
        within(LIMIT, "a read while follows wait", read).await??;
        for follow in &mut follows {
            follow.catch_up(&ledger).await?;
            follow.wait().await;
        }
    }
    Ok(())
}

async fn many(cx: Context) -> Outcome {
    const FOLLOWS: usize = 200;
    let mut ledger = long(&cx, 10).await?;
    let store = ledger.store.clone();
    let mut tasks = JoinSet::new();
    let mut seen = Vec::new();
    let stream = |nth: usize| store.stream("many", &format!("{nth}"));
    for nth in 0..FOLLOWS {
        seen.push(task(&mut tasks, &store, &stream(nth).into(), 2));
    }
    for round in 1..=2 {
        for nth in 0..FOLLOWS {
            feed(&mut ledger, &stream(nth), "happened", 1).await?;
        }
        for (nth, seen) in seen.iter_mut().enumerate() {
            let what = format!("event {round} of follow {nth} of {FOLLOWS}");
            if within(LIMIT, &what, seen.wait_for(|count| *count >= round)).await?.is_err() {
                break;
            }
        }
    }
    join(tasks).await
}

async fn slow(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 30).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        let [stream, ..] = streams(&store);
        for query in followed(&store) {
            let mut resting = Follow::new(&store, &query, ReadOptions::default());
            let mut begun = Follow::new(&store, &query, ReadOptions::default());
            let mut quick = Follow::new(&store, &query, ReadOptions::default());
            resting.reach_head().await?;
            begun.page().await?;
            quick.reach_head().await?;
            for round in 0..8 {
                feed(&mut ledger, &stream, "rare", 1 + round * 5 % 20).await?;
                quick.catch_up(&ledger).await?;
            }
            resting.catch_up(&ledger).await?;
            begun.catch_up(&ledger).await?;
        }
    }
    Ok(())
}

async fn gated(cx: Context) -> Outcome {
    let (store, gate) = cx.open_gated().await?;
    let [held, passing] = [store.stream("a", "1"), store.stream("b", "1")];
    let mut ledger = Ledger::of(store.clone());
    feed(&mut ledger, &held, "happened", 1).await?;
    let mut queries = vec![Query::from(held.clone())];
    if store.capabilities.order >= Order::Category {
        queries.push(held.category.clone().into());
    }
    for query in queries {
        let mut follow = Follow::new(&store, &query, ReadOptions::default());
        follow.reach_head().await?;
        follow.wait().await;
        gate.arm();
        let append = |stream: &annals::StreamId| {
            let call = vec![Append::new(stream.clone(), light(1), WriteCondition::Always)];
            let store = store.clone();
            tokio::spawn(async move { patient(&store, &call).await.map(|stored| (call, stored)) })
        };
        let late = append(&held);
        within(LIMIT, "an append at the gate", gate.held()).await?;
        let early = append(&passing);
        // A store may let it pass, or make it wait for the other.
        tokio::time::sleep(GRACE).await;
        gate.release();
        for append in [late, early] {
            let done = within(LIMIT, "an append after the gate", append).await?;
            let (call, stored) = done.map_err(|error| Failure::new(error.to_string()))??;
            ledger.record(&call, &stored)?;
        }
        follow.catch_up(&ledger).await?;
    }
    Ok(())
}

async fn race(cx: Context) -> Outcome {
    const WRITERS: usize = 4;
    const APPENDS: usize = 25;
    let store = cx.open().await?;
    let streams: Vec<_> = (0..WRITERS).map(|nth| store.stream("race", &format!("{nth}"))).collect();
    let mut queries = vec![Query::from(streams[0].clone())];
    if store.capabilities.order >= Order::Category {
        queries.push(streams[0].category.clone().into());
        queries.push(named(&streams[0].category.clone().into(), &["happened"]).into());
    }
    if store.capabilities.order >= Order::Log {
        queries.push(named(&Source::Log, &["happened"]).into());
    }
    let mut tasks = JoinSet::new();
    for stream in &streams {
        let (store, stream) = (store.clone(), stream.clone());
        tasks.spawn(async move {
            for round in 0..APPENDS {
                let batch = events((1 + round % 3).min(most(&store)));
                let call = vec![Append::new(stream.clone(), batch, WriteCondition::Always)];
                patient(&store, &call).await?;
            }
            Ok(())
        });
    }
    let each: usize = (0..APPENDS).map(|round| (1 + round % 3).min(most(&store))).sum();
    for nth in 0..12 {
        let query = &queries[nth % queries.len()];
        let due = if *query == Query::from(streams[0].clone()) { each } else { each * WRITERS };
        let (store, query) = (store.clone(), query.clone());
        tasks.spawn(async move {
            let mut follow = Follow::new(&store, &query, ReadOptions::default());
            while follow.found.len() < due {
                follow.eventually().await?;
            }
            let mut whole = store.read(query.clone(), follow.options()).await?;
            whole.retain(|event| store.owns(event));
            store.same(&follow.found, &whole, &format!("a follow of {query} beside writers"))
        });
    }
    join(tasks).await
}
