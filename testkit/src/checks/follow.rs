//! Follows: reads that go on past the head.

use annals::{
    Error, Order, Position, Query, QueryItem, ReadOptions, SequenceNumber, Source, WriteCondition,
};
use futures_util::StreamExt;
use tokio::task::JoinSet;

use crate::checks::support::ledger::{Ledger, always, most};
use crate::checks::support::polled_follow::{FIRST_LOOKS, Follow, LIMIT, feed, join, task};
use crate::checks::support::polled_read::{LONG, handles, long, sources, streams};
use crate::checks::support::read_world::{World, named};
use crate::engine::{Failure, Outcome, ensure, ensure_err};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, event, within};

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
        "follow.first_look",
        [R6 R1],
        Required,
        [],
        first_look,
        "the first follow of a handle hears what another one appends as soon as it is at the head"
    ),
    check!(
        "follow.wakes",
        [R6],
        Required,
        [],
        wakes,
        "a follow that waits in a task wakes for every append: alone, in bursts, and beside others in one call"
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
];

/// Whole sources and filters of them, as far as they can be followed.
pub(super) fn followed(store: &Subject) -> Vec<Query> {
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

async fn first_look(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 30).await?;
    let [stream, ..] = streams(&ledger.store);
    for query in followed(&ledger.store) {
        for pause in FIRST_LOOKS {
            let fresh = cx.open().await?;
            let mut follow = Follow::new(&fresh, &query, ReadOptions::default());
            follow.reach_head().await?;
            if !pause.is_zero() {
                follow.wait().await;
                tokio::time::sleep(pause).await;
            }
            feed(&mut ledger, &stream, "rare", 1).await?;
            follow.catch_up(&ledger).await?;
        }
    }
    Ok(())
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
    join(tasks).await?;
    wakes_of_each(ledger).await
}

/// A call to several streams wakes those that follow any of them, whichever place it has in the call.
async fn wakes_of_each(mut ledger: Ledger) -> Outcome {
    const ROUNDS: usize = 6;
    let store = ledger.store.clone();
    let all = streams(&store);
    if !store.capabilities.multi_stream_append || most(&store) < all.len() {
        return Ok(());
    }
    let mut tasks = JoinSet::new();
    let followers = all.clone().map(|stream| {
        let before = ledger.stream(&stream).len();
        (task(&mut tasks, &store, &stream.into(), before + ROUNDS), before)
    });
    for round in 0..ROUNDS {
        let mut call = all.clone().map(|to| always(&to, vec![event("rare")])).to_vec();
        call.rotate_left(round % all.len());
        ledger.append(call).await?;
        for (mut seen, before) in followers.clone() {
            let arrived = seen.wait_for(|count| *count > before + round);
            if within(LIMIT, "what one call wrote to several streams", arrived).await?.is_err() {
                break;
            }
        }
    }
    drop(followers);
    join(tasks).await
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
