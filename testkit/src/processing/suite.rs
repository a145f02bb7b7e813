//! A suite that any sink can run: what it makes of a log under kills, rivals and failing stores is what one quiet run
//! makes.

use std::sync::Arc;
use std::time::Duration;

use annals::{
    BoxError, EventStore, NewEvent, Payload, ReadOptions, StorageAdapter, StreamId, WriteCondition,
};
use annals_processing::{Ask, Batch, Decision, Processor, Sink, SinkError, Tracking};
use annals_state::{DocumentKey, Expected, Revision, StateError, StateStore, Write, get_all};
use async_trait::async_trait;
use futures_executor::block_on;

use super::chaos::{Chaos, Odds};
use super::check::{SeededCheck, checks};
use super::interleaving::{Interleaving, Outside};
use super::timer::ManualTimer;

/// How the suite makes sinks, and sees what they made. Time is virtual, and tasks run in an order that a seed draws. Calls
/// of the stores are waited for: with stores in memory a seed repeats its run exactly.
#[async_trait]
pub trait SinkHarness: Send + Sync {
    /// A state store that is empty. For each run it is made after the log, so that it may be of the same adapter.
    fn state(&self) -> Arc<dyn StateStore>;

    /// An adapter that is empty.
    fn log(&self) -> Arc<dyn StorageAdapter>;

    /// A sink that commits to `state`: the processor of a process that begins. What was made before is in the store.
    fn sink(&self, state: Arc<dyn StateStore>) -> Box<dyn Sink>;

    /// Event number `nth` of a run, of a stream of its own choice. The suite appends it.
    fn event(&self, nth: u64) -> (StreamId, NewEvent);

    /// What the sink has made, as a text that is equal exactly if the effect is: of each event once, in the order of each
    /// stream.
    async fn effect(&self, state: &dyn StateStore) -> Result<String, BoxError>;

    /// For how long a store that is followed may take to say what was appended before time moves on. Nothing for stores in
    /// memory.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// A check of sinks.
pub type SinkCheck = SeededCheck<dyn SinkHarness>;

/// All checks.
#[must_use]
pub fn sink_checks() -> &'static [SinkCheck] {
    checks! { SinkCheck:
        "sink.batches" batches "P4: any batch size makes the same as event by event";
        "sink.dropped" dropped "P9: a take that is dropped anywhere leaves all of its batch with the tracking, or nothing";
        "sink.kills" kills "P1: after kills at any await the effect is that of one run";
        "sink.outcomes" outcomes "P2: stores that fail and outcomes that are unknown change no effect";
        "sink.rivals" rivals "P2, P7: of two processors of one name each event is taken by one, and no memory outlives a lost race";
        "sink.reset" reset "P10: a reset removes everything, also if it is killed, and the effect is made again";
        "sink.empty" empty "a batch without events commits the tracking that it carries";
        "sink.errors" errors "P2: a lost race and an unknown outcome are what take returns, never success";
    }
}

const EVENTS: u64 = 24;

struct Bench<'a> {
    harness: &'a dyn SinkHarness,
    state: Chaos<Arc<dyn StateStore>>,
    store: EventStore,
    log: Chaos<Arc<dyn StorageAdapter>>,
    timer: ManualTimer,
    tasks: Interleaving,
}

impl<'a> Bench<'a> {
    fn new(harness: &'a dyn SinkHarness, seed: u64) -> Self {
        let timer = ManualTimer::new();
        let tasks = Interleaving::new(seed, timer.clone()).with_patience(harness.patience());
        let log = Chaos::new(harness.log(), seed, Odds::CALM).with_outside(tasks.outside());
        let state = Chaos::new(harness.state(), seed ^ 0x51_4b, Odds::CALM);
        Self {
            harness,
            state: state.with_outside(tasks.outside()),
            store: EventStore::new(log.clone()),
            log,
            tasks,
            timer,
        }
    }

    fn set(&self, odds: Odds) {
        self.state.set(odds);
        self.log.set(odds);
    }

    fn processor(&self, batch: usize) -> Result<Processor, String> {
        let state: Arc<dyn StateStore> = Arc::new(self.state.clone());
        let sink = self.harness.sink(Arc::clone(&state));
        let sink = Outsider { sink, outside: self.tasks.outside() };
        let timer = self.timer.clone();
        let made = Processor::sink("sink-suite", &self.store, state, sink, timer);
        let made = made.map_err(|error| error.to_string())?.with_batch(batch, 1 << 20);
        Ok(made.with_poison_after(u32::MAX).with_errors(|_| Decision::Stop))
    }

    /// Appends so many events, past the chaos.
    fn append(&self, from: u64, count: u64) -> Result<(), String> {
        let quiet = EventStore::new(Arc::clone(self.log.inner()));
        for nth in from..from + count {
            let (stream, event) = self.harness.event(nth);
            let stored = block_on(quiet.stream(stream).append([event], WriteCondition::Always));
            stored.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Ends all failures and lets one processor finish.
    fn settle(&mut self, batch: usize) -> Result<(), String> {
        self.set(Odds { yields: 1, ..Odds::CALM });
        let mut last = self.processor(batch)?;
        let settled = self.tasks.block_on(async move { last.settle().await });
        settled.map(drop).map_err(|error| error.to_string())
    }

    fn effect(&self) -> Result<String, String> {
        let effect = self.harness.effect(&**self.state.inner());
        block_on(effect).map_err(|error| error.to_string())
    }

    /// How many events the tracking says were applied.
    fn tracked(&self) -> Result<u64, String> {
        let key = DocumentKey::new("annals.tracking", "sink-suite/log/whole");
        let key = key.map_err(|error| error.to_string())?;
        let found = block_on(get_all(self.state.inner(), vec![key]));
        let found = found.map_err(|error| error.to_string())?.pop().flatten();
        let Some(document) = found else { return Ok(0) };
        let tracking: Tracking = document.body.to_json().map_err(|error| error.to_string())?;
        Ok(tracking.events)
    }

    /// What one quiet run of the same log makes, event by event.
    fn expected(&self) -> Result<String, String> {
        let mut quiet = Bench::new(self.harness, 0);
        quiet.append(0, EVENTS)?;
        quiet.settle(1)?;
        quiet.effect()
    }

    fn check(&self) -> Result<(), String> {
        let (effect, expected) = (self.effect()?, self.expected()?);
        if effect == expected {
            return Ok(());
        }
        Err(format!("the effect is\n{effect}\nand that of one quiet run\n{expected}"))
    }

    fn spawn(&mut self, batch: usize) -> Result<super::Task, String> {
        let processor = self.processor(batch)?;
        Ok(self.tasks.spawn(async move { drop(processor.run().await) }))
    }
}

/// A sink that may make its effect where no store of the suite sees it.
struct Outsider {
    sink: Box<dyn Sink>,
    outside: Outside,
}

#[async_trait]
impl Sink for Outsider {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        self.outside.wait_for(self.sink.take(batch)).await
    }

    fn forget(&mut self) {
        self.sink.forget();
    }

    fn can_clear(&self) -> bool {
        self.sink.can_clear()
    }

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        self.outside.wait_for(self.sink.clear(guard)).await
    }
}

fn batches(harness: &dyn SinkHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    bench.append(0, EVENTS)?;
    let batch = bench.tasks.draw(30) + 1;
    bench.settle(batch)?;
    bench.check()
}

fn dropped(harness: &dyn SinkHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    bench.append(0, EVENTS)?;
    let task = bench.spawn(8)?;
    let steps = bench.tasks.draw(80);
    bench.tasks.steps(steps);
    bench.tasks.kill(task);
    // A commit that was under way may be made until it is seen: what is seen before and after the effect is true of it.
    let (tracked, effect) = loop {
        let (before, effect, after) = (bench.tracked()?, bench.effect()?, bench.tracked()?);
        if before == after {
            break (after, effect);
        }
    };
    // What is tracked is there, and no more.
    let mut quiet = Bench::new(harness, 0);
    quiet.append(0, tracked)?;
    quiet.settle(1)?;
    if effect != quiet.effect()? {
        return Err(format!("{tracked} events are tracked, and the effect is\n{effect}"));
    }
    bench.settle(3)?;
    bench.check()
}

fn kills(harness: &dyn SinkHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    bench.append(0, EVENTS / 2)?;
    for nth in 0..8 {
        let batch = 1 + bench.tasks.draw(7);
        let task = bench.spawn(batch)?;
        let steps = bench.tasks.draw(70);
        bench.tasks.steps(steps);
        bench.tasks.kill(task);
        if nth == 4 {
            bench.append(EVENTS / 2, EVENTS - EVENTS / 2)?;
        }
    }
    bench.settle(5)?;
    bench.check()
}

fn outcomes(harness: &dyn SinkHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    bench.set(Odds { unknown_made: 0.2, unknown_lost: 0.15, ..Odds::WILD });
    bench.append(0, EVENTS)?;
    let task = bench.spawn(4)?;
    bench.tasks.steps(600);
    if !bench.tasks.is_running(task) {
        return Err("a store that fails has ended the processor".into());
    }
    bench.tasks.kill(task);
    bench.settle(5)?;
    bench.check()
}

fn rivals(harness: &dyn SinkHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    bench.append(0, EVENTS / 2)?;
    let both = [bench.spawn(3)?, bench.spawn(4)?];
    let steps = bench.tasks.draw(200);
    bench.tasks.steps(steps);
    // One of them is killed. The other one may stand by with what it remembers of a race that it lost.
    let killed = bench.tasks.draw(2);
    if let Some(task) = both.get(killed) {
        bench.tasks.kill(*task);
    }
    bench.append(EVENTS / 2, EVENTS - EVENTS / 2)?;
    bench.tasks.steps(2_000);
    for task in both {
        bench.tasks.kill(task);
    }
    bench.settle(5)?;
    bench.check()
}

fn reset(harness: &dyn SinkHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    bench.append(0, EVENTS)?;
    bench.settle(6)?;
    let processor = bench.processor(5)?;
    let handle = processor.handle();
    let running = bench.tasks.spawn(async move { drop(processor.run().await) });
    bench.tasks.spawn(async move { drop(handle.ask(Ask::Reset).await) });
    let steps = bench.tasks.draw(120);
    bench.tasks.steps(steps);
    bench.tasks.kill(running);
    bench.settle(4)?;
    bench.check()
}

fn empty(harness: &dyn SinkHarness, seed: u64) -> Result<(), String> {
    let bench = Bench::new(harness, seed);
    let key = DocumentKey::new("sink-suite", "carried");
    let key = key.map_err(|error| error.to_string())?;
    let body = Payload::bytes(Vec::from([7]));
    let write = Write::put(key.clone(), body, Expected::Absent);
    let batch = Batch::of(&[], vec![write]);
    let state = Arc::clone(bench.state.inner());
    let mut sink = harness.sink(Arc::clone(&state));
    block_on(sink.take(&batch)).map_err(|error| error.to_string())?;
    let found = block_on(get_all(&state, vec![key]));
    let found = found.map_err(|error| error.to_string())?.pop().flatten();
    let revision = found.map(|document| document.revision);
    if revision != Some(batch.revision()) {
        return Err("the commit of the batch was not made".into());
    }
    Ok(())
}

fn errors(harness: &dyn SinkHarness, seed: u64) -> Result<(), String> {
    let bench = Bench::new(harness, seed);
    bench.append(0, 3)?;
    let events = EventStore::new(Arc::clone(bench.log.inner())).log().read(ReadOptions::default());
    let events = block_on(events.into_vec()).map_err(|error| error.to_string())?;
    let key = DocumentKey::new("sink-suite", "carried").map_err(|error| error.to_string())?;
    let carried = |expected| Write::put(key.clone(), Payload::bytes(Vec::from([7])), expected);
    let state: Arc<dyn StateStore> = Arc::new(bench.state.clone());
    let lost = Batch::of(&events, vec![carried(Expected::Is(Revision::generate()))]);
    match block_on(harness.sink(Arc::clone(&state)).take(&lost)) {
        Err(SinkError::State(StateError::Conflict(_))) => {}
        other => return Err(format!("after a lost race take returns {other:?}")),
    }
    bench.set(Odds { unknown_lost: 1.0, ..Odds::CALM });
    let unknown = Batch::of(&events, vec![carried(Expected::Absent)]);
    match block_on(harness.sink(state).take(&unknown)) {
        Err(SinkError::State(StateError::OutcomeUnknown(_))) => Ok(()),
        other => Err(format!("after an unknown outcome take returns {other:?}")),
    }
}
