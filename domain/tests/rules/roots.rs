//! Rules R and V: roots, and saving them. R5 is in `compile_fail`.

use annals::{
    Append, Context, Error as StoreError, EventStore, NewEvent, ReadOptions, StoredEvent, StreamId,
    WriteCondition,
};
use annals_domain::{Aggregate, Error, Event, ExecuteError, Repository, Root, save};
use annals_memory::MemoryAdapter;
use annals_testkit::{Fault, Faulty, Point, Recording};

use crate::world::{World, WorldEvent};

fn store() -> EventStore {
    EventStore::new(MemoryAdapter::new())
}

fn earth() -> Root<World> {
    let mut earth: Root<World> =
        Root::create("earth".to_owned(), World::created("Earth")).expect("a root");
    earth.execute(|world| world.make_it_so("dinosaurs")).expect("an event");
    earth
}

async fn log(store: &EventStore) -> Vec<StoredEvent> {
    store.log().read(ReadOptions::default()).into_vec().await.expect("a read")
}

/// An event that cannot be written: JSON has no keys that are lists.
#[derive(Event, Debug, Clone)]
enum OddEvent {
    #[event(name = "odd")]
    Odd { map: std::collections::BTreeMap<Vec<u8>, u8> },
}

#[derive(Debug, Clone, Default)]
struct Odd(usize);

impl Aggregate for Odd {
    const CATEGORY: &'static str = "odd";
    type Id = u8;
    type Event = OddEvent;

    fn apply(&mut self, event: OddEvent) {
        let OddEvent::Odd { map } = event;
        self.0 += 1 + map.len();
    }
}

#[test]
fn r1_an_event_that_cannot_be_written_changes_neither_state_nor_queue() {
    let mut odd = Root::<Odd>::new(1).expect("a root");
    odd.trigger(OddEvent::Odd { map: [].into() }).expect("an empty map is an object");
    let bad = || OddEvent::Odd { map: [(vec![1], 1)].into() };
    assert!(matches!(odd.trigger(bad()), Err(Error::Store(StoreError::Invalid(_)))));
    // Nor does the good one before it in the same decision.
    let both = odd.execute(|_| [OddEvent::Odd { map: [].into() }, bad()]);
    assert!(matches!(both, Err(ExecuteError::Failed(Error::Store(StoreError::Invalid(_))))));
    assert_eq!((odd.0, odd.version(), odd.pending().len()), (1, 1, 1));
}

#[tokio::test]
async fn r2_replaying_what_was_pending_returns_an_equal_root() {
    let (store, mut root) = (store(), earth());
    let stored = Repository::new(store).save(&mut root).await.expect("a save");
    let again = Root::<World>::replay("earth".to_owned(), &stored).expect("a replay");
    assert_eq!((&*again, again.id(), again.version()), (&*root, root.id(), 2));
    assert_eq!(again.created_at(), root.created_at());
    assert_eq!(again.modified_at(), root.modified_at());
    assert!(again.created_at() <= again.modified_at() && again.created_at().is_some());
}

#[tokio::test]
async fn r3_a_foreign_stream_or_another_position_is_replay() {
    let (store, mut root) = (store(), earth());
    let stored = Repository::new(store).save(&mut root).await.expect("a save");
    let foreign = Root::<World>::replay("mars".to_owned(), &stored);
    assert!(matches!(foreign, Err(Error::Replay { .. })));
    for wrong in [&stored[1..], &[stored[0].clone(), stored[0].clone()]] {
        let error = Root::<World>::replay("earth".to_owned(), wrong).expect_err("a hole");
        assert!(matches!(error, Error::Replay { .. }), "{error}");
    }
}

#[test]
fn r4_after_a_discard_every_trigger_is_not_found() {
    let mut root = earth();
    root.discard().expect("it exists");
    assert!(root.trigger(World::created("x")).is_err_and(|error| error.is_not_found()));
    let error = root.execute(|world| world.make_it_so("x")).expect_err("it was discarded");
    assert!(error.failure().is_some_and(Error::is_not_found));
    assert!(root.discard().is_err_and(|error| error.is_not_found()));
    assert_eq!((root.version(), root.pending().len(), root.history.len()), (3, 3, 1));
    let mut never = Root::<World>::new("x".to_owned()).expect("a root");
    assert!(never.discard().is_err_and(|error| error.is_not_found()));
}

#[tokio::test]
async fn v1_a_save_appends_exactly_what_is_pending() {
    let adapter = Recording::new(MemoryAdapter::new());
    let store = EventStore::new(adapter.clone());
    let repository = Repository::new(store.clone());
    let mut root = earth();
    let pending: Vec<_> = root.pending().to_vec();
    let stored = repository.save(&mut root).await.expect("a save");
    assert_eq!(stored.iter().map(|event| event.event.clone()).collect::<Vec<_>>(), pending);
    assert_eq!(log(&store).await, stored);
    drop(adapter.take());
    assert_eq!(repository.save(&mut root).await.expect("nothing"), []);
    assert_eq!(adapter.take().len(), 0, "nothing pending: no append");
}

#[tokio::test]
async fn v2_several_roots_are_saved_all_or_none() {
    let store = store();
    let repository = Repository::<World>::new(store.clone());
    let mut mars: Root<World> =
        Root::create("mars".to_owned(), World::created("Mars")).expect("a root");
    repository.save(&mut mars).await.expect("a save");
    let mut stale = repository.get(&"mars".to_owned()).await.expect("mars");
    mars.execute(|mars| mars.make_it_so("plants")).expect("an event");
    repository.save(&mut mars).await.expect("a save");

    let mut earth = earth();
    stale.execute(|mars| mars.make_it_so("fish")).expect("an event");
    let context = Context::new();
    let error = save(&store, &context, &mut [&mut earth, &mut stale]).await.expect_err("stale");
    assert!(error.is_conflict(), "{error}");
    assert_eq!(log(&store).await.len(), 2);
    assert_eq!((earth.pending().len(), stale.pending().len()), (2, 1), "all stays pending");

    mars.execute(|mars| mars.make_it_so("fish")).expect("an event");
    let stored = save(&store, &context, &mut [&mut earth, &mut mars]).await.expect("a save");
    assert_eq!(stored.len(), 3);
    assert_eq!((earth.pending().len(), mars.pending().len()), (0, 0));
    // Each goes on after its own last event.
    for root in [&mut earth, &mut mars] {
        root.execute(|world| world.make_it_so("more")).expect("an event");
        repository.save(root).await.expect("a save that continues");
    }
}

#[tokio::test]
async fn v3_after_any_error_everything_stays_pending_and_is_stored_once() {
    let adapter = Faulty::new(MemoryAdapter::new());
    let store = EventStore::new(adapter.clone());
    let repository = Repository::new(store.clone()).retry(annals_domain::Retry::NONE);
    let mut root = earth();
    for (point, error) in [
        (Point::BeforeAppend, StoreError::unavailable("busy")),
        (Point::BeforeAppend, StoreError::backend("odd")),
        (Point::AfterAppend, StoreError::outcome_unknown("cut")),
    ] {
        adapter.inject(point, Fault::error(error));
        repository.save(&mut root).await.expect_err("a fault");
        assert_eq!(root.pending().len(), 2);
    }
    let stored = repository.save(&mut root).await.expect("it is in the log");
    assert_eq!(log(&store).await, stored);
    assert_eq!((stored.len(), root.pending().len()), (2, 0));
    root.execute(|world| world.make_it_so("trucks")).expect("an event");
    assert_eq!(repository.save(&mut root).await.expect("a save").len(), 1);
}

#[tokio::test]
async fn v3_a_dropped_save_stores_all_or_nothing_and_can_be_repeated() {
    use std::future::Future;
    use std::task::{Context, Waker};
    let mut context = Context::from_waker(Waker::noop());
    for polls in 0.. {
        let adapter = Faulty::new(MemoryAdapter::new());
        let store = EventStore::new(adapter.clone());
        let repository = Repository::new(store.clone());
        for point in [Point::BeforeAppend, Point::AfterAppend] {
            adapter.inject(point, Fault::delay(annals_testkit::polls(2)));
        }
        let mut root = earth();
        let mut save = Box::pin(repository.save(&mut root));
        let is_done = (0..=polls).any(|_| save.as_mut().poll(&mut context).is_ready());
        drop(save);
        let stored = log(&store).await;
        assert!(stored.is_empty() || stored.len() == 2, "{stored:?}");
        assert_eq!(root.pending().len(), if is_done { 0 } else { 2 });
        let again = repository.save(&mut root).await.expect("the same save");
        assert_eq!(log(&store).await.len(), 2, "each event once");
        assert_eq!(again.len(), if is_done { 0 } else { 2 });
        assert!(root.pending().is_empty());
        if is_done {
            assert!(polls > 3, "it waited at each point");
            return;
        }
    }
}

#[tokio::test]
async fn v4_after_a_save_nothing_is_pending_and_the_next_continues() {
    let (store, mut root) = (store(), earth());
    let repository = Repository::new(store.clone());
    for more in ["trucks", "internet"] {
        repository.save(&mut root).await.expect("a save");
        assert!(root.pending().is_empty());
        root.execute(|world| world.make_it_so(more)).expect("an event");
    }
    repository.save(&mut root).await.expect("a save");
    let again = repository.get(root.id()).await.expect("earth");
    assert_eq!((&*again, again.version()), (&*root, 4));
}

#[tokio::test]
async fn v5_a_stale_root_conflicts_and_the_log_is_unchanged() {
    let (store, mut root) = (store(), earth());
    let repository = Repository::new(store.clone());
    repository.save(&mut root).await.expect("a save");
    let mut old = repository.get_at(root.id(), 1).await.expect("version 1");
    old.execute(|world| world.make_it_so("future")).expect("an event");
    let before = log(&store).await;
    let error = repository.save(&mut old).await.expect_err("stale");
    assert!(matches!(error, Error::Conflict { attempts: 1, .. }), "{error}");
    assert_eq!(log(&store).await, before);
    // So is one that was created by somebody else meanwhile.
    let error = repository.save(&mut earth()).await.expect_err("it exists");
    assert!(error.is_conflict());
}

#[tokio::test]
async fn v6_a_lost_answer_ends_in_success_with_one_copy() {
    for point in [Point::BeforeAppend, Point::AfterAppend] {
        let adapter = Faulty::new(MemoryAdapter::new());
        let store = EventStore::new(adapter.clone());
        for _ in 0..3 {
            adapter.inject(point, Fault::error(StoreError::outcome_unknown("cut")));
        }
        let mut root = earth();
        let stored = Repository::new(store.clone()).save(&mut root).await.expect("resolved");
        assert_eq!(log(&store).await, stored);
        assert_eq!((stored.len(), root.pending().len()), (2, 0));
    }
}

#[tokio::test]
async fn v7_a_known_id_with_other_content_is_a_duplicate() {
    let (store, mut root) = (store(), earth());
    let id = root.pending()[0].id;
    let other = NewEvent::json("World.Created", &serde_json::json!({ "name": "Other" }));
    let write = Append::new(
        StreamId::from_static("worlds", "earth"),
        [other.expect("an event").with_id(id)],
        WriteCondition::Always,
    );
    store.append([write]).await.expect("an append");
    let error = Repository::new(store.clone()).save(&mut root).await.expect_err("another event");
    assert!(matches!(error, Error::Store(StoreError::DuplicateEvent(known)) if known == id));
    assert_eq!((log(&store).await.len(), root.pending().len()), (1, 2));
    assert!(matches!(root.pending()[0].name.as_str(), "World.Created"));
    assert!(matches!(World::created("x"), WorldEvent::Created { .. }));
}
