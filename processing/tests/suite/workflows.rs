//! Workflows and their commands: what is recorded is done, what is not recorded is not, and nothing twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::support::{SECOND, World};
use annals::{
    BoxError, EventId, EventStore, NewEvent, Query, QueryItem, ReadOptions, Source, StoredEvent,
    StreamId, StreamName, WriteCondition,
};
use annals_processing::{
    Answer, Ask, Claim, Command, CommandBus, Middleware, Next, Partitions, Phase, ProcessingError,
    Processor, Services, Step, Timer, Workflow, ask, async_trait, reset,
};
use annals_state::{DocumentKey, StateStore, get_all};
use annals_testkit::processing::{Chaos, Odds};
use futures_executor::block_on;

/// Ships an order once it is placed and paid, whichever comes first; thanks for each third one.
struct Shipping;

#[derive(Default)]
struct Seen {
    noted: Vec<String>,
}

impl Workflow for Shipping {
    type State = Seen;

    fn instance(&self, event: &StoredEvent) -> Result<Option<StreamName>, BoxError> {
        let is_order = event.stream.category.as_str() == "orders";
        Ok(is_order.then(|| event.stream.name.clone()))
    }

    fn initial(&self) -> Seen {
        Seen::default()
    }

    fn evolve(&self, seen: &mut Seen, event: &StoredEvent) -> Result<(), BoxError> {
        seen.noted.push(event.name().as_str().to_owned());
        Ok(())
    }

    fn decide(&self, seen: &Seen, input: &StoredEvent) -> Result<Vec<Step>, BoxError> {
        let name = input.name().as_str();
        let noted = format!("{name}-noted");
        if name == "ignored" || seen.noted.contains(&noted) {
            return Ok(Vec::new());
        }
        let mut steps = vec![Step::Event(NewEvent::json(noted.as_str(), &name)?)];
        let is_complete = seen.noted.iter().any(|one| one.ends_with("-noted"));
        if is_complete {
            steps.push(Step::Command(NewEvent::json("ship", &input.stream.to_string())?));
        }
        Ok(steps)
    }
}

async fn all(store: &EventStore, query: impl Into<Query>) -> Vec<StoredEvent> {
    store.read(query, ReadOptions::default()).into_vec().await.unwrap()
}

fn category(name: &'static str) -> QueryItem {
    QueryItem::new(Source::Category(annals::CategoryName::from_static(name)))
}

fn names(events: &[StoredEvent]) -> Vec<&str> {
    events.iter().map(|event| event.name().as_str()).collect()
}

type Done = Arc<Mutex<Vec<EventId>>>;

/// Ships once for each command, as a handler does that derives the ids of its events.
fn bus(store: &EventStore, done: &Done) -> CommandBus {
    let (store, done) = (store.clone(), Arc::clone(done));
    let ship = move |command: Command| {
        let (store, done) = (store.clone(), Arc::clone(&done));
        async move {
            done.lock().unwrap().push(command.id());
            let order: String = command.event().payload().to_json()?;
            let shipped = NewEvent::json("shipped", &order)?.with_id(command.id().derived(0));
            let stream = store.stream(StreamId::from_static("parcels", "all"));
            match stream.append([shipped], WriteCondition::Always).await {
                Ok(_) | Err(annals::Error::DuplicateEvent(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
    };
    CommandBus::new().on("ship", ship).unwrap()
}

struct Place {
    store: EventStore,
    state: Arc<dyn StateStore>,
    world: World,
    done: Done,
}

impl Place {
    fn new(world: &World) -> Self {
        let (store, state) = (world.store.clone(), Arc::clone(&world.state));
        Self { store, state, world: world.clone(), done: Done::default() }
    }

    fn workflow(&self) -> Processor {
        let (state, timer) = (Arc::clone(&self.state), self.world.timer.clone());
        let made = Processor::workflow("shipping", &self.store, state, Shipping, timer).unwrap();
        made.with_poison_after(1_000).with_takeover(SECOND)
    }

    fn commands(&self) -> Processor {
        let (state, timer) = (Arc::clone(&self.state), self.world.timer.clone());
        let bus = bus(&self.store, &self.done);
        let made = Processor::commands("shipper", &self.store, state, "shipping", bus, timer);
        made.unwrap().with_poison_after(1_000).with_takeover(SECOND)
    }
}

#[test]
fn y7_events_and_commands_are_recorded_together_with_their_causes() {
    block_on(async {
        let world = World::new();
        let place = Place::new(&world);
        world.append("o-1", &["placed"]).await;
        let paid = world.append("o-1", &["paid"]).await.remove(0);
        place.workflow().settle().await.unwrap();
        let recorded = all(&world.store, category("shipping")).await;
        assert_eq!(names(&recorded), ["placed-noted", "paid-noted", "ship"]);
        assert_eq!(recorded[2].id(), paid.id().derived_for("shipping").derived(1));
        let metadata: serde_json::Value = recorded[2].metadata().unwrap().to_json().unwrap();
        assert_eq!(metadata["$causationId"], paid.id().to_string());
        assert_eq!(metadata["$input"], paid.sequence_number.value());
        // The input is not copied, and nothing is dispatched yet.
        assert!(place.done.lock().unwrap().is_empty());
    });
}

#[test]
fn y8_a_crash_between_the_commit_and_the_dispatch_loses_no_command() {
    block_on(async {
        let world = World::new();
        let place = Place::new(&world);
        world.append("o-1", &["placed", "paid"]).await;
        place.workflow().settle().await.unwrap();
        // The process ended here. Another one begins:
        place.commands().settle().await.unwrap();
        place.commands().settle().await.unwrap();
        assert_eq!(place.done.lock().unwrap().len(), 1, "dispatched on restart, and once");
        assert_eq!(all(&world.store, category("parcels")).await.len(), 1);
    });
}

#[test]
fn y7_y8_whatever_is_killed_or_fails_each_complete_order_is_shipped_once() {
    for seed in 0..15 {
        let world = World::new();
        let log = Chaos::new(world.adapter.clone(), seed, Odds::CALM);
        let state = Chaos::new(Arc::clone(&world.state), seed ^ 0xfeed, Odds::CALM);
        let mut place = Place::new(&world);
        place.store = EventStore::new(log.clone());
        place.state = Arc::new(state.clone());
        let mut tasks = world.tasks(seed);
        let appending = world.clone();
        tasks.spawn(async move {
            for nth in 0..36 {
                if nth % 6 == 0 {
                    appending.timer.sleep(SECOND / 9).await;
                }
                let name = ["placed", "ignored", "paid"][nth % 3];
                appending.append(&format!("o-{}", nth / 6), &[name]).await;
            }
        });
        for round in 0..25 {
            let odds = if round % 2 == 0 { Odds::WILD } else { Odds::CALM };
            state.set(odds);
            log.set(odds);
            let mut running = Vec::new();
            for nth in 0..=tasks.draw(4) {
                let made = if nth % 2 == 0 { place.workflow() } else { place.commands() };
                let made = made.with_batch(1 + tasks.draw(6), 1 << 20);
                running.push(tasks.spawn(async move { made.run().await.unwrap() }));
            }
            let steps = 1 + tasks.draw(150);
            tasks.steps(steps);
            for task in running {
                tasks.kill(task);
            }
        }
        state.set(Odds::CALM);
        log.set(Odds::CALM);
        while block_on(all(&world.store, category("orders"))).len() < 36 {
            assert!(tasks.step());
        }
        let (mut first, mut second) = (place.workflow(), place.commands());
        tasks.block_on(async move {
            first.settle().await.unwrap();
            second.settle().await.unwrap();
        });
        let mut shipped: BTreeMap<String, u32> = BTreeMap::new();
        for event in block_on(all(&world.store, category("parcels"))) {
            *shipped.entry(event.payload().to_json().unwrap()).or_default() += 1;
        }
        let wanted: BTreeMap<String, u32> =
            (0..6).map(|nth| (format!("orders/o-{nth}"), 1)).collect();
        assert_eq!(shipped, wanted, "seed {seed}");
        // Nothing is dispatched that is not recorded.
        let recorded: Vec<EventId> =
            block_on(all(&world.store, category("shipping"))).iter().map(StoredEvent::id).collect();
        assert!(place.done.lock().unwrap().iter().all(|id| recorded.contains(id)), "seed {seed}");
    }
}

#[test]
fn y8_a_command_whose_handler_fails_is_dispatched_again_and_those_before_it_are_not() {
    block_on(async {
        let world = World::new();
        for order in ["o-1", "o-2", "o-3"] {
            world.append(order, &["placed", "paid"]).await;
        }
        Place::new(&world).workflow().settle().await.unwrap();
        let done: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&done);
        let bus = CommandBus::new().on("ship", move |command| {
            let seen = Arc::clone(&seen);
            async move {
                let order: String = command.event().payload().to_json()?;
                seen.lock().unwrap().push(order.clone());
                let count = seen.lock().unwrap().len();
                if order == "orders/o-2" && count < 4 {
                    Err("no parcel left".into())
                } else {
                    Ok(())
                }
            }
        });
        let retry = annals_processing::Retry::exponential(SECOND / 1_000, SECOND / 100);
        let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
        let made =
            Processor::commands("shipper", &world.store, state, "shipping", bus.unwrap(), timer);
        let decide = move |_: &_| annals_processing::Decision::Retry(retry.clone());
        let mut made = made.unwrap().with_errors(decide);
        let mut tasks = world.tasks(1);
        tasks.block_on(async move { made.settle().await.unwrap() });
        let done = done.lock().unwrap().clone();
        assert_eq!(done, ["orders/o-1", "orders/o-2", "orders/o-2", "orders/o-2", "orders/o-3"]);
    });
}

#[test]
fn y8_a_reset_of_dispatched_commands_is_rejected_beforehand_and_loses_nothing() {
    let world = World::new();
    let place = Place::new(&world);
    block_on(world.append("o-1", &["placed", "paid"]));
    block_on(place.workflow().settle()).unwrap();
    block_on(place.commands().settle()).unwrap();
    let claim = Claim::new("shipper").unwrap();
    let tracking = || {
        let key = DocumentKey::new("annals.tracking", "shipper/log/whole").unwrap();
        block_on(get_all(&world.state, vec![key])).unwrap().pop().flatten().unwrap()
    };
    let before = tracking();
    // From anywhere, while nothing runs.
    let rejected = block_on(reset(&*world.state, &claim));
    assert!(matches!(rejected, Err(ProcessingError::Misuse(_))), "{rejected:?}");
    assert_eq!(tracking(), before);
    // Of one that runs, by its handle and through the store: it goes on.
    let mut tasks = world.tasks(3);
    let services = Services::new(world.timer.clone()).processor(place.commands()).unwrap();
    let all = services.handle();
    let running = tasks.spawn(async move { services.run().await.unwrap() });
    let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
    let answer = tasks.block_on(async move {
        ask(&*state, &timer, &claim, Ask::Reset, SECOND * 30).await.unwrap()
    });
    assert!(matches!(answer, Answer::Rejected(_)), "{answer:?}");
    all.stop();
    while tasks.is_running(running) {
        assert!(tasks.step());
    }
    let single = place.commands();
    let handle = single.handle();
    let asked = handle.clone();
    tasks.spawn(async move { single.run().await.unwrap() });
    let answer = tasks.block_on(async move { asked.ask(Ask::Reset).await.unwrap() });
    assert!(matches!(answer, Answer::Rejected(_)), "{answer:?}");
    assert_ne!(handle.status().phase, Phase::Failed);
    block_on(world.append("o-2", &["placed", "paid"]));
    block_on(place.workflow().settle()).unwrap();
    while block_on(all_parcels(&world)) < 2 {
        assert!(tasks.step());
    }
    assert_eq!(place.done.lock().unwrap().len(), 2, "what was dispatched is not dispatched again");
}

async fn all_parcels(world: &World) -> usize {
    all(&world.store, category("parcels")).await.len()
}

#[test]
fn y7_inputs_of_one_instance_in_several_parts_are_an_error_and_not_a_guess() {
    /// One instance for all orders.
    struct Wide;

    impl Workflow for Wide {
        type State = Seen;
        fn instance(&self, event: &StoredEvent) -> Result<Option<StreamName>, BoxError> {
            let is_order = event.stream.category.as_str() == "orders";
            Ok(is_order.then(|| StreamName::from_static("all")))
        }
        fn initial(&self) -> Seen {
            Seen::default()
        }
        fn evolve(&self, _: &mut Seen, _: &StoredEvent) -> Result<(), BoxError> {
            Ok(())
        }
        fn decide(&self, _: &Seen, input: &StoredEvent) -> Result<Vec<Step>, BoxError> {
            Ok(vec![Step::Event(NewEvent::json("noted", &input.position)?)])
        }
    }

    block_on(async {
        let world = World::new();
        world.append_many(20, 7).await;
        let mut failed = false;
        for part in Partitions::hash(2).unwrap().parts() {
            let (state, timer) = (Arc::clone(&world.state), world.timer.clone());
            let made = Processor::workflow("wide", &world.store, state, Wide, timer).unwrap();
            let outcome = { made.with_partition(part) }.settle().await;
            failed |= matches!(outcome, Err(ProcessingError::Handler(_)));
        }
        assert!(failed);
    });
}

#[test]
fn r3_a_second_handler_and_a_missing_one_are_errors_and_middleware_is_around() {
    struct Notes(&'static str, Arc<Mutex<Vec<String>>>);

    #[async_trait]
    impl Middleware for Notes {
        async fn handle(&self, command: Command, next: Next<'_>) -> Result<(), BoxError> {
            self.1.lock().unwrap().push(format!("{} begins", self.0));
            let outcome = next.run(command).await;
            self.1.lock().unwrap().push(format!("{} ends", self.0));
            outcome
        }
    }

    block_on(async {
        let notes: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&notes);
        let bus = CommandBus::new()
            .on("ship", move |_| {
                seen.lock().unwrap().push("ships".into());
                async { Ok(()) }
            })
            .unwrap()
            .around(Notes("inner", Arc::clone(&notes)))
            .around(Notes("outer", Arc::clone(&notes)));
        let twice = bus.clone().on("ship", |_| async { Ok(()) });
        assert!(matches!(twice, Err(ProcessingError::Misuse(text)) if text.contains("ship")));
        let world = World::new();
        let events = world.append("o-1", &["ship", "burn"]).await;
        bus.dispatch(Command::new(events[0].clone())).await.unwrap();
        let wanted = ["outer begins", "inner begins", "ships", "inner ends", "outer ends"];
        assert_eq!(*notes.lock().unwrap(), wanted);
        let missing = bus.dispatch(Command::new(events[1].clone())).await.unwrap_err();
        assert!(missing.to_string().contains("burn"), "{missing}");
    });
}
