//! Systems: orders, reservations and payments that follow one another, in one thread, in tasks, in groups.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Count, Counts, SECOND, World};
use annals::{BoxError, NewEvent, QueryItem, Source, StoredEvent, StreamId, WriteCondition};
use annals_processing::{
    After, Applications, Claim, LogUpTo, Out, Partitions, Policy, PolicySink, ProcessingError,
    Processor, Progress, System, Timer, ViewSink, async_trait,
};
use annals_state::StateStore;
use annals_testkit::processing::Task;
use futures_executor::block_on;

/// Appends to the stream of the same name in `category` the event `then`, after an event named `on`.
struct Answer {
    on: &'static str,
    category: &'static str,
    then: &'static str,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl Policy for Answer {
    async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
        if *event.name() == self.on {
            if self.fails.load(Ordering::SeqCst) {
                return Err("it does not answer".into());
            }
            let stream = StreamId::new(self.category, event.stream.name.as_str())?;
            out.append(stream, [NewEvent::json(self.then, &1)?], WriteCondition::Always)?;
        }
        Ok(())
    }
}

fn answer(on: &'static str, category: &'static str, then: &'static str) -> Answer {
    Answer { on, category, then, fails: Arc::default() }
}

/// Several answers of one application.
struct Several(Vec<Answer>);

#[async_trait]
impl Policy for Several {
    async fn react(
        &self,
        event: &StoredEvent,
        log: &LogUpTo,
        out: &mut Out,
    ) -> Result<(), BoxError> {
        for one in &self.0 {
            one.react(event, log, out).await?;
        }
        Ok(())
    }
}

fn shop() -> Applications {
    failing_shop(&Arc::default())
}

fn failing_shop(fails: &Arc<AtomicBool>) -> Applications {
    let orders = Several(vec![
        answer("reserved", "orders", "is-reserved"),
        answer("paid", "orders", "is-paid"),
    ]);
    let payments = Answer { fails: Arc::clone(fails), ..answer("is-reserved", "payments", "paid") };
    System::new()
        .application("orders", orders)
        .unwrap()
        .application("reservations", answer("placed", "reservations", "reserved"))
        .unwrap()
        .application("payments", payments)
        .unwrap()
        .source("catalogue")
        .unwrap()
        .pipe(["orders", "reservations", "orders"])
        .pipe(["orders", "payments", "orders"])
        .build()
        .unwrap()
}

fn count(world: &World, name: &str) -> usize {
    let events = block_on(world.store.log().read(annals::ReadOptions::default()).into_vec());
    events.unwrap().iter().filter(|event| *event.name() == name).count()
}

fn check(world: &World, orders: usize) {
    for name in ["placed", "reserved", "is-reserved", "paid", "is-paid"] {
        assert_eq!(count(world, name), orders, "{name}");
    }
}

#[test]
fn r5_leaders_and_followers_are_derived_and_a_follower_without_a_policy_is_rejected() {
    let shop = shop();
    assert_eq!(shop.processors(), ["orders", "payments", "reservations"]);
    assert_eq!(shop.singles(), ["catalogue"]);
    assert!(shop.leaders().is_empty() && shop.followers().is_empty());
    let line = System::new()
        .source("a")
        .unwrap()
        .application("b", answer("x", "b", "y"))
        .unwrap()
        .application("c", answer("y", "c", "z"))
        .unwrap()
        .pipe(["a", "b", "c"])
        .build()
        .unwrap();
    assert_eq!(
        (line.leaders(), line.processors(), line.followers()),
        (vec!["a"], vec!["b"], vec!["c"])
    );
    let without = System::new().source("a").unwrap().source("b").unwrap().pipe(["a", "b"]).build();
    assert!(matches!(without, Err(ProcessingError::Misuse(text)) if text.contains("b follows a")));
    let unknown = System::new().source("a").unwrap().pipe(["a", "b"]).build();
    assert!(matches!(unknown, Err(ProcessingError::Misuse(_))));
    assert!(System::new().source("a").unwrap().source("a").is_err());
}

#[test]
fn r6_when_settle_returns_everything_downstream_is_done_also_over_loops_and_restarts() {
    let world = World::new();
    for round in 1..=3 {
        // Another process each time.
        let mut settling = shop().settling(&world.store, &world.state, &world.timer).unwrap();
        for order in 0..5 {
            block_on(world.append(&format!("o-{round}-{order}"), &["placed"]));
            block_on(settling.settle()).unwrap();
            check(&world, (round - 1) * 5 + order + 1);
        }
    }
}

#[test]
fn r7_tasks_make_the_same_and_begin_with_a_backlog_without_a_prompt() {
    for seed in 0..8 {
        let world = World::new();
        for order in 0..5 {
            block_on(world.append(&format!("o-{order}"), &["placed"]));
        }
        let mut tasks = world.tasks(seed);
        let services = shop().services(&world.store, &world.state, &world.timer).unwrap();
        let handle = services.handle();
        let running = tasks.spawn(async move { services.run().await.unwrap() });
        for order in 5..10 {
            let steps = tasks.draw(60);
            tasks.steps(steps);
            block_on(world.append(&format!("o-{order}"), &["placed"]));
        }
        tasks.steps(4_000);
        check(&world, 10);
        handle.stop();
        tasks.steps(500);
        assert!(!tasks.is_running(running));
        // A backlog that is left at a stop is processed at the next start.
        block_on(world.append("o-10", &["placed"]));
        let services = shop().services(&world.store, &world.state, &world.timer).unwrap();
        tasks.spawn(async move { services.run().await.unwrap() });
        tasks.steps(2_000);
        check(&world, 11);
    }
}

#[test]
fn r7_an_error_surfaces_stops_the_others_cleanly_and_loses_nothing() {
    let world = World::new();
    block_on(world.append("o-1", &["placed"]));
    let fails = Arc::new(AtomicBool::new(true));
    let services = failing_shop(&fails).services(&world.store, &world.state, &world.timer).unwrap();
    let mut tasks = world.tasks(1);
    let error = tasks.block_on(async move { services.run().await.unwrap_err() });
    assert!(error.name.starts_with("payments/"), "{}", error.name);
    assert_eq!(count(&world, "paid"), 0);
    fails.store(false, Ordering::SeqCst);
    let mut settling = failing_shop(&fails).settling(&world.store, &world.state, &world.timer);
    block_on(settling.as_mut().unwrap().settle()).unwrap();
    check(&world, 1);
}

#[test]
fn r8_several_processes_share_it_and_one_that_is_killed_midway_costs_nothing() {
    for seed in 0..10 {
        let world = World::new();
        let mut tasks = world.tasks(seed);
        let spawn = |tasks: &mut annals_testkit::processing::Interleaving| -> Vec<Task> {
            let parts = Partitions::hash(3).unwrap();
            let groups = shop().groups(&world.store, &world.state, &world.timer, &parts).unwrap();
            let run = |(_, group): (_, annals_processing::Group)| {
                tasks.spawn(async move { group.run().await.unwrap() })
            };
            groups.into_iter().map(run).collect()
        };
        let first = spawn(&mut tasks);
        let _second = spawn(&mut tasks);
        for order in 0..15 {
            block_on(world.append(&format!("o-{order}"), &["placed"]));
            let steps = tasks.draw(80);
            tasks.steps(steps);
        }
        for task in first {
            tasks.kill(task);
        }
        let end = world.timer.elapsed() + SECOND * 60;
        while world.timer.elapsed() < end {
            tasks.step();
        }
        check(&world, 15);
    }
}

#[test]
fn r8_a_processor_takes_an_event_only_once_those_it_depends_on_have_applied_it() {
    /// Reads the view that another processor makes, and says what it finds.
    struct Reads(annals_state::Documents<Count>);

    #[async_trait]
    impl Policy for Reads {
        async fn react(
            &self,
            event: &StoredEvent,
            _: &LogUpTo,
            out: &mut Out,
        ) -> Result<(), BoxError> {
            let found =
                self.0.get(event.stream.name.as_str()).await?.map(|found| found.value.events);
            let at_least = event.position.value() + 1;
            assert!(found.is_some_and(|events| events >= at_least), "{event}: {found:?}");
            let stream = StreamId::from_static("read", "all");
            Ok(out.append(stream, [NewEvent::json("read", &found)?], WriteCondition::Always)?)
        }
    }

    for seed in 0..8 {
        let world = World::new();
        let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
        let progress =
            Progress::new(Arc::clone(&state), timer.clone(), Claim::new("counts").unwrap());
        let reads =
            PolicySink::tracked_in_log(&world.store, Arc::clone(&state), Reads(world.documents()));
        let sink = After::new(reads.unwrap(), [progress]);
        let orders = QueryItem::new(Source::Category(annals::CategoryName::from_static("orders")));
        let later = Processor::sink("later", &world.store, state, sink, timer).unwrap();
        let later = later.with_query(orders).unwrap();
        let mut tasks = world.tasks(seed);
        tasks.spawn(async move { later.run().await.unwrap() });
        block_on(world.append_many(10, 3));
        tasks.steps(300);
        assert_eq!(count(&world, "read"), 0, "it waits");
        let state: Arc<dyn StateStore> = Arc::clone(&world.state);
        let sink = ViewSink::new(Counts { no_total: true }, world.documents());
        let view =
            Processor::sink("counts", &world.store, state, sink, world.timer.clone()).unwrap();
        tasks.spawn(async move { view.with_batch(2, 1 << 20).run().await.unwrap() });
        let end = world.timer.elapsed() + SECOND * 60;
        while world.timer.elapsed() < end {
            tasks.step();
        }
        assert_eq!(count(&world, "read"), 10);
    }
}
