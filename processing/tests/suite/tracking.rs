//! Tracking: how far a processor is, what it does if the log went back, waits, stops, resets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Counts, SECOND, World, number};
use annals::{
    Append, CategoryName, EventStore, NewEvent, Query, QueryItem, ReadOptions, StreamId,
    WriteCondition,
};
use annals_memory::MemoryAdapter;
use annals_processing::{Answer, Ask, Claim, Partitions, Phase, ProcessingError, Processor};
use annals_state::{Expected, StateStore};
use futures_executor::block_on;

fn orders() -> Query {
    let item = QueryItem::new(CategoryName::from_static("orders"));
    item.with_names(["counted"]).unwrap().into()
}

async fn append_to(store: &EventStore, category: &'static str, count: usize) {
    let stream = store.stream(StreamId::from_static(category, "x"));
    for _ in 0..count {
        let event = NewEvent::json("other", &1).unwrap();
        let append = Append::new(stream.id().clone(), [event], WriteCondition::Always);
        store.append_reserved(vec![append]).await.unwrap();
    }
}

#[test]
fn p1_tracking_and_documents_are_of_one_commit() {
    block_on(async {
        let world = World::new();
        world.append_many(20, 3).await;
        assert_eq!(world.processor().settle().await.unwrap(), number(20));
        assert_eq!(world.counts().await, world.expected().await);
        let total = world.documents().get("total").await.unwrap().unwrap();
        let key = annals_state::DocumentKey::new("annals.tracking", "counts/log/whole").unwrap();
        let tracking = world.tracking().await.unwrap();
        assert_eq!((tracking.after, tracking.events), (number(20), 20));
        assert_eq!(tracking.last.unwrap().number, number(20));
        // The one commit after that of the batch gives the claim back.
        let found = annals_state::get_all(&world.state, vec![key]).await.unwrap();
        assert_ne!(found[0].as_ref().unwrap().revision, total.revision);
        assert_eq!(total.at, number(20));
        assert_eq!(tracking.owner, None);
    });
}

#[test]
fn p4_the_result_does_not_depend_on_batches_pages_and_caches() {
    block_on(async {
        let mut results = Vec::new();
        for (batch, bytes, page, cache) in
            [(1, 1, 1, 0), (2, 99, 3, 1), (7, 1 << 20, 2, 5), (500, 1 << 20, 256, 10_000)]
        {
            let mut world = World::new();
            let page = std::num::NonZeroUsize::new(page).unwrap();
            world.adapter = MemoryAdapter::new().with_page_size(page);
            world.store = EventStore::new(world.adapter.clone());
            world.append_many(50, 4).await;
            world.append("s-1", &["end", "counted", "ignored"]).await;
            let sink = annals_processing::ViewSink::new(Counts::default(), world.documents());
            let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
            let sink = sink.with_cache(cache);
            let mut processor =
                Processor::sink("counts", &world.store, state, sink, timer).unwrap();
            processor = processor.with_batch(batch, bytes);
            processor.settle().await.unwrap();
            assert_eq!(world.counts().await, world.expected().await);
            results.push(world.counts().await);
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(results[0]["s-1"].events, 1);
    });
}

#[test]
fn p5_tracking_moves_over_events_that_nobody_asks_for() {
    let world = World::new();
    let mut tasks = world.tasks(1);
    let processor = world.processor().with_query(orders()).unwrap();
    let handle = processor.handle();
    tasks.spawn(async move { processor.run().await.unwrap() });
    let same = world.clone();
    tasks.block_on(async move {
        same.append("s-0", &["counted"]).await;
        append_to(&same.store, "others", 30).await;
        handle.wait(number(31), SECOND * 10).await.unwrap();
        // It is stored, too, at the next beat.
        while handle.position().await.unwrap() < number(31) {
            annals_processing::Timer::sleep(&same.timer, SECOND / 10).await;
        }
        assert_eq!(same.tracking().await.unwrap().events, 1);
    });
    assert!(annals_processing::Timer::elapsed(&world.timer) <= SECOND * 2);
}

#[test]
fn p5_tracking_moves_at_most_once_a_beat() {
    let world = World::new();
    let mut tasks = world.tasks(2);
    let processor = world.processor().with_query(orders()).unwrap().with_beat(SECOND * 10);
    let handle = processor.handle();
    tasks.spawn(async move { processor.run().await.unwrap() });
    let same = world.clone();
    tasks.block_on(async move {
        for nth in 1..=40 {
            append_to(&same.store, "others", 1).await;
            // Who waits for an event that the processor does not want need not wait for a beat.
            handle.wait(number(nth), SECOND).await.unwrap();
            let stored = same.tracking().await.map_or(0, |tracking| tracking.after.value());
            assert!(stored <= nth && (stored == 0 || nth > 9), "{stored} of {nth}");
            annals_processing::Timer::sleep(&same.timer, SECOND).await;
        }
        assert!(same.tracking().await.unwrap().after >= number(30));
    });
}

#[test]
fn p5_a_quiet_processor_looks_how_far_the_log_is() {
    let world = World::new();
    let mut tasks = world.tasks(2);
    let processor = world.processor().with_query(orders()).unwrap();
    let handle = processor.handle();
    tasks.spawn(async move { processor.run().await.unwrap() });
    let same = world.clone();
    tasks.block_on(async move {
        annals_processing::Timer::sleep(&same.timer, SECOND * 100).await;
        append_to(&same.store, "others", 5).await;
        annals_processing::Timer::sleep(&same.timer, SECOND * 10).await;
        assert_eq!(handle.position().await.unwrap(), number(5));
        assert_eq!(handle.status().phase, Phase::Live);
    });
}

#[test]
fn t6_a_log_that_was_restored_and_went_on_is_ahead_of_log_not_silence() {
    block_on(async {
        let world = World::new();
        world.append_many(100, 1).await;
        world.processor().settle().await.unwrap();
        // A copy of its first 60 events, which went on to 150.
        let mut restored = world.clone();
        restored.adapter = MemoryAdapter::new();
        restored.store = EventStore::new(restored.adapter.clone());
        let until = ReadOptions::default().until(number(60));
        for event in world.store.log().read(until).into_vec().await.unwrap() {
            let stream = restored.store.stream(event.stream.clone());
            stream.append([event.into_record().event], WriteCondition::Always).await.unwrap();
        }
        let short = restored.processor().settle().await.unwrap_err();
        assert!(matches!(short, ProcessingError::AheadOfLog { .. }), "{short}");
        restored.append_many(90, 1).await;
        let before = restored.counts().await;
        let error = restored.processor().settle().await.unwrap_err();
        let ProcessingError::AheadOfLog { tracked, .. } = error else { panic!("{error}") };
        assert_eq!(tracked, number(100));
        assert_eq!(restored.counts().await, before);
        // Who means it resets.
        reset_of(&restored).await;
        restored.processor().settle().await.unwrap();
        assert_eq!(restored.counts().await, restored.expected().await);
    });
}

#[test]
fn t6_a_log_that_is_shorter_is_ahead_of_log_also_without_an_event() {
    block_on(async {
        let world = World::new();
        append_to(&world.store, "others", 9).await;
        world.processor().with_query(orders()).unwrap().settle().await.unwrap();
        assert_eq!(world.tracking().await.unwrap().after, number(9));
        let mut shorter = world.clone();
        shorter.store = EventStore::new(MemoryAdapter::new());
        append_to(&shorter.store, "others", 3).await;
        let error = shorter.processor().with_query(orders()).unwrap().settle().await.unwrap_err();
        assert!(matches!(error, ProcessingError::AheadOfLog { .. }), "{error}");
        let running = shorter.processor().with_query(orders()).unwrap().run().await.unwrap_err();
        assert!(matches!(running, ProcessingError::AheadOfLog { .. }), "{running}");
    });
}

/// Resets the processor as a program that is not running it does.
async fn reset_of(world: &World) {
    let claim = Claim::new("counts").unwrap();
    annals_processing::reset(&*world.state, &claim).await.unwrap();
}

#[test]
fn p8_waits_return_at_once_or_end_with_what_ended_them() {
    let world = World::new();
    let mut tasks = world.tasks(3);
    let processor = world.processor();
    let handle = processor.handle();
    let same = world.clone();
    let running = tasks.spawn(async move { drop(processor.run().await) });
    tasks.block_on(async move {
        let stored = same.append("s-0", &["counted"]).await;
        handle.wait(None, Duration::ZERO).await.unwrap();
        handle.wait(stored[0].sequence_number, SECOND).await.unwrap();
        handle.wait(number(1), Duration::ZERO).await.unwrap();
        let late = handle.wait(number(2), SECOND * 3).await.unwrap_err();
        let ProcessingError::Timeout { wanted, reached, .. } = late else { panic!("{late}") };
        assert_eq!((wanted, reached), (number(2), number(1)));
        same.append("s-0", &["poison"]).await;
        let failed = handle.wait(number(2), SECOND).await.unwrap_err();
        assert!(matches!(failed, ProcessingError::Handler(_)), "{failed}");
        let again = handle.wait(number(2), SECOND).await.unwrap_err();
        assert!(matches!(again, ProcessingError::Handler(_)), "the error stays: {again}");
        assert_eq!(handle.status().phase, Phase::Failed);
        assert!(handle.status().error.unwrap().contains("poisoned"));
        assert!(handle.stopped().await.is_err());
    });
    assert!(!tasks.is_running(running));
    let ended = world.processor().handle();
    let error = block_on(ended.wait(number(9), SECOND)).unwrap_err();
    assert!(matches!(error, ProcessingError::Ended), "{error}");
}

/// Who settles beside one that is killed afterwards ends, also if that one was faster and never said that it ended.
#[test]
fn p2_a_settle_that_lost_to_one_that_is_gone_ends() {
    for seed in 0..60 {
        let world = World::new();
        block_on(world.append_many(20, 3));
        let mut tasks = world.tasks(seed);
        let state: std::sync::Arc<dyn annals_state::StateStore> =
            std::sync::Arc::new(annals_testkit::processing::Chaos::new(
                std::sync::Arc::clone(&world.state),
                seed,
                annals_testkit::processing::Odds::CALM,
            ));
        let slow = World { state, ..world.clone() };
        let faster = slow.processor().with_batch(3, 1 << 20);
        let running = tasks.spawn(async move { drop(faster.run().await) });
        let mut slower = slow.processor().with_batch(4, 1 << 20);
        let settling = tasks.spawn(async move {
            assert_eq!(slower.settle().await.unwrap(), number(20));
        });
        while block_on(world.tracking()).unwrap_or_default().after < number(20) {
            tasks.steps(1);
        }
        tasks.kill(running);
        for _ in 0..2_000 {
            if !tasks.is_running(settling) || !tasks.step() {
                break;
            }
        }
        assert!(!tasks.is_running(settling), "seed {seed}");
        assert_eq!(block_on(world.counts()), block_on(world.expected()));
    }
}

/// A wait for what is not there yet makes a processor of some events look once, not all the time.
#[test]
fn p8_a_wait_for_what_is_not_there_ends_at_its_time() {
    let world = World::new();
    let mut tasks = world.tasks(3);
    let others = annals::CategoryName::from_static("others");
    let processor = world.processor().with_query(others).unwrap();
    let handle = processor.handle();
    tasks.spawn(async move { processor.run().await.unwrap() });
    let same = world.clone();
    tasks.block_on(async move {
        let stored = same.append("s-0", &["counted"]).await;
        handle.wait(stored[0].sequence_number, SECOND / 10).await.unwrap();
        let waits = (2..8).map(|wanted| handle.wait(number(wanted), SECOND * 3));
        for late in futures_util::future::join_all(waits).await {
            assert!(matches!(late, Err(ProcessingError::Timeout { .. })), "{late:?}");
        }
    });
}

#[test]
fn p9_stop_finishes_the_batch_in_hand_and_gives_the_claim_back() {
    for seed in 0..50 {
        let world = World::new();
        block_on(world.append_many(40, 3));
        let mut tasks = world.tasks(seed);
        let processor = world.processor().with_batch(5, 1 << 20);
        let handle = processor.handle();
        tasks.spawn(async move { processor.run().await.unwrap() });
        let steps = tasks.draw(30);
        tasks.steps(steps);
        handle.stop();
        tasks.block_on(async move { handle.stopped().await.unwrap() });
        let tracking = block_on(world.tracking()).unwrap_or_default();
        assert_eq!(tracking.owner, None);
        block_on(world.processor().settle()).unwrap();
        assert_eq!(block_on(world.counts()), block_on(world.expected()));
    }
}

#[test]
fn p10_a_reset_builds_everything_again() {
    let world = World::new();
    block_on(world.append_many(30, 3));
    // Something that no event makes is gone after it.
    let stray = crate::support::Count { events: 7, order: 7 };
    block_on(world.documents().put("stray", &stray, Expected::Absent)).unwrap();
    let mut tasks = world.tasks(4);
    let processor = world.processor();
    let handle = processor.handle();
    tasks.spawn(async move { processor.run().await.unwrap() });
    tasks.block_on(async move {
        handle.wait(number(30), SECOND).await.unwrap();
        assert_eq!(handle.ask(Ask::Reset).await.unwrap(), Answer::Done);
        handle.stop();
        handle.stopped().await.unwrap();
    });
    block_on(world.processor().settle()).unwrap();
    assert_eq!(block_on(world.counts()), block_on(world.expected()));
    assert_eq!(block_on(world.tracking()).unwrap().events, 30);
}

#[test]
fn p10_a_changed_definition_is_an_error_until_a_reset() {
    block_on(async {
        let world = World::new();
        world.append_many(10, 2).await;
        world.processor().settle().await.unwrap();
        let changed = [
            world.processor().with_query(orders()).unwrap(),
            world.processor().with_version(2),
            world.processor().with_partition(Partitions::hash(2).unwrap().nth(0).unwrap()),
        ];
        for mut processor in changed {
            let error = processor.settle().await.unwrap_err();
            assert!(matches!(error, ProcessingError::DefinitionChanged { .. }), "{error}");
        }
        reset_of(&world).await;
        world.processor().with_version(2).settle().await.unwrap();
        assert_eq!(world.counts().await, world.expected().await);
        let old = world.processor().settle().await.unwrap_err();
        assert!(old.to_string().contains("version"), "{old}");
    });
}

#[test]
fn y6_reserved_categories_are_given_only_to_who_names_them() {
    block_on(async {
        let world = World::new();
        append_to(&world.store, "annals.policies", 4).await;
        append_to(&world.store, "orders", 1).await;
        world.processor().settle().await.unwrap();
        assert_eq!(world.counts().await["total"].events, 1);
        let named = World { state: World::new().state, ..world.clone() };
        let query = CategoryName::from_static("annals.policies");
        named.processor().with_query(query).unwrap().settle().await.unwrap();
        assert_eq!(named.counts().await["total"].events, 4);
    });
}

#[test]
fn misuse_is_an_error_that_says_what_to_do() {
    let world = World::new();
    let nothing = world.processor().with_query(Query::any_of([])).unwrap_err();
    assert!(nothing.to_string().contains("matches no event"), "{nothing}");
    for name in ["", "a/b", "a\u{7}", &"x".repeat(81)] {
        assert!(matches!(Claim::new(name), Err(ProcessingError::Misuse(_))), "{name:?}");
    }
    assert!(Partitions::hash(0).is_err() && Partitions::hash(1_025).is_err());
    assert!(Partitions::prefixes(["a", "a"]).is_err() && Partitions::prefixes([""]).is_err());
}

#[test]
fn errors_that_trying_again_does_not_help_end_it() {
    block_on(async {
        let world = World::new();
        world.append_many(1, 1).await;
        world.state.close().await;
        let error = world.processor().settle().await.unwrap_err();
        assert!(matches!(error, ProcessingError::State(_)), "{error}");
        let world = World::new();
        world.store.close().await;
        let error = world.processor().run().await.unwrap_err();
        assert!(matches!(error, ProcessingError::Log(_)), "{error}");
    });
}
