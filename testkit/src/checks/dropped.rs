//! Futures that are dropped half way.

use std::num::NonZeroUsize;
use std::task::Poll;

use annals::{
    Append, Direction, EventPages, Order, ReadOptions, Source, StoredEvent, StreamId,
    WriteCondition,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::checks::support::dropped_appends::{
    Drops, LIMIT, POLLS, drop_after, poll_times, sweep, tagged,
};
use crate::checks::support::ledger::{Ledger, always, light, most, patient};
use crate::engine::{Failure, Outcome};
use crate::harness::{Hook, Variant};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "fault.drop_append",
        [A1 A2 A6],
        Required,
        [],
        drop_append,
        "an append that is dropped after any poll leaves all or nothing, and nothing locked"
    ),
    check!(
        "fault.drop_queued",
        [A6],
        Required,
        [],
        drop_queued,
        "appends that are dropped while they wait for their turn keep nobody else waiting"
    ),
    check!(
        "fault.drop_many",
        [A1 A2 A6],
        Required,
        [],
        drop_many,
        "after hundreds of dropped appends the next one works, and positions have no hole"
    ),
    check!(
        "fault.drop_read",
        [R4 A6],
        Required,
        [],
        drop_read,
        "reads that are dropped after any poll keep nothing that others need"
    ),
    check!(
        "fault.drop_handle",
        [R3 R4],
        Required,
        [],
        drop_handle,
        "a read goes on when the handle that began it is dropped"
    ),
];

async fn drop_append(cx: Context) -> Outcome {
    let mut drops = Drops::open(&cx).await?;
    let room = most(&drops.store);
    let multi = drops.store.capabilities.multi_stream_append && room >= 5;
    let shapes: [(&[usize], usize); 5] =
        [(&[3], 0), (&[3], 3), (&[2, 3], 0), (&[2, 3], 3), (&[300], 0)];
    for (counts, beside) in shapes.into_iter().filter(|(counts, _)| multi || counts.len() == 1) {
        let counts: Vec<_> = counts.iter().map(|count| (*count).min(room)).collect();
        drop_swept(&mut drops, &counts, beside).await?;
    }
    drop_refused(&mut drops, multi).await?;
    drops.judge().await
}

/// Drops appends of so many events to each stream after every number of polls, with so many others at work.
async fn drop_swept(drops: &mut Drops, counts: &[usize], beside: usize) -> Outcome {
    let name = format!("{counts:?} beside {beside}");
    let store = drops.store.clone();
    let streams = ["a", "b"].map(|to| store.stream(to, &name));
    let writes = || -> Vec<Append> {
        streams.iter().zip(counts).map(|(to, count)| always(to, tagged(&store, *count))).collect()
    };
    let mut turn = 0;
    for polls in sweep() {
        let mut ended = true;
        for linger in [false, true] {
            turn += 1;
            let mut others = JoinSet::new();
            for nth in 0..beside {
                let (store, call) = (drops.handle(nth), writes());
                others.spawn(async move { (patient(&store, &call).await, call) });
            }
            let (store, call) = (drops.handle(turn / 2), writes());
            let outcome = drop_after(store.adapter.append(call.clone()), polls, linger).await;
            ended &= outcome.is_some();
            let how = format!("dropped after {polls} polls");
            let what = format!("an append beside one {how}");
            for (outcome, call) in within(LIMIT, &what, others.join_all()).await? {
                drops.keep(call, format!("beside one {how}"), Some(&outcome))?;
            }
            drops.keep(call, how.clone(), outcome.as_ref())?;
            if turn % 3 == 0 {
                drops.again(turn).await?;
            } else {
                drops.next(&drops.handle(turn), writes(), &how).await?;
            }
        }
        if ended {
            break;
        }
    }
    Ok(())
}

/// The same with appends whose condition does not hold: they leave nothing, whenever they are dropped.
async fn drop_refused(drops: &mut Drops, multi: bool) -> Outcome {
    let [one, two] = ["a", "b"].map(|to| drops.store.stream(to, "refused"));
    drops.next(&drops.handle(0), vec![always(&one, light(1))], "dropped").await?;
    for polls in sweep() {
        let mut call = vec![Append::new(one.clone(), light(1), WriteCondition::StreamIsEmpty)];
        if multi {
            call.insert(polls % 2, always(&two, light(2)));
        }
        let store = drops.handle(polls);
        let outcome = drop_after(store.adapter.append(call.clone()), polls, polls % 3 == 0).await;
        let how = format!("whose condition does not hold, dropped after {polls} polls");
        let ended = outcome.is_some();
        drops.refuse(call, how.clone(), outcome)?;
        drops.next(&drops.handle(polls / 2), vec![always(&one, light(1))], &how).await?;
        if ended {
            break;
        }
    }
    Ok(())
}

async fn drop_queued(cx: Context) -> Outcome {
    let mut drops = Drops::open(&cx).await?;
    let mut random = StdRng::seed_from_u64(cx.seed());
    let streams = ["a", "b"].map(|to| drops.store.stream(to, "queued"));
    for polls in sweep().skip(1) {
        let mut ended = true;
        for held in 0..2 {
            ended &= drop_behind(&mut drops, &streams, held, polls, &mut random).await?;
        }
        if ended {
            break;
        }
    }
    drops.judge().await
}

/// Drops appends that wait behind one to the stream `held`, which waits after so many polls with whatever
/// it has taken. Returns whether that one came to its end.
async fn drop_behind(
    drops: &mut Drops,
    streams: &[StreamId; 2],
    held: usize,
    polls: usize,
    random: &mut StdRng,
) -> Outcome<bool> {
    let room = most(&drops.store).min(2);
    let multi = drops.store.capabilities.multi_stream_append && room == 2;
    // The first call may wait for the stream that is held with the other one in hand.
    let [free, held] = [1 - held, held].map(|nth| &streams[nth]);
    let call = |nth: usize| match nth % 4 {
        0 if multi => vec![always(free, light(1)), always(held, light(1))],
        3 if multi => vec![always(held, light(1)), always(free, light(1))],
        nth => vec![always([held, free][nth % 2], light(room))],
    };
    let (first, second) = (drops.store.clone(), drops.other.clone());
    let leading = vec![always(held, light(1))];
    let mut holder = first.adapter.append(leading.clone());
    let done = poll_times(polls, false, |cx| holder.as_mut().poll(cx)).await;
    let mut waiting = Vec::new();
    for nth in 0..7 {
        let (call, handle) = (call(nth), if nth < 5 { &first } else { &second });
        let mut work = handle.adapter.append(call.clone());
        let outcome = poll_times(2, true, |cx| work.as_mut().poll(cx)).await;
        waiting.push((call, work, outcome));
    }
    let how = format!("dropped in the queue behind one polled {polls} times");
    let (mut calls, mut works) = (Vec::new(), Vec::new());
    for (nth, (call, work, outcome)) in waiting.into_iter().enumerate() {
        // The first that waits and some others, but not the last.
        if outcome.is_some() || nth == 0 || (nth < 6 && random.random_bool(0.4)) {
            drops.keep(call, how.clone(), outcome.as_ref())?;
        } else {
            calls.push(call);
            works.push(work);
        }
    }
    let ended = done.is_some();
    let holding = async {
        match done {
            None if polls.is_multiple_of(3) => {
                drop(holder);
                None
            }
            None => Some(holder.await),
            done => done,
        }
    };
    let all = futures_util::future::join(holding, join_all(works));
    let (done, outcomes) = within(LIMIT, &format!("an append beside one {how}"), all).await?;
    drops.keep(leading, "at the head of the queue".to_owned(), done.as_ref())?;
    for (call, outcome) in calls.into_iter().zip(outcomes) {
        drops.keep(call, format!("beside one {how}"), Some(&outcome))?;
    }
    for (turn, stream) in streams.iter().enumerate() {
        drops.next(&drops.handle(polls + turn), vec![always(stream, light(1))], &how).await?;
    }
    Ok(ended)
}

async fn drop_many(cx: Context) -> Outcome {
    let mut drops = Drops::open(&cx).await?;
    let mut random = StdRng::seed_from_u64(cx.seed());
    let room = most(&drops.store);
    let multi = drops.store.capabilities.multi_stream_append && room >= 6;
    let streams = ["a", "b"].map(|to| drops.store.stream(to, "many"));
    let mut polls_to_end = 1;
    for wave in 0..6 {
        let mut begun = JoinSet::new();
        for nth in 0..50 {
            let store = drops.handle(nth / 8);
            let mut call =
                vec![always(&streams[nth % 2], light(random.random_range(1..=3).min(room)))];
            if multi && nth % 5 == 0 {
                call.push(always(&streams[(nth + 1) % 2], light(random.random_range(1..=3))));
            }
            // Those of the first wave tell how many polls an append takes.
            let polls = match nth {
                0 => POLLS,
                _ => random.random_range(0..=polls_to_end + 1),
            };
            let linger = random.random_bool(0.5);
            begun.spawn(async move {
                let mut taken = 0;
                let mut work = store.adapter.append(call.clone());
                let outcome = poll_times(polls, linger, |cx| {
                    taken += 1;
                    work.as_mut().poll(cx)
                });
                let outcome = outcome.await;
                (call, taken, outcome)
            });
        }
        let wave = format!("of wave {wave}, dropped");
        let ended = within(LIMIT * 2, "a wave of dropped appends", begun.join_all()).await?;
        for (call, taken, outcome) in ended {
            if outcome.is_some() {
                polls_to_end = polls_to_end.max(taken);
            }
            drops.keep(call, format!("{wave} after {taken} polls"), outcome.as_ref())?;
        }
        for (turn, stream) in streams.iter().enumerate() {
            drops.next(&drops.handle(turn), vec![always(stream, light(1))], &wave).await?;
        }
    }
    drops.judge().await
}

async fn drop_read(cx: Context) -> Outcome {
    // Appends go through the handle that reads: what a read keeps, they may lack.
    let mut ledger = Ledger::of(paged(&cx).await?);
    let stream = ledger.store.stream("reads", "dropped");
    let room = most(&ledger.store);
    ledger.one(&stream, light(room.min(12)), WriteCondition::Always).await?;
    let mut sources = vec![Source::Stream(stream.clone())];
    if ledger.store.capabilities.order >= Order::Category {
        sources.push(stream.category.clone().into());
    }
    if ledger.store.capabilities.order >= Order::Log {
        sources.push(Source::Log);
    }
    for source in sources {
        for direction in [Direction::Forward, Direction::Backward] {
            for polls in sweep() {
                let how = format!("of {source} ({direction:?}) dropped after {polls} polls");
                // More at once than a pool has connections, at the poll that is most likely to hold one.
                let at_once = if polls == 1 { 40 } else { 2 };
                let mut open = Vec::new();
                let mut ended = true;
                for nth in 0..at_once {
                    let linger = nth % 2 == 0;
                    let read = begin(&ledger, &stream, &source, direction, polls, linger).await;
                    let (pages, done) =
                        read.map_err(|failure| failure.in_context(format!("a read {how}")))?;
                    open.push(pages);
                    ended &= done;
                }
                drop(open);
                let what = format!("an append after reads {how}");
                let next = ledger.one(&stream, light(1), ledger.as_it_is(&stream));
                within(LIMIT, &what, next).await??;
                let what = format!("a read after reads {how}");
                let found = within(LIMIT, &what, ledger.store.stream_events(&stream)).await??;
                ledger.store.same(&found, ledger.stream(&stream), &what)?;
                if ended {
                    break;
                }
            }
        }
    }
    ledger.verify("after dropped reads").await
}

/// Polls a read so often; returns it, and whether it came to its end. What it gave until then must be right.
async fn begin(
    ledger: &Ledger,
    stream: &StreamId,
    source: &Source,
    direction: Direction,
    polls: usize,
    linger: bool,
) -> Outcome<(EventPages, bool)> {
    let store = &ledger.store;
    // A shared log may be long.
    let mut options = ReadOptions::default().after(store.start).limit(30);
    options.direction = direction;
    let mut pages = store.adapter.read(source.clone().into(), options);
    let mut found: Vec<StoredEvent> = Vec::new();
    let done = poll_times(polls, linger, |cx| match pages.poll_next_unpin(cx) {
        Poll::Ready(Some(Ok(page))) => {
            found.extend(page.events.into_iter().filter(|event| event.stream == *stream));
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
        Poll::Ready(None) => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    });
    let done = done.await.transpose()?.is_some();
    let all = ledger.stream(stream);
    let expected = match direction {
        Direction::Forward => all.get(..found.len()),
        Direction::Backward => {
            found.reverse();
            all.len().checked_sub(found.len()).and_then(|rest| all.get(rest..))
        }
    };
    store.same(&found, expected.unwrap_or_default(), "its first pages")?;
    Ok((pages, done))
}

async fn drop_handle(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.store.stream("reads", "handle");
    for _ in 0..3 {
        ledger.one(&stream, light(most(&ledger.store).min(6)), WriteCondition::Always).await?;
    }
    for pages_before in 0..3 {
        let handle = paged(&cx).await?;
        // Fused: a stream need not bear to be polled after its end, which here may come before the handle is dropped.
        let pages = handle.adapter.read(stream.clone().into(), ReadOptions::default());
        let mut pages = pages.fuse();
        let mut found = Vec::new();
        let rest = async {
            for _ in 0..pages_before {
                found.extend(
                    pages.next().await.transpose()?.into_iter().flat_map(|page| page.events),
                );
            }
            drop(handle);
            while let Some(page) = pages.next().await {
                found.extend(page?.events);
            }
            Ok::<_, Failure>(())
        };
        let what = format!("a read whose handle was dropped after {pages_before} pages");
        within(LIMIT, &what, rest).await?.map_err(|failure| failure.in_context(&what))?;
        ledger.store.same(&found, ledger.stream(&stream), &what)?;
    }
    Ok(())
}

/// A handle with small pages, where the harness offers that.
async fn paged(cx: &Context) -> Outcome<Subject> {
    if !cx.harness().hooks().contains(&Hook::PageSize) {
        return cx.open().await;
    }
    cx.open_as(Variant::PageSize(NonZeroUsize::MIN.saturating_add(4))).await
}
