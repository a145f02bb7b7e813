//! Events for the rest of a program, after their commit: one follower of the log, and a bounded queue for each that hears it.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use annals::{Error, EventStore, Query, ReadOptions, SequenceNumber, StoredEvent};
use event_listener::Event;
use futures_util::StreamExt;
use futures_util::future::{Either, select};

use crate::error::{ProcessingError, Result, chain};
use crate::stopping::Stopping;
use crate::timer::Timer;

/// The most that hear one bus.
const MOST_HEARERS: usize = 1_024;
/// After so many events others may run: who hears may take what is there.
const AT_ONCE: usize = 32;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Hands the events of a log to the rest of a program, after their commit: for caches, pages that show what happens, and
/// prompts. Clones are the same bus.
///
/// - Only what the log holds is heard: nothing of an append that was rejected or rolled back. Events come in the order of
///   their sequence numbers, also those that other processes append.
/// - No append waits for the bus, and nobody who hears waits for another one. Each has a queue of its own. If it is full, the
///   oldest events in it are dropped, and [`Heard::Missed`] says how many.
/// - Each event is heard **at most once**: a bus begins at the head of the log, and remembers nothing. What was missed, and
///   what was appended while the program did not run, is in the log. What must not be missed is the task of a
///   [`Processor`](crate::Processor).
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use annals::{BoxError, EventStore, NewEvent, Query, StreamId, WriteCondition};
/// # use annals_memory::MemoryAdapter;
/// # use annals_processing::{EventBus, Heard, SystemTimer};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let store = EventStore::new(MemoryAdapter::new());
/// let (bus, announcer) = EventBus::start(&store, SystemTimer::new()).await?;
/// let running = tokio::spawn(announcer.run());
/// let mut hearer = bus.subscribe(Query::All, NonZeroUsize::new(100).unwrap())?;
/// let stream = store.stream(StreamId::from_static("orders", "o-1"));
/// stream.append([NewEvent::json("order-placed", &12)?], WriteCondition::Always).await?;
/// let Some(Heard::Event(event)) = hearer.next().await else { panic!("it is heard") };
/// assert_eq!(event.name().as_str(), "order-placed");
/// bus.stop();
/// running.await??;
/// assert!(hearer.next().await.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EventBus(Arc<Inner>);

/// Follows the log for a bus. Subscriptions get events while its future runs.
#[must_use = "nothing is heard unless the announcer runs"]
pub struct Announcer {
    inner: Arc<Inner>,
    store: EventStore,
    timer: Arc<dyn Timer>,
    after: SequenceNumber,
}

#[derive(Default)]
struct Inner {
    stopping: Stopping,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    hearers: Vec<Arc<Queue>>,
    has_ended: bool,
}

struct Queue {
    query: Query,
    capacity: NonZeroUsize,
    state: Mutex<Waiting>,
    changed: Event,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<StoredEvent>,
    missed: u64,
    has_ended: bool,
}

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// An event of the log.
    Event(StoredEvent),
    /// So many events were dropped here, because the queue was full.
    Missed(u64),
}

impl EventBus {
    /// Begins to hear `store` at its head: what is appended after this returns is announced.
    ///
    /// # Errors
    /// Those of a read of the log.
    ///
    /// # Cancel safety
    /// It changes nothing and may be dropped at any await.
    pub async fn start(store: &EventStore, timer: impl Timer) -> Result<(Self, Announcer)> {
        let last = store.latest(Query::All).await?;
        let after = last.map_or(SequenceNumber::START, |event| event.sequence_number);
        let inner = Arc::new(Inner::default());
        let bus = Self(Arc::clone(&inner));
        Ok((bus, Announcer { inner, store: store.clone(), timer: Arc::new(timer), after }))
    }

    /// Hears the events that `query` matches and that are appended from now on; some that were appended shortly before may
    /// be among them. At most `capacity` events wait: as many as may come at once.
    ///
    /// # Errors
    /// [`Ended`](ProcessingError::Ended) if the announcer does not run any more; [`Misuse`](ProcessingError::Misuse) if 1,024
    /// hear the bus already.
    pub fn subscribe(
        &self,
        query: impl Into<Query>,
        capacity: NonZeroUsize,
    ) -> Result<Subscription> {
        let queue =
            Queue { query: query.into(), capacity, state: Mutex::default(), changed: Event::new() };
        let queue = Arc::new(queue);
        let mut known = self.0.lock();
        if known.has_ended {
            return Err(ProcessingError::Ended);
        }
        if known.hearers.len() >= MOST_HEARERS {
            return Err(ProcessingError::misuse("too many hear the bus already"));
        }
        known.hearers.push(Arc::clone(&queue));
        drop(known);
        Ok(Subscription { inner: Arc::clone(&self.0), queue })
    }

    /// Ends the announcer: who hears takes what waits, and then nothing comes any more.
    pub fn stop(&self) {
        self.0.stopping.ask();
    }
}

impl Announcer {
    /// Announces until [`EventBus::stop`] is called. A log that is away does not end it: it goes on where it was.
    ///
    /// # Errors
    /// Those of the log that trying again does not help, as [`Unsupported`](Error::Unsupported) if the log has no order over
    /// all its events.
    ///
    /// # Cancel safety
    /// If it is dropped, who hears takes what waits, and then nothing comes any more.
    pub async fn run(mut self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.after;
            let stopped = pin!(inner.stopping.wait());
            let error = match select(pin!(self.follow()), stopped).await {
                Either::Left((error, _)) => error,
                Either::Right(_) => return Ok(()),
            };
            match &error {
                Error::Unavailable(_) | Error::OutcomeUnknown(_) => {}
                _ => return Err(error.into()),
            }
            tracing::warn!(name: "annals.bus_waits", error = %chain(&error));
            pause = if self.after > before { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            let stopped = pin!(inner.stopping.wait());
            if let Either::Right(_) = select(self.timer.sleep(pause), stopped).await {
                return Ok(());
            }
        }
    }

    /// Follows the log until it fails. `after` moves with each event that was announced, so nothing is announced twice.
    async fn follow(&mut self) -> Error {
        let options = ReadOptions::default().after(self.after).follow();
        let mut pages = self.store.pages(Query::All, options);
        let mut announced = 0;
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => return error,
            };
            for event in page.events {
                self.after = event.sequence_number;
                self.inner.announce(&event);
                announced += 1;
                if announced % AT_ONCE == 0 {
                    yield_now().await;
                }
            }
            self.after = self.after.max(page.through);
        }
        Error::unavailable("the log does not follow any more")
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, event: &StoredEvent) {
        for queue in &self.lock().hearers {
            queue.push(event);
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: &StoredEvent) {
        if !self.query.matches(event) {
            return;
        }
        let mut waiting = self.lock();
        if waiting.events.len() >= self.capacity.get() {
            waiting.events.pop_front();
            waiting.missed += 1;
        }
        waiting.events.push_back(event.clone());
        drop(waiting);
        self.changed.notify(usize::MAX);
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        let mut known = self.inner.lock();
        known.has_ended = true;
        for queue in known.hearers.drain(..) {
            queue.lock().has_ended = true;
            queue.changed.notify(usize::MAX);
        }
    }
}

/// What one hears of a bus. If it is dropped, its queue goes with it.
#[must_use = "nothing is heard unless it is taken"]
pub struct Subscription {
    inner: Arc<Inner>,
    queue: Arc<Queue>,
}

impl Subscription {
    /// The next event, or how many were missed before it; `None` once the announcer has ended and nothing waits.
    ///
    /// # Cancel safety
    /// If it is dropped, nothing is lost.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            let changed = self.queue.changed.listen();
            {
                let mut waiting = self.queue.lock();
                let missed = std::mem::take(&mut waiting.missed);
                if missed > 0 {
                    return Some(Heard::Missed(missed));
                }
                if let Some(event) = waiting.events.pop_front() {
                    return Some(Heard::Event(event));
                }
                if waiting.has_ended {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.inner.lock().hearers.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
    }
}

/// Lets others run.
async fn yield_now() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hearers = self.0.lock().hearers.len();
        f.debug_struct("EventBus").field("hearers", &hearers).finish_non_exhaustive()
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").field("after", &self.after).finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("query", &self.queue.query.to_string())
            .field("waiting", &self.queue.lock().events.len())
            .finish_non_exhaustive()
    }
}
