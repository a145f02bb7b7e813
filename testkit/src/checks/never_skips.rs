//! Never skips: what a reader was given is final up to the last number of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use annals::{Order, Query, QueryItem, ReadOptions, SequenceNumber, Source, StoredEvent, StreamId};
use futures_util::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::checks::support::ledger::{most, patient, summary};
use crate::checks::support::read_world::{NAMES, TAGS, named, some};
use crate::engine::{Failure, Outcome, ensure};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "r2.log",
        [R2 R1],
        Stochastic,
        [Need::Has(Feature::LogOrder)],
        log,
        "readers that follow the log while others append get every event once, in order"
    ),
    check!(
        "r2.category",
        [R2 R1],
        Stochastic,
        [Need::Has(Feature::CategoryOrder)],
        category,
        "readers that follow a category get every event once, in order"
    ),
    check!(
        "r2.stream",
        [R2 R1],
        Stochastic,
        [],
        stream,
        "readers that follow a stream get every event once, in order"
    ),
    check!(
        "r2.filtered",
        [R2 R1],
        Stochastic,
        [],
        filtered,
        "readers that follow names, tags or several items get every match once, in order"
    ),
    check!(
        "r2.items",
        [R2 R1],
        Stochastic,
        [],
        items,
        "readers that follow many items at once get every match once, in order, whatever is appended beside them"
    ),
    check!(
        "r2.two_handles",
        [R2 R1],
        Stochastic,
        [],
        two_handles,
        "the same with writers and readers on different handles"
    ),
];

const WRITERS: u64 = 6;
/// How many batches each writer appends at least, unless the store is so slow that `PATIENCE` is over first.
const BATCHES: usize = 12;
const PATIENCE: Duration = Duration::from_secs(2);
/// A fast store gets more batches, up to so many, for about so long.
const MORE: usize = 120;
const EFFORT: Duration = Duration::from_millis(60);
/// What must not hang gets so long.
const LIMIT: Duration = Duration::from_secs(25);

/// How a reader goes on from poll to poll.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// To the end each time.
    Whole,
    /// At most so many at a time.
    Steps(u64),
    /// Asks for the latest first, reads up to it, and takes it as given.
    Latest,
    /// Takes the first page, and drops the rest of the read.
    FirstPage,
}

const STYLES: [Style; 4] = [Style::Whole, Style::Latest, Style::FirstPage, Style::Steps(40)];

/// Writers that are at work, by handles and lists of streams in turn.
struct Writers {
    tasks: JoinSet<Outcome<Vec<StoredEvent>>>,
    done: Arc<AtomicBool>,
}

impl Writers {
    fn start(handles: &[Subject], streams: &[Vec<StreamId>], least: usize, seed: u64) -> Self {
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let nth = usize::try_from(writer).unwrap_or_default();
            let store = handles[nth % handles.len()].clone();
            let random = StdRng::seed_from_u64(seed.wrapping_add(writer));
            let work = write(store, streams[nth % streams.len()].clone(), nth, least, random);
            spawn(&mut tasks, work, least == 0);
        }
        Self { tasks, done: Arc::default() }
    }

    /// All that they appended, in order; the readers end after their next look.
    async fn join(&mut self) -> Outcome<Vec<StoredEvent>> {
        let mut appended = Vec::new();
        let mut failed = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            match ended.map_err(|error| Failure::new(error.to_string())).flatten() {
                Ok(stored) => appended.extend(stored),
                Err(failure) => failed = Err(failure),
            }
        }
        self.done.store(true, Ordering::SeqCst);
        failed?;
        appended.sort_by_key(|event| event.sequence_number);
        Ok(appended)
    }
}

/// Runs `work` as a task of the runtime, or in a thread of its own, which the system stops at any instruction.
fn spawn<T: Send + 'static>(
    tasks: &mut JoinSet<T>,
    work: impl Future<Output = T> + Send + 'static,
    in_thread: bool,
) {
    if in_thread {
        let runtime = Handle::current();
        tasks.spawn_blocking(move || runtime.block_on(work));
    } else {
        tasks.spawn(work);
    }
}

/// Polls `work` later than it could be: what it does between two waits comes further apart, as on a busy machine.
async fn dawdling<T>(work: impl Future<Output = T>, mut random: StdRng) -> T {
    let mut work = std::pin::pin!(work);
    let mut delay = 0;
    std::future::poll_fn(|context| {
        if delay > 0 {
            delay -= 1;
            std::thread::yield_now();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        delay = [0, 2, 8, 30][random.random_range(0..4)];
        work.as_mut().poll(context)
    })
    .await
}

/// Appends batches of random size to random streams until enough is done.
async fn write(
    store: Subject,
    streams: Vec<StreamId>,
    writer: usize,
    least: usize,
    mut random: StdRng,
) -> Outcome<Vec<StoredEvent>> {
    let start = Instant::now();
    let room = most(&store);
    let mut appended = Vec::new();
    for turn in 0..MORE {
        let spent = start.elapsed();
        if spent > PATIENCE || (turn >= least && spent > EFFORT) {
            break;
        }
        let count = match random.random_range(0..8) {
            0 => 30,
            large @ 1..=3 => large * 2,
            _ => 1,
        };
        let first = random.random_range(0..streams.len());
        let mut calls =
            vec![some(&store, &streams[first], room.min(count), turn + writer, &mut random)];
        let several = store.capabilities.multi_stream_append && streams.len() > 1;
        if several && room > count && random.random_bool(0.3) {
            let other = &streams[(first + 1) % streams.len()];
            calls.push(some(&store, other, 1, turn, &mut random));
        }
        let delays = StdRng::seed_from_u64(random.random());
        appended.extend(dawdling(patient(&store, &calls), delays).await?);
        for _ in 0..random.random_range(0..3) {
            tokio::task::yield_now().await;
        }
    }
    Ok(appended)
}

/// Follows `query` from `after` until the writers are done, and returns all that it got.
async fn follow(
    store: Subject,
    query: Query,
    mut after: SequenceNumber,
    style: Style,
    done: Arc<AtomicBool>,
) -> Outcome<Vec<StoredEvent>> {
    let mut given: Vec<StoredEvent> = Vec::new();
    loop {
        let last_look = done.load(Ordering::SeqCst);
        let next = ReadOptions::default().after(after);
        let found = match style {
            Style::Whole => store.read(query.clone(), next).await?,
            Style::Steps(events) => store.read(query.clone(), next.limit(events)).await?,
            Style::FirstPage => {
                let pages = store.adapter.read(query.clone(), next);
                let found = pages.map_ok(|page| page.events);
                let mut found =
                    found.try_skip_while(|events| std::future::ready(Ok(events.is_empty())));
                found.try_next().await?.unwrap_or_default()
            }
            Style::Latest => match store.read(query.clone(), next.backward().limit(1)).await?.pop()
            {
                None => Vec::new(),
                Some(latest) => {
                    let until = latest.sequence_number;
                    let found = store.read(query.clone(), next.until(until)).await?;
                    after = until;
                    found
                }
            },
        };
        if last_look && found.is_empty() {
            return Ok(given);
        }
        after = found.last().map_or(after, |last| after.max(last.sequence_number));
        given.extend(found);
        tokio::task::yield_now().await;
    }
}

/// Readers of every style follow `queries` while writers append to `streams`: first as tasks, where appends meet
/// at every wait, then for a moment as threads, where they meet between two instructions.
async fn follow_all(
    cx: &Context,
    handles: &[Subject],
    queries: &[Query],
    streams: &[Vec<StreamId>],
) -> Outcome {
    let mut start = handles[0].start;
    for least in [BATCHES, 0] {
        start = follow_from(cx, handles, queries, streams, start, least).await?;
    }
    Ok(())
}

/// The same once, from `start` on; returns the number of the last append. Without a least number of batches the
/// writers are threads.
async fn follow_from(
    cx: &Context,
    handles: &[Subject],
    queries: &[Query],
    streams: &[Vec<StreamId>],
    start: SequenceNumber,
    least: usize,
) -> Outcome<SequenceNumber> {
    let mut writers = Writers::start(handles, streams, least, cx.seed());
    let mut readers = JoinSet::new();
    for (nth, query) in queries.iter().enumerate() {
        // Of many queries not each is followed in every style.
        for (at, style) in STYLES.into_iter().enumerate() {
            if queries.len() > 2 && at % 2 != nth % 2 {
                continue;
            }
            let store = handles[(nth + at + 1) % handles.len()].clone();
            let (done, query) = (Arc::clone(&writers.done), query.clone());
            let work = async move {
                let given = follow(store, query.clone(), start, style, done).await?;
                Ok::<_, Failure>((query, style, given))
            };
            spawn(&mut readers, work, least == 0 && at % 2 == 1);
        }
    }
    let appended = within(LIMIT, "appends with readers beside them", writers.join()).await??;
    let ended = async {
        while let Some(ended) = readers.join_next().await {
            let (query, style, given) =
                ended.map_err(|error| Failure::new(error.to_string()))??;
            let what = format!("a reader of {query} ({style:?})");
            prove(&handles[0], &query, start, &given, &appended, &what).await?;
        }
        Ok::<_, Failure>(())
    };
    within(LIMIT, "readers after the last append", ended).await??;
    Ok(appended.last().map_or(start, |last| last.sequence_number))
}

/// What a reader was given is all that is there up to its last number, and holds all that was appended.
async fn prove(
    store: &Subject,
    query: &Query,
    start: SequenceNumber,
    given: &[StoredEvent],
    appended: &[StoredEvent],
    what: &str,
) -> Outcome {
    let numbers: Vec<_> = given.iter().map(|event| event.sequence_number).collect();
    if let Some([before, after]) = numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Failure::new(format!("{what} got {after} after {before}")));
    }
    let has = |event: &StoredEvent| numbers.binary_search(&event.sequence_number).is_ok();
    let head = numbers.last().copied().unwrap_or_default();
    let until = ReadOptions::default().after(start).until(head);
    let whole = store.read(query.clone(), until).await?;
    let wanted = || appended.iter().filter(|event| query.matches(event));
    let skipped: Vec<_> = whole.iter().chain(wanted()).filter(|event| !has(event)).collect();
    ensure!(
        skipped.is_empty(),
        "{what} was given events up to {head}, but never these {}: {}",
        skipped.len(),
        summary(skipped.iter().copied())
    );
    store.same(given, &whole, what)?;
    let lost = wanted().find(|event| {
        let place = whole.binary_search_by_key(&event.sequence_number, |it| it.sequence_number);
        !place.is_ok_and(|place| whole[place].event.id == event.event.id)
    });
    match lost {
        Some(lost) => {
            Err(Failure::new(format!("{what} was given another event instead of {lost}")))
        }
        None => Ok(()),
    }
}

async fn log(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let names = [("a", "1"), ("b", "1"), ("c", "1"), ("a", "2")];
    let streams = names.map(|(category, name)| store.stream(category, name));
    follow_all(&cx, &[store], &[Source::Log.into()], &[streams.to_vec()]).await
}

async fn category(cx: Context) -> Outcome {
    let store = cx.open().await?;
    // Appends to two streams are to both categories: each is followed, whichever of them a store takes first.
    let names = [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")];
    let streams = names.map(|(category, name)| store.stream(category, name));
    let queries = [0, 1].map(|nth: usize| Query::from(streams[nth].category.clone()));
    follow_all(&cx, &[store], &queries, &[streams.to_vec()]).await
}

async fn stream(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let stream = store.stream("a", "1");
    follow_all(&cx, &[store], &[stream.clone().into()], &[vec![stream]]).await
}

/// What is read at once, and what is appended to beside it.
pub(super) struct Widest {
    /// The widest source that a reader may follow.
    pub(super) source: Source,
    /// Streams of it.
    pub(super) inside: Vec<StreamId>,
    /// In the weaker orders streams that are none of it: their numbers run ahead of those of the source.
    pub(super) beside: Vec<StreamId>,
}

impl Widest {
    pub(super) fn of(store: &Subject) -> Self {
        let names = [("a", "1"), ("a", "2"), ("b", "1")];
        let inside = names.map(|(category, name)| store.stream(category, name));
        let (count, source) = match store.capabilities.order {
            Order::Log => (3, Source::Log),
            Order::Category => (2, inside[0].category.clone().into()),
            Order::Stream => (1, inside[0].clone().into()),
        };
        let mut inside = inside.to_vec();
        let beside = inside.split_off(count);
        Self { source, inside, beside }
    }
}

async fn filtered(cx: Context) -> Outcome {
    let handles = [cx.open().await?, cx.open().await?];
    let Widest { source, inside, beside } = Widest::of(&handles[0]);
    let [first, last] = [&inside[0], &inside[inside.len() - 1]].map(|it| Source::from(it.clone()));
    let mut queries = vec![
        named(&source, &[NAMES[0]]).into(),
        named(&source, &NAMES[..3]).into(),
        Query::any_of([named(&first, &[]), named(&last, &[])]),
        Query::any_of([named(&source, &[NAMES[4]]), named(&first, &NAMES[..2])]),
    ];
    if handles[0].capabilities.tags {
        let tagged = |tags| QueryItem::new(source.clone()).with_tags(handles[0].tags(tags));
        queries.push(tagged(&TAGS[..1]).into());
        queries.push(Query::any_of([tagged(&TAGS[..2]), named(&last, &[NAMES[1]])]));
    }
    follow_all(&cx, &handles, &queries, &[[inside, beside].concat()]).await
}

/// The more items, the longer a store may take to look for all of them.
pub(super) fn many_items(source: &Source, inside: &[StreamId]) -> Query {
    let ends = [&inside[inside.len() - 1], &inside[0]].map(|it| Source::from(it.clone()));
    let sources = [&ends[0], source, &ends[1]];
    Query::any_of(NAMES.iter().flat_map(|name| sources.map(|from| named(from, &[name]))))
}

async fn items(cx: Context) -> Outcome {
    let handles = [cx.open().await?, cx.open().await?];
    let Widest { source, inside, beside } = Widest::of(&handles[0]);
    let query = many_items(&source, &inside);
    // Appends of both handles to the same streams could share locks, and never overtake each other.
    let streams = if beside.is_empty() { vec![inside] } else { vec![inside, beside] };
    let mut start = handles[0].start;
    // Few appends end between two looks of one read.
    for least in [BATCHES, BATCHES, 0, 0] {
        let queries = std::slice::from_ref(&query);
        start = follow_from(&cx, &handles, queries, &streams, start, least).await?;
    }
    Ok(())
}

async fn two_handles(cx: Context) -> Outcome {
    let handles = [cx.open().await?, cx.open().await?, cx.open().await?];
    let Widest { source, inside, beside } = Widest::of(&handles[0]);
    let all = [inside, beside].concat();
    follow_all(&cx, &handles, &[source.into()], &[all]).await
}
