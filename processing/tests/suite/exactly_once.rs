//! Exactly once: kills, lost races, stores that fail, rivals of one name, in orders that seeds draw.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::support::{Count, Counts, SECOND, World, number};
use annals::EventStore;
use annals_processing::{Ask, Partitions, Phase, Processor, Timer, ViewSink};
use annals_state::{Expected, StateStore};
use annals_testkit::processing::{Chaos, Interleaving, Odds, Task};
use futures_executor::block_on;

/// A world whose stores wait and fail. What `world` names sees what is really there.
struct Wild {
    world: World,
    state: Chaos<Arc<dyn StateStore>>,
    store: EventStore,
    log: Chaos<annals_memory::MemoryAdapter>,
}

impl Wild {
    fn new(seed: u64, odds: Odds) -> Self {
        let world = World::new();
        let state = Chaos::new(Arc::clone(&world.state), seed, odds);
        let log = Chaos::new(world.adapter.clone(), seed ^ 0xfeed, odds);
        let store = EventStore::new(log.clone());
        Self { world, state, store, log }
    }

    fn documents(&self) -> annals_state::Documents<Count> {
        let state: Arc<dyn StateStore> = Arc::new(self.state.clone());
        annals_state::Collection::new("counts").unwrap().on(state)
    }

    fn processor(&self, batch: usize) -> Processor {
        let timer = self.world.timer.clone();
        let processor =
            Processor::view("counts", &self.store, self.documents(), Counts::default(), timer);
        processor.unwrap().with_batch(batch, 1 << 20).with_poison_after(1_000)
    }

    fn spawn(&self, tasks: &mut Interleaving, batch: usize) -> Task {
        let processor = self.processor(batch);
        tasks.spawn(async move { processor.run().await.unwrap() })
    }

    /// Ends all failures, and lets a processor finish.
    fn calm(&self, tasks: &mut Interleaving) {
        self.state.set(Odds::CALM);
        self.log.set(Odds::CALM);
        let mut last = self.processor(500);
        tasks.block_on(async move { last.settle().await.unwrap() });
    }

    fn check(&self, seed: u64) {
        let (counts, expected) =
            block_on(async { (self.world.counts().await, self.world.expected().await) });
        assert_eq!(counts, expected, "seed {seed}");
        let events = block_on(self.world.tracking()).unwrap().events;
        assert_eq!(events, expected["total"].events, "seed {seed}");
    }
}

/// Appends in bursts beside the others.
fn spawn_appends(world: &World, tasks: &mut Interleaving, events: usize) -> Task {
    let world = world.clone();
    tasks.spawn(async move {
        for nth in 0..events {
            if nth % 5 == 0 {
                world.timer.sleep(SECOND / 7).await;
            }
            world.append(&format!("s-{}", nth % 3), &["counted"]).await;
        }
    })
}

#[test]
fn p1_after_50_kills_at_any_await_the_view_equals_one_run() {
    for seed in 0..12 {
        let wild = Wild::new(seed, Odds::CALM);
        let mut tasks = wild.world.tasks(seed);
        spawn_appends(&wild.world, &mut tasks, 60);
        for _ in 0..50 {
            let batch = 1 + tasks.draw(9);
            let task = wild.spawn(&mut tasks, batch);
            let steps = 1 + tasks.draw(60);
            tasks.steps(steps);
            tasks.kill(task);
        }
        while tasks.draw(10_000) != 0 && block_on(wild.world.expected())["total"].events < 60 {
            tasks.steps(10);
        }
        wild.calm(&mut tasks);
        wild.check(seed);
    }
}

#[test]
fn p2_stores_that_fail_and_unknown_outcomes_change_no_result() {
    for seed in 100..130 {
        let wild = Wild::new(seed, Odds { unknown_made: 0.15, unknown_lost: 0.1, ..Odds::WILD });
        let mut tasks = wild.world.tasks(seed);
        let appends = spawn_appends(&wild.world, &mut tasks, 60);
        let batch = 1 + tasks.draw(9);
        let running = wild.spawn(&mut tasks, batch);
        while tasks.is_running(appends) {
            tasks.steps(50);
        }
        tasks.steps(500);
        assert!(tasks.is_running(running), "nothing of this ends a processor");
        tasks.kill(running);
        wild.calm(&mut tasks);
        wild.check(seed);
    }
}

#[test]
fn p2_two_processors_of_one_name_count_each_event_once_under_failures_and_kills() {
    for seed in 200..230 {
        let wild = Wild::new(seed, Odds::WILD);
        let mut tasks = wild.world.tasks(seed);
        let appends = spawn_appends(&wild.world, &mut tasks, 60);
        let mut running = [wild.spawn(&mut tasks, 3), wild.spawn(&mut tasks, 4)];
        while tasks.is_running(appends) {
            tasks.steps(100);
            if tasks.draw(3) == 0 {
                let one = tasks.draw(2);
                tasks.kill(running[one]);
                running[one] = wild.spawn(&mut tasks, 5);
            }
        }
        assert!(running.iter().all(|one| tasks.is_running(*one)));
        for one in &running {
            tasks.kill(*one);
        }
        wild.calm(&mut tasks);
        wild.check(seed);
    }
}

#[test]
fn d22_of_two_processors_of_one_name_one_stands_by_and_takes_over() {
    let world = World::new();
    let mut tasks = world.tasks(5);
    let (first, second) = (world.processor(), world.processor());
    let handles = [first.handle(), second.handle()];
    let of_first = tasks.spawn(async move { first.run().await.unwrap() });
    let of_second = tasks.spawn(async move { second.run().await.unwrap() });
    let same = world.clone();
    let both = handles.clone();
    tasks.block_on(async move {
        for _ in 0..20 {
            let stored = same.append("s-0", &["counted"]).await;
            both[0].wait(stored[0].sequence_number, SECOND * 30).await.unwrap();
            same.timer.sleep(SECOND / 2).await;
        }
    });
    let standing = |nth: usize| handles[nth].status().phase == Phase::Standby;
    assert!(standing(0) != standing(1), "{:?} {:?}", handles[0].status(), handles[1].status());
    let (standby, worker) = if standing(0) { (0, of_second) } else { (1, of_first) };
    // The one that works is killed: the other one goes on after its time, not before.
    tasks.kill(worker);
    let (same, handle) = (world.clone(), handles[standby].clone());
    let before = world.timer.elapsed();
    tasks.block_on(async move {
        let stored = same.append("s-0", &["counted"]).await;
        handle.wait(stored[0].sequence_number, SECOND * 30).await.unwrap();
    });
    let took = world.timer.elapsed().saturating_sub(before);
    assert!(took >= SECOND * 4 && took <= SECOND * 8, "{took:?}");
    assert_eq!(block_on(world.counts()), block_on(world.expected()));
}

#[test]
fn p3_a_zombie_that_slept_through_a_takeover_commits_nothing() {
    for seed in 300..340 {
        let wild = Wild::new(seed, Odds::CALM);
        block_on(wild.world.append_many(40, 3));
        let mut tasks = wild.world.tasks(seed);
        let zombie = wild.processor(4);
        let mut sleeper = Interleaving::new(seed, wild.world.timer.clone());
        sleeper.spawn(async move { zombie.run().await.unwrap() });
        let steps = 1 + tasks.draw(80);
        sleeper.steps(steps);
        // It sleeps; another one does all.
        let mut other = wild.processor(6);
        tasks.block_on(async move { other.settle().await.unwrap() });
        wild.check(seed);
        // It wakes in the middle of whatever it did.
        sleeper.steps(300);
        wild.check(seed);
        block_on(wild.world.append_many(10, 3));
        sleeper.steps(3_000);
        wild.check(seed);
    }
}

#[test]
fn p6_a_document_that_a_hand_edits_meanwhile_is_read_again_and_never_overwritten() {
    for seed in 400..430 {
        let wild = Wild::new(seed, Odds::CALM);
        let mut tasks = wild.world.tasks(seed);
        spawn_appends(&wild.world, &mut tasks, 40);
        wild.spawn(&mut tasks, 4);
        let documents = wild.world.documents();
        let timer = wild.world.timer.clone();
        let edited = tasks.block_on(async move {
            let mut edited = 0;
            for _ in 0..30 {
                timer.sleep(SECOND / 31).await;
                let Some(found) = documents.get("total").await.unwrap() else { continue };
                let more = Count { events: found.value.events + 1_000, ..found.value };
                let write =
                    documents.write_at("total", &more, Expected::Is(found.revision), found.at);
                documents.commit([write.unwrap()]).await.unwrap();
                edited += 1;
            }
            edited
        });
        wild.calm(&mut tasks);
        let counts = block_on(wild.world.counts());
        let expected = block_on(wild.world.expected());
        assert!(edited > 10);
        assert_eq!(counts["total"].events, expected["total"].events + 1_000 * edited);
    }
}

#[test]
fn p6_parts_of_a_view_that_share_a_document_lose_no_update() {
    for (seed, partitions) in [
        (500, Partitions::hash(3).unwrap()),
        (501, Partitions::hash(2).unwrap()),
        (502, Partitions::prefixes(["orders/s-0", "orders/s"]).unwrap()),
        (503, Partitions::hash(8).unwrap()),
    ] {
        let wild = Wild::new(seed, Odds::WILD);
        let mut tasks = wild.world.tasks(seed);
        let appends = spawn_appends(&wild.world, &mut tasks, 60);
        let running: Vec<Task> = partitions
            .parts()
            .map(|part| {
                let processor = wild.processor(4).with_partition(part);
                tasks.spawn(async move { processor.run().await.unwrap() })
            })
            .collect();
        while tasks.is_running(appends) {
            tasks.steps(50);
        }
        for one in &running {
            tasks.kill(*one);
        }
        wild.state.set(Odds::CALM);
        wild.log.set(Odds::CALM);
        for part in partitions.parts() {
            let mut last = wild.processor(500).with_partition(part);
            tasks.block_on(async move { last.settle().await.unwrap() });
        }
        assert_eq!(block_on(wild.world.counts()), block_on(wild.world.expected()), "seed {seed}");
    }
}

#[test]
fn p7_a_cache_that_lost_track_is_forgotten() {
    block_on(async {
        let world = World::new();
        world.append_many(10, 2).await;
        let mut first = world.processor();
        first.settle().await.unwrap();
        world.append_many(10, 2).await;
        world.processor().settle().await.unwrap();
        world.append_many(10, 2).await;
        // Its cache is of before the other one's commit.
        first.settle().await.unwrap();
        assert_eq!(world.counts().await, world.expected().await);
    });
}

#[test]
fn p9_a_dropped_run_leaves_all_or_nothing_of_a_batch() {
    for steps in 0..60 {
        let wild = Wild::new(steps, Odds { yields: 1, ..Odds::CALM });
        block_on(wild.world.append_many(12, 2));
        let mut tasks = wild.world.tasks(steps);
        let task = wild.spawn(&mut tasks, 4);
        tasks.steps(usize::try_from(steps).unwrap());
        tasks.kill(task);
        let tracking = block_on(wild.world.tracking()).unwrap_or_default();
        let total = block_on(wild.world.counts()).get("total").map_or(0, |total| total.events);
        assert_eq!(total, tracking.events);
        assert_eq!(total, tracking.after.value());
        assert!(total.is_multiple_of(4));
    }
}

#[test]
fn p10_a_reset_that_is_killed_goes_on_and_no_zombie_spoils_it() {
    for seed in 600..640 {
        let wild = Wild::new(seed, Odds::CALM);
        block_on(wild.world.append_many(30, 3));
        let mut tasks = wild.world.tasks(seed);
        let mut first = wild.processor(7);
        tasks.block_on(async move { first.settle().await.unwrap() });
        block_on(wild.world.append_many(10, 3));
        let processor = wild.processor(3);
        let handle = processor.handle();
        let running = tasks.spawn(async move { processor.run().await.unwrap() });
        let zombie = wild.spawn(&mut tasks, 2);
        let ask = tasks.spawn(async move { drop(handle.ask(Ask::Reset).await) });
        let steps = tasks.draw(120);
        tasks.steps(steps);
        tasks.kill(running);
        tasks.kill(ask);
        let steps = tasks.draw(120);
        tasks.steps(steps);
        tasks.kill(zombie);
        wild.calm(&mut tasks);
        wild.check(seed);
    }
}

#[test]
fn a_batch_that_is_too_large_for_the_store_is_taken_in_parts() {
    /// Each event concerns 400 documents of its own.
    struct Wide;
    impl annals_processing::View for Wide {
        type State = u64;
        fn ids(
            &self,
            event: &annals::StoredEvent,
        ) -> Result<Vec<annals_state::DocumentId>, annals::BoxError> {
            let many = if *event.name() == "wide" { 20_000 } else { 4_000 };
            let id = |nth| format!("{}-{nth}", event.stream.name).try_into();
            Ok((0..many).map(id).collect::<Result<_, _>>()?)
        }
        fn apply(
            &self,
            _: &annals_state::DocumentId,
            state: &mut Option<u64>,
            _: &annals::StoredEvent,
        ) -> Result<(), annals::BoxError> {
            *state.get_or_insert_default() += 1;
            Ok(())
        }
    }
    block_on(async {
        let world = World::new();
        world.append_many(6, 6).await;
        let documents = annals_state::Collection::<u64>::new("wide").unwrap();
        let sink = ViewSink::new(Wide, documents.on(Arc::clone(&world.state)));
        let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
        let mut processor = Processor::sink("counts", &world.store, state, sink, timer).unwrap();
        assert_eq!(processor.settle().await.unwrap(), number(6));
        assert_eq!(world.ids("wide").await.len(), 24_000);
        // One event that is too large is a failure of that event.
        world.append("s-9", &["wide"]).await;
        let error = processor.settle().await.unwrap_err();
        assert!(error.to_string().contains("failed at event #7"), "{error}");
        assert_eq!(world.tracking().await.unwrap().after, number(6));
    });
}

#[test]
fn a_view_is_found_by_the_queries_of_its_collection() {
    block_on(async {
        use annals_state::{By, Collection, Filter, Find};
        let world = World::new();
        for (nth, name) in ["a", "b", "c"].iter().enumerate() {
            world.append(name, &vec!["counted"; nth + 1]).await;
        }
        let by_events = [By::descending("events").unwrap()];
        let counts = Collection::<Count>::new("counts").unwrap();
        let counts = counts.with_index("by_events", by_events.clone()).unwrap();
        let documents = counts.on(Arc::clone(&world.state));
        let timer = world.timer.clone();
        let view = Counts { no_total: true };
        Processor::view("counts", &world.store, documents.clone(), view, timer)
            .unwrap()
            .settle()
            .await
            .unwrap();
        let many = Filter::more("events", 1).unwrap();
        let found = documents.find(&Find::default().filter(many).sort(by_events)).await.unwrap();
        let ids: Vec<&str> = found.documents.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["c", "b"]);
        // A program with another definition of the collection stops, and says what differs.
        world.append("d", &["counted"]).await;
        let error = world.processor().settle().await.unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains("by_events"), "{text}");
    });
}
