//! The bus of events after their commit: what it promises, and what becomes of who is slow.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use crate::support::World;
use annals::{
    CategoryName, Error, EventStore, NewEvent, Query, QueryItem, SequenceNumber, Source, StreamId,
    WriteCondition,
};
use annals_processing::{Announcer, EventBus, Heard, ProcessingError, Subscription};
use annals_testkit::processing::{Chaos, Interleaving, Odds};
use futures_executor::block_on;
use futures_util::FutureExt;

fn start(world: &World, tasks: &mut Interleaving, store: &EventStore) -> (EventBus, Announcer) {
    let (store, timer) = (store.clone(), world.timer.clone());
    tasks.block_on(async move { EventBus::start(&store, timer).await.unwrap() })
}

fn subscribe(bus: &EventBus, query: impl Into<Query>, capacity: usize) -> Subscription {
    bus.subscribe(query, NonZeroUsize::new(capacity).unwrap()).unwrap()
}

/// All that waits: the numbers of the events, and how many were missed.
fn waiting(hearer: &mut Subscription) -> (Vec<u64>, u64) {
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while let Some(Some(heard)) = hearer.next().now_or_never() {
        match heard {
            Heard::Event(event) => numbers.push(event.sequence_number.value()),
            Heard::Missed(count) => missed += count,
            heard => panic!("{heard:?}"),
        }
    }
    (numbers, missed)
}

#[test]
fn r4_events_are_heard_in_order_from_the_head_on_and_never_of_an_append_that_was_rejected() {
    let world = World::new();
    block_on(world.append("o-1", &["before", "before"]));
    let mut tasks = world.tasks(1);
    let (bus, announcer) = start(&world, &mut tasks, &world.store);
    let orders = QueryItem::new(Source::Category(CategoryName::from_static("orders")));
    let named = orders.with_names([annals::EventName::from_static("paid")]).unwrap();
    let (mut all, mut paid) = (subscribe(&bus, Query::All, 100), subscribe(&bus, named, 100));
    tasks.spawn(async move { announcer.run().await.unwrap() });
    block_on(world.append("o-1", &["placed"]));
    let stream = world.store.stream(StreamId::from_static("orders", "o-1"));
    let late = [NewEvent::json("paid", &1).unwrap()];
    let rejected = block_on(stream.append(late, WriteCondition::StreamIsEmpty));
    assert!(matches!(rejected, Err(Error::ConditionFailed(_))), "{rejected:?}");
    block_on(world.append("o-2", &["placed", "paid"]));
    tasks.steps(200);
    assert_eq!(waiting(&mut all), (vec![3, 4, 5], 0));
    assert_eq!(waiting(&mut paid), (vec![5], 0));
}

#[test]
fn r4_who_is_slow_misses_the_oldest_and_learns_how_many_while_others_and_appends_go_on() {
    let world = World::new();
    let mut tasks = world.tasks(2);
    let (bus, announcer) = start(&world, &mut tasks, &world.store);
    let (mut slow, mut fast) = (subscribe(&bus, Query::All, 3), subscribe(&bus, Query::All, 500));
    tasks.spawn(async move { announcer.run().await.unwrap() });
    block_on(world.append_many(200, 4));
    tasks.steps(2_000);
    assert_eq!(waiting(&mut fast), ((1..=200).collect(), 0));
    assert_eq!(waiting(&mut slow), (vec![198, 199, 200], 197), "the queue has a bound");
    // It goes on as if nothing had been.
    block_on(world.append_many(2, 2));
    tasks.steps(200);
    assert_eq!(waiting(&mut slow), (vec![201, 202], 0));
}

#[test]
fn r4_a_log_that_is_away_is_waited_for_and_each_event_is_heard_once() {
    for seed in 0..20 {
        let world = World::new();
        let log = Chaos::new(world.adapter.clone(), seed, Odds::CALM);
        let mut tasks = world.tasks(seed);
        let (bus, announcer) = start(&world, &mut tasks, &EventStore::new(log.clone()));
        let mut hearer = subscribe(&bus, Query::All, 1_000);
        log.set(Odds { unavailable: 0.3, ..Odds::WILD });
        let running = tasks.spawn(async move { announcer.run().await.unwrap() });
        for _ in 0..30 {
            block_on(world.append_many(2, 2));
            tasks.steps(20);
        }
        log.set(Odds::CALM);
        tasks.steps(500);
        assert_eq!(waiting(&mut hearer), ((1..=60).collect(), 0), "seed {seed}");
        bus.stop();
        tasks.steps(50);
        assert!(!tasks.is_running(running));
    }
}

#[test]
fn r4_what_is_dropped_takes_nothing_with_it() {
    let world = World::new();
    let mut tasks = world.tasks(3);
    let (bus, announcer) = start(&world, &mut tasks, &world.store);
    let (mut first, second) = (subscribe(&bus, Query::All, 10), subscribe(&bus, Query::All, 10));
    let running = tasks.spawn(async move { announcer.run().await.unwrap() });
    // A call that waits is dropped: the next one hears what comes.
    assert!(first.next().now_or_never().is_none());
    drop(second);
    assert_eq!(format!("{bus:?}"), "EventBus { hearers: 1, .. }", "its queue is gone");
    block_on(world.append("o-1", &["placed"]));
    tasks.steps(100);
    // The announcer is killed: what waits is heard, then nothing comes.
    tasks.kill(running);
    let heard = block_on(first.next());
    let Some(Heard::Event(event)) = heard else { panic!("{heard:?}") };
    assert_eq!(event.sequence_number, SequenceNumber::new(1));
    assert_eq!(block_on(first.next()), None);
    let late = bus.subscribe(Query::All, NonZeroUsize::MIN);
    assert!(matches!(late, Err(ProcessingError::Ended)), "{late:?}");
}

#[test]
fn r4_a_bus_has_a_bound_on_who_hears_it() {
    let world = World::new();
    let mut tasks = world.tasks(4);
    let (bus, announcer) = start(&world, &mut tasks, &world.store);
    let hearers: Vec<_> = (0..1_024).map(|_| subscribe(&bus, Query::All, 1)).collect();
    let one_more = bus.subscribe(Query::All, NonZeroUsize::MIN);
    assert!(matches!(one_more, Err(ProcessingError::Misuse(_))), "{one_more:?}");
    drop(hearers);
    assert!(bus.subscribe(Query::All, NonZeroUsize::MIN).is_ok());
    drop(announcer);
}

#[test]
fn r4_who_waits_is_woken() {
    let world = World::new();
    let mut tasks = world.tasks(5);
    let (bus, announcer) = start(&world, &mut tasks, &world.store);
    let mut hearer = subscribe(&bus, Query::All, 10);
    tasks.spawn(async move { announcer.run().await.unwrap() });
    let appending = world.clone();
    tasks.spawn(async move {
        appending.append("o-1", &["placed"]).await;
    });
    let heard = tasks.block_on(async move { (hearer.next().await, hearer) });
    let Some(Heard::Event(event)) = &heard.0 else { panic!("{heard:?}") };
    assert_eq!(event.sequence_number, SequenceNumber::new(1));
}
