//! Two processors of one policy that are killed anywhere, over stores that fail.

use std::sync::Arc;

use annals::{EventStore, StorageAdapter};
use annals_processing::{Policy, PolicySink, Processor};
use annals_state::StateStore;
use annals_testkit::processing::{Chaos, Interleaving, Odds};
use futures_executor::block_on;

use super::{all, query};
use crate::support::{SECOND, World};

pub(crate) struct Wild {
    pub(crate) world: World,
    pub(crate) state: Chaos<Arc<dyn StateStore>>,
    pub(crate) log: Chaos<Arc<dyn StorageAdapter>>,
    pub(crate) store: EventStore,
}
impl Wild {
    pub(crate) fn new(seed: u64, adapter: impl Fn(&World) -> Arc<dyn StorageAdapter>) -> Self {
        let world = World::new();
        let state = Chaos::new(Arc::clone(&world.state), seed, Odds::CALM);
        let log = Chaos::new(adapter(&world), seed ^ 0xfeed, Odds::CALM);
        Self { store: EventStore::new(log.clone()), world, state, log }
    }

    pub(crate) fn set(&self, odds: Odds) {
        self.state.set(odds);
        self.log.set(odds);
    }

    pub(crate) fn processor<P: Policy>(
        &self,
        batch: usize,
        sink: impl Fn(&EventStore, Arc<dyn StateStore>) -> PolicySink<P>,
    ) -> Processor {
        let state: Arc<dyn StateStore> = Arc::new(self.state.clone());
        let sink = sink(&self.store, Arc::clone(&state));
        let timer = self.world.timer.clone();
        let made = Processor::sink("bills", &self.store, state, sink, timer).unwrap();
        made.with_batch(batch, 1 << 20).with_poison_after(1_000).with_takeover(SECOND)
    }

    /// Runs two processors of one name again and again, kills them anywhere, lets the stores fail, and settles at the end.
    pub(crate) fn torment<P: Policy>(
        &self,
        seed: u64,
        sink: impl Fn(&EventStore, Arc<dyn StateStore>) -> PolicySink<P> + Copy,
    ) {
        let mut tasks: Interleaving = self.world.tasks(seed);
        let world = self.world.clone();
        tasks.spawn(async move {
            for nth in 0..40 {
                if nth % 5 == 0 {
                    annals_processing::Timer::sleep(&world.timer, SECOND / 7).await;
                }
                world.append(&format!("o-{}", nth % 3), &["placed"]).await;
            }
        });
        for round in 0..30 {
            self.set(if round % 2 == 0 { Odds::WILD } else { Odds::CALM });
            let mut running = Vec::new();
            for _ in 0..=tasks.draw(2) {
                let processor = self.processor(1 + tasks.draw(9), sink);
                running.push(tasks.spawn(async move { processor.run().await.unwrap() }));
            }
            let steps = 1 + tasks.draw(120);
            tasks.steps(steps);
            for task in running {
                tasks.kill(task);
            }
        }
        self.set(Odds::CALM);
        while block_on(all(&self.world.store, query("orders"))).len() < 40 {
            assert!(tasks.step());
        }
        let mut last = self.processor(7, sink);
        tasks.block_on(async move { last.settle().await.unwrap() });
    }
}
