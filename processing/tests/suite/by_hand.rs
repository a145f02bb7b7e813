//! Loops written by hand (row Q3): what is acknowledged is committed without a gap, what is not is returned again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::support::{World, number, scaled};
use annals::{EventStore, Payload, StoredEvent};
use annals_memory::MemoryAdapter;
use annals_processing::{ByHand, ProcessingError};
use annals_state::{CollectionName, DocumentKey, Expected, StateError, StateStore, Write, get_all};
use annals_testkit::processing::{Chaos, Odds};
use futures_executor::block_on;
use futures_util::FutureExt;

fn by_hand(world: &World) -> ByHand {
    ByHand::new("counts", &world.store, Arc::clone(&world.state), world.timer.clone()).unwrap()
}

async fn some(events: &mut ByHand, count: usize) -> Vec<StoredEvent> {
    let mut found = Vec::new();
    for _ in 0..count {
        found.push(events.next().await.unwrap());
    }
    found
}

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence_number.value()).collect()
}

#[test]
fn q3_the_tracking_moves_over_what_is_acknowledged_without_a_gap() {
    block_on(async {
        let world = World::new();
        world.append_many(10, 3).await;
        let mut events = by_hand(&world);
        let found = some(&mut events, 6).await;
        assert_eq!(numbers(&found), [1, 2, 3, 4, 5, 6]);
        for nth in [1, 0, 3] {
            assert!(events.ack(&found[nth]));
        }
        assert_eq!(events.commit([]).await.unwrap(), number(2));
        let tracking = world.tracking().await.unwrap();
        assert_eq!((tracking.after, tracking.events), (number(2), 2));
        assert_eq!(tracking.last.unwrap().id, found[1].id());
        assert!(!events.ack(&found[0]), "it is committed");
        assert!(events.ack(&found[2]));
        assert_eq!(events.commit([]).await.unwrap(), number(4));
        // Two are in hand when the program ends.
        drop(events);
        let mut events = by_hand(&world);
        let again = some(&mut events, 6).await;
        assert_eq!(numbers(&again), [5, 6, 7, 8, 9, 10]);
        for event in &again {
            assert!(events.ack(event));
        }
        assert!(events.next().now_or_never().is_none(), "there is none");
        events.end().await.unwrap();
        let tracking = world.tracking().await.unwrap();
        assert_eq!((tracking.after, tracking.events, tracking.owner), (number(10), 10, None));
    });
}

#[test]
fn q3_an_automatic_commit_returns_at_most_so_many_events_again() {
    block_on(async {
        let world = World::new();
        world.append_many(20, 3).await;
        let automatic = || by_hand(&world).with_auto_commit(4);
        let mut events = automatic();
        some(&mut events, 11).await;
        // The eleventh was in hand.
        drop(events);
        let mut events = automatic();
        let again = some(&mut events, 12).await;
        assert_eq!(numbers(&again), (9..=20).collect::<Vec<_>>());
        // It is committed before it waits.
        assert!(events.next().now_or_never().is_none());
        assert_eq!(world.tracking().await.unwrap().after, number(20));
    });
}

#[test]
fn q3_of_two_loops_of_one_name_what_one_lost_is_not_made() {
    block_on(async {
        let world = World::new();
        world.append_many(10, 3).await;
        let (mut one, mut other) = (by_hand(&world), by_hand(&world));
        let (ours, theirs) = (some(&mut one, 3).await, some(&mut other, 5).await);
        for event in &theirs {
            assert!(other.ack(event));
        }
        assert_eq!(other.commit([]).await.unwrap(), number(5));
        for event in &ours {
            assert!(one.ack(event));
        }
        let lost = one.commit([count(3, None)]).await.unwrap_err();
        assert!(matches!(lost, ProcessingError::Fenced { .. }), "{lost}");
        assert_eq!(counted(&world.state).await, None);
        // A commit again would count what the other one has.
        let again = one.commit([count(3, None)]).await.unwrap_err();
        assert!(matches!(again, ProcessingError::Misuse(_)), "{again}");
        assert!(!one.ack(&ours[0]));
        assert_eq!(one.next().await.unwrap().sequence_number, number(6));
    });
}

const DONE: CollectionName = CollectionName::from_static("done");

fn count(events: u64, found: Option<annals_state::Revision>) -> Write {
    let key = DocumentKey::new(DONE.as_str(), "all").unwrap();
    Write::put(key, Payload::json(&events).unwrap(), Expected::from(found))
}

async fn counted(state: &Arc<dyn StateStore>) -> Option<(u64, annals_state::Revision)> {
    let key = DocumentKey::new(DONE.as_str(), "all").unwrap();
    let found = get_all(&**state, vec![key]).await.ok()?.pop()??;
    Some((found.body.to_json().unwrap(), found.revision))
}

/// Commits fail, their outcomes are unknown, the program ends anywhere: what is put with the tracking counts each event once.
#[test]
fn q3_what_is_put_in_the_commit_is_made_once_whatever_fails() {
    for seed in 0..scaled(20, 200) {
        let world = World::new();
        let mut tasks = world.tasks(seed);
        let chaos = Chaos::new(Arc::clone(&world.state), seed, Odds::WILD);
        let state: Arc<dyn StateStore> = Arc::new(chaos);
        let (same, timer) = (world.clone(), world.timer.clone());
        tasks.block_on(async move {
            same.append_many(60, 4).await;
            let mut round = seed;
            while counted(&same.state).await.map_or(0, |(events, _)| events) < 60 {
                round += 1;
                let mut events =
                    ByHand::new("counts", &same.store, Arc::clone(&state), timer.clone()).unwrap();
                for batch in 1..=1 + round % 5 {
                    // What was counted is read with the events in hand: the fence says whether it is still so.
                    if counted(&same.state).await.is_some_and(|(events, _)| events == 60) {
                        break;
                    }
                    let mut found = Vec::new();
                    for _ in 0..batch {
                        let event = events.next().await.unwrap();
                        let is_last = event.sequence_number == number(60);
                        found.push(event);
                        if is_last {
                            break;
                        }
                    }
                    let before = counted(&same.state).await;
                    for event in &found {
                        assert!(events.ack(event));
                    }
                    let done = before.map_or(0, |(done, _)| done) + found.len() as u64;
                    let outcome = events.commit([count(done, before.map(|(_, at)| at))]).await;
                    match outcome {
                        Ok(_) | Err(ProcessingError::Fenced { .. }) => {}
                        Err(ProcessingError::State(error)) => assert!(
                            matches!(
                                *error,
                                StateError::Unavailable(_) | StateError::OutcomeUnknown(_)
                            ),
                            "{error}"
                        ),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            assert_eq!(counted(&same.state).await.unwrap().0, 60);
            assert_eq!(same.tracking().await.unwrap().events, 60);
        });
    }
}

#[test]
fn q3_what_makes_no_sense_is_an_error_that_says_what_to_do() {
    block_on(async {
        let mut world = World::new();
        world.append_many(10_001, 1).await;
        let mut events = by_hand(&world);
        some(&mut events, 10_000).await;
        let error = events.next().await.unwrap_err();
        assert!(matches!(error, ProcessingError::Misuse(_)), "{error}");
        drop(events);
        // Another log.
        let mut events = by_hand(&world);
        let first = events.next().await.unwrap();
        assert!(events.ack(&first));
        events.commit([]).await.unwrap();
        world.adapter = MemoryAdapter::new();
        world.store = EventStore::new(world.adapter.clone());
        let error = by_hand(&world).next().await.unwrap_err();
        assert!(matches!(error, ProcessingError::AheadOfLog { .. }), "{error}");
    });
}
