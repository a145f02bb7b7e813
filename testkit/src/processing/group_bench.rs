//! Where the suite of groups runs its nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annals::{
    CategoryName, EventStore, NewEvent, Payload, StorageAdapter, StoredEvent, StreamId,
    WriteCondition,
};
use annals_processing::{Batch, Group, GroupHandle, Partitions, Processor, Sink, SinkError, Timer};
use annals_state::{
    CollectionName, Commit, DocumentKey, Expected, Scan, StateError, StateStore, Write,
};
use async_trait::async_trait;
use futures_executor::block_on;
use futures_util::TryStreamExt;

use super::bent::{Gate, MARKS, Through, Watch};
use super::chaos::{Chaos, Odds};
use super::interleaving::{Interleaving, Task};
use super::timer::{ManualTimer, SkewedTimer};

pub(super) const BEAT: Duration = Duration::from_secs(1);
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(5);
const NAME: &str = "group-suite";

/// How the suite of groups makes stores. Time is virtual, and tasks run in an order that a seed draws. Calls of the stores
/// are waited for: with stores in memory a seed repeats its run exactly.
pub trait GroupHarness: Send + Sync {
    /// A state store that is empty. For each run it is made after the log, so that it may be of the same adapter.
    fn state(&self) -> Arc<dyn StateStore>;

    /// An adapter that is empty.
    fn log(&self) -> Arc<dyn StorageAdapter>;

    /// The store as a node sees it. A harness of a wrong node wraps it; others leave it as it is.
    fn seen(&self, seat: &Seat, state: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        let _ = seat;
        state
    }

    /// For how long a store that is followed may take to say what was appended before time moves on. Nothing for stores in
    /// memory.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// A node of a group, or a program that locks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seat {
    /// Its number in the run.
    pub nth: usize,
    /// The version of its program.
    pub version: u32,
    /// Its clock.
    pub clock: SkewedTimer,
}

pub(super) struct Node {
    pub(super) task: Task,
    pub(super) handle: GroupHandle,
    pub(super) gate: Arc<Gate>,
    /// The store as the node sees it, without its gate.
    seen: Arc<dyn StateStore>,
}

pub(super) struct Bench<'a> {
    harness: &'a dyn GroupHarness,
    pub(super) watch: Arc<Watch>,
    pub(super) state: Arc<dyn StateStore>,
    chaos: Chaos<Arc<dyn StateStore>>,
    log: Chaos<Arc<dyn StorageAdapter>>,
    pub(super) timer: ManualTimer,
    pub(super) tasks: Interleaving,
    pub(super) nodes: Vec<Node>,
    appended: Vec<String>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(harness: &'a dyn GroupHarness, seed: u64) -> Self {
        let timer = ManualTimer::new();
        let tasks = Interleaving::new(seed, timer.clone()).with_patience(harness.patience());
        let log = Chaos::new(harness.log(), seed, Odds::CALM).with_outside(tasks.outside());
        let watch = Arc::new(Watch::default());
        let inner = Through::store(harness.state(), Arc::clone(&watch));
        let chaos = Chaos::new(inner, seed ^ 0x51_4b, Odds::CALM);
        let chaos = chaos.with_outside(tasks.outside());
        let state: Arc<dyn StateStore> = Arc::new(chaos.clone());
        let (nodes, appended) = (Vec::new(), Vec::new());
        Self { harness, watch, state, chaos, log, timer, tasks, nodes, appended }
    }

    pub(super) fn set(&self, odds: Odds) {
        self.chaos.set(odds);
        self.log.set(odds);
    }

    /// A clock that is right.
    pub(super) fn exact(&self) -> SkewedTimer {
        self.timer.skewed(Duration::ZERO, 1_000)
    }

    /// A node for so many parts joins.
    pub(super) fn join(&mut self, parts: u16) -> Result<usize, String> {
        self.join_as(parts, 1, self.exact())
    }

    pub(super) fn join_as(
        &mut self,
        parts: u16,
        version: u32,
        clock: SkewedTimer,
    ) -> Result<usize, String> {
        let seat = Seat { nth: self.nodes.len(), version, clock: clock.clone() };
        let seen = self.harness.seen(&seat, Arc::clone(&self.state));
        let gate = Arc::new(Gate::default());
        let state = Through::store(Arc::clone(&seen), Arc::clone(&gate));
        let store = EventStore::new(self.log.clone());
        let make = move || {
            let sink = Marks { state: Arc::clone(&state) };
            let made = Processor::sink(NAME, &store, Arc::clone(&state), sink, clock.clone())?;
            Ok(made.with_version(version).with_batch(3, 1 << 20).with_poison_after(u32::MAX))
        };
        let divided = if parts == 1 { Ok(Partitions::Whole) } else { Partitions::hash(parts) };
        let group = divided.and_then(|divided| Group::new(divided, make)).map_err(text)?;
        let group = group.with_beat(BEAT, DEAD_AFTER);
        let handle = group.handle();
        let task = self.tasks.spawn(async move { drop(group.run().await) });
        self.nodes.push(Node { task, handle, gate, seen });
        Ok(self.nodes.len() - 1)
    }

    pub(super) fn has(&self, node: usize) -> Vec<u16> {
        self.nodes[node].handle.status().parts.into_iter().map(|(nth, _)| nth).collect()
    }

    pub(super) fn counts(&self, nodes: &[usize]) -> Vec<usize> {
        nodes.iter().map(|node| self.has(*node).len()).collect()
    }

    /// Ends a node. What the stores do for it is done, and nobody has the answers: time that passes counts from here.
    pub(super) fn kill(&mut self, node: usize) {
        self.tasks.answers();
        self.tasks.kill(self.nodes[node].task);
    }

    /// Ends a node, also while a store works for it.
    pub(super) fn cut(&mut self, node: usize) {
        self.tasks.kill(self.nodes[node].task);
    }

    pub(super) fn freeze(&mut self, node: usize) {
        self.tasks.freeze(self.nodes[node].task);
    }

    pub(super) fn thaw(&mut self, node: usize) {
        self.tasks.thaw(self.nodes[node].task);
    }

    /// Makes a commit of this node that comes late.
    pub(super) fn commit(&mut self, node: usize, commit: Commit) -> Result<(), StateError> {
        let seen = Arc::clone(&self.nodes[node].seen);
        self.tasks.block_on(async move { seen.commit(commit).await })
    }

    /// Goes on for so long.
    pub(super) fn pass(&mut self, time: Duration) -> Result<(), String> {
        let until = self.timer.elapsed() + time;
        while self.timer.elapsed() < until {
            if !self.tasks.step() {
                return Err("nothing runs any more".into());
            }
        }
        Ok(())
    }

    /// Goes on until this holds, for at most so long; returns how long it took.
    pub(super) fn until(
        &mut self,
        what: &str,
        most: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<Duration, String> {
        let begun = self.timer.elapsed();
        loop {
            let took = self.timer.elapsed().saturating_sub(begun);
            if holds(self) {
                return Ok(took);
            }
            if took > most || !self.tasks.step() {
                return Err(format!("not within {most:?}: {what}"));
            }
        }
    }

    /// Appends so many events, past the chaos, in turns over this many streams.
    pub(super) fn append(&mut self, events: usize, streams: usize) -> Result<(), String> {
        let quiet = EventStore::new(Arc::clone(self.log.inner()));
        for nth in 0..events {
            let name = format!("s-{}", nth % streams);
            let stream = StreamId { category: CATEGORY, name: named(&name)? };
            let event = NewEvent::new(annals::EventName::from_static("marked"), Payload::bytes(""));
            let appended = block_on(quiet.stream(stream).append([event], WriteCondition::Always));
            let stored = appended.map_err(text)?;
            self.appended.extend(stored.iter().map(mark));
        }
        Ok(())
    }

    /// The ids of all marks.
    fn marks(&self) -> Result<Vec<String>, String> {
        let marks = CollectionName::from_static(MARKS);
        let found = block_on(self.chaos.inner().scan(Scan::along_ids(marks)).try_concat());
        let id = |one: annals_state::Scanned| one.document.key.id.as_str().to_owned();
        Ok(found.map_err(text)?.into_iter().map(id).collect())
    }

    /// Goes on until as many marks are made as events are appended, or more.
    pub(super) fn until_applied(&mut self) -> Result<(), String> {
        for _ in 0..400 {
            if self.marks()?.len() >= self.appended.len() {
                return Ok(());
            }
            self.pass(BEAT / 4)?;
        }
        Err("not all is applied after 100 beats".into())
    }

    /// Every event was applied once, in the order of its stream.
    pub(super) fn check_applied(&mut self) -> Result<(), String> {
        self.until_applied()?;
        // What is on its way comes, too.
        self.pass(BEAT * 2)?;
        let mut counts: BTreeMap<String, usize> =
            self.appended.iter().map(|one| (one.clone(), 0)).collect();
        for id in self.marks()? {
            let event = id.rsplit_once(' ').map_or(&*id, |(event, _)| event);
            *counts.entry(event.to_owned()).or_default() += 1;
        }
        if let Some((event, count)) = counts.iter().find(|(_, count)| **count != 1) {
            return Err(format!("event {event} was applied {count} times"));
        }
        let mut last: BTreeMap<&str, &str> = BTreeMap::new();
        let watched = self.watch.lock();
        for id in &watched.marks {
            let mut words = id.split(' ');
            let (Some(stream), Some(number)) = (words.next(), words.next()) else { continue };
            if last.insert(stream, number).is_some_and(|before| before >= number) {
                return Err(format!("event {number} of {stream} was applied after a later one"));
            }
        }
        Ok(())
    }
}

const CATEGORY: CategoryName = CategoryName::from_static("marked");

fn named(name: &str) -> Result<annals::StreamName, String> {
    annals::StreamName::new(name).map_err(text)
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// How the id of the mark of an event begins.
fn mark(event: &StoredEvent) -> String {
    format!("{} {:020}", event.stream.name, event.sequence_number.value())
}

/// Makes a document for each event and batch, whose only protection is the commit of the tracking.
#[derive(Debug)]
struct Marks {
    state: Arc<dyn StateStore>,
}

#[async_trait]
impl Sink for Marks {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let mut writes = Vec::new();
        for event in batch.events() {
            let id = format!("{} {}", mark(event), batch.revision());
            let key = DocumentKey::new(MARKS, id).map_err(StateError::from)?;
            writes.push(Write::put(key, Payload::bytes(""), Expected::Any));
        }
        Ok(self.state.commit(batch.commit(writes)).await?)
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, guard: &Write) -> Result<(), SinkError> {
        let marks = CollectionName::from_static(MARKS);
        let found = self.state.scan(Scan::along_ids(marks)).try_concat().await?;
        let deletes = found.into_iter().map(|one| Write::delete(one.document.key, Expected::Any));
        Ok(self.state.commit(Commit::new(deletes.chain([guard.clone()]))).await?)
    }
}
