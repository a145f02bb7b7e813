//! Clients that call a store at once, in rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annals::{Append, StoredEvent};
use futures_util::future::{join_all, try_join_all};
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::time::Instant;

use crate::checks::support::ledger::patient;
use crate::engine::Profile;
use crate::engine::{Failure, Outcome};
use crate::subject::{Context, Subject, within};

/// How clients are run at once. Each finds races that the others miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Polled in turn by one task: where one of them waits, the next goes on.
    InTurn,
    /// A task for each, on the workers of the runtime.
    Tasks,
    /// A thread for each, so that even what does not await runs in parallel.
    Threads,
}

/// One round of a check with its place among the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) nth: usize,
    pub(crate) start: Start,
    /// How many races to run in it: with threads many, as the moment in which one is lost can be very short.
    pub(crate) heats: usize,
}

impl Round {
    /// How many clients take part: with threads few, that each may have a processor.
    pub(crate) fn clients(self) -> usize {
        if self.start == Start::Threads { 3 } else { 6 }
    }
}

/// So many rounds of each kind of start at least, and on a fast store more, until some time is used up: a race that
/// is lost once in a hundred times is to be seen too.
pub(crate) fn rounds(cx: &Context, least: usize) -> impl Iterator<Item = Round> + use<> {
    let began = Instant::now();
    let time = match cx.profile {
        Profile::Quick => Duration::from_millis(120),
        Profile::Full => Duration::from_secs(3),
        Profile::Soak(duration) => duration,
    };
    let most = 240.max(least as u64 * 3);
    let round = move |nth: usize| {
        let start = [Start::InTurn, Start::Tasks, Start::Threads][nth % 3];
        let micros = usize::try_from(began.elapsed().as_micros()).unwrap_or(usize::MAX);
        let each = (micros / nth.max(1)).max(1);
        let heats = if start == Start::Threads { (10_000 / each).clamp(1, 40) } else { 1 };
        Round { nth, start, heats }
    };
    cx.cases(most)
        .enumerate()
        .take_while(move |(nth, _)| *nth < least * 3 || began.elapsed() < time)
        .map(move |(nth, _)| round(nth))
}

/// A call, and how it ended.
pub(crate) type Ended = (Vec<Append>, annals::Result<Vec<StoredEvent>>);

/// Makes the calls of each heat at once, each by a client of its own, through the handles in turn; returns how they
/// ended, heat by heat. With `patience` a store that is too busy is asked again.
pub(crate) async fn race(
    round: Round,
    what: &str,
    handles: [&Subject; 2],
    heats: Vec<Vec<Vec<Append>>>,
    patience: bool,
) -> Outcome<Vec<Vec<Ended>>> {
    let count = heats.iter().map(Vec::len).max().unwrap_or(0);
    let meeting = Arc::new(Meeting::default());
    let clients = (0..count).map(|client| {
        let store = handles[client % 2].clone();
        let calls: Vec<_> = heats.iter().map(|calls| calls[client].clone()).collect();
        let meeting = Arc::clone(&meeting);
        async move {
            let mut ended = Vec::new();
            for (heat, call) in calls.into_iter().enumerate() {
                if round.start == Start::Threads {
                    meeting.wait(count * (heat + 1));
                }
                let outcome = if patience {
                    patient(&store, &call).await
                } else {
                    store.adapter.append(call.clone()).await
                };
                ended.push((call, outcome));
            }
            ended
        }
    });
    let mut by_client: Vec<_> =
        at_once(round.start, what, clients).await?.into_iter().map(Vec::into_iter).collect();
    let heat = |_| by_client.iter_mut().filter_map(Iterator::next).collect();
    Ok((0..heats.len()).map(heat).collect())
}

/// Runs all clients at once to their ends, which they must reach.
pub(crate) async fn at_once<T: Send + 'static>(
    start: Start,
    what: &str,
    clients: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Outcome<Vec<T>> {
    let clients: Vec<_> = clients.into_iter().collect();
    let count = clients.len();
    let limit = Duration::from_secs(20);
    let ended = match start {
        Start::InTurn => return within(limit, what, join_all(clients)).await,
        Start::Tasks => {
            let barrier = Arc::new(Barrier::new(count));
            let tasks = clients.into_iter().map(|client| {
                let barrier = Arc::clone(&barrier);
                tokio::spawn(async move {
                    barrier.wait().await;
                    client.await
                })
            });
            within(limit, what, try_join_all(tasks)).await?
        }
        Start::Threads => {
            let ready = Arc::new(Meeting::default());
            let threads = clients.into_iter().map(|client| {
                let (ready, runtime) = (Arc::clone(&ready), Handle::current());
                tokio::task::spawn_blocking(move || {
                    ready.wait(count);
                    runtime.block_on(client)
                })
            });
            within(limit, what, try_join_all(threads)).await?
        }
    };
    ended.map_err(|error| Failure::new(format!("{what}: {error}")))
}

/// Where threads wait for each other, awake, so that all go on at the same moment.
#[derive(Debug, Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    /// Waits until so many have come in all. One that does not come within a second or so is not waited for.
    fn wait(&self, count: usize) {
        self.0.fetch_add(1, Ordering::SeqCst);
        for turn in 0..1_000_000 {
            if self.0.load(Ordering::SeqCst) >= count {
                return;
            }
            if turn % 1_024 == 1_023 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}
