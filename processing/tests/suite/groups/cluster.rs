//! Nodes of one group, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use annals::{BoxError, EventStore, ReadOptions, SequenceNumber, StoredEvent};
use annals_memory::MemoryAdapter;
use annals_processing::{Group, GroupHandle, Partitions, Processor, Timer, View};
use annals_state::{Collection, DocumentId, StateStore};
use annals_testkit::processing::{Chaos, Interleaving, Odds, SkewedTimer, Task};
use futures_executor::block_on;

use super::stores::Refusals;
use crate::support::{SECOND, World};

/// The numbers of the events of each stream, in the order in which they were applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers;
impl View for Numbers {
    type State = Vec<SequenceNumber>;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::new(event.stream.name.as_str())?])
    }

    fn apply(
        &self,
        _: &DocumentId,
        numbers: &mut Option<Vec<SequenceNumber>>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        if *event.name() == "poison" {
            return Err("poisoned".into());
        }
        numbers.get_or_insert_default().push(event.sequence_number);
        Ok(())
    }
}
pub(crate) const BEAT: Duration = SECOND;
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(5);
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) refusals: Arc<AtomicUsize>,
    pub(crate) state: Chaos<Arc<dyn StateStore>>,
    pub(crate) log: Chaos<MemoryAdapter>,
    pub(crate) parts: u16,
    pub(crate) tasks: Interleaving,
    pub(crate) nodes: Vec<(Task, GroupHandle, bool)>,
}
impl Cluster {
    pub(crate) fn new(seed: u64, parts: u16) -> Self {
        Self::over(seed, parts, |state| state)
    }

    pub(crate) fn over(
        seed: u64,
        parts: u16,
        bend: impl Fn(Arc<dyn StateStore>) -> Arc<dyn StateStore>,
    ) -> Self {
        let world = World::new();
        let refusals = Arc::new(AtomicUsize::new(0));
        let inner = bend(Arc::clone(&world.state));
        let counted: Arc<dyn StateStore> =
            Arc::new(Refusals { inner, count: Arc::clone(&refusals) });
        Self {
            state: Chaos::new(counted, seed, Odds::CALM),
            log: Chaos::new(world.adapter.clone(), seed ^ 0xfeed, Odds::CALM),
            tasks: world.tasks(seed),
            world,
            refusals,
            parts,
            nodes: Vec::new(),
        }
    }

    pub(crate) fn partitions(&self) -> Partitions {
        if self.parts == 1 { Partitions::Whole } else { Partitions::hash(self.parts).unwrap() }
    }

    /// A clock that is years off, and up to a tenth too fast or too slow.
    pub(crate) fn clock(&mut self) -> SkewedTimer {
        let years = u64::try_from(self.tasks.draw(30)).unwrap();
        let thousandths = 900 + u32::try_from(self.tasks.draw(200)).unwrap();
        self.world.timer.skewed(Duration::from_secs(years * 31_557_600), thousandths)
    }

    pub(crate) fn group(&self, timer: impl Timer + Clone, version: u32, batch: usize) -> Group {
        let state: Arc<dyn StateStore> = Arc::new(self.state.clone());
        let store = EventStore::new(self.log.clone());
        let make = move || {
            let numbers = Collection::new("numbers")?.on(Arc::clone(&state));
            let made = Processor::view("numbers", &store, numbers, Numbers, timer.clone())?;
            Ok(made.with_version(version).with_batch(batch, 1 << 20).with_poison_after(1_000))
        };
        Group::new(self.partitions(), make).unwrap().with_beat(BEAT, DEAD_AFTER)
    }

    pub(crate) fn spawn(&mut self, group: Group) -> usize {
        let handle = group.handle();
        let task = self.tasks.spawn(async move { group.run().await.unwrap() });
        self.nodes.push((task, handle, false));
        self.nodes.len() - 1
    }

    pub(crate) fn join(&mut self) -> usize {
        let batch = 1 + self.tasks.draw(7);
        let clock = self.clock();
        let group = self.group(clock, 1, batch);
        self.spawn(group)
    }

    pub(crate) fn join_exact(&mut self) -> usize {
        let group = self.group(self.world.timer.clone(), 1, 3);
        self.spawn(group)
    }

    pub(crate) fn set(&self, odds: Odds) {
        self.state.set(odds);
        self.log.set(odds);
    }

    pub(crate) fn has(&self, node: usize) -> Vec<u16> {
        self.nodes[node].1.status().parts.into_iter().map(|(nth, _)| nth).collect()
    }

    /// Goes on for so long.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.world.timer.elapsed() + time;
        while self.world.timer.elapsed() < until {
            assert!(self.tasks.step());
        }
    }

    /// Goes on until this holds, for at most so long; returns how long it took.
    pub(crate) fn until(&mut self, most: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let begun = self.world.timer.elapsed();
        while !holds(self) {
            assert!(self.tasks.step());
            let took = self.world.timer.elapsed().saturating_sub(begun);
            assert!(took <= most, "it takes longer than {most:?}");
        }
        self.world.timer.elapsed().saturating_sub(begun)
    }

    pub(crate) fn numbers(&self) -> BTreeMap<String, Vec<SequenceNumber>> {
        block_on(async {
            let numbers = Collection::new("numbers").unwrap().on(Arc::clone(&self.world.state));
            let mut all = BTreeMap::new();
            for id in self.world.ids("numbers").await {
                let found: annals_state::Stored<Vec<SequenceNumber>> =
                    numbers.get(id.as_str()).await.unwrap().unwrap();
                all.insert(id, found.value);
            }
            all
        })
    }

    pub(crate) fn expected(&self) -> BTreeMap<String, Vec<SequenceNumber>> {
        let read = self.world.store.log().read(ReadOptions::default());
        let mut all: BTreeMap<String, Vec<SequenceNumber>> = BTreeMap::new();
        for event in block_on(read.into_vec()).unwrap() {
            let stream = event.stream.name.as_str().to_owned();
            all.entry(stream).or_default().push(event.sequence_number);
        }
        all
    }

    /// Everything is calm: the nodes that run share all parts equally, and have applied every event once, in order.
    pub(crate) fn check_calm(&mut self, what: &str) {
        self.set(Odds::CALM);
        let begun = self.world.timer.elapsed();
        loop {
            self.pass(BEAT);
            let mut counts = Vec::new();
            let mut owned = Vec::new();
            for (nth, (task, _, _)) in self.nodes.iter().enumerate() {
                if self.tasks.is_running(*task) {
                    let parts = self.has(nth);
                    counts.push(parts.len());
                    owned.extend(parts);
                }
            }
            owned.sort_unstable();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            let is_shared = owned == (0..self.parts).collect::<Vec<_>>() && most - least <= 1;
            if is_shared && self.numbers() == self.expected() {
                return;
            }
            let took = self.world.timer.elapsed().saturating_sub(begun);
            assert!(
                took < Duration::from_secs(600),
                "{what}: parts {counts:?} {owned:?}, numbers {:?}, expected {:?}",
                self.numbers(),
                self.expected()
            );
        }
    }
}
