//! How a processor follows its log: rules T1 to T5 and T7; T6 is with the tracking. What adapters do inside a follow is in the
//! checks `follow.*` of the testkit.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{SECOND, World, number};
use annals::{
    Append, Capabilities, CategoryName, Error, EventPages, EventStore, NewEvent, Order, Query,
    ReadOptions, StorageAdapter, StoredEvent, StreamId, WriteCondition,
};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_processing::{
    Batch, Handle, Phase, ProcessingError, Processor, Services, Sink, SinkError, Timer, async_trait,
};
use annals_state::{StateStore, Write};
use annals_testkit::processing::ManualTimer;
use event_listener::Event;
use futures_util::{StreamExt, stream};

/// What a log does that is not as good as it could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quirk {
    None,
    /// Follows say nothing once they are at the head.
    Silent,
    /// Every third page is an error.
    Fails,
    /// Only categories have an order.
    Categories,
    /// A read of no event is an error.
    HeadUnknown,
}

/// A log in memory that counts the pages that were taken.
#[derive(Debug, Clone)]
struct Log {
    inner: Arc<Mutex<MemoryAdapter>>,
    pages: Arc<AtomicUsize>,
    quirk: Quirk,
}

impl Log {
    fn inner(&self) -> MemoryAdapter {
        self.inner.lock().unwrap().clone()
    }

    fn pages(&self) -> usize {
        self.pages.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl StorageAdapter for Log {
    fn name(&self) -> &'static str {
        "quirky"
    }

    fn capabilities(&self) -> Capabilities {
        match self.quirk {
            Quirk::Categories => self.inner().capabilities().with_order(Order::Category),
            _ => self.inner().capabilities(),
        }
    }

    async fn append(&self, writes: Vec<Append>) -> annals::Result<Vec<StoredEvent>> {
        self.inner().append(writes).await
    }

    fn read(&self, query: Query, options: ReadOptions) -> EventPages {
        if let Err(error) = self.capabilities().check_read("quirky", &query, &options) {
            return stream::iter([Err(error)]).boxed();
        }
        if self.quirk == Quirk::HeadUnknown && query.scope().is_none() {
            return stream::iter([Err(Error::unavailable("away"))]).boxed();
        }
        let (quirk, pages) = (self.quirk, Arc::clone(&self.pages));
        let read = self.inner().read(query, options).map(move |page| {
            let nth = pages.fetch_add(1, Ordering::SeqCst);
            let at_head = page.as_ref().is_ok_and(|page| page.at_head);
            if quirk == Quirk::Fails && nth % 3 == 2 {
                return (Err(Error::unavailable("away")), at_head);
            }
            (page, at_head)
        });
        let quiet = quirk == Quirk::Silent && options.follow;
        let parts = stream::unfold((read, false), move |(mut read, silent)| async move {
            if silent {
                std::future::pending::<()>().await;
            }
            let (page, at_head) = read.next().await?;
            Some((page, (read, quiet && at_head)))
        });
        parts.boxed()
    }

    async fn close(&self) {
        self.inner().close().await;
    }
}

/// Notes the numbers of what it takes, and waits before it takes a batch as long as it is shut.
#[derive(Clone)]
struct Seen {
    state: Arc<dyn StateStore>,
    numbers: Arc<Mutex<Vec<u64>>>,
    shut: Arc<(Mutex<bool>, Event)>,
}

#[async_trait]
impl Sink for Seen {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        loop {
            let opened = self.shut.1.listen();
            if !*self.shut.0.lock().unwrap() {
                break;
            }
            opened.await;
        }
        self.state.commit(batch.commit([])).await?;
        let numbers = batch.events().iter().map(|event| event.sequence_number.value());
        self.numbers.lock().unwrap().extend(numbers);
        Ok(())
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}

#[derive(Clone)]
struct Following {
    world: World,
    log: Log,
    seen: Seen,
}

impl Following {
    fn new(quirk: Quirk) -> Self {
        let mut world = World::new();
        let inner = MemoryAdapter::new().with_page_size(std::num::NonZeroUsize::new(4).unwrap());
        let inner = Arc::new(Mutex::new(inner));
        let log = Log { inner, pages: Arc::default(), quirk };
        world.store = EventStore::new(log.clone());
        world.state = Arc::new(MemoryState::new());
        let state = Arc::clone(&world.state);
        let seen = Seen { state, numbers: Arc::default(), shut: Arc::default() };
        Self { world, log, seen }
    }

    fn processor(&self) -> Processor {
        self.named("seen")
    }

    fn named(&self, name: &str) -> Processor {
        let (state, sink) = (Arc::clone(&self.world.state), self.seen.clone());
        let timer: ManualTimer = self.world.timer.clone();
        let processor = Processor::sink(name, &self.world.store, state, sink, timer);
        processor.unwrap().with_batch(3, 1 << 20)
    }

    /// Services of so many processors that ask for orders only.
    fn services(&self, processors: usize) -> (Services, Vec<Handle>) {
        let orders = CategoryName::from_static("orders");
        let mut services = Services::new(self.world.timer.clone());
        let mut handles = Vec::new();
        for nth in 0..processors {
            let processor = self.named(&format!("seen-{nth}")).with_query(orders.clone()).unwrap();
            handles.push(processor.handle());
            services = services.processor(processor).unwrap();
        }
        (services, handles)
    }

    async fn append_other(&self) {
        let other = self.world.store.stream(StreamId::from_static("others", "o-0"));
        let event = NewEvent::json("counted", &1).unwrap();
        other.append([event], WriteCondition::Always).await.unwrap();
    }

    fn numbers(&self) -> Vec<u64> {
        self.seen.numbers.lock().unwrap().clone()
    }
}

#[test]
fn t1_each_event_comes_once_and_in_order_over_the_switch_at_the_head() {
    for seed in 0..30 {
        let following = Following::new(Quirk::None);
        let mut tasks = following.world.tasks(seed);
        let processor = following.processor();
        let handle = processor.handle();
        tasks.spawn(async move { processor.run().await.unwrap() });
        let world = following.world.clone();
        tasks.block_on(async move {
            for nth in 0..30_u64 {
                world.append("s-0", &["counted"]).await;
                if nth % 7 == seed % 7 {
                    handle.wait(number(nth + 1), SECOND).await.unwrap();
                }
            }
            handle.wait(number(30), SECOND).await.unwrap();
        });
        assert_eq!(following.numbers(), (1..=30).collect::<Vec<_>>());
    }
}

#[test]
fn t2_at_the_head_everything_was_seen_that_was_there() {
    let following = Following::new(Quirk::None);
    let (world, others) = (following.world.clone(), CategoryName::from_static("others"));
    let mut processor = following.processor().with_query(others).unwrap();
    futures_executor::block_on(async {
        world.append_many(20, 3).await;
        assert_eq!(processor.settle().await.unwrap(), number(20));
        assert_eq!(processor.handle().position().await.unwrap(), number(20));
    });
    assert_eq!(following.numbers(), Vec::<u64>::new());
}

/// A follow of some events that has died without a word delays, and loses nothing.
#[test]
fn t3_what_a_silent_follow_does_not_say_is_looked_for() {
    let following = Following::new(Quirk::Silent);
    let mut tasks = following.world.tasks(3);
    let orders = CategoryName::from_static("orders");
    let processor = following.processor().with_query(orders).unwrap();
    let handle = processor.handle();
    tasks.spawn(async move { processor.run().await.unwrap() });
    let world = following.world.clone();
    tasks.block_on(async move {
        for nth in 0..5 {
            world.timer.sleep(SECOND * 20).await;
            world.append("s-0", &["counted"]).await;
            world.timer.sleep(SECOND * 3).await;
            assert_eq!(handle.status().tracked, number(nth + 1));
        }
    });
    assert_eq!(following.numbers(), [1, 2, 3, 4, 5]);
}

/// Twenty processors that ask for some events, and nothing is appended: one read a beat says so to all of them.
#[test]
fn t3_a_quiet_log_is_read_once_a_beat_for_all_processors_of_services() {
    let following = Following::new(Quirk::None);
    let mut tasks = following.world.tasks(6);
    let (services, handles) = following.services(20);
    tasks.spawn(async move { services.run().await.unwrap() });
    tasks.block_on(async move {
        let Following { world, log, .. } = &following;
        for nth in 0..4 {
            following.append_other().await;
            // The pauses between two looks are up to eight beats.
            world.timer.sleep(SECOND * 20).await;
            for handle in &handles {
                assert_eq!(handle.status().tracked, number(nth + 1));
            }
            let before = log.pages();
            world.timer.sleep(SECOND * 100).await;
            let read = log.pages() - before;
            assert!(read <= 101, "{read} pages in 100 beats");
        }
        assert_eq!(following.numbers(), Vec::<u64>::new());
    });
}

/// What one read for all cannot say each finds out by itself.
#[test]
fn t3_a_log_whose_head_is_unknown_is_looked_at_by_each() {
    let following = Following::new(Quirk::HeadUnknown);
    let mut tasks = following.world.tasks(7);
    let (services, handles) = following.services(3);
    tasks.spawn(async move { services.run().await.unwrap() });
    tasks.block_on(async move {
        for nth in 0..4 {
            following.world.timer.sleep(SECOND * 60).await;
            following.append_other().await;
            following.world.timer.sleep(SECOND * 10).await;
            for handle in &handles {
                assert_eq!(handle.status().tracked, number(nth + 1));
            }
        }
    });
}

/// A log that was exchanged for a shorter one while all were idle.
#[test]
fn t6_a_log_that_goes_back_while_services_are_idle_is_ahead_of_log() {
    let following = Following::new(Quirk::None);
    let mut tasks = following.world.tasks(8);
    let (services, _) = following.services(3);
    let ended = Arc::new(Mutex::new(None));
    let end = Arc::clone(&ended);
    tasks.spawn(async move { *end.lock().unwrap() = Some(services.run().await) });
    tasks.block_on(async move {
        for _ in 0..5 {
            following.append_other().await;
        }
        following.world.timer.sleep(SECOND * 60).await;
        *following.log.inner.lock().unwrap() = MemoryAdapter::new();
        following.append_other().await;
        following.world.timer.sleep(SECOND * 20).await;
        let error = ended.lock().unwrap().take().expect("they have ended").unwrap_err();
        let error = error.source.downcast_ref::<ProcessingError>().unwrap();
        assert!(matches!(error, ProcessingError::AheadOfLog { .. }), "{error}");
    });
}

#[test]
fn t4_a_slow_sink_slows_itself_only() {
    let following = Following::new(Quirk::None);
    *following.seen.shut.0.lock().unwrap() = true;
    let mut tasks = following.world.tasks(4);
    let processor = following.processor();
    let handle = processor.handle();
    tasks.spawn(async move { processor.run().await.unwrap() });
    let (world, pages) = (following.world.clone(), Arc::clone(&following.log.pages));
    let shut = Arc::clone(&following.seen.shut);
    tasks.block_on(async move {
        world.append_many(400, 3).await;
        world.timer.sleep(SECOND * 60).await;
        // A hundred pages are there.
        assert!(pages.load(Ordering::SeqCst) <= 2, "{pages:?}");
        *shut.0.lock().unwrap() = false;
        shut.1.notify(usize::MAX);
        handle.wait(number(400), SECOND * 60).await.unwrap();
    });
    assert_eq!(following.numbers(), (1..=400).collect::<Vec<_>>());
}

#[test]
fn t5_after_an_error_of_the_log_it_goes_on_from_the_last_event() {
    for seed in 0..10 {
        let following = Following::new(Quirk::Fails);
        let mut tasks = following.world.tasks(seed);
        let processor = following.processor();
        let handle = processor.handle();
        tasks.spawn(async move { processor.run().await.unwrap() });
        let world = following.world.clone();
        tasks.block_on(async move {
            for nth in 0..10 {
                world.append_many(5, 2).await;
                handle.wait(number((nth + 1) * 5), SECOND * 3_600).await.unwrap();
            }
            assert!(handle.status().retries > 0, "{:?}", handle.status());
            assert_eq!(handle.status().phase, Phase::Live);
        });
        assert_eq!(following.numbers(), (1..=50).collect::<Vec<_>>());
    }
}

#[test]
fn t7_with_a_weaker_order_a_processor_says_which_part_has_one() {
    let following = Following::new(Quirk::Categories);
    let world = following.world.clone();
    let orders = CategoryName::from_static("orders");
    futures_executor::block_on(async {
        world.append_many(10, 2).await;
        let error = following.processor().settle().await.unwrap_err();
        assert!(matches!(error, ProcessingError::Log(_)), "{error}");
        assert_eq!(following.numbers(), Vec::<u64>::new());
        // Nothing of it is kept.
        following.processor().with_query(orders).unwrap().settle().await.unwrap();
    });
    assert_eq!(following.numbers(), (1..=10).collect::<Vec<_>>());
}
