//! What happens to events that cannot be applied: stop, skip, retry, park; and to those that end the process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{Count, Counts, SECOND, World, number};
use annals::{BoxError, StoredEvent};
use annals_processing::{
    Answer, Ask, Decision, Phase, ProcessingError, Processor, Retry, Timer, View,
};
use annals_state::{Collection, DocumentId, StateStore};
use annals_testkit::processing::{Chaos, Odds, Task};
use futures_executor::block_on;

/// Counts, but cannot apply events named `fragile` while it is broken.
#[derive(Debug, Clone, Default)]
struct Fragile {
    broken: Arc<AtomicU32>,
    tried: Arc<AtomicU32>,
}

impl View for Fragile {
    type State = Count;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Counts { no_total: true }.ids(event)
    }

    fn apply(
        &self,
        id: &DocumentId,
        count: &mut Option<Count>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        if event.name().as_str().starts_with("fragile") && self.broken.load(Ordering::SeqCst) > 0 {
            self.tried.fetch_add(1, Ordering::SeqCst);
            return Err("fragile".into());
        }
        Counts::default().apply(id, count, event)
    }
}

fn fragile(world: &World, view: &Fragile) -> Processor {
    let (documents, timer) = (world.documents(), world.timer.clone());
    Processor::view("counts", &world.store, documents, view.clone(), timer).unwrap()
}

async fn own_counts(world: &World) -> std::collections::BTreeMap<String, Count> {
    let mut counts = world.expected().await;
    counts.remove("total");
    counts
}

#[test]
fn x1_what_comes_before_a_failing_event_is_committed_and_nothing_of_it() {
    block_on(async {
        let world = World::new();
        world.append_many(10, 3).await;
        world.append("s-0", &["poison"]).await;
        world.append_many(5, 3).await;
        for _ in 0..2 {
            let error = world.processor().settle().await.unwrap_err();
            let ProcessingError::Handler(error) = error else { panic!("{error}") };
            assert_eq!((error.sequence_number, error.tries), (number(11), 1));
            assert_eq!(error.source.to_string(), "poisoned");
            let tracking = world.tracking().await.unwrap();
            assert_eq!((tracking.after, tracking.events, tracking.owner), (number(10), 10, None));
            assert_eq!(world.counts().await["total"].events, 10);
        }
    });
}

#[test]
fn er2_skip_passes_over_the_event_and_counts_it() {
    block_on(async {
        let world = World::new();
        world.append_many(4, 2).await;
        world.append("s-0", &["poison", "counted"]).await;
        world.append_many(4, 2).await;
        world.append("s-1", &["poison"]).await;
        let mut processor = world.processor().with_errors(|_| Decision::Skip);
        assert_eq!(processor.settle().await.unwrap(), number(11));
        assert_eq!(world.counts().await, world.expected_but(&[5, 11]).await);
        assert_eq!(world.tracking().await.unwrap().skipped, 2);
        assert_eq!(processor.handle().status().skipped, 2);
    });
}

#[test]
fn er3_a_retry_waits_and_goes_on_by_kind_of_error() {
    let world = World::new();
    let view = Fragile::default();
    view.broken.store(1, Ordering::SeqCst);
    block_on(world.append("s-0", &["counted", "fragile", "counted"]));
    let retry = Retry::exponential(SECOND, SECOND * 8).times(100);
    let processor = fragile(&world, &view)
        .with_errors(move |error| match error.source.to_string().as_str() {
            "fragile" => Decision::Retry(retry.clone()),
            _ => Decision::Stop,
        })
        .with_seed(3);
    let handle = processor.handle();
    let mut tasks = world.tasks(6);
    tasks.spawn(async move { processor.run().await.unwrap() });
    let (same, of_view) = (world.clone(), view.clone());
    tasks.block_on(async move {
        same.timer.sleep(SECOND * 20).await;
        assert_eq!(handle.status().phase, Phase::Retrying);
        assert!(handle.status().error.unwrap().contains("fragile"));
        assert_eq!(same.counts().await["s-0"].events, 1, "what came before it is there");
        of_view.broken.store(0, Ordering::SeqCst);
        handle.wait(number(3), SECOND * 20).await.unwrap();
        assert_eq!(handle.status().error, None);
    });
    let tried = view.tried.load(Ordering::SeqCst);
    assert!((3..40).contains(&tried), "{tried}");
    assert_eq!(block_on(world.counts()), block_on(own_counts(&world)));
}

#[test]
fn er3_after_its_last_try_comes_what_was_decided_for_then() {
    block_on(async {
        let world = World::new();
        let view = Fragile::default();
        view.broken.store(1, Ordering::SeqCst);
        world.append("s-0", &["fragile", "counted"]).await;
        let retry = Retry::exponential(std::time::Duration::ZERO, SECOND);
        let retry = retry.times(3).then(Decision::Park);
        let mut processor =
            fragile(&world, &view).with_errors(move |_| Decision::Retry(retry.clone()));
        processor.settle().await.unwrap();
        // Once in a batch of two, then three times more.
        assert_eq!(view.tried.load(Ordering::SeqCst), 4);
        assert_eq!(processor.handle().status().parked, 1);
    });
}

#[test]
fn er3_a_stop_ends_a_retry_at_once() {
    let world = World::new();
    let view = Fragile::default();
    view.broken.store(1, Ordering::SeqCst);
    block_on(world.append("s-0", &["fragile"]));
    let retry = Retry::exponential(SECOND * 1_000, SECOND * 1_000);
    let processor = fragile(&world, &view).with_errors(move |_| Decision::Retry(retry.clone()));
    let handle = processor.handle();
    let mut tasks = world.tasks(7);
    tasks.spawn(async move { processor.run().await.unwrap() });
    let timer = world.timer.clone();
    tasks.block_on(async move {
        timer.sleep(SECOND / 1_000).await;
        handle.stop();
        handle.stopped().await.unwrap();
    });
    assert!(world.timer.elapsed() < SECOND);
    assert_eq!(block_on(world.tracking()).unwrap().owner, None);
}

#[test]
fn x2_a_parked_sequence_waits_and_the_rest_goes_on() {
    block_on(async {
        let world = World::new();
        world.append("s-0", &["counted"]).await;
        world.append("s-1", &["counted", "poison", "counted"]).await;
        world.append("s-0", &["counted"]).await;
        world.append("s-1", &["counted"]).await;
        let mut processor = world.processor().with_errors(|_| Decision::Park);
        assert_eq!(processor.settle().await.unwrap(), number(6));
        world.append("s-1", &["counted"]).await;
        world.append("s-0", &["counted"]).await;
        // Also by a processor that begins anew.
        let mut next = world.processor();
        assert_eq!(next.settle().await.unwrap(), number(8));
        assert_eq!(world.counts().await, world.expected_but(&[3, 4, 6, 7]).await);
        assert_eq!(world.ids("annals.parked").await.len(), 1, "later events are not copied");
        assert_eq!(next.handle().status().parked, 1);
    });
}

#[test]
fn x3_retry_applies_what_waited_in_order_and_unparks_in_the_same_commit() {
    for seed in 0..40 {
        let world = World::new();
        let view = Fragile::default();
        view.broken.store(1, Ordering::SeqCst);
        block_on(async {
            world.append_many(5, 3).await;
            world.append("s-1", &["fragile"]).await;
            world.append_many(9, 3).await;
            world.append("s-2", &["fragile", "counted"]).await;
        });
        let chaos = Chaos::new(Arc::clone(&world.state), seed, Odds::CALM);
        let state: Arc<dyn StateStore> = Arc::new(chaos.clone());
        let documents = Collection::<Count>::new("counts").unwrap().on(state);
        let make = || {
            let (documents, timer) = (documents.clone(), world.timer.clone());
            let made =
                Processor::view("counts", &world.store, documents, view.clone(), timer).unwrap();
            made.with_errors(|_| Decision::Park).with_batch(4, 1 << 20).with_poison_after(99)
        };
        let mut tasks = world.tasks(seed);
        let mut first = make();
        tasks.block_on(async move { first.settle().await.unwrap() });
        view.broken.store(0, Ordering::SeqCst);
        chaos.set(Odds { unknown_made: 0.2, ..Odds::WILD });
        // It is killed in the middle, and asked again.
        for _ in 0..5 {
            let processor = make();
            let handle = processor.handle();
            let running = tasks.spawn(async move { drop(processor.run().await) });
            let asking: Vec<Task> = ["orders/s-1", "orders/s-2"]
                .map(|sequence| {
                    let handle = handle.clone();
                    tasks.spawn(async move { drop(handle.ask(Ask::Retry(sequence.into())).await) })
                })
                .into();
            let steps = tasks.draw(150);
            tasks.steps(steps);
            tasks.kill(running);
            for task in asking {
                tasks.kill(task);
            }
        }
        chaos.set(Odds::CALM);
        let processor = make();
        let handle = processor.handle();
        tasks.spawn(async move { processor.run().await.unwrap() });
        let seen = handle.clone();
        tasks.block_on(async move {
            for sequence in ["orders/s-1", "orders/s-2"] {
                let answer = handle.ask(Ask::Retry(sequence.into())).await.unwrap();
                assert!(matches!(answer, Answer::Done | Answer::Nothing), "{answer:?}");
            }
            handle.wait(number(17), SECOND).await.unwrap();
            handle.stop();
            handle.stopped().await.unwrap();
        });
        assert_eq!(seen.status().parked, 0);
        assert_eq!(block_on(world.counts()), block_on(own_counts(&world)), "seed {seed}");
        assert_eq!(block_on(world.tracking()).unwrap().events, 17, "seed {seed}");
    }
}

#[test]
fn x3_a_retry_that_fails_parks_it_as_before_and_discard_passes_over_one_event() {
    let world = World::new();
    block_on(async {
        world.append("s-1", &["poison", "counted", "poison", "counted"]).await;
    });
    let processor = world.processor().with_errors(|_| Decision::Park);
    let handle = processor.handle();
    let mut tasks = world.tasks(9);
    tasks.spawn(async move { processor.run().await.unwrap() });
    let same = world.clone();
    tasks.block_on(async move {
        handle.wait(number(4), SECOND).await.unwrap();
        let sequence = || "orders/s-1".to_owned();
        let answer = handle.ask(Ask::Retry(sequence())).await.unwrap();
        let Answer::StillParked(parked) = answer else { panic!("{answer:?}") };
        assert_eq!((parked.from, parked.tries), (number(1), 2));
        let wrong = Ask::Discard { sequence: sequence(), event: number(2) };
        assert_eq!(handle.ask(wrong).await.unwrap(), Answer::Nothing);
        let first = Ask::Discard { sequence: sequence(), event: number(1) };
        assert_eq!(handle.ask(first.clone()).await.unwrap(), Answer::Done);
        assert_eq!(handle.ask(first).await.unwrap(), Answer::Nothing, "not the next one, too");
        // The second event is applied, the third one fails.
        let answer = handle.ask(Ask::Retry(sequence())).await.unwrap();
        let Answer::StillParked(parked) = answer else { panic!("{answer:?}") };
        assert_eq!(parked.from, number(3));
        assert_eq!(same.counts().await["s-1"].events, 1);
        let list = handle.ask(Ask::List { after: None, limit: 10 }).await.unwrap();
        assert_eq!(list, Answer::List(vec![parked]));
        let third = Ask::Discard { sequence: sequence(), event: number(3) };
        assert_eq!(handle.ask(third).await.unwrap(), Answer::Done);
        assert_eq!(handle.ask(Ask::Retry(sequence())).await.unwrap(), Answer::Done);
        assert_eq!(handle.ask(Ask::Retry(sequence())).await.unwrap(), Answer::Nothing);
        assert_eq!(same.counts().await, same.expected_but(&[1, 3]).await);
        assert_eq!(same.tracking().await.unwrap().skipped, 2);
        assert!(same.ids("annals.parked").await.is_empty());
    });
}

#[test]
fn x2_sequences_are_what_the_processor_says() {
    block_on(async {
        let world = World::new();
        world.append("s-0", &["poison"]).await;
        world.append_many(6, 3).await;
        let mut processor = world.processor().with_errors(|_| Decision::Park);
        processor = processor.with_sequence(|_| "all of it".into());
        processor.settle().await.unwrap();
        assert!(world.counts().await.is_empty());
        let handle = processor.handle();
        assert_eq!(handle.status().parked, 1);
    });
}

#[test]
fn x4_an_event_that_ends_the_process_is_found_and_parked() {
    /// Hangs at an event, as if the process ended there.
    struct Hangs;
    #[annals_processing::async_trait]
    impl annals_processing::Sink for Hangs {
        async fn take(
            &mut self,
            batch: &annals_processing::Batch<'_>,
        ) -> Result<(), annals_processing::SinkError> {
            if batch.events().iter().any(|event| *event.name() == "deadly") {
                std::future::pending::<()>().await;
            }
            let state = STATE.lock().unwrap().clone().unwrap();
            state.commit(batch.commit([])).await?;
            Ok(())
        }
        fn forget(&mut self) {}
        async fn clear(
            &mut self,
            _: &annals_state::Write,
        ) -> Result<(), annals_processing::SinkError> {
            Ok(())
        }
    }
    static STATE: Mutex<Option<Arc<dyn StateStore>>> = Mutex::new(None);

    for (poison, decision) in [(true, Decision::Park), (false, Decision::Stop)] {
        let world = World::new();
        *STATE.lock().unwrap() = Some(Arc::clone(&world.state));
        block_on(async {
            world.append("s-0", &["counted", "counted"]).await;
            world.append("s-1", &["counted", "deadly", "counted"]).await;
            world.append("s-2", &["counted"]).await;
        });
        let make = || {
            let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
            let made = Processor::sink("counts", &world.store, state, Hangs, timer).unwrap();
            let decision = decision.clone();
            made.with_errors(move |error| {
                assert!(error.is_poison);
                decision.clone()
            })
        };
        let mut tasks = world.tasks(10);
        let mut kills = 0;
        let ended = loop {
            let processor = make();
            let handle = processor.handle();
            let task = tasks.spawn(async move { drop(processor.run().await) });
            tasks.steps(200);
            if !tasks.is_running(task) || handle.status().tracked == number(6) {
                break handle;
            }
            tasks.kill(task);
            kills += 1;
            assert!(kills < 10, "the event is not found: {:?}", block_on(world.tracking()));
        };
        // Once in a whole batch, then three times alone.
        assert_eq!(kills, 4);
        if poison {
            assert_eq!(ended.status().parked, 1);
            assert_eq!(block_on(world.tracking()).unwrap().events, 4);
        } else {
            let error = block_on(ended.stopped()).unwrap_err();
            let ProcessingError::Handler(error) = error else { panic!("{error}") };
            assert_eq!((error.sequence_number, error.tries), (number(4), 3));
            assert_eq!(block_on(world.tracking()).unwrap().after, number(3));
        }
    }
}

#[test]
fn x4_after_a_clean_end_nothing_is_taken_one_by_one() {
    block_on(async {
        let world = World::new();
        world.append_many(20, 3).await;
        let mut first = world.processor();
        first.settle().await.unwrap();
        world.append("s-0", &["counted", "poison"]).await;
        world.processor().settle().await.unwrap_err();
        assert_eq!(world.tracking().await.unwrap().suspect, None);
        assert_eq!(world.tracking().await.unwrap().owner, None);
    });
}

#[test]
fn x5_too_many_parked_sequences_stop_it() {
    block_on(async {
        let world = World::new();
        for nth in 0..4 {
            world.append(&format!("p-{nth}"), &["counted", "poison"]).await;
        }
        let make = || world.processor().with_errors(|_| Decision::Park).with_max_parked(3);
        let mut processor = make();
        let error = processor.settle().await.unwrap_err();
        assert!(matches!(error, ProcessingError::TooManyParked { limit: 3, .. }), "{error}");
        assert_eq!(processor.handle().status().parked, 3);
        assert_eq!(world.tracking().await.unwrap().after, number(7));
        let error = make().settle().await.unwrap_err();
        assert!(matches!(error, ProcessingError::TooManyParked { .. }), "{error}");
        let limits = annals_processing::Limits::default().parked(2);
        let status = processor.handle().status();
        assert_eq!(status.complaints(&limits), ["3 sequences are parked"]);
    });
}

#[test]
fn undecodable_documents_stop_it_and_name_the_document() {
    block_on(async {
        let world = World::new();
        world.append_many(2, 1).await;
        let key = annals_state::DocumentKey::new("counts", "s-0").unwrap();
        let body = annals::Payload::bytes(vec![1]);
        let write = annals_state::Write::put(key, body, annals_state::Expected::Absent);
        world.state.commit(annals_state::Commit::new([write])).await.unwrap();
        let error = world.processor().settle().await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("counts/s-0 cannot be decoded"), "{source}");
        // What says how far it is may be undecodable, too.
        let key = annals_state::DocumentKey::new("annals.tracking", "counts/log/whole").unwrap();
        let body = annals::Payload::bytes(vec![1]);
        let write = annals_state::Write::put(key, body, annals_state::Expected::Any);
        world.state.commit(annals_state::Commit::new([write])).await.unwrap();
        let error = world.processor().settle().await.unwrap_err();
        assert!(matches!(error, ProcessingError::State(_)), "{error}");
    });
}
