//! The executor: which runtimes a store works on, and that it gets on with their other tasks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals::{
    Append, Position, ReadOptions, Result, StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::checks::support::dropped_appends::{Drops, LIMIT, poll_times, sweep};
use crate::checks::support::ledger::{Ledger, always, light, most, patient};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::engine::{Flavour, runtime};
use crate::storage::{Check, check};
use crate::subject::{Context, Subject, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "rt.current_thread",
        [A1 R1],
        Required,
        [],
        current_thread,
        "a store works on a runtime of one thread"
    ),
    check!(
        "rt.multi_thread",
        [A1 A2 A4],
        Stochastic,
        [],
        multi_thread,
        "a store works on a runtime of several threads, with all of them at work"
    ),
    check!(
        "rt.other_runtime",
        [A4 R1],
        Required,
        [],
        other_runtime,
        "a handle that was made on one runtime works on others, in turn and at once"
    ),
    check!(
        "rt.dropped_runtime",
        [A1 A2 A6],
        Required,
        [],
        dropped_runtime,
        "a runtime that goes away leaves its appends whole or absent, and its handles usable elsewhere"
    ),
    check!(
        "rt.send",
        [A6 R4],
        Required,
        [],
        send,
        "appends and reads that are begun in one task can be ended in another"
    ),
    check!(
        "rt.dropped_outside",
        [A6],
        Required,
        [],
        dropped_outside,
        "handles, reads and appends can be dropped where there is no runtime"
    ),
    check!(
        "rt.responsive",
        [A6],
        Stochastic,
        [],
        responsive,
        "while a batch is appended or read, other tasks of the same thread run"
    ),
];

/// A runtime beside the one of the check; what still runs there when it is dropped is dropped with it.
struct Beside(Option<Runtime>);

impl Beside {
    fn new(threads: usize) -> Outcome<Self> {
        Ok(Self(Some(runtime(Flavour::MultiThread(threads))?)))
    }

    /// Runs a task there, and waits for it here.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Outcome<T>> + Send + 'static,
    ) -> Outcome<T> {
        let Some(runtime) = &self.0 else { return Err(Failure::not_run("the runtime is gone")) };
        ended(within(LIMIT * 4, "a task on another runtime", runtime.spawn(work)).await?)
    }

    /// Starts a task there.
    fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(work);
        }
    }

    /// Ends it, and waits until none of its tasks is left.
    async fn end(mut self) -> Outcome {
        let runtime = self.0.take();
        let end = move || runtime.map(|runtime| runtime.shutdown_timeout(LIMIT * 4));
        tokio::task::spawn_blocking(end).await.map_err(|error| Failure::new(error.to_string()))?;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Not by its own `drop`, which blocks the thread.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn ended<T>(outcome: Result<Outcome<T>, tokio::task::JoinError>) -> Outcome<T> {
    outcome.unwrap_or_else(|error| Err(Failure::new(error.to_string())))
}

/// Runs a task on a runtime of one thread, which is not the one of the check.
async fn on_one_thread<T: Send + 'static>(
    work: impl Future<Output = Outcome<T>> + Send + 'static,
) -> Outcome<T> {
    let run = move || {
        let runtime = runtime(Flavour::CurrentThread)?;
        let outcome = runtime.block_on(async {
            ended(within(LIMIT * 4, "a task on a runtime of one thread", tokio::spawn(work)).await?)
        });
        runtime.shutdown_background();
        outcome
    };
    ended(tokio::task::spawn_blocking(run).await)
}

/// A little of everything, one after the other.
async fn exercise(ledger: &mut Ledger, name: &str) -> Outcome {
    let room = most(&ledger.store);
    let [one, two] = ["a", "b"].map(|to| ledger.store.stream(to, name));
    for count in [1, 3, 40].map(|count: usize| count.min(room)) {
        ledger.one(&one, light(count), ledger.as_it_is(&one)).await?;
        let write = Append::new(one.clone(), light(1), WriteCondition::StreamIsEmpty);
        ledger.unmet(vec![write], "the stream has events").await?;
        if ledger.store.capabilities.multi_stream_append && room >= 4 {
            ledger.append(vec![always(&two, light(2)), always(&one, light(2))]).await?;
        }
    }
    ledger.verify(&format!("after appends {name}")).await
}

/// Many tasks at once: each appends to a stream of its own, which goes on as it knows it, and to one of all.
async fn together(store: Subject, tasks: u64, rounds: u64, name: &'static str) -> Outcome {
    let common = store.stream("all", name);
    let before = store.stream_events(&common).await?.len();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (store, common) = (store.clone(), common.clone());
        let own = store.stream("own", &format!("{name}-{task}"));
        running.spawn(async move {
            for round in 0..rounds {
                let condition = match round.checked_sub(1) {
                    None => WriteCondition::StreamIsEmpty,
                    Some(last) => WriteCondition::PositionIs(Position::new(last)),
                };
                patient(&store, &[Append::new(own.clone(), light(1), condition)]).await?;
                patient(&store, &[always(&common, light(1))]).await?;
                let last = store.latest(own.clone()).await?.map(|event| event.position.value());
                ensure_eq!(last, Some(round), "the last position of a task's own stream");
            }
            Ok(())
        });
    }
    let all = async {
        while let Some(outcome) = running.join_next().await {
            ended(outcome)?;
        }
        Ok::<_, Failure>(())
    };
    within(LIMIT * 4, "appends of several tasks at once", all).await??;
    let found = store.stream_events(&common).await?;
    let positions: Vec<u64> = found.iter().map(|event| event.position.value()).collect();
    let expected = before as u64 + tasks * rounds;
    ensure!(
        positions.iter().copied().eq(0..expected),
        "{expected} appends at once left the positions {positions:?}"
    );
    Ok(())
}

async fn current_thread(cx: Context) -> Outcome {
    on_one_thread(async move {
        let mut ledger = Ledger::open(&cx).await?;
        exercise(&mut ledger, "on one thread").await?;
        together(ledger.store, 4, 4, "at once").await
    })
    .await
}

async fn multi_thread(cx: Context) -> Outcome {
    let beside = Beside::new(4)?;
    let work = async move {
        let mut ledger = Ledger::open(&cx).await?;
        exercise(&mut ledger, "on four threads").await?;
        together(ledger.store, 8, 12, "at once").await
    };
    beside.run(work).await
}

async fn other_runtime(cx: Context) -> Outcome {
    let [maker, other] = [Beside::new(1)?, Beside::new(1)?];
    let opened = cx.clone();
    let mut ledger = maker.run(async move { Ledger::open(&opened).await }).await?;
    let stream = ledger.store.stream("orders", "in turn");
    for turn in 0..6 {
        let beside = if turn % 2 == 0 { &other } else { &maker };
        let to = stream.clone();
        ledger = beside
            .run(async move {
                ledger.one(&to, light(1), ledger.as_it_is(&to)).await?;
                ledger.verify("on another runtime than before").await?;
                Ok(ledger)
            })
            .await?;
    }
    exercise(&mut ledger, "on the runtime of the check").await?;
    let store = ledger.store.clone();
    let ledger = on_one_thread(async move {
        exercise(&mut ledger, "on one thread").await?;
        Ok(ledger)
    })
    .await?;
    // All of them at once, with one handle.
    let (first, second) = (store.clone(), store.clone());
    let (first, second, third) = tokio::join!(
        maker.run(together(first, 2, 4, "where it was made")),
        other.run(together(second, 2, 4, "where it was not")),
        together(store, 2, 4, "here"),
    );
    first.and(second).and(third)?;
    drop(ledger);
    Ok(())
}

/// Appends that were begun, and what came of them.
type Log = Arc<Mutex<Vec<(Vec<Append>, Option<Result<Vec<StoredEvent>>>)>>>;

/// Appends without end, and says so of each before and after.
async fn write_on(store: Subject, streams: [StreamId; 2], begun: Log, multi: bool) {
    loop {
        let room = most(&store).min(3);
        let mut call = vec![always(&streams[0], light(room))];
        if multi {
            call.push(always(&streams[1], light(2)));
        }
        let nth = {
            let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun.push((call.clone(), None));
            begun.len() - 1
        };
        let outcome = store.adapter.append(call).await;
        begun.lock().unwrap_or_else(PoisonError::into_inner)[nth].1 = Some(outcome);
        // A store that never waits would keep the thread; and there are enough of its appends soon.
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

async fn dropped_runtime(cx: Context) -> Outcome {
    let mut drops = Drops::open(&cx).await?;
    let multi = drops.store.capabilities.multi_stream_append && most(&drops.store) >= 5;
    for (nth, seed) in cx.cases(3).enumerate() {
        let beside = Beside::new(2)?;
        let begun = Log::default();
        let all = ["a", "b"].map(|to| drops.store.stream(to, &format!("round {nth}")));
        let opened = cx.clone();
        // One handle was made on the runtime that goes away; it must work on without it.
        let made = beside.run(async move { opened.open().await }).await?;
        for writer in 0..8 {
            let store = if writer < 4 { made.clone() } else { drops.handle(writer) };
            let mut own = all.clone();
            own.rotate_left(writer % 2);
            let work = write_on(store, own, Arc::clone(&begun), multi && writer % 4 < 2);
            beside.start(work);
        }
        let wait = StdRng::seed_from_u64(seed).random_range(1_000..8_000);
        tokio::time::sleep(Duration::from_micros(wait)).await;
        beside.end().await?;
        for (call, outcome) in
            std::mem::take(&mut *begun.lock().unwrap_or_else(PoisonError::into_inner))
        {
            drops.keep(call, "on a runtime that went away".to_owned(), outcome.as_ref())?;
        }
        // What a handle kept on its runtime may have to be made anew.
        let gone = "on a runtime that went away";
        for (store, stream) in [(&made, &all[0]), (&drops.handle(nth), &all[1])] {
            drops.next(store, vec![always(stream, light(1))], gone).await?;
        }
        let what = format!("a read with a handle that was made {gone}");
        let found = within(LIMIT, &what, made.stream_events(&all[0])).await??;
        ensure!(!found.is_empty(), "{what} gave nothing");
    }
    drops.judge().await
}

/// What the compiler proves: everything may move to other threads, behind a pointer too.
fn portable<T: Send + 'static>(value: T) -> T {
    value
}

fn shared<A: StorageAdapter + ?Sized + Send + Sync + 'static>(_: &A) {}

async fn send(cx: Context) -> Outcome {
    let mut drops = Drops::open(&cx).await?;
    shared(drops.store.adapter.as_ref());
    let stream = drops.store.stream("orders", "moved");
    for polls in sweep().skip(1) {
        let call = vec![always(&stream, light(most(&drops.store).min(2)))];
        let (store, writes) = (drops.store.clone(), call.clone());
        let mut work = portable(Box::pin(async move { store.adapter.append(writes).await }));
        let mut outcome = poll_times(polls, polls % 2 == 0, |cx| work.as_mut().poll(cx)).await;
        let done = outcome.is_some();
        let how = format!("polled {polls} times in one task and then in another");
        if !done {
            let rest = within(LIMIT, &format!("an append {how}"), tokio::spawn(work)).await?;
            outcome = Some(rest.map_err(|error| Failure::new(error.to_string()))?);
        }
        drops.keep(call, how, outcome.as_ref())?;
        if done {
            break;
        }
    }
    drops.judge().await?;
    let expected = drops.store.stream_events(&stream).await?;
    for polls in sweep().skip(1) {
        let options = ReadOptions::default();
        let mut pages = portable(drops.store.adapter.read(stream.clone().into(), options));
        let first = poll_times(polls, polls % 2 == 0, |cx| pages.poll_next_unpin(cx)).await;
        let done = first.is_some();
        let rest = tokio::spawn(async move {
            let first = first.flatten().transpose()?;
            let mut found = first.map(|page| page.events).unwrap_or_default();
            while let Some(page) = pages.next().await {
                found.extend(page?.events);
            }
            Ok::<_, annals::Error>(found)
        });
        let how = format!("a read polled {polls} times in one task and then in another");
        let found = within(LIMIT, &how, rest).await?;
        let found = found.map_err(|error| Failure::new(error.to_string()))??;
        drops.store.same(&found, &expected, &how)?;
        if done {
            break;
        }
    }
    Ok(())
}

async fn dropped_outside(cx: Context) -> Outcome {
    let mut drops = Drops::open(&cx).await?;
    let stream = drops.store.stream("orders", "outside");
    drops
        .next(&drops.handle(0), vec![always(&stream, light(most(&drops.store).min(20)))], "dropped")
        .await?;
    for polls in sweep() {
        let (made, call) = (cx.open().await?, vec![always(&stream, light(1))]);
        let (store, writes) = (made.clone(), call.clone());
        let mut work = Box::pin(async move { store.adapter.append(writes).await });
        let outcome = poll_times(polls, polls % 2 == 0, |cx| work.as_mut().poll(cx)).await;
        let mut pages = made.adapter.read(stream.clone().into(), ReadOptions::default());
        let read = poll_times(polls, polls % 2 == 0, |cx| pages.poll_next_unpin(cx)).await;
        let how = format!("dropped after {polls} polls where there is no runtime");
        drops.keep(call, how.clone(), outcome.as_ref())?;
        let ended = outcome.is_some() && read.is_some();
        let outside = std::thread::spawn(move || drop((work, pages, made)));
        let joined = tokio::task::spawn_blocking(move || outside.join().is_ok());
        let fine = joined.await.map_err(|error| Failure::new(error.to_string()))?;
        ensure!(fine, "a handle, a read and an append panicked when they were {how}");
        drops.next(&drops.handle(polls), vec![always(&stream, light(1))], &how).await?;
        if ended {
            break;
        }
    }
    drops.judge().await
}

/// How long other tasks of a thread may have to wait for one poll: far more than a poll should take.
const PAUSE: Duration = Duration::from_millis(100);

async fn responsive(cx: Context) -> Outcome {
    on_one_thread(async move {
        let store = cx.open().await?;
        let stream = store.stream("orders", "large");
        let count = most(&store).min(300);
        lets_others_run("a batch was appended", || store.fill(&stream, count)).await?;
        lets_others_run("a stream was read", || store.stream_events(&stream)).await
    })
    .await
}

/// Others may keep the whole thread waiting: one good try of several is enough.
async fn lets_others_run<T, W>(when: &str, work: impl Fn() -> W) -> Outcome
where
    W: Future<Output = Outcome<T>>,
{
    let mut waits = Vec::new();
    for _ in 0..8 {
        let (outcome, wait) = beside_ticker(work()).await;
        outcome?;
        if wait < PAUSE {
            return Ok(());
        }
        waits.push(wait);
    }
    Err(Failure::late(format!(
        "while {when}, other tasks of the thread had to wait for {waits:?}, whenever it was tried"
    )))
}

/// Runs `work` beside a task that wants to run each millisecond, and returns the longest time that it had to wait.
async fn beside_ticker<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let worst = Arc::new(Mutex::new(Duration::ZERO));
    let seen = Arc::clone(&worst);
    let ticker = tokio::spawn(async move {
        let mut last = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let wait = last.elapsed();
            let mut worst = seen.lock().unwrap_or_else(PoisonError::into_inner);
            *worst = (*worst).max(wait);
            drop(worst);
            last = Instant::now();
        }
    });
    // The ticker is asleep before the work begins, and awake once more after it.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let output = work.await;
    tokio::time::sleep(Duration::from_millis(3)).await;
    ticker.abort();
    let worst = *worst.lock().unwrap_or_else(PoisonError::into_inner);
    (output, worst)
}
