//! Follows: reads that go on past the head.

use std::time::Duration;

use annals::{
    Append, Error, Order, Position, Query, QueryItem, ReadOptions, SequenceNumber, Source,
    WriteCondition,
};
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinSet;

use crate::checks::support::dropped_appends::poll_times;
use crate::checks::support::ledger::{Ledger, light, most};
use crate::checks::support::polled_follow::{Follow, LIMIT, feed};
use crate::checks::support::polled_read::{LONG, handles, long, sources, streams};
use crate::checks::support::read_world::{World, named};
use crate::engine::{Failure, Outcome, ensure, ensure_err};
use crate::harness::{Hook, Variant};
use crate::storage::{Check, Need, check};
use crate::subject::{Context, Subject, event, events, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "follow.head",
        [R6 R5 R1],
        Required,
        [],
        head,
        "a follow returns what is there, says when it is at the head, and goes on"
    ),
    check!(
        "follow.switch",
        [R6 R2],
        Required,
        [],
        switch,
        "what is appended around the switch at the head arrives, once and in order"
    ),
    check!(
        "follow.handles",
        [R6 R1],
        Required,
        [],
        two_handles,
        "what another handle appends arrives"
    ),
    check!(
        "follow.wakes",
        [R6],
        Required,
        [],
        wakes,
        "a follow that waits in a task wakes for every append, alone and in bursts"
    ),
    check!(
        "follow.queries",
        [R6 R3],
        Required,
        [],
        queries,
        "follows of different queries get each its own events, and of nothing none"
    ),
    check!(
        "follow.limit",
        [R6 R5],
        Required,
        [],
        limit,
        "a limit ends a follow before, at and after the head"
    ),
    check!(
        "follow.until",
        [R6 R5],
        Required,
        [],
        until,
        "a follow ends once the head has reached its last number, by whatever append"
    ),
    check!(
        "follow.rejected",
        [R6 C1],
        Required,
        [],
        rejected,
        "a follow backward, up to a position or wider than the order is rejected"
    ),
    check!(
        "follow.ahead",
        [R6],
        Required,
        [],
        ahead,
        "a follow that begins beyond the head says that the store is behind it"
    ),
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

/// Whole sources and filters of them, as far as they can be followed.
fn followed(store: &Subject) -> Vec<Query> {
    let both = |source: Source| [source.clone().into(), named(&source, &["rare", "even"]).into()];
    sources(store).into_iter().flat_map(both).collect()
}

async fn head(cx: Context) -> Outcome {
    let mut ledger = long(&cx, LONG).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        for query in followed(&store) {
            let [stream, ..] = streams(&store);
            let mut follow = Follow::new(&store, &query, ReadOptions::default());
            // Before its first poll, and in the middle.
            feed(&mut ledger, &stream, "rare", 1).await?;
            follow.page().await?;
            follow.reach_head().await?;
            follow.same(&ledger)?;
            for count in [1, 3] {
                feed(&mut ledger, &stream, "rare", count).await?;
                follow.catch_up(&ledger).await?;
            }
        }
        let [stream, ..] = streams(&store);
        let options = ReadOptions::default().from_position(Position::new(LONG as u64 - 7));
        let mut follow = Follow::new(&store, &stream.clone().into(), options);
        feed(&mut ledger, &stream, "even", 2).await?;
        follow.catch_up(&ledger).await?;
        // Nothing was ever appended to it.
        let new = store.stream("orders", &format!("new-{}", ledger.streams().count()));
        let mut follow = Follow::new(&store, &new.clone().into(), ReadOptions::default());
        follow.reach_head().await?;
        follow.waits().await?;
        feed(&mut ledger, &new, "rare", 2).await?;
        follow.catch_up(&ledger).await?;
    }
    Ok(())
}

async fn switch(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 30).await?;
    let store = ledger.store.clone();
    for query in followed(&store) {
        let mut follow = Follow::new(&store, &query, ReadOptions::default());
        follow.reach_head().await?;
        for round in 0..6 {
            let [stream, sibling, _] = streams(&store);
            // After the page at the head, before the next poll.
            feed(&mut ledger, &stream, "rare", 1 + round % 3).await?;
            follow.catch_up(&ledger).await?;
            // While it waits: it has registered, and what wakes it comes later.
            follow.wait().await;
            feed(&mut ledger, &sibling, "happened", 1).await?;
            feed(&mut ledger, &stream, "even", 1).await?;
            // Between the pages of what it goes on with.
            follow.page_with_events().await?;
            feed(&mut ledger, &stream, "rare", 2).await?;
            follow.catch_up(&ledger).await?;
        }
        follow.waits().await?;
        follow.same(&ledger)?;
    }
    Ok(())
}

async fn two_handles(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 30).await?;
    let here = ledger.store.clone();
    let there = cx.open().await?;
    let [stream, ..] = streams(&here);
    for query in followed(&here) {
        let mut follow = Follow::new(&here, &query, ReadOptions::default());
        let mut other = Follow::new(&there, &query, ReadOptions::default());
        follow.reach_head().await?;
        other.reach_head().await?;
        for round in 0..4 {
            let by = if round % 2 == 0 { &there } else { &here };
            ledger = ledger.through(by.clone());
            feed(&mut ledger, &stream, "rare", 1 + round).await?;
            follow.catch_up(&ledger).await?;
            other.catch_up(&ledger).await?;
        }
    }
    Ok(())
}

/// A follow in a task of its own, which sends how many own events it has so far after each page.
fn task(
    tasks: &mut JoinSet<Outcome>,
    store: &Subject,
    query: &Query,
    events: usize,
) -> tokio::sync::watch::Receiver<usize> {
    let mut follow = Follow::new(store, query, ReadOptions::default());
    let (sender, receiver) = tokio::sync::watch::channel(0);
    tasks.spawn(async move {
        while follow.found.len() < events {
            follow.eventually().await?;
            let _ = sender.send(follow.found.len());
        }
        Ok(())
    });
    receiver
}

async fn wakes(cx: Context) -> Outcome {
    const ROUNDS: usize = 60;
    let mut ledger = long(&cx, 10).await?;
    let store = ledger.store.clone();
    let [stream, ..] = streams(&store);
    let mut tasks = JoinSet::new();
    let mut followers = Vec::new();
    for source in sources(&store) {
        let query = Query::from(source);
        let before = ledger.sorted(|event| query.matches(event)).len();
        let bursts = (0..ROUNDS).map(|round| 1 + round % 3).sum::<usize>();
        followers.push((task(&mut tasks, &store, &query, before + bursts), before));
    }
    let mut appended = 0;
    for round in 0..ROUNDS {
        for _ in 0..=(round % 3) {
            feed(&mut ledger, &stream, "rare", 1).await?;
            appended += 1;
        }
        for (seen, before) in &mut followers {
            let due = *before + appended;
            let arrived = within(LIMIT, "what was appended", seen.wait_for(|count| *count >= due));
            if arrived.await?.is_err() {
                break;
            }
        }
    }
    drop(followers);
    join(tasks).await
}

async fn join(mut tasks: JoinSet<Outcome>) -> Outcome {
    let ended = async {
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| Failure::new(error.to_string()))??;
        }
        Ok(())
    };
    within(LIMIT * 2, "the tasks of followers", ended).await?
}

async fn queries(cx: Context) -> Outcome {
    let mut world = World::small(&cx).await?;
    let store = world.ledger.store.clone();
    let [one, other] = [store.stream("orders", "o-1"), store.stream("orders", "o-2")];
    let nothing = QueryItem::new(one.clone()).with_names([""; 0]).map_err(Error::from)?;
    let mut queries = vec![Query::any_of([]), nothing.into(), one.clone().into()];
    queries.push(named(&one.clone().into(), &["placed"]).into());
    queries.push(Query::any_of([&one, &other].map(|stream| QueryItem::new(stream.clone()))));
    for source in world.sources() {
        queries.push(named(&source, &["changed", "never"]).into());
        queries.push(QueryItem::new(source).with_tags(store.tags(&["a"])).into());
    }
    queries.retain(|query| world.may_read(query));
    let mut follows: Vec<Follow> =
        queries.iter().map(|query| Follow::new(&store, query, ReadOptions::default())).collect();
    for follow in &mut follows {
        follow.reach_head().await?;
        follow.same(&world.ledger)?;
    }
    for (round, name) in ["placed", "changed", "cancelled"].into_iter().enumerate() {
        for stream in [&one, &other, &store.stream("invoices", "o-1")] {
            let mut event = event(name);
            if store.capabilities.tags && round != 1 {
                event.tags = store.tags(&["a", "ab"]);
            }
            world.ledger.one(stream, vec![event], WriteCondition::Always).await?;
        }
        for follow in &mut follows {
            follow.catch_up(&world.ledger).await?;
        }
    }
    for follow in &mut follows {
        follow.waits().await?;
    }
    Ok(())
}

async fn limit(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 30).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        for query in followed(&store) {
            let [stream, ..] = streams(&store);
            for more in [0, 1, 3] {
                // In a log of others the limit counts theirs, too: begin where this check goes on.
                let is_log = query.scope() == Some(Source::Log);
                let there = ledger.sorted(|event| query.matches(event));
                let last = there.last().map(|last| last.sequence_number).unwrap_or_default();
                let all = ReadOptions::default();
                let (options, due) = if is_log { (all.after(last), 0) } else { (all, there.len()) };
                let most = due as u64 + more;
                let mut follow = Follow::new(&store, &query, options.limit(most));
                if more > 0 && due > 0 {
                    follow.reach_head().await?;
                }
                feed(&mut ledger, &stream, "rare", 4).await?;
                follow.reach_end().await?;
                let count = follow.count;
                ensure!(count == most, "a follow of {query} with limit {most} returned {count}");
            }
        }
    }
    Ok(())
}

async fn until(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 30).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        let [stream, sibling, other] = streams(&store);
        for (query, mover) in [
            (Query::from(stream.clone()), &stream),
            // Nothing of what it asks for moves the head.
            (Query::from(stream.clone()), &other),
            (named(&stream.clone().into(), &["never"]).into(), &sibling),
        ] {
            let whole = store.capabilities.order == Order::Log;
            let mover = if whole { mover } else { &stream };
            let last = ledger.sorted(|event| whole || event.stream == stream);
            let last = last.last().map(|last| last.sequence_number).unwrap_or_default();
            let reached = ReadOptions::default().until(last);
            Follow::new(&store, &query, reached).reach_end().await?;
            let next = SequenceNumber::new(last.value() + 1);
            let mut follow = Follow::new(&store, &query, ReadOptions::default().until(next));
            // Of others' events in the log any may be the next.
            follow.page().await?;
            feed(&mut ledger, mover, "even", 2).await?;
            follow.reach_end().await?;
            let below = ReadOptions::default().after(next).until(last);
            Follow::new(&store, &query, below).reach_end().await?;
        }
    }
    Ok(())
}

async fn rejected(cx: Context) -> Outcome {
    let ledger = long(&cx, 10).await?;
    let store = &ledger.store;
    let [stream, _, other] = streams(store);
    let follow = ReadOptions::default().follow();
    for options in [follow.backward(), follow.until_position(Position::new(3))] {
        let found = store.try_read(stream.clone(), options).await?;
        ensure_err!(found, Error::Invalid(_), "a follow with {options:?}");
    }
    let wide = [
        (Order::Log, Query::All),
        (Order::Log, Query::any_of([&stream, &other].map(|it| QueryItem::new(it.clone())))),
        (Order::Category, stream.category.clone().into()),
    ];
    for (order, query) in wide {
        for options in [follow, follow.allow_skips(), follow.limit(1)] {
            if store.capabilities.order < order {
                let found = store.try_read(query.clone(), options).await?;
                ensure_err!(found, Error::Unsupported { .. }, "a follow of {query} ({options:?})");
            }
        }
    }
    Ok(())
}

async fn ahead(cx: Context) -> Outcome {
    let ledger = long(&cx, 10).await?;
    let store = &ledger.store;
    for source in sources(store) {
        let query = Query::from(source);
        let last = store.latest(query.clone()).await?.map(|last| last.sequence_number);
        let beyond = SequenceNumber::new(last.unwrap_or_default().value() + 1_000_000);
        let options = ReadOptions::default().after(beyond).follow();
        let mut pages = store.adapter.read(query.clone(), options);
        let page = within(LIMIT, "a follow beyond the head", pages.next()).await?;
        let what = format!("a follow of {query} after {beyond}");
        match page {
            Some(Err(Error::AheadOfLog { after, head })) => {
                ensure!(after == beyond && head < beyond, "{what} told {after} and {head}");
                ensure!(Some(head) >= last, "{what} told the head {head}, which is {last:?}");
            }
            other => return Err(Failure::new(format!("{what} is ahead, found {other:?}"))),
        }
        ensure!(pages.next().await.is_none(), "{what} went on after its error");
    }
    Ok(())
}

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
            tokio::spawn(async move {
                crate::checks::support::ledger::patient(&store, &call)
                    .await
                    .map(|stored| (call, stored))
            })
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
                crate::checks::support::ledger::patient(&store, &call).await?;
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
