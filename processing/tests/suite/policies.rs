//! Policies: exactly once, whatever is killed or fails, and whoever else works.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod narrow;
mod own;
mod wild;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::World;
use annals::{
    BoxError, Context, EventStore, NewEvent, Projector, Query, QueryItem, ReadOptions, Source,
    StoredEvent, StreamId, WriteCondition,
};
use annals_processing::{
    LogUpTo, Out, Policy, PolicySink, ProcessingError, Processor, async_trait,
};
use annals_testkit::processing::Odds;
use futures_executor::block_on;
use narrow::Narrow;
use wild::Wild;

fn query(category: &'static str) -> QueryItem {
    QueryItem::new(Source::Category(annals::CategoryName::from_static(category)))
}

fn made(name: &'static str, stream: &StreamId, category: &'static str) -> (StreamId, NewEvent) {
    let event = NewEvent::json(name, &stream.to_string()).unwrap();
    (StreamId::new(category, stream.name.as_str()).unwrap(), event)
}

/// A bill for each order, and a copy of every second one in a second stream, as far as it may.
#[derive(Debug, Clone, Copy)]
struct Bill {
    copies: bool,
}

#[async_trait]
impl Policy for Bill {
    async fn react(
        &self,
        event: &StoredEvent,
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        if event.stream.category.as_str() != "orders" {
            return Ok(());
        }
        let orders = log.project(query("orders"), &Counted).await?;
        let (stream, bill) = made("billed", &event.stream, "bills");
        out.append(stream, [bill], WriteCondition::Always)?;
        if self.copies && orders % 2 == 0 {
            let (stream, copy) = made("copied", &event.stream, "copies");
            out.append(stream, [copy], WriteCondition::Always)?;
        }
        Ok(())
    }
}

struct Counted;

impl Projector for Counted {
    type State = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn apply(&self, count: &mut u64, _: &StoredEvent) -> Result<(), BoxError> {
        *count += 1;
        Ok(())
    }
}

async fn all(store: &EventStore, query: impl Into<Query>) -> Vec<StoredEvent> {
    store.read(query, ReadOptions::default()).into_vec().await.unwrap()
}

fn cause(event: &StoredEvent) -> String {
    let metadata: serde_json::Value = event.metadata().unwrap().to_json().unwrap();
    metadata[Context::CAUSATION_ID].as_str().unwrap().to_owned()
}

/// How often each event of `orders` is the cause of an event of this category.
async fn caused(store: &EventStore, category: &'static str) -> BTreeMap<String, u32> {
    let mut causes = BTreeMap::new();
    for event in all(store, query(category)).await {
        *causes.entry(cause(&event)).or_default() += 1;
    }
    causes
}

async fn check_each_once(store: &EventStore, seed: u64) {
    let orders = all(store, query("orders")).await;
    let ids = |every: usize| -> BTreeMap<String, u32> {
        let nth = orders.iter().enumerate().filter(|(nth, _)| (nth + 1) % every == 0);
        nth.map(|(_, event)| (event.id().to_string(), 1)).collect()
    };
    assert_eq!(caused(store, "bills").await, ids(1), "seed {seed}");
    assert_eq!(caused(store, "copies").await, ids(2), "seed {seed}");
    // The order of each stream is kept.
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for bill in all(store, query("bills")).await {
        let nth = orders.iter().position(|order| order.id().to_string() == cause(&bill)).unwrap();
        let before = last.insert(bill.stream.to_string(), nth);
        assert!(before.is_none_or(|before| before < nth), "seed {seed}");
    }
}

fn policy(world: &World, policy: impl Policy) -> Processor {
    let state = Arc::clone(&world.state);
    Processor::policy("bills", &world.store, state, policy, world.timer.clone()).unwrap()
}

#[test]
fn y1_output_has_derived_ids_and_the_causes_of_its_input() {
    block_on(async {
        let world = World::new();
        let first = Context::correlated("request-7").stamp(NewEvent::json("placed", &1).unwrap());
        let stream = world.store.stream(StreamId::from_static("orders", "o-1"));
        let input = stream.append([first.unwrap()], WriteCondition::Always).await.unwrap();
        policy(&world, Bill { copies: true }).settle().await.unwrap();
        let bills = all(&world.store, query("bills")).await;
        assert_eq!(bills.len(), 1);
        assert_eq!(bills[0].id(), input[0].id().derived_for("bills").derived(0));
        let metadata: serde_json::Value = bills[0].metadata().unwrap().to_json().unwrap();
        assert_eq!(metadata[Context::CORRELATION_ID], "request-7");
        assert_eq!(metadata[Context::CAUSATION_ID], input[0].id().to_string());
    });
}

#[test]
fn y1_after_kills_rivals_and_unknown_outcomes_each_input_has_its_output_once() {
    for seed in 0..15 {
        let wild = Wild::new(seed, |world| Arc::new(world.adapter.clone()));
        wild.torment(seed, |store, state| {
            PolicySink::new(store, state, Bill { copies: true }).unwrap()
        });
        block_on(check_each_once(&wild.world.store, seed));
    }
}

#[test]
fn y4_one_stream_at_a_time_a_repeat_appends_what_a_crash_left() {
    for seed in 100..110 {
        let wild = Wild::new(seed, |world| Arc::new(Narrow::one_stream(world)));
        wild.torment(seed, |store, state| {
            let sink = PolicySink::new(store, state, Bill { copies: true }).unwrap();
            sink.one_stream_at_a_time()
        });
        block_on(check_each_once(&wild.world.store, seed));
    }
}

#[test]
fn y4_several_streams_are_rejected_where_the_log_appends_to_one_unless_permitted() {
    block_on(async {
        let world = World::new();
        world.append_many(4, 2).await;
        let store = EventStore::new(Narrow::one_stream(&world));
        let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
        let policy = Bill { copies: true };
        let mut processor = Processor::policy("bills", &store, state, policy, timer).unwrap();
        let error = processor.settle().await.unwrap_err();
        assert!(
            matches!(&error, ProcessingError::Misuse(text) if text.contains("several streams"))
        );
        let mut one = Processor::policy(
            "single",
            &store,
            Arc::clone(&world.state),
            Bill { copies: false },
            world.timer.clone(),
        );
        one.as_mut().unwrap().settle().await.unwrap();
        assert_eq!(caused(&world.store, "bills").await.len(), 4);
    });
}

#[test]
fn y2_a_decision_sees_the_log_up_to_its_input_however_late_it_is_made() {
    /// Says how many events it sees, and which was the last one.
    struct Sees;

    #[async_trait]
    impl Policy for Sees {
        async fn react(
            &self,
            event: &StoredEvent,
            log: &LogUpTo,
            out: &mut Out,
        ) -> Result<(), BoxError> {
            assert_eq!(log.now(), event.recorded_at);
            let seen = log.project(query("orders"), &Counted).await?;
            let last = log.latest(query("orders")).await?.unwrap();
            assert_eq!(last.id(), event.id());
            let read = log.read(query("orders"), ReadOptions::default())?.into_vec().await?;
            assert_eq!(read.len() as u64, seen);
            let stream = StreamId::from_static("seen", "all");
            out.append(stream, [NewEvent::json("seen", &seen)?], WriteCondition::Always)?;
            Ok(())
        }
    }

    block_on(async {
        let world = World::new();
        world.append_many(12, 3).await;
        let only_orders = policy(&world, Sees).with_query(query("orders")).unwrap();
        only_orders.with_batch(5, 1 << 20).settle().await.unwrap();
        let seen: Vec<u64> = all(&world.store, query("seen"))
            .await
            .iter()
            .map(|event| event.payload().to_json().unwrap())
            .collect();
        assert_eq!(seen, (1..=12).collect::<Vec<u64>>());
    });
}

#[test]
fn y2_what_the_log_keeps_in_no_order_is_no_ground_for_a_decision() {
    block_on(async {
        let world = World::new();
        let input = world.append("o-1", &["placed"]).await.remove(0);
        let narrow = EventStore::new(Narrow::ordered_by_category(&world));
        let log = LogUpTo::new(&narrow, &input);
        assert!(log.latest(query("orders")).await.unwrap().is_some());
        for wide in [Query::from(query("bills")), Query::All] {
            let error = log.read(wide, ReadOptions::default()).unwrap_err();
            assert!(matches!(error, annals::Error::Unsupported { .. }), "{error}");
        }
    });
}

#[test]
fn y2_a_store_that_is_away_while_a_policy_reads_is_no_failure_of_the_policy() {
    for seed in 0..10 {
        let wild = Wild::new(seed, |world| Arc::new(world.adapter.clone()));
        block_on(wild.world.append_many(6, 2));
        wild.set(Odds { unavailable: 0.3, ..Odds::CALM });
        let mut tasks = wild.world.tasks(seed);
        let sink = |store: &EventStore, state| {
            PolicySink::new(store, state, Bill { copies: true }).unwrap()
        };
        // An error of the handler would stop it.
        let mut processor = wild.processor(2, sink);
        tasks.block_on(async move { processor.settle().await.unwrap() });
        wild.set(Odds::CALM);
        assert_eq!(block_on(caused(&wild.world.store, "bills")).len(), 6);
    }
}

#[test]
fn y1_a_log_that_forgets_ids_is_rejected() {
    let world = World::new();
    let store = EventStore::new(Narrow::forgetful(&world));
    let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
    let made = Processor::policy("bills", &store, state, Bill { copies: false }, timer);
    assert!(matches!(made, Err(ProcessingError::Misuse(_))));
}

#[test]
fn y1_a_policy_that_decided_differently_before_is_an_error_and_not_silence() {
    block_on(async {
        let world = World::new();
        world.append("o-1", &["placed"]).await;
        world.append("o-2", &["placed"]).await;
        policy(&world, Bill { copies: false }).settle().await.unwrap();
        // The second order has a copy now. Everything is decided on again.
        let claim = annals_processing::Claim::new("bills").unwrap();
        annals_processing::reset(&*world.state, &claim).await.unwrap();
        let error = policy(&world, Bill { copies: true }).settle().await.unwrap_err();
        let ProcessingError::Handler(error) = error else { panic!("{error}") };
        assert!(error.source.to_string().contains("decided differently"), "{}", error.source);
        assert_eq!(all(&world.store, query("copies")).await.len(), 0);
    });
}

#[test]
fn y5_a_condition_that_does_not_hold_is_decided_again_and_never_skipped() {
    /// Appends to one stream, at the position that it finds there now.
    struct Races {
        store: EventStore,
        rival: bool,
        tries: AtomicU64,
    }

    #[async_trait]
    impl Policy for Races {
        async fn react(&self, _: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
            let stream = StreamId::from_static("races", "one");
            let last = self.store.stream(stream.clone()).latest().await?;
            let condition = last.map_or(WriteCondition::StreamIsEmpty, |last| {
                WriteCondition::PositionIs(last.position)
            });
            if self.tries.fetch_add(1, Ordering::SeqCst) == 0 || self.rival {
                let rival = NewEvent::json("rival", &1)?;
                let handle = self.store.stream(stream.clone());
                handle.append([rival], WriteCondition::Always).await?;
            }
            out.append(stream, [NewEvent::json("raced", &1)?], condition)?;
            Ok(())
        }
    }

    block_on(async {
        let world = World::new();
        world.append("o-1", &["placed"]).await;
        let races = |rival| Races { store: world.store.clone(), rival, tries: AtomicU64::new(0) };
        let only_orders = policy(&world, races(false)).with_query(query("orders")).unwrap();
        { only_orders }.settle().await.unwrap();
        let names = |events: Vec<StoredEvent>| -> Vec<String> {
            events.iter().map(|event| event.name().as_str().to_owned()).collect()
        };
        assert_eq!(names(all(&world.store, query("races")).await), ["rival", "raced"]);
        // A rival that is always faster: the policy fails, and stays before the event.
        world.append("o-2", &["placed"]).await;
        let mut always = policy(&world, races(true)).with_query(query("orders")).unwrap();
        let error = always.settle().await.unwrap_err();
        assert!(matches!(error, ProcessingError::Handler(_)), "{error}");
        let stored = names(all(&world.store, query("races")).await);
        assert_eq!(stored.iter().filter(|name| *name == "raced").count(), 1);
        let after = always.handle().position().await.unwrap();
        let order = all(&world.store, query("orders")).await.pop().unwrap();
        assert!(after < order.sequence_number);
    });
}

#[test]
fn y1_one_output_that_is_wrong_hurts_only_its_own_input() {
    /// Event 3 leads to a reserved category.
    struct Wrong;

    #[async_trait]
    impl Policy for Wrong {
        async fn react(
            &self,
            event: &StoredEvent,
            _: &LogUpTo,
            out: &mut Out,
        ) -> Result<(), BoxError> {
            let is_third = event.sequence_number.value() == 3;
            let category = if is_third { "annals.secret" } else { "bills" };
            let (stream, bill) = made("billed", &event.stream, category);
            Ok(out.append(stream, [bill], WriteCondition::Always)?)
        }
    }

    block_on(async {
        let world = World::new();
        world.append_many(5, 5).await;
        let wrong = policy(&world, Wrong).with_query(query("orders")).unwrap();
        wrong.with_errors(|_| annals_processing::Decision::Skip).settle().await.unwrap();
        assert_eq!(all(&world.store, query("bills")).await.len(), 4);
    });
}

#[test]
fn y3_tracked_in_the_log_each_input_is_decided_on_once_whatever_decisions_depend_on() {
    /// Decides differently each time: how many bills, in which streams.
    #[derive(Debug, Clone)]
    struct Moody(Arc<AtomicU64>);

    #[async_trait]
    impl Policy for Moody {
        async fn react(
            &self,
            event: &StoredEvent,
            _: &LogUpTo,
            out: &mut Out,
        ) -> Result<(), BoxError> {
            assert!(!event.stream.category.as_str().starts_with("annals."), "y6: its own tracking");
            if event.stream.category.as_str() != "orders" {
                return Ok(());
            }
            let mood = self.0.fetch_add(1, Ordering::SeqCst);
            for nth in 0..mood % 4 {
                let name = format!("{}-{}", mood % 7, nth % 2);
                let bill = NewEvent::json("billed", &mood)?;
                out.append(StreamId::new("bills", name)?, [bill], WriteCondition::Always)?;
            }
            Ok(())
        }
    }

    for seed in 200..215 {
        let wild = Wild::new(seed, |world| Arc::new(world.adapter.clone()));
        let moods = Arc::new(AtomicU64::new(seed));
        wild.torment(seed, |store, state| {
            PolicySink::tracked_in_log(store, state, Moody(Arc::clone(&moods))).unwrap()
        });
        let store = &wild.world.store;
        // All bills of one order are of one mood, and none of them is missing.
        let mut moods: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for bill in block_on(all(store, query("bills"))) {
            moods.entry(cause(&bill)).or_default().push(bill.payload().to_json().unwrap());
        }
        for (order, moods) in &moods {
            let wanted = usize::try_from(moods[0] % 4).unwrap();
            assert!(moods.iter().all(|mood| *mood == moods[0]), "seed {seed}: {order} {moods:?}");
            assert_eq!(moods.len(), wanted, "seed {seed}: {order}");
        }
        // The tracking in the log rises, and ends at the last order at least.
        let tracked = block_on(all(store, query("annals.tracking")));
        let numbers: Vec<u64> = tracked
            .iter()
            .map(|event| event.payload().to_json::<serde_json::Value>().unwrap())
            .map(|payload| payload["input"]["number"].as_u64().unwrap())
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}: {numbers:?}");
        let orders = block_on(all(store, query("orders")));
        let last = orders.last().unwrap().sequence_number.value();
        assert!(*numbers.last().unwrap() >= last, "seed {seed}");
    }
}

#[test]
fn y3_a_log_of_one_stream_an_append_is_rejected() {
    let world = World::new();
    let store = EventStore::new(Narrow::one_stream(&world));
    let state = Arc::clone(&world.state);
    let made = PolicySink::tracked_in_log(&store, state, Bill { copies: false });
    assert!(matches!(made, Err(ProcessingError::Misuse(_))));
}

#[test]
fn y1_two_policies_and_two_names_of_one_policy_do_not_collide() {
    block_on(async {
        let world = World::new();
        world.append_many(6, 2).await;
        for name in ["one", "two"] {
            let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
            let policy = Bill { copies: false };
            let made = Processor::policy(name, &world.store, state, policy, timer).unwrap();
            { made }.settle().await.unwrap();
        }
        let causes = caused(&world.store, "bills").await;
        assert!(causes.len() == 6 && causes.values().all(|count| *count == 2), "{causes:?}");
    });
}
