//! Connections that are cut, locks that are held, servers that restart.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use annals::{Error, EventId, NewEvent, Result, StoredEvent, StreamId, WriteCondition};

use futures_util::future::{Either, select, try_join_all};

use crate::checks::support::ledger::most;
use crate::child::heavy;
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::error::chain;
use crate::harness::{Disturbance, Hook, Variant};
use crate::proxy::{Proxy, Side};
use crate::storage::{Check, Need, check, is_named};
use crate::subject::{Context, Subject, events, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "fault.cut_sweep",
        [A1 A5],
        Required,
        [Need::Hook(Hook::Proxy)],
        cut_sweep,
        "a connection cut after any packet leaves all or nothing, as the outcome says"
    ),
    check!(
        "fault.cut_crowd",
        [A1 A5],
        Required,
        [Need::Hook(Hook::Proxy)],
        cut_crowd,
        "of many appends under way on a connection that is cut, each ends as its outcome says"
    ),
    check!(
        "fault.stall",
        [A5],
        Required,
        [Need::Hook(Hook::Proxy)],
        stall,
        "a connection that stops answering ends an append in bounded time, and the next one works"
    ),
    check!(
        "fault.connections_cut",
        [A1 A5 R1],
        Required,
        [Need::Disturb(Disturbance::CutConnections)],
        connections_cut,
        "after all connections were cut, reads and appends work again"
    ),
    check!(
        "fault.restart",
        [A5 D1],
        Required,
        [Need::Disturb(Disturbance::RestartServer)],
        restart,
        "writers go on by themselves after the server was started again, and nothing is lost"
    ),
    check!(
        "fault.kill_server",
        [A1 A2 A5 D1],
        Stochastic,
        [Need::Disturb(Disturbance::KillServer)],
        kill_server,
        "after kill -9 of the server, under 32 writers, just after an acknowledgement and amid large batches, all that was acknowledged is there, nothing twice"
    ),
    check!(
        "fault.lock_held",
        [A5],
        Required,
        [Need::Disturb(Disturbance::HoldLock)],
        lock_held,
        "an append behind a lock that is held ends as unavailable in bounded time, and stores nothing"
    ),
    check!(
        "fault.pool_of_one",
        [R4 A6],
        Required,
        [Need::Hook(Hook::PoolOfOne)],
        pool_of_one,
        "with one connection, appends inside open reads work, and many callers take turns"
    ),
];

const LIMIT: Duration = Duration::from_secs(20);
/// How long after a cut there is a way again.
const HEALED: Duration = Duration::from_millis(5);

/// What an append's outcome says about the store against what is there.
async fn judge(
    store: &Subject,
    stream: &StreamId,
    sent: &[EventId],
    outcome: &Result<Vec<StoredEvent>>,
) -> Outcome {
    let found = within(LIMIT, "a read after the fault", store.stream_events(stream)).await??;
    judge_by(&found, sent, outcome)
}

/// The same, against the events of the stream.
fn judge_by(
    found: &[StoredEvent],
    sent: &[EventId],
    outcome: &Result<Vec<StoredEvent>>,
) -> Outcome {
    let there = found.iter().filter(|event| sent.contains(&event.event.id)).count();
    match outcome {
        Ok(_) => ensure_eq!(there, sent.len(), "events of an append that was acknowledged"),
        Err(Error::OutcomeUnknown(_)) => ensure!(
            there == 0 || there == sent.len(),
            "of an append of unknown outcome {there} of {} events are there",
            sent.len()
        ),
        Err(Error::ConditionFailed(_) | Error::DuplicateEvent(_)) => {
            return Err(Failure::new(format!("a fault was told as a refusal: {outcome:?}")));
        }
        Err(error) => {
            ensure_eq!(there, 0, "events of an append that failed with: {}", chain(error));
        }
    }
    let positions: Vec<u64> = found.iter().map(|event| event.position.value()).collect();
    ensure!(positions.iter().copied().eq(0..positions.len() as u64), "positions {positions:?}");
    Ok(())
}

/// Appends a few events, and returns their ids and the outcome.
async fn append(
    store: &Subject,
    stream: &StreamId,
) -> Outcome<(Vec<EventId>, Result<Vec<StoredEvent>>)> {
    let batch: Vec<NewEvent> = events(most(store).min(3));
    let ids = batch.iter().map(|event| event.id).collect();
    let outcome =
        within(LIMIT, "an append", store.append(stream, batch, WriteCondition::Always)).await?;
    if let Err(error) = &outcome {
        is_named(error, "append")?;
    }
    Ok((ids, outcome))
}

/// A store behind a proxy, and a handle that needs none.
async fn proxied(cx: &Context) -> Outcome<(Proxy, Subject, Subject)> {
    let direct = cx.open().await?;
    let proxy = Proxy::start(server(cx).await?).await;
    let proxy = proxy.map_err(|error| Failure::not_run(error.to_string()))?;
    let store = cx.open_as(Variant::Via(proxy.addr())).await?;
    Ok((proxy, store, direct))
}

/// A point at which everything is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    packets: u64,
    side: Side,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cut after {} packets of {:?}", self.packets, self.side)
    }
}

/// Has `case` cut after each packet of either side in turn. It heals the proxy, and returns whether there was a cut.
async fn cut_everywhere<F>(proxy: &Proxy, case: impl Fn(Cut) -> F) -> Outcome
where
    F: Future<Output = Outcome<bool>>,
{
    for side in [Side::Client, Side::Server] {
        let (mut clean, mut cuts) = (0, 0);
        for packets in 0..64 {
            proxy.cut_after(side, packets);
            let was_cut = case(Cut { packets, side }).await?;
            cuts += usize::from(was_cut);
            clean = if was_cut { 0 } else { clean + 1 };
            // All packets pass before the cut, again and again: there is no later point to cut at.
            if clean == 3 {
                break;
            }
        }
        ensure!(cuts > 0, "no packet of {side:?} was cut: the store does not go through the proxy");
    }
    Ok(())
}

async fn cut_sweep(cx: Context) -> Outcome {
    let (proxy, store, direct) = &proxied(&cx).await?;
    let stream = &direct.stream("faults", "cut");
    append(store, stream).await?.1?;
    cut_everywhere(proxy, |cut| async move {
        let (ids, outcome) = append(store, stream).await?;
        let was_cut = proxy.heal();
        let judged = judge(direct, stream, &ids, &outcome).await;
        judged.map_err(|failure| failure.in_context(cut))?;
        recovered(store, stream).await?;
        Ok(was_cut)
    })
    .await
}

async fn cut_crowd(cx: Context) -> Outcome {
    let (proxy, store, direct) = &proxied(&cx).await?;
    let streams: &Vec<_> =
        &(0..48).map(|nth| direct.stream("faults", &format!("crowd-{nth}"))).collect();
    cut_everywhere(proxy, |cut| async move {
        let appends = try_join_all(streams.iter().map(|stream| append(store, stream)));
        // A store that tries again finds everything cut, or in three of four cases a way at once.
        let heal = async {
            proxy.until_cut().await;
            if cut.packets % 4 == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(HEALED).await;
            proxy.heal()
        };
        let (appends, healed) = match select(pin!(appends), pin!(heal)).await {
            Either::Left((appends, _)) => (appends?, false),
            Either::Right((healed, appends)) => (appends.await?, healed),
        };
        let was_cut = proxy.heal() || healed;
        let all = within(LIMIT, "a read after the fault", direct.all_events(streams)).await??;
        for (stream, (ids, outcome)) in streams.iter().zip(&appends) {
            let found: Vec<_> =
                all.iter().filter(|event| event.stream == *stream).cloned().collect();
            judge_by(&found, ids, outcome)
                .map_err(|failure| failure.in_context(format!("{stream}, one of many, {cut}")))?;
        }
        recovered(store, &streams[0]).await?;
        Ok(was_cut)
    })
    .await
}

async fn server(cx: &Context) -> Outcome<std::net::SocketAddr> {
    let named = cx.harness().server().await;
    named.map_err(|error| Failure::new(format!("the harness names no server: {error}")))
}

/// Within a few tries the store works again.
async fn recovered(store: &Subject, stream: &StreamId) -> Outcome {
    let mut last = None;
    for _ in 0..100 {
        match append(store, stream).await?.1 {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(chain(&error)),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Failure::new(format!("the store does not recover: {}", last.unwrap_or_default())))
}

async fn stall(cx: Context) -> Outcome {
    let (proxy, store, direct) = proxied(&cx).await?;
    let stream = direct.stream("faults", "stall");
    append(&store, &stream).await?.1?;
    proxy.stall(true);
    let (ids, outcome) = append(&store, &stream).await?;
    ensure!(outcome.is_err(), "an append was acknowledged over a connection that stood still");
    proxy.stall(false);
    let _ = proxy.heal();
    recovered(&store, &stream).await?;
    judge(&direct, &stream, &ids, &outcome).await
}

async fn disturb(cx: &Context, disturbance: Disturbance) -> Outcome<Box<dyn std::any::Any + Send>> {
    let done = cx.harness().disturb(cx.namespace(), disturbance).await;
    done.map_err(|error| Failure::new(format!("the harness could not do it: {error}")))
}

async fn connections_cut(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("faults", "cut");
    store.fill(&stream, 3).await?;
    for _ in 0..3 {
        let disturbed = disturb(&cx, Disturbance::CutConnections).await?;
        drop(disturbed);
        let found = within(LIMIT, "a read after the cut", store.stream_events(&stream)).await??;
        ensure!(found.len() >= 3, "a read after the cut gave {} events", found.len());
        disturb(&cx, Disturbance::CutConnections).await?;
        let (ids, outcome) = append(&store, &stream).await?;
        judge(&store, &stream, &ids, &outcome).await?;
        recovered(&store, &stream).await?;
    }
    Ok(())
}

/// Writers that go on through a disturbance, each to its own stream, until each was acknowledged afterwards. Returns
/// their store.
async fn survive(cx: &Context, writers: usize, disturbance: Disturbance) -> Outcome<Subject> {
    let store = cx.open_as(Variant::OwnServer).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (store, stopped) = (store.clone(), stopped.clone());
        tasks.spawn(async move {
            let stream = store.stream("faults", &format!("writer-{writer}"));
            let size = (1 + writer % 8).min(most(&store));
            let mut acknowledged: Vec<EventId> = Vec::new();
            let mut after_stop = false;
            while !after_stop {
                let last_round = *stopped.borrow();
                let sent = events(size);
                let ids: Vec<_> = sent.iter().map(|event| event.id).collect();
                match store.append(&stream, sent, WriteCondition::Always).await {
                    Ok(_) => {
                        acknowledged.extend(ids);
                        after_stop = last_round;
                    }
                    Err(
                        error @ (Error::ConditionFailed(_)
                        | Error::DuplicateEvent(_)
                        | Error::Invalid(_)),
                    ) => {
                        return Err(
                            Failure::from(error).in_context("a fault was told as a refusal")
                        );
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
            Ok((stream, size, acknowledged))
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let disturbed = disturb(cx, disturbance).await?;
    drop(disturbed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.send_replace(true);
    let ended = within(LIMIT, "writers that go on after the fault", tasks.join_all()).await?;
    for outcome in ended {
        let (stream, size, acknowledged) = outcome?;
        let found = store.stream_events(&stream).await?;
        let there: HashSet<EventId> = found.iter().map(|event| event.event.id).collect();
        let lost = acknowledged.iter().filter(|id| !there.contains(*id)).count();
        ensure_eq!(lost, 0, "acknowledged events of {stream} that are lost");
        ensure_eq!(there.len(), found.len(), "distinct events of {stream}");
        ensure_eq!(found.len() % size, 0, "events of {stream} beyond whole appends of {size}");
        let positions: Vec<u64> = found.iter().map(|event| event.position.value()).collect();
        ensure!(positions.iter().copied().eq(0..positions.len() as u64), "positions {positions:?}");
    }
    Ok(store)
}

async fn restart(cx: Context) -> Outcome {
    survive(&cx, 4, Disturbance::RestartServer).await.map(drop)
}

async fn kill_server(cx: Context) -> Outcome {
    let store = survive(&cx, 32, Disturbance::KillServer).await?;
    for (round, case) in cx.cases(4).enumerate() {
        kill_after(&cx, &store, round, case).await?;
    }
    Ok(())
}

/// Kills the server just after an acknowledgement that nobody else's commit has made durable: at once, or while a large
/// batch is on its way.
async fn kill_after(cx: &Context, store: &Subject, round: usize, case: u64) -> Outcome {
    let [quiet, loud] =
        ["quiet", "loud"].map(|name| store.stream("faults", &format!("{name}-{round}")));
    for _ in 0..=case % 3 {
        recovered(store, &quiet).await?;
    }
    let before = store.stream_events(&quiet).await?;
    let is_large = round % 2 == 1;
    let large = if is_large { heavy(store) } else { Vec::new() };
    let large_ids: Vec<_> = large.iter().map(|event| event.id).collect();
    let (ids, outcome) = append(store, &quiet).await?;
    let under_way = is_large.then(|| {
        let (store, loud) = (store.clone(), loud.clone());
        tokio::spawn(async move { store.append(&loud, large, WriteCondition::Always).await })
    });
    if is_large {
        // Somewhere between its first byte and its acknowledgement.
        tokio::time::sleep(Duration::from_millis(case % 16)).await;
    }
    drop(disturb(cx, Disturbance::KillServer).await?);
    recovered(store, &store.stream("faults", "after")).await?;
    judge(store, &quiet, &ids, &outcome).await?;
    let found = store.stream_events(&quiet).await?;
    let kept = found.get(..before.len()).unwrap_or(&found);
    store.same(kept, &before, "what was read before the server was killed")?;
    if let Some(under_way) = under_way {
        let ended = within(LIMIT, "an append that a kill met", under_way).await?;
        let ended = ended.map_err(|error| Failure::new(format!("it ended: {error}")))?;
        judge(store, &loud, &large_ids, &ended).await?;
    }
    Ok(())
}

async fn lock_held(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("faults", "locked");
    store.fill(&stream, 1).await?;
    let held = disturb(&cx, Disturbance::HoldLock).await?;
    let (_, outcome) = append(&store, &stream).await?;
    match &outcome {
        Err(error) if error.is_retryable() => {}
        other => {
            return Err(Failure::new(format!(
                "expected Unavailable behind a held lock, found {other:?}"
            )));
        }
    }
    let found =
        within(LIMIT, "a read while the lock is held", store.stream_events(&stream)).await??;
    ensure_eq!(found.len(), 1, "events after an append that was given up");
    drop(held);
    recovered(&store, &stream).await?;
    let expected = 1 + most(&store).min(3);
    let found = store.stream_events(&stream).await?.len();
    ensure_eq!(found, expected, "events after the lock was released");
    Ok(())
}

async fn pool_of_one(cx: Context) -> Outcome {
    use futures_util::StreamExt;
    let store = cx.open_as(Variant::PoolOfOne).await?;
    let stream = store.stream("faults", "one");
    store.fill(&stream, 300).await?;
    let mut pages = store.adapter.read(stream.clone().into(), annals::ReadOptions::default());
    let first = within(LIMIT, "a page", pages.next()).await?;
    ensure!(matches!(first, Some(Ok(_))), "the first page is {first:?}");
    within(LIMIT, "an append inside an open read", store.fill(&stream, 1)).await??;
    drop(pages);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..20 {
        let store = store.clone();
        callers.spawn(async move {
            let stream = store.stream("faults", &caller.to_string());
            store.fill(&stream, 2).await?;
            store.stream_events(&stream).await
        });
    }
    for found in within(LIMIT, "twenty callers of one connection", callers.join_all()).await? {
        ensure_eq!(found?.len(), 2, "events of a caller");
    }
    Ok(())
}
