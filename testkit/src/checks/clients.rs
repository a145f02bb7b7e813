//! Clients that call a store at once, in rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::runtime::Handle;
use tokio::sync::Barrier;
use tokio::time::Instant;

use crate::check::{Failure, Outcome};
use crate::context::{Context, within};
use crate::suite::Profile;

/// How clients are run at once. Each finds races that the others miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Polled in turn by one task: where one of them waits, the next goes on.
    InTurn,
    /// A task for each, on the workers of the runtime.
    Tasks,
    /// A thread for each, so that even what does not await runs in parallel.
    Threads,
}

/// One round of a check with its place among the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) nth: usize,
    pub(super) start: Start,
}

impl Round {
    /// How many clients take part: with threads few, that each may have a processor.
    pub(super) fn clients(self) -> usize {
        if self.start == Start::Threads { 3 } else { 6 }
    }
}

/// So many rounds of each kind of start at least, and on a fast store more, until some time is used up: a race that
/// is lost once in a hundred rounds is to be seen too.
pub(super) fn rounds(cx: &Context, least: usize) -> impl Iterator<Item = Round> + use<> {
    let began = Instant::now();
    let time = match cx.profile {
        Profile::Quick => Duration::from_millis(120),
        Profile::Full => Duration::from_secs(3),
        Profile::Soak(duration) => duration,
    };
    let most = 240.max(least as u64 * 3);
    cx.cases(most)
        .enumerate()
        .take_while(move |(nth, _)| *nth < least * 3 || began.elapsed() < time)
        .map(|(nth, _)| Round {
            nth,
            start: [Start::InTurn, Start::Tasks, Start::Threads][nth % 3],
        })
}

/// Runs all clients at once to their ends, which they must reach.
pub(super) async fn at_once<T: Send + 'static>(
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
            let ready = Arc::new(AtomicUsize::new(0));
            let threads = clients.into_iter().map(|client| {
                let (ready, runtime) = (Arc::clone(&ready), Handle::current());
                tokio::task::spawn_blocking(move || {
                    meet(&ready, count);
                    runtime.block_on(client)
                })
            });
            within(limit, what, try_join_all(threads)).await?
        }
    };
    ended.map_err(|error| Failure::new(format!("{what}: {error}")))
}

/// Waits until all have come, awake, so that all go on at the same moment. One that does not come within a second or
/// so is not waited for.
fn meet(ready: &AtomicUsize, count: usize) {
    ready.fetch_add(1, Ordering::SeqCst);
    for turn in 0..1_000_000 {
        if ready.load(Ordering::SeqCst) >= count {
            return;
        }
        if turn % 64 == 63 {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}
