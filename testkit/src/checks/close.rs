//! Closing an adapter.

use annals::{Append, Error, Query, ReadOptions, StreamId, WriteCondition};
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};

use crate::checks::support::ledger::{Ledger, light, most};
use crate::checks::support::polled_follow::LIMIT;
use crate::checks::support::polled_read::{LONG, sources};
use crate::engine::{Failure, Outcome, ensure, ensure_err};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, event, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "close.calls",
        [C2],
        Required,
        [],
        calls,
        "after close every call ends with Closed, and close may be called again"
    ),
    check!(
        "close.reads",
        [C2],
        Required,
        [],
        reads,
        "after close every open read ends with Closed at its next poll"
    ),
    check!(
        "close.follows",
        [C2 R6],
        Required,
        [],
        follows,
        "a follow that waits wakes when its adapter is closed, and ends with Closed"
    ),
    check!(
        "close.dropped",
        [C2 A6],
        Required,
        [],
        dropped,
        "a close that is dropped half way leaves the adapter closed, and a second one completes"
    ),
    check!(
        "close.appends",
        [C2 A1 A5],
        Required,
        [],
        appends,
        "appends under way are finished or rejected, and what was acknowledged is stored"
    ),
];

async fn close(store: &Subject) -> Outcome {
    within(LIMIT, "close", store.adapter.close()).await
}

/// Every kind of call ends with `Closed`.
async fn is_closed(store: &Subject, stream: &StreamId, when: &str) -> Outcome {
    let name = store.adapter.name().to_owned();
    for condition in [WriteCondition::Always, WriteCondition::StreamExists] {
        for count in [0, 1] {
            let call = vec![Append::new(stream.clone(), light(count), condition.clone())];
            let ended = within(LIMIT, "an append", store.adapter.append(call)).await?;
            ensure_err!(ended, Error::Closed { .. }, "an append of {count} events {when}");
            if let Err(error) = ended {
                ensure!(!error.is_retryable(), "Closed is retryable");
                let Error::Closed { adapter } = error else { continue };
                let is_named = !adapter.is_empty() && name.contains(&*adapter);
                ensure!(is_named, "Closed names {adapter:?}, the adapter is {name:?}");
            }
        }
    }
    let all = ReadOptions::default();
    for source in sources(store) {
        for options in [all, all.limit(1), ReadOptions::last(1), all.follow()] {
            let query = Query::from(source.clone());
            let mut pages = store.adapter.read(query.clone(), options);
            let page = within(LIMIT, "a read", pages.next()).await?;
            let page = page.ok_or(Failure::new(format!("a read {when} ended without an error")))?;
            ensure_err!(page, Error::Closed { .. }, "a read of {query} ({options:?}) {when}");
            ensure!(pages.next().await.is_none(), "a read {when} went on after its error");
        }
    }
    Ok(())
}

async fn calls(cx: Context) -> Outcome {
    let store = cx.open_to_close().await?;
    let [stream, ..] = crate::checks::support::polled_read::streams(&store);
    store.fill(&stream, 3).await?;
    close(&store).await?;
    is_closed(&store, &stream, "after close").await?;
    close(&store).await?;
    close(&store).await?;
    is_closed(&store, &stream, "after another close").await?;
    // One that was never used.
    let unused = cx.nested("unused").open_to_close().await?;
    close(&unused).await?;
    let [stream, ..] = crate::checks::support::polled_read::streams(&unused);
    is_closed(&unused, &stream, "of a store that was never used").await
}

async fn reads(cx: Context) -> Outcome {
    let store = cx.open_to_close().await?;
    let [stream, ..] = crate::checks::support::polled_read::streams(&store);
    store.fill(&stream, LONG).await?;
    let mut open = Vec::new();
    for source in sources(&store) {
        for options in [ReadOptions::default(), ReadOptions::default().backward()] {
            let options = options.after(store.start);
            open.push(store.adapter.read(source.clone().into(), options));
            let mut begun = store.adapter.read(source.clone().into(), options);
            let page = within(LIMIT, "a page", begun.next()).await?;
            let page = page.ok_or(Failure::new("a read of many events had no page"))??;
            if !page.at_head {
                open.push(begun);
            }
        }
    }
    close(&store).await?;
    for (nth, mut pages) in open.into_iter().enumerate() {
        let page = within(LIMIT, "an open read after close", pages.next()).await?;
        let page = page.ok_or(Failure::new(format!("open read {nth} ended without an error")))?;
        ensure_err!(page, Error::Closed { .. }, "open read {nth} after close");
        ensure!(pages.next().await.is_none(), "open read {nth} went on after its error");
    }
    Ok(())
}

async fn follows(cx: Context) -> Outcome {
    let store = cx.open_to_close().await?;
    let [stream, ..] = crate::checks::support::polled_read::streams(&store);
    store.fill(&stream, 3).await?;
    let mut waiting = Vec::new();
    for source in sources(&store).into_iter().map(Query::from).chain([Query::any_of([])]) {
        let options = ReadOptions::default().after(store.start).follow();
        for polls in 0..3 {
            let mut pages = store.adapter.read(source.clone(), options);
            if polls > 0 {
                let at_head = async {
                    while let Some(page) = pages.next().await {
                        if page?.at_head {
                            return Ok(());
                        }
                    }
                    Err(Failure::new("a follow ended before the head"))
                };
                within(LIMIT, "the head", at_head).await??;
            }
            if polls == 1 {
                let _ = pages.next().now_or_never();
                waiting.push((source.clone(), tokio::spawn(last(pages))));
            } else {
                waiting.push((source.clone(), tokio::spawn(last(pages))));
                tokio::task::yield_now().await;
            }
        }
    }
    close(&store).await?;
    for (query, task) in waiting {
        let what = format!("a follow of {query} that waited when its adapter was closed");
        let ended = within(LIMIT, &what, task).await?;
        let ended = ended.map_err(|error| Failure::new(error.to_string()))?;
        ensure_err!(ended, Error::Closed { .. }, "{what}");
    }
    Ok(())
}

/// Reads on until the follow ends; how.
async fn last(mut pages: annals::EventPages) -> annals::Result<()> {
    while let Some(page) = pages.next().await {
        page?;
    }
    Ok(())
}

async fn dropped(cx: Context) -> Outcome {
    for polls in 1..4 {
        let store = cx.nested(format!("d{polls}")).open_to_close().await?;
        let [stream, ..] = crate::checks::support::polled_read::streams(&store);
        store.fill(&stream, 3).await?;
        let mut closing = store.adapter.close();
        let closed = crate::checks::support::dropped_appends::poll_times(polls, false, |cx| {
            closing.poll_unpin(cx)
        });
        closed.await;
        drop(closing);
        is_closed(&store, &stream, "after a close that was dropped").await?;
        close(&store).await?;
        is_closed(&store, &stream, "after a second close").await?;
    }
    Ok(())
}

async fn appends(cx: Context) -> Outcome {
    for round in 0..4 {
        let cx = cx.nested(format!("r{round}"));
        let store = cx.open_to_close().await?;
        let stream = |nth: usize| store.stream("closing", &format!("{nth}"));
        let size = most(&store).min(3);
        let append = |nth: usize| {
            let call = vec![Append::new(stream(nth), light(size), WriteCondition::Always)];
            let adapter = std::sync::Arc::clone(&store.adapter);
            async move { (nth, adapter.append(call).await) }
        };
        let mut under_way: Vec<_> = (0..20).map(|nth| Box::pin(append(nth))).collect();
        let mut done = Vec::new();
        for append in under_way.iter_mut().take(5 * round) {
            // Taken: begun, and perhaps done already.
            if let Some(ended) = append.now_or_never() {
                done.push(ended);
            }
        }
        let begun: Vec<usize> = done.iter().map(|(nth, _)| *nth).collect();
        let rest = under_way.into_iter().enumerate().filter(|(nth, _)| !begun.contains(nth));
        let rest = join_all(rest.map(|(_, append)| append));
        let both = async { futures_util::future::join(store.adapter.close(), rest).await };
        let ((), rest) = within(LIMIT * 2, "close and the appends under way", both).await?;
        done.extend(rest);
        let mut acknowledged = Vec::new();
        for (nth, ended) in done {
            match ended {
                Ok(stored) => acknowledged.push((nth, stored)),
                Err(Error::Closed { .. }) => {}
                Err(other) => {
                    return Err(Failure::from(other).in_context("an append beside close"));
                }
            }
        }
        is_closed(&store, &stream(0), "after close beside appends").await?;
        // Where the data outlives the adapter, it holds just what was acknowledged.
        if store.capabilities.durable {
            let again = Ledger::open(&cx).await?.store;
            for nth in 0..20 {
                let found = again.stream_events(&stream(nth)).await?;
                let stored = acknowledged.iter().find(|(other, _)| *other == nth);
                let stored = stored.map(|(_, stored)| stored.as_slice()).unwrap_or_default();
                again.same(&found, stored, &format!("what was acknowledged of append {nth}"))?;
            }
            again.append(&stream(0), vec![event("later")], WriteCondition::Always).await?;
        }
    }
    Ok(())
}
