//! Splits of a processor into more parts: nothing twice, nothing left out, also if the split is killed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::support::{World, number};
use annals_processing::{
    Answer, Ask, Claim, Decision, Partitions, ProcessingError, Processor, Progress, Tracking, split,
};
use annals_state::{DocumentKey, StateStore, get_all};
use annals_testkit::processing::{Chaos, Odds};
use futures_executor::block_on;

fn claim() -> Claim {
    Claim::new("counts").unwrap()
}

fn parts(world: &World, of: &Partitions) -> Vec<Processor> {
    of.parts().map(|part| world.processor().with_partition(part).with_batch(4, 1 << 20)).collect()
}

async fn settle(world: &World, of: &Partitions) {
    for mut part in parts(world, of) {
        part.settle().await.unwrap();
    }
}

async fn counted(world: &World) -> u64 {
    let mut events = 0;
    for id in world.ids("annals.tracking").await {
        let key = DocumentKey::new("annals.tracking", id).unwrap();
        let found = get_all(&world.state, vec![key]).await.unwrap().pop().flatten().unwrap();
        events += found.body.to_json::<Tracking>().unwrap().events;
    }
    events
}

#[test]
fn g7_each_part_goes_on_where_the_part_was_that_it_is_of() {
    block_on(async {
        let world = World::new();
        world.append_many(30, 7).await;
        world.processor().settle().await.unwrap();
        let mut before = Partitions::Whole;
        for of in [2_u16, 4, 12] {
            split(&*world.state, &claim(), of).await.unwrap();
            // It may be asked for twice.
            split(&*world.state, &claim(), of).await.unwrap();
            let after = Partitions::hash(of).unwrap();
            world.append_many(10, 7).await;
            let error = parts(&world, &before)[0].settle().await.unwrap_err();
            assert!(matches!(error, ProcessingError::DefinitionChanged { .. }), "{error}");
            settle(&world, &after).await;
            assert_eq!(world.counts().await, world.expected().await);
            assert_eq!(counted(&world).await, world.expected().await["total"].events);
            assert_eq!(world.ids("annals.tracking").await.len(), usize::from(of));
            let progress = Progress::new(Arc::clone(&world.state), world.timer.clone(), claim());
            let head = world.store.log().latest().await.unwrap().unwrap().sequence_number;
            assert_eq!(progress.position().await.unwrap(), head);
            before = after;
        }
    });
}

#[test]
fn g7_a_part_that_is_behind_or_never_began_stays_so() {
    block_on(async {
        let world = World::new();
        world.append_many(20, 7).await;
        let before = Partitions::hash(2).unwrap();
        parts(&world, &before)[1].settle().await.unwrap();
        world.append_many(20, 7).await;
        split(&*world.state, &claim(), 6).await.unwrap();
        settle(&world, &Partitions::hash(6).unwrap()).await;
        assert_eq!(world.counts().await, world.expected().await);
    });
}

#[test]
fn g7_what_is_parked_stays_parked_in_the_part_of_its_stream() {
    block_on(async {
        let world = World::new();
        for nth in 0..8 {
            world.append(&format!("s-{nth}"), &["counted", "poison", "counted"]).await;
        }
        let parking = |part: Processor| part.with_errors(|_| Decision::Park);
        let mut whole: Processor = parking(world.processor());
        whole.settle().await.unwrap();
        drop(whole);
        split(&*world.state, &claim(), 4).await.unwrap();
        let mut found = 0;
        for part in parts(&world, &Partitions::hash(4).unwrap()) {
            let mut part = parking(part);
            part.settle().await.unwrap();
            found += part.handle().status().parked;
        }
        assert_eq!(found, 8);
        assert_eq!(world.ids("annals.parked").await.len(), 8);
        assert_eq!(world.counts().await["total"].events, 8);
    });
}

#[test]
fn g7_a_split_that_is_killed_goes_on_and_no_zombie_spoils_it() {
    for seed in 0..60 {
        let world = World::new();
        block_on(world.append_many(30, 7));
        let before = Partitions::hash(2).unwrap();
        let state: Arc<dyn StateStore> =
            Arc::new(Chaos::new(Arc::clone(&world.state), seed, Odds::CALM));
        let mut tasks = world.tasks(seed);
        let slow = World { state: Arc::clone(&state), ..world.clone() };
        let zombies: Vec<_> = parts(&slow, &before)
            .into_iter()
            .map(|part| tasks.spawn(async move { drop(part.run().await) }))
            .collect();
        let steps = tasks.draw(150);
        tasks.steps(steps);
        let splitting = tasks.spawn(async move { drop(split(&*state, &claim(), 6).await) });
        let steps = tasks.draw(60);
        tasks.steps(steps);
        tasks.kill(splitting);
        tasks.steps(100);
        for zombie in zombies {
            tasks.kill(zombie);
        }
        block_on(world.append_many(10, 7));
        // It may not have begun, or there may not have been a processor yet: then it is asked for again.
        let same = world.clone();
        tasks.block_on(async move {
            let after = Partitions::hash(6).unwrap();
            if let Err(error) = parts(&same, &after)[0].settle().await {
                assert!(matches!(error, ProcessingError::DefinitionChanged { .. }), "{error}");
                split(&*same.state, &claim(), 6).await.unwrap();
            }
            settle(&same, &after).await;
            assert_eq!(same.counts().await, same.expected().await, "seed {seed}");
        });
    }
}

#[test]
fn a_processor_that_is_asked_to_splits_under_its_fence_and_ends() {
    let world = World::new();
    block_on(world.append_many(20, 5));
    let mut tasks = world.tasks(1);
    let processor = world.processor();
    let handle = processor.handle();
    let ended = tasks.spawn(async move {
        let error = processor.run().await.unwrap_err();
        assert!(error.to_string().contains("hash of 3 there, whole here"), "{error}");
    });
    let same = world.clone();
    tasks.block_on(async move {
        handle.wait(number(20), crate::support::SECOND).await.unwrap();
        assert!(matches!(handle.ask(Ask::Split { parts: 0 }).await.unwrap(), Answer::Rejected(_)));
        assert_eq!(handle.ask(Ask::Split { parts: 3 }).await.unwrap(), Answer::Done);
        drop(handle.stopped().await);
        same.append_many(20, 5).await;
        settle(&same, &Partitions::hash(3).unwrap()).await;
        assert_eq!(same.counts().await, same.expected().await);
    });
    assert!(!tasks.is_running(ended));
}

#[test]
fn what_makes_no_sense_is_misuse_and_changes_nothing() {
    block_on(async {
        let world = World::new();
        let wrong = async |parts| {
            let error = split(&*world.state, &claim(), parts).await.unwrap_err();
            assert!(matches!(error, ProcessingError::Misuse(_)), "{error}");
        };
        wrong(2).await;
        world.append_many(20, 5).await;
        let three = Partitions::hash(3).unwrap();
        settle(&world, &three).await;
        for parts in [0, 1, 2, 4, 2_000] {
            wrong(parts).await;
        }
        world.append_many(20, 5).await;
        settle(&world, &three).await;
        assert_eq!(world.counts().await, world.expected().await);
    });
}
