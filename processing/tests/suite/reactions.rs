//! Reactions: each effect once, as far as the receiver knows its key, and none that is in the ledger.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::support::{SECOND, World};
use annals::{BoxError, EventId, StoredEvent};
use annals_processing::{
    Ask, Claim, Effects, ProcessingError, Processor, Reaction, ReactionSink, Timer, async_trait,
    reset,
};
use annals_state::StateStore;
use annals_testkit::processing::{Chaos, Odds};
use futures_executor::block_on;

/// What the server of letters has got: how often each key.
type Letters = Arc<Mutex<BTreeMap<EventId, u32>>>;

#[derive(Clone)]
struct Mailer {
    letters: Letters,
    timer: annals_testkit::processing::ManualTimer,
}

#[async_trait]
impl Reaction for Mailer {
    async fn handle(&self, event: &StoredEvent, effects: &Effects<'_>) -> Result<(), BoxError> {
        if event.stream.category.as_str() != "orders" {
            return Ok(());
        }
        let receipt: String = effects
            .once("letter", |key| async move {
                *self.letters.lock().unwrap().entry(key).or_default() += 1;
                self.timer.sleep(SECOND / 50).await;
                Ok(format!("receipt {key}"))
            })
            .await?;
        assert!(receipt.starts_with("receipt"));
        Ok(())
    }
}

#[test]
fn y9_after_kills_an_idempotent_receiver_has_each_effect_once_and_a_rebuild_makes_none() {
    let mut repeated = 0;
    for seed in 0..15 {
        let world = World::new();
        let state = Chaos::new(Arc::clone(&world.state), seed, Odds::CALM);
        let mailer = Mailer { letters: Letters::default(), timer: world.timer.clone() };
        let make = |recorded_only: bool| {
            let shared: Arc<dyn StateStore> = Arc::new(state.clone());
            let sink = ReactionSink::new(Arc::clone(&shared), mailer.clone());
            let sink = if recorded_only { sink.recorded_only() } else { sink };
            let timer = world.timer.clone();
            let made = Processor::sink("mailer", &world.store, shared, sink, timer).unwrap();
            made.with_batch(4, 1 << 20).with_poison_after(1_000).with_takeover(SECOND)
        };
        block_on(world.append_many(12, 3));
        let mut tasks = world.tasks(seed);
        for round in 0..25 {
            state.set(if round % 2 == 0 { Odds::WILD } else { Odds::CALM });
            let running: Vec<_> = (0..=tasks.draw(2))
                .map(|_| make(false))
                .map(|made| tasks.spawn(async move { made.run().await.unwrap() }))
                .collect();
            let steps = tasks.draw(60);
            tasks.steps(steps);
            for task in running {
                tasks.kill(task);
            }
        }
        state.set(Odds::CALM);
        let mut last = make(false);
        tasks.block_on(async move { last.settle().await.unwrap() });
        let letters = mailer.letters.lock().unwrap().clone();
        assert_eq!(letters.len(), 12, "seed {seed}: each effect has one key");
        repeated += letters.values().filter(|count| **count > 1).count();
        // A rebuild finds the ledger.
        for recorded_only in [false, true] {
            block_on(reset(&*world.state, &Claim::new("mailer").unwrap())).unwrap();
            let mut again = make(recorded_only);
            tasks.block_on(async move { again.settle().await.unwrap() });
            assert_eq!(*mailer.letters.lock().unwrap(), letters, "seed {seed}");
        }
        // What the ledger does not have is not made up.
        block_on(world.append("s-9", &["counted"]));
        let mut only = make(true);
        let error = tasks.block_on(async move { only.settle().await.unwrap_err() });
        assert!(matches!(error, ProcessingError::Handler(_)), "{error}");
        assert_eq!(*mailer.letters.lock().unwrap(), letters, "seed {seed}");
    }
    assert!(repeated > 0, "no process ever ended between an effect and its record");
}

#[test]
fn y9_an_effect_that_returns_nothing_is_not_made_again() {
    struct Notify(Arc<Mutex<u32>>);
    #[async_trait]
    impl Reaction for Notify {
        async fn handle(&self, _: &StoredEvent, effects: &Effects<'_>) -> Result<(), BoxError> {
            let made = Arc::clone(&self.0);
            let act = |_| async move {
                *made.lock().unwrap() += 1;
                Ok(())
            };
            effects.once("notice", act).await
        }
    }
    block_on(async {
        let world = World::new();
        world.append("o-1", &["placed", "paid"]).await;
        let made = Arc::new(Mutex::new(0));
        for _ in 0..2 {
            let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
            let notify = Notify(Arc::clone(&made));
            let processor = Processor::reaction("notices", &world.store, state, notify, timer);
            processor.unwrap().settle().await.unwrap();
            reset(&*world.state, &Claim::new("notices").unwrap()).await.unwrap();
        }
        assert_eq!(*made.lock().unwrap(), 2);
    });
}

#[test]
fn y9_a_former_owner_begins_no_effect() {
    let world = World::new();
    block_on(world.append_many(3, 3));
    let mailer = Mailer { letters: Letters::default(), timer: world.timer.clone() };
    let make = || {
        let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
        Processor::reaction("mailer", &world.store, state, mailer.clone(), timer).unwrap()
    };
    let mut tasks = world.tasks(1);
    let first = make();
    let task = tasks.spawn(async move { drop(first.run().await) });
    while mailer.letters.lock().unwrap().is_empty() {
        assert!(tasks.step());
    }
    tasks.freeze(task);
    let second = make().with_takeover(SECOND);
    let handle = second.handle();
    tasks.spawn(async move { second.run().await.unwrap() });
    let waiting = handle.clone();
    tasks.block_on(
        async move { waiting.wait(crate::support::number(3), SECOND * 60).await.unwrap() },
    );
    let letters = mailer.letters.lock().unwrap().clone();
    tasks.thaw(task);
    tasks.steps(300);
    assert_eq!(*mailer.letters.lock().unwrap(), letters);
    assert_eq!(letters.len(), 3);
    let reset = tasks.block_on(async move { handle.ask(Ask::Pause).await });
    assert!(reset.is_ok());
}
