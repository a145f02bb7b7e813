//! Policies that react to their own events in the same append.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals::{BoxError, Context, EventStore, NewEvent, StoredEvent, StreamId, WriteCondition};
use annals_processing::{LogUpTo, Out, Policy, PolicySink, ProcessingError, async_trait};
use futures_executor::block_on;

use super::narrow::Narrow;
use super::wild::Wild;
use super::{Counted, all, cause, made, policy, query};
use crate::support::World;

/// A bill follows from each order; from the bill of every second one a copy, and from the copy a note. It reacts to what
/// comes from the log, and to its own events at once.
#[derive(Debug, Clone, Copy)]
struct Chain {
    notes_if: fn() -> WriteCondition,
}

const CHAIN: Chain = Chain { notes_if: || WriteCondition::Always };

impl Chain {
    async fn follow(
        self,
        (stream, name): (&StreamId, &str),
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        let ((next, event), condition) = match name {
            "placed" => (made("billed", stream, "bills"), WriteCondition::Always),
            "billed" if log.project(query("orders"), &Counted).await? % 2 == 0 => {
                (made("copied", stream, "copies"), WriteCondition::Always)
            }
            "copied" => (made("noted", stream, "notes"), (self.notes_if)()),
            _ => return Ok(()),
        };
        Ok(out.append(next, [event], condition)?)
    }
}

#[async_trait]
impl Policy for Chain {
    async fn react(
        &self,
        event: &StoredEvent,
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        // Of what it has appended itself all has followed.
        match event.name().as_str() {
            "placed" => self.follow((&event.stream, "placed"), log, out).await,
            _ => Ok(()),
        }
    }

    async fn react_to_own(
        &self,
        stream: &StreamId,
        event: &NewEvent,
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        self.follow((stream, event.name.as_str()), log, out).await
    }
}

/// Each order has its bill, each second one a copy of that, each copy its note.
async fn check_chain(store: &EventStore, what: &str) {
    let mut causes = all(store, query("orders")).await;
    for (category, every) in [("bills", 1), ("copies", 2), ("notes", 1)] {
        let wanted = causes.iter().enumerate().filter(|(nth, _)| (nth + 1) % every == 0);
        let wanted: BTreeMap<String, u32> =
            wanted.map(|(_, event)| (event.id().to_string(), 1)).collect();
        let mut followed = all(store, query(category)).await;
        let mut found: BTreeMap<String, u32> = BTreeMap::new();
        for event in &followed {
            *found.entry(cause(event)).or_default() += 1;
        }
        assert_eq!(found, wanted, "{what}: {category}");
        // As their causes are.
        followed.sort_by_key(|event| {
            causes.iter().position(|before| before.id().to_string() == cause(event))
        });
        causes = followed;
    }
}

#[test]
fn r9_what_follows_from_own_events_has_their_ids_and_causes() {
    block_on(async {
        let world = World::new();
        let stream = StreamId::from_static("orders", "o-1");
        let mut inputs = Vec::new();
        for nth in 0..2 {
            let request = Context::correlated(format!("request-{nth}"));
            let event = request.stamp(NewEvent::json("placed", &1).unwrap()).unwrap();
            let orders = world.store.stream(stream.clone());
            let stored = orders.append([event], WriteCondition::Always).await.unwrap();
            inputs.extend(stored.into_vec());
        }
        policy(&world, CHAIN).settle().await.unwrap();
        let mut id = inputs[1].id();
        for category in ["bills", "copies", "notes"] {
            let before = id;
            id = id.derived_for("bills").derived(0);
            let found = all(&world.store, query(category)).await.pop().unwrap();
            assert_eq!(found.id(), id, "{category}");
            let metadata: serde_json::Value = found.metadata().unwrap().to_json().unwrap();
            assert_eq!(metadata[Context::CORRELATION_ID], "request-1");
            assert_eq!(metadata[Context::CAUSATION_ID], before.to_string());
        }
        check_chain(&world.store, "twice").await;
    });
}

#[test]
fn r9_own_events_are_appended_with_what_follows_or_not_at_all() {
    block_on(async {
        let world = World::new();
        world.append("o-1", &["placed", "placed"]).await;
        let never = Chain { notes_if: || WriteCondition::StreamExists };
        let error = policy(&world, never).settle().await.unwrap_err();
        let ProcessingError::Handler(error) = error else { panic!("{error}") };
        assert_eq!(error.sequence_number.value(), 2, "{error}");
        assert_eq!(all(&world.store, query("bills")).await.len(), 1);
        assert!(all(&world.store, query("copies")).await.is_empty());
    });
}

#[test]
fn r9_after_kills_rivals_and_unknown_outcomes_each_follows_once() {
    for seed in 200..210 {
        let wild = Wild::new(seed, |world| Arc::new(world.adapter.clone()));
        wild.torment(seed, |store, state| PolicySink::new(store, state, CHAIN).unwrap());
        block_on(check_chain(&wild.world.store, &format!("seed {seed}")));
        let wild = Wild::new(seed, |world| Arc::new(world.adapter.clone()));
        wild.torment(seed, |store, state| PolicySink::tracked_in_log(store, state, CHAIN).unwrap());
        block_on(check_chain(&wild.world.store, &format!("tracked, seed {seed}")));
        let wild = Wild::new(seed, |world| Arc::new(Narrow::one_stream(world)));
        wild.torment(seed, |store, state| {
            PolicySink::new(store, state, CHAIN).unwrap().one_stream_at_a_time()
        });
        block_on(check_chain(&wild.world.store, &format!("one stream, seed {seed}")));
    }
}

/// Reacts to each event alike, from wherever it comes: each has the next one, up to the fifth.
struct Alike {
    most: u64,
}

impl Alike {
    fn follow(&self, stream: &StreamId, nth: u64, out: &mut Out) -> Result<(), BoxError> {
        if nth < self.most {
            let event = NewEvent::json("placed", &(nth + 1))?;
            out.append(stream.clone(), [event], WriteCondition::Always)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Policy for Alike {
    async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
        self.follow(&event.stream, event.payload().to_json()?, out)
    }

    async fn react_to_own(
        &self,
        stream: &StreamId,
        event: &NewEvent,
        _: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        self.follow(stream, event.payload.to_json()?, out)
    }
}

#[test]
fn r9_a_policy_that_decides_the_same_on_its_own_events_from_the_log_appends_nothing_twice() {
    block_on(async {
        let world = World::new();
        let stream = world.store.stream(StreamId::from_static("orders", "o-1"));
        let first = NewEvent::json("placed", &1).unwrap();
        stream.append([first], WriteCondition::Always).await.unwrap();
        policy(&world, Alike { most: 5 }).settle().await.unwrap();
        let numbers = all(&world.store, query("orders")).await;
        let numbers: Vec<u64> =
            numbers.iter().map(|event| event.payload().to_json().unwrap()).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    });
}

#[test]
fn r9_own_events_without_an_end_are_an_error_and_none_is_appended() {
    block_on(async {
        let world = World::new();
        let stream = world.store.stream(StreamId::from_static("orders", "o-1"));
        let first = NewEvent::json("placed", &1).unwrap();
        stream.append([first], WriteCondition::Always).await.unwrap();
        let error = policy(&world, Alike { most: u64::MAX }).settle().await.unwrap_err();
        let ProcessingError::Handler(error) = error else { panic!("{error}") };
        assert!(format!("{error:?}").contains("more than 1000 events"), "{error:?}");
        assert_eq!(all(&world.store, query("orders")).await.len(), 1);
    });
}
