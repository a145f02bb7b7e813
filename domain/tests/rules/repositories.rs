//! Rules G and C: repositories and commands.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use annals::{
    Error as StoreError, EventId, EventStore, NewEvent, ReadOptions, StoredEvent, StreamId,
    WriteCondition,
};
use annals_domain::{Aggregate, Error, Event, ExecuteError, Repository, Retry, Unknown};
use annals_memory::MemoryAdapter;
use annals_testkit::{Fault, Faulty, Point, Recording};

use crate::world::{World, WorldEvent};

fn store() -> EventStore {
    EventStore::new(MemoryAdapter::new())
}

fn id(text: &str) -> String {
    text.to_owned()
}

async fn log(store: &EventStore) -> Vec<StoredEvent> {
    store.log().read(ReadOptions::default()).into_vec().await.expect("a read")
}

async fn created(store: &EventStore, name: &str) -> Repository<World> {
    let repository = Repository::new(store.clone());
    repository.create(&id(name), || World::created(name)).await.expect("a world");
    repository
}

fn failure<T: std::fmt::Debug, X: std::fmt::Debug>(outcome: Result<T, ExecuteError<X>>) -> Error {
    match outcome {
        Err(ExecuteError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn g1_what_was_never_created_or_was_discarded_is_not_found() {
    let store = store();
    let repository = created(&store, "earth").await;
    for missing in ["mars", "earth"] {
        if missing == "earth" {
            assert!(repository.contains(&id("earth")).await.expect("a read"));
            repository.discard(&id("earth")).await.expect("it exists");
        }
        assert!(repository.get(&id(missing)).await.is_err_and(|error| error.is_not_found()));
        assert!(!repository.contains(&id(missing)).await.expect("a read"));
        assert!(repository.discard(&id(missing)).await.is_err_and(|error| error.is_not_found()));
    }
    assert_eq!(log(&store).await.len(), 2);
}

#[tokio::test]
async fn g2_a_version_is_the_state_after_so_many_events() {
    let store = store();
    for repository in [
        created(&store, "earth").await,
        Repository::new(store.clone()).cached(std::num::NonZeroUsize::MIN),
    ] {
        let earth = id("earth");
        if repository.get(&earth).await.expect("earth").version() == 1 {
            for what in ["dinosaurs", "trucks", "internet"] {
                repository.execute(&earth, |world| world.make_it_so(what)).await.expect("an event");
            }
        }
        for version in 1..=4 {
            let root = repository.get_at(&earth, version).await.expect("a version");
            assert_eq!(root.version(), version);
            assert_eq!(root.history.len() as u64, version - 1);
        }
        assert!(repository.get_at(&earth, 0).await.is_err_and(|error| error.is_not_found()));
        let error = repository.get_at(&earth, 99).await.expect_err("not reached");
        assert!(
            matches!(error, Error::VersionNotReached { current: 4, wanted: 99, .. }),
            "{error}"
        );
        assert_eq!(repository.at_most(&earth, 99).await.expect("the current").version(), 4);
        assert_eq!(repository.at_most(&earth, 2).await.expect("version 2").version(), 2);
    }
}

#[tokio::test]
async fn g3_earlier_versions_of_a_discarded_one_can_be_loaded() {
    let repository = created(&store(), "earth").await;
    repository.execute(&id("earth"), |world| world.make_it_so("trucks")).await.expect("an event");
    repository.discard(&id("earth")).await.expect("it exists");
    assert_eq!(repository.get_at(&id("earth"), 2).await.expect("it was").history, ["trucks"]);
    assert!(repository.get_at(&id("earth"), 3).await.is_err_and(|error| error.is_not_found()));
}

#[derive(Event)]
#[event(name = "Dog.Registered")]
struct Registered;

#[derive(Clone, Default)]
struct Dog;

impl Aggregate for Dog {
    const CATEGORY: &'static str = "dogs";
    type Id = String;
    type Event = Registered;

    fn apply(&mut self, _: Registered) {}
}

#[tokio::test]
async fn g4_the_same_id_under_two_types_does_not_collide() {
    let store = store();
    created(&store, "rex").await;
    let dogs = Repository::<Dog>::new(store);
    assert!(!dogs.contains(&id("rex")).await.expect("a read"));
    dogs.create(&id("rex"), || Registered).await.expect("a dog");
}

#[tokio::test]
async fn g5_an_id_that_is_no_name_of_a_stream_is_invalid() {
    let repository = Repository::<World>::new(store());
    for bad in ["", "a\nb"] {
        let error = repository.get(&id(bad)).await.expect_err("no name");
        assert!(matches!(error, Error::Store(StoreError::Invalid(_))), "{error}");
        let error = failure(repository.create(&id(bad), || World::created("x")).await);
        assert!(matches!(error, Error::Store(StoreError::Invalid(_))), "{error}");
    }
}

#[tokio::test]
async fn e4_unknown_names_are_an_error_or_count_in_the_version() {
    let store = store();
    let repository = created(&store, "earth").await;
    let other = NewEvent::json("World.Moved", &1).expect("an event");
    let stream = store.stream(StreamId::from_static("worlds", "earth"));
    stream.append([other], WriteCondition::Always).await.expect("an append");
    let error = repository.get(&id("earth")).await.expect_err("unknown");
    assert_eq!(error.to_string(), "event World.Moved at worlds/earth@1 (#2) cannot be read");
    let skipping = repository.unknown(Unknown::Skip);
    let done = skipping.execute(&id("earth"), |world| world.make_it_so("x")).await;
    assert_eq!(done.expect("an event").version(), 3);
}

/// Appends the number of events that the decision saw.
fn count(world: &World) -> WorldEvent {
    world.make_it_so(&world.history.len().to_string())
}

async fn race(repository: &Repository<World>, tasks: u32, each: u32) -> u32 {
    let attempts = Arc::new(AtomicU32::new(0));
    let running = (0..tasks).map(|_| {
        let (repository, attempts) = (repository.clone(), Arc::clone(&attempts));
        tokio::spawn(async move {
            for _ in 0..each {
                let done = repository.execute(&id("earth"), count).await.expect("an event");
                attempts.fetch_add(done.attempts, Ordering::Relaxed);
            }
        })
    });
    for task in running.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    let earth = repository.get(&id("earth")).await.expect("earth");
    let expected: Vec<String> = (0..tasks * each).map(|nth| nth.to_string()).collect();
    assert_eq!(earth.history, expected);
    attempts.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_each_decision_sees_the_state_that_its_append_follows() {
    let many = Retry::attempts(NonZeroU32::new(1_000).expect("not 0"));
    for cached in [false, true] {
        for queued in [false, true] {
            let mut repository = created(&store(), "earth").await.retry(many);
            if cached {
                repository = repository.cached(std::num::NonZeroUsize::MIN);
            }
            if !queued {
                repository = repository.unqueued();
            }
            race(&repository, 16, 8).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c8_with_turns_callers_of_one_process_need_one_attempt_each() {
    let repository = created(&store(), "earth").await.retry(Retry::NONE);
    assert_eq!(race(&repository, 32, 4).await, 128);
}

#[tokio::test]
async fn c2_create_wants_none_and_execute_one_and_neither_asks_the_decision() {
    let store = store();
    let repository = created(&store, "earth").await;
    let mut asked = 0;
    let again = repository
        .create(&id("earth"), || {
            asked += 1;
            World::created("again")
        })
        .await;
    assert!(matches!(failure(again), Error::AlreadyExists(_)));
    let missing = repository
        .execute(&id("mars"), |world| {
            asked += 1;
            world.make_it_so("x")
        })
        .await;
    assert!(failure(missing).is_not_found());
    repository.discard(&id("earth")).await.expect("it exists");
    assert!(matches!(
        failure(repository.create(&id("earth"), || World::created("x")).await),
        Error::AlreadyExists(_)
    ));
    let discarded = repository
        .execute_or_create(&id("earth"), |world| {
            asked += 1;
            world.make_it_so("x")
        })
        .await;
    assert!(failure(discarded).is_not_found());
    assert_eq!(asked, 0);
    let made = repository
        .execute_or_create(&id("mars"), |world| {
            assert_eq!(world, &World::default());
            World::created("Mars")
        })
        .await;
    assert_eq!(made.expect("mars").state().name, "Mars");
}

/// Another writer, who is always there first.
async fn interfere(store: &EventStore) {
    let event = NewEvent::json("World.SomethingHappened", &serde_json::json!({ "what": "other" }));
    let stream = store.stream(StreamId::from_static("worlds", "earth"));
    stream.append([event.expect("an event")], WriteCondition::Always).await.expect("an append");
}

#[tokio::test]
async fn c3_after_all_attempts_it_is_a_conflict() {
    for most in [1, 3] {
        let adapter = Faulty::new(MemoryAdapter::new());
        let store = EventStore::new(adapter.clone());
        let repository = created(&store, "earth").await;
        for _ in 0..most {
            let inner = EventStore::new(adapter.inner().clone());
            let other = async move { interfere(&inner).await };
            adapter.inject(Point::BeforeAppend, Fault::delay(other));
        }
        let repository = repository.retry(Retry::attempts(NonZeroU32::new(most).expect("not 0")));
        let mut decisions = 0;
        let outcome = repository
            .execute(&id("earth"), |world| {
                decisions += 1;
                count(world)
            })
            .await;
        let error = failure(outcome);
        assert!(matches!(error, Error::Conflict { attempts, .. } if attempts == most), "{error}");
        assert_eq!((decisions, log(&store).await.len()), (most, 1 + most as usize));
    }
}

#[tokio::test]
async fn c4_a_rejection_appends_nothing_and_is_not_tried_again() {
    let store = store();
    let repository = created(&store, "earth").await;
    let mut asked = 0;
    let outcome = repository
        .execute(&id("earth"), |_| -> Result<WorldEvent, &str> {
            asked += 1;
            Err("no")
        })
        .await;
    assert_eq!(outcome.expect_err("rejected").rejection(), Some(&"no"));
    assert_eq!((asked, log(&store).await.len()), (1, 1));
}

#[tokio::test]
async fn c5_no_events_no_append() {
    let adapter = Recording::new(MemoryAdapter::new());
    let repository = created(&EventStore::new(adapter.clone()), "earth").await;
    drop(adapter.take());
    let done = repository.execute(&id("earth"), |_| None::<WorldEvent>).await.expect("nothing");
    assert_eq!((done.events.len(), done.version(), done.repeated), (0, 1, false));
    assert_eq!(adapter.take().len(), 1, "one read");
}

#[tokio::test]
async fn c6_a_command_id_is_executed_once() {
    let store = store();
    let repository = created(&store, "earth").await;
    let command = EventId::generate();
    let once = |world: &World| -> Result<[WorldEvent; 2], &'static str> {
        if world.history.is_empty() {
            Ok([world.make_it_so("a"), world.make_it_so("b")])
        } else {
            Err("it happened already")
        }
    };
    let first = repository.command(command).expect("ids").execute(&id("earth"), once).await;
    let first = first.expect("the first time");
    assert_eq!((first.events.len(), first.repeated), (2, false));
    assert_eq!(first.events[1].id(), command.derived(1));
    // By another process; the repeat would be rejected, or decide on nothing, or on something else.
    let other = Repository::<World>::new(store.clone()).command(command).expect("ids");
    let repeats = [
        other.execute(&id("earth"), once).await.expect("a repeat"),
        other
            .execute(&id("earth"), |_| -> Result<Option<WorldEvent>, &str> { Ok(None) })
            .await
            .expect("a repeat"),
        other
            .execute(&id("earth"), |world| -> Result<_, &str> { Ok(world.make_it_so("a")) })
            .await
            .expect("a repeat"),
        other
            .execute(&id("earth"), |world| -> Result<_, &str> { Ok(world.make_it_so("c")) })
            .await
            .expect("a repeat"),
    ];
    for repeat in repeats {
        assert!(repeat.repeated);
        assert_eq!(repeat.events, first.events);
        assert_eq!(repeat.state().history, ["a", "b"]);
    }
    // Creating and discarding are commands, too.
    let create = EventId::generate();
    for repeated in [false, true] {
        let mars = repository.command(create).expect("ids");
        let done = mars.create(&id("mars"), || World::created("Mars")).await.expect("mars");
        assert_eq!((done.repeated, done.events[0].id()), (repeated, create.derived(0)));
    }
    let discard = repository.command(EventId::generate()).expect("ids");
    let first = discard.discard(&id("mars")).await.expect("it exists");
    assert_eq!(discard.discard(&id("mars")).await.expect("a repeat"), first);
    assert_eq!(log(&store).await.len(), 5);
}

#[tokio::test]
async fn c6_a_command_id_outlives_snapshots_and_what_a_cache_forgets() {
    use annals_domain::{MemorySnapshots, SnapshotPolicy};
    let store = store();
    let of = || {
        let every = SnapshotPolicy::every(std::num::NonZeroU64::MIN);
        let one = std::num::NonZeroUsize::MIN;
        Repository::<World>::new(store.clone())
            .cached(one)
            .snapshots(Arc::new(MemorySnapshots::new()), every)
    };
    let repository = of();
    repository.create(&id("earth"), || World::created("Earth")).await.expect("a world");
    let command = EventId::generate();
    let once = repository.command(command).expect("ids");
    let first = once.execute(&id("earth"), count).await.expect("the first time");
    // Twenty later events, each with a snapshot; two are kept. And another world takes the place in the cache.
    for _ in 0..20 {
        repository.execute(&id("earth"), count).await.expect("an event");
    }
    repository.create(&id("mars"), || World::created("Mars")).await.expect("a world");
    let restarted = of().command(command).expect("ids");
    for again in [once, restarted] {
        let repeat = again.execute(&id("earth"), count).await.expect("a repeat");
        assert!(repeat.repeated);
        assert_eq!(repeat.version(), 22);
        assert_eq!(repeat.events, first.events);
    }
    assert_eq!(log(&store).await.len(), 23);
}

#[tokio::test]
async fn c6_a_command_is_repeated_after_an_answer_was_lost() {
    for point in [Point::BeforeAppend, Point::AfterAppend] {
        let adapter = Faulty::new(MemoryAdapter::new());
        let store = EventStore::new(adapter.clone());
        let repository = created(&store, "earth").await.retry(Retry::NONE);
        let once = repository.command(EventId::generate()).expect("ids");
        adapter.inject(point, Fault::error(StoreError::outcome_unknown("killed")));
        let error = failure(once.execute(&id("earth"), count).await);
        assert!(matches!(error, Error::Store(StoreError::OutcomeUnknown(_))), "{error}");
        let done = once.execute(&id("earth"), count).await.expect("a repeat");
        assert_eq!(done.repeated, point == Point::AfterAppend);
        assert_eq!(done.state().history, ["0"]);
    }
}

#[tokio::test]
async fn c7_a_command_id_of_another_stream_is_an_error() {
    let store = store();
    let repository = created(&store, "earth").await;
    created(&store, "mars").await;
    let once = repository.command(EventId::generate()).expect("ids");
    once.execute(&id("earth"), count).await.expect("an event");
    let happened = failure(once.execute(&id("mars"), count).await);
    assert!(happened.is_duplicate(), "{happened}");
    let rejected = once.execute(&id("mars"), |_| Err::<WorldEvent, _>("no")).await;
    assert!(failure(rejected).is_duplicate());
    let nothing = once.execute(&id("mars"), |_| None::<WorldEvent>).await;
    assert!(failure(nothing).is_duplicate());
    assert_eq!(log(&store).await.len(), 3);
}

#[tokio::test]
async fn c9_a_dropped_command_stores_all_or_nothing_and_frees_its_turn() {
    use std::future::Future;
    use std::task::{Context, Waker};
    let mut context = Context::from_waker(Waker::noop());
    for polls in 0.. {
        let adapter = Faulty::new(MemoryAdapter::new());
        let store = EventStore::new(adapter.clone());
        let repository = created(&store, "earth").await;
        adapter.inject(Point::Page(0), Fault::delay(annals_testkit::polls(2)));
        adapter.inject(Point::BeforeAppend, Fault::delay(annals_testkit::polls(2)));
        adapter.inject(Point::AfterAppend, Fault::delay(annals_testkit::polls(2)));
        let earth = id("earth");
        let two = |world: &World| [world.make_it_so("a"), world.make_it_so("b")];
        let mut command = Box::pin(repository.execute(&earth, two));
        let is_done = (0..=polls).any(|_| command.as_mut().poll(&mut context).is_ready());
        drop(command);
        let stored = log(&store).await.len();
        assert!(stored == 1 || stored == 3, "{stored} events");
        let next = repository.execute(&earth, count).await.expect("the turn is free");
        assert_eq!(next.version(), stored as u64 + 1);
        if is_done {
            assert!(polls > 5, "it waited at each point");
            return;
        }
    }
}

#[test]
fn an_outcome_is_whatever_a_decision_returns() {
    use annals_domain::Outcome;
    fn events(outcome: impl Outcome<WorldEvent, Error = Infallible>) -> usize {
        outcome.into_events().expect("infallible").len()
    }
    let event = || World::created("x");
    assert_eq!(events(event()), 1);
    assert_eq!(
        (events([event(), event()]), events(vec![event()]), events(Some(event()))),
        (2, 1, 1)
    );
    assert_eq!(events(None), 0);
    let rejected: Result<Vec<WorldEvent>, &str> = Err("no");
    assert_eq!(rejected.into_events(), Err("no"));
}
