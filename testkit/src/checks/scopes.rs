//! In the weaker orders a category or stream that others hold keeps up nobody else. Found by what has ended, not by time:
//! the others end while what is held is still held.

use std::any::Any;
use std::time::Duration;

use annals::{Append, Error, Order, Result, StoredEvent, StreamId};
use futures_util::FutureExt;
use tokio::task::{JoinHandle, JoinSet};

use crate::checks::support::ledger::{always, light};
use crate::engine::{Failure, Outcome, ensure_eq};
use crate::harness::Hook;
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, within};

pub(super) const CHECKS: &[Check] = &[check!(
    "order.held_scope",
    [A4],
    Required,
    [Need::Lacks(Feature::LogOrder), Need::Hook(Hook::HoldScope)],
    held_scope,
    "while a category or stream is held, appends to others end, and one to it waits"
)];

/// What must not hang gets so long.
const LIMIT: Duration = Duration::from_secs(20);
/// How often the others append.
const ROUNDS: usize = 3;

async fn held_scope(cx: Context) -> Outcome {
    let [store, second] = [cx.open().await?, cx.open().await?];
    let stream = |(category, name)| store.stream(category, name);
    let [held, crossing] = [("held", "one"), ("crossing", "one")].map(stream);
    // In the order of streams another stream of the category is another scope.
    let sibling = (store.capabilities.order == Order::Stream).then_some(("held", "two"));
    let others = [("free", "one"), ("free", "two"), ("more", "one")];
    let others: Vec<_> = sibling.into_iter().chain(others).map(stream).collect();
    for stream in others.iter().chain([&held]) {
        store.fill(stream, 1).await?;
    }
    let holder = hold(&cx, &held).await?;
    let mut waiting = vec![begun(&store, vec![always(&held, light(1))])];
    if store.capabilities.multi_stream_append {
        // It waits as well, and may keep up those that need its other stream.
        waiting.push(begun(&second, vec![always(&crossing, light(1)), always(&held, light(1))]));
    }
    for _ in 0..ROUNDS {
        let mut going = JoinSet::new();
        for (nth, stream) in others.iter().enumerate() {
            let store = if nth % 2 == 0 { store.clone() } else { second.clone() };
            let append = vec![always(stream, light(1))];
            going.spawn(async move { store.adapter.append(append).await });
        }
        let what = format!("appends to other scopes while {held} is held");
        for ended in within(LIMIT, &what, going.join_all()).await? {
            ended.map_err(|error| Failure::from(error).in_context(what.clone()))?;
        }
        for stream in &others {
            let what = format!("a read of {stream} while {held} is held");
            within(LIMIT, &what, store.stream_events(stream)).await??;
        }
    }
    let mut held_up = Vec::new();
    for mut append in waiting {
        match (&mut append).now_or_never() {
            None => held_up.push(append),
            // A wait that ran out of its bound.
            Some(Ok(Err(Error::Unavailable(_)))) => {}
            Some(ended) => {
                let text = format!("an append to {held}, which is held, ended as {ended:?}");
                return Err(Failure::new(text));
            }
        }
    }
    drop(holder);
    for append in held_up {
        let ended = within(LIMIT, "an append to what was held", append).await?;
        let ended = ended.map_err(|error| Failure::new(format!("it ended: {error}")))?;
        ended.map(drop).or_else(|error| match error {
            Error::Unavailable(_) => Ok(()),
            error => Err(error),
        })?;
    }
    for stream in &others {
        let found = store.stream_events(stream).await?.len();
        ensure_eq!(found, 1 + ROUNDS, "events of {stream} beside what was held");
    }
    Ok(())
}

async fn hold(cx: &Context, stream: &StreamId) -> Outcome<Box<dyn Any + Send>> {
    let held = cx.harness().hold_scope(cx.namespace(), stream).await;
    held.map_err(|error| Failure::new(format!("the harness could not hold {stream}: {error}")))
}

/// An append that was polled once, so that it comes before all that follow, and goes on by itself.
fn begun(store: &Subject, writes: Vec<Append>) -> JoinHandle<Result<Vec<StoredEvent>>> {
    let store = store.clone();
    let mut append = async move { store.adapter.append(writes).await }.boxed();
    match (&mut append).now_or_never() {
        Some(ended) => tokio::spawn(std::future::ready(ended)),
        None => tokio::spawn(append),
    }
}
