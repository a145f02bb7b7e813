//! Groups among services, and groups whose programs are replaced by newer ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{SECOND, World};
use annals::{BoxError, EventStore, ReadOptions, SequenceNumber, StoredEvent};
use annals_processing::{
    Answer, Ask, CommandBus, Group, GroupHandle, Limits, Partitions, Phase, ProcessingError,
    Processor, Services, Timer, View, ask, reported,
};
use annals_state::{Collection, DocumentId, StateStore};
use annals_testkit::processing::{Chaos, Interleaving, Odds, Task};
use futures_executor::block_on;

const DEAD_AFTER: Duration = Duration::from_secs(5);

/// The numbers of the events of each stream, in the order in which they were applied, and by which version.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    version: u32,
}

type Noted = Vec<(u32, SequenceNumber)>;

impl View for Numbers {
    type State = Noted;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::new(event.stream.name.as_str())?])
    }

    fn apply(
        &self,
        _: &DocumentId,
        noted: &mut Option<Noted>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        noted.get_or_insert_default().push((self.version, event.sequence_number));
        Ok(())
    }
}

struct Deployment {
    world: World,
    tasks: Interleaving,
    log: Chaos<annals_memory::MemoryAdapter>,
    state: Chaos<Arc<dyn StateStore>>,
}

impl Deployment {
    fn new(seed: u64) -> Self {
        let world = World::new();
        Self {
            tasks: world.tasks(seed),
            log: Chaos::new(world.adapter.clone(), seed, Odds::CALM),
            state: Chaos::new(Arc::clone(&world.state), seed ^ 0xfeed, Odds::CALM),
            world,
        }
    }

    /// A node of this version, for so many parts.
    fn group(&self, version: u32, parts: u16) -> Group {
        let (store, timer) = (EventStore::new(self.log.clone()), self.world.timer.clone());
        let state: Arc<dyn StateStore> = Arc::new(self.state.clone());
        let make = move || {
            let numbers = Collection::new("numbers")?.on(Arc::clone(&state));
            let view = Numbers { version };
            let made = Processor::view("numbers", &store, numbers, view, timer.clone())?;
            Ok(made.with_version(version).with_batch(3, 1 << 20).with_poison_after(u32::MAX))
        };
        let group = Group::new(Partitions::hash(parts).unwrap(), make).unwrap();
        group.with_beat(SECOND, DEAD_AFTER).newest_wins()
    }

    fn spawn(&mut self, group: Group) -> (Task, GroupHandle) {
        let handle = group.handle();
        (self.tasks.spawn(async move { group.run().await.unwrap() }), handle)
    }

    fn pass(&mut self, time: Duration) {
        let until = self.world.timer.elapsed() + time;
        while self.world.timer.elapsed() < until {
            assert!(self.tasks.step());
        }
    }

    /// Goes on until this holds; panics if it does not for ten minutes of virtual time.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let latest = self.world.timer.elapsed() + SECOND * 600;
        while !holds(self) {
            assert!(self.world.timer.elapsed() < latest, "never: {what}");
            assert!(self.tasks.step());
        }
    }

    fn numbers(&self) -> BTreeMap<String, Noted> {
        let numbers = Collection::new("numbers").unwrap().on(Arc::clone(&self.world.state));
        let ids = block_on(self.world.ids("numbers"));
        let read = |id: String| {
            let found: annals_state::Stored<Noted> =
                block_on(numbers.get(id.as_str())).unwrap().unwrap();
            (id, found.value)
        };
        ids.into_iter().map(read).collect()
    }

    /// What this version makes of the log.
    fn expected(&self, version: u32) -> BTreeMap<String, Noted> {
        let mut all: BTreeMap<String, Noted> = BTreeMap::new();
        let read = self.world.store.log().read(ReadOptions::default());
        for event in block_on(read.into_vec()).unwrap() {
            let stream = event.stream.name.as_str().to_owned();
            all.entry(stream).or_default().push((version, event.sequence_number));
        }
        all
    }
}

fn count(handle: &GroupHandle) -> usize {
    handle.status().parts.len()
}

#[test]
fn g6_newest_wins_takes_the_group_at_once_and_older_programs_wait_and_never_take_it_back() {
    let mut all = Deployment::new(1);
    let group = all.group(1, 3);
    let (_, first) = all.spawn(group);
    let group = all.group(1, 3);
    let (_, second) = all.spawn(group);
    block_on(all.world.append_many(20, 5));
    all.until("the old ones share it", |all| {
        count(&first) + count(&second) == 3 && all.numbers() == all.expected(1)
    });
    // It divides the streams differently, too.
    let group = all.group(2, 4);
    let (_, newer) = all.spawn(group);
    all.until("the new one has all", |all| count(&newer) == 4 && all.numbers() == all.expected(2));
    block_on(all.world.append_many(10, 5));
    all.pass(SECOND * 60);
    assert_eq!(all.numbers(), all.expected(2));
    for old in [&first, &second] {
        assert_eq!(count(old), 0);
        let waits_for = old.status().waits_for.unwrap();
        assert!(waits_for.contains("version") || waits_for.contains("divided"), "{waits_for}");
    }
    assert_eq!(newer.status().waits_for, None);
}

#[test]
fn g6_newest_wins_whatever_is_killed_or_fails_meanwhile() {
    for seed in 0..20 {
        let mut all = Deployment::new(seed);
        block_on(all.world.append_many(20, 5));
        for _ in 0..2 {
            let group = all.group(1, 3);
            all.spawn(group);
        }
        all.pass(SECOND * 3);
        all.state.set(Odds::WILD);
        all.log.set(Odds::WILD);
        for _ in 0..4 {
            let group = all.group(2, 3);
            let (task, _) = all.spawn(group);
            let steps = all.tasks.draw(400);
            all.tasks.steps(steps);
            block_on(all.world.append_many(2, 5));
            all.tasks.kill(task);
        }
        all.state.set(Odds::CALM);
        all.log.set(Odds::CALM);
        let group = all.group(2, 3);
        let (_, newest) = all.spawn(group);
        all.until("all is made again by the newest", |all| {
            count(&newest) == 3 && all.numbers() == all.expected(2)
        });
    }
}

#[test]
fn g6_what_cannot_be_reset_is_not_taken_over_and_loses_nothing() {
    let mut all = Deployment::new(2);
    let make = |all: &Deployment, version| {
        let (store, timer) = (all.world.store.clone(), all.world.timer.clone());
        let state = Arc::clone(&all.world.state);
        let make = move || {
            let bus = CommandBus::new();
            let (state, timer) = (Arc::clone(&state), timer.clone());
            let made = Processor::commands("shipper", &store, state, "shipping", bus, timer)?;
            Ok(made.with_version(version))
        };
        let group = Group::new(Partitions::Whole, make).unwrap();
        group.with_beat(SECOND, DEAD_AFTER).newest_wins()
    };
    let (_, old) = {
        let group = make(&all, 1);
        all.spawn(group)
    };
    all.until("the old one works", |_| count(&old) == 1);
    let (_, new) = {
        let group = make(&all, 2);
        all.spawn(group)
    };
    all.pass(SECOND * 30);
    assert_eq!((count(&old), count(&new)), (1, 0));
    assert!(new.status().waits_for.unwrap().contains("version"));
}

#[test]
fn q7_a_group_among_services_has_status_requests_and_its_turn_when_they_stop() {
    let mut all = Deployment::new(3);
    let group = all.group(1, 3);
    let handle = group.handle();
    let stopped = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (first, node) = (Arc::clone(&stopped), handle.clone());
    let services = Services::new(all.world.timer.clone())
        .add("first", move |stopping| async move {
            stopping.wait().await;
            first.lock().unwrap().push(count(&node));
            Ok(())
        })
        .unwrap()
        .group(group)
        .unwrap();
    let twice = Services::new(all.world.timer.clone())
        .group(all.group(1, 3))
        .unwrap()
        .group(all.group(1, 3));
    assert!(matches!(twice, Err(ProcessingError::Misuse(_))), "two nodes of one group");
    let health = services.handle();
    let before = &health.status()[1];
    assert_eq!((&*before.0, before.1.phase), ("numbers/log", Phase::Waiting));
    block_on(all.world.append_many(30, 5));
    let running = all.tasks.spawn(async move { services.run().await.unwrap() });
    all.until("all is applied", |all| all.numbers() == all.expected(1));
    all.until("it says so", |_| {
        let status = &health.status()[1].1;
        status.phase == Phase::Live && status.applied == 30 && status.tracked.value() == 30
    });
    assert!(health.complaints(&Limits::default()).is_empty());
    // Each part is seen from outside, and answers.
    all.until("the parts are reported", |all| {
        let found = block_on(reported(&*all.world.state, Some("numbers"), 10)).unwrap();
        found.len() == 3 && found.iter().all(|one| one.status.phase == Phase::Live)
    });
    let part = handle.part(0).unwrap();
    let (state, timer) = (Arc::clone(&all.world.state), all.world.timer.clone());
    let claim = part.claim().clone();
    let answer = all.tasks.block_on(async move {
        ask(&*state, &timer, &claim, Ask::Pause, SECOND * 60).await.unwrap()
    });
    assert_eq!(answer, Answer::Done);
    all.until("it pauses", |_| health.status()[1].1.phase == Phase::Paused);
    // A store that is away for long is a complaint, and ends nothing.
    all.state.set(Odds { unavailable: 1.0, ..Odds::CALM });
    all.until("its beat fails", |_| {
        let complaints = health.complaints(&Limits::default());
        complaints.iter().any(|one| one.starts_with("numbers/log: its beat fails"))
    });
    all.state.set(Odds::CALM);
    all.until("it beats again", |_| health.complaints(&Limits::default()).is_empty());
    health.stop();
    all.until("all have ended", |all| !all.tasks.is_running(running));
    assert_eq!(*stopped.lock().unwrap(), [0], "the group had left before the first one was asked");
    assert_eq!(health.status()[1].1.phase, Phase::Stopped);
    assert!(block_on(all.world.ids("annals.members")).is_empty());
}

#[test]
fn q7_a_node_that_fails_stops_the_services_and_its_error_is_its_complaint() {
    let all = Deployment::new(4);
    let (store, timer) = (all.world.store.clone(), all.world.timer.clone());
    let state = Arc::clone(&all.world.state);
    let make = move || {
        let documents = Collection::new("counts")?.on(Arc::clone(&state));
        let view = crate::support::Counts::default();
        Processor::view("counts", &store, documents, view, timer.clone())
    };
    let group = Group::new(Partitions::hash(2).unwrap(), make).unwrap();
    let services = Services::new(all.world.timer.clone()).group(group).unwrap();
    let health = services.handle();
    block_on(all.world.append("bad", &["poison"]));
    let mut tasks = all.tasks;
    let error = tasks.block_on(async move { services.run().await.unwrap_err() });
    assert_eq!(&*error.name, "counts/log");
    let complaints = health.complaints(&Limits::default());
    assert!(complaints[0].contains("poisoned"), "{complaints:?}");
}
