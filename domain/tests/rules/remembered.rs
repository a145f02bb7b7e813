//! Rules C with a cache: commands are decided on the cached state, and the append or the log proves it.

use std::convert::Infallible;
use std::num::{NonZeroU32, NonZeroUsize};

use annals::EventStore;
use annals_domain::{Error, ExecuteError, Repository, Retry};
use annals_memory::MemoryAdapter;
use annals_testkit::{Recording, Request};

use crate::world::{World, WorldEvent};

fn earth() -> String {
    "earth".to_owned()
}

/// A world of three events in the cache of the first repository; the second is another process.
async fn two() -> (Recording<MemoryAdapter>, Repository<World>, Repository<World>) {
    let adapter = Recording::new(MemoryAdapter::new());
    let other = Repository::<World>::new(EventStore::new(adapter.clone()));
    other.create(&earth(), || World::created("Earth")).await.expect("a world");
    for what in ["a", "b"] {
        other.execute(&earth(), |world| world.make_it_so(what)).await.expect("an event");
    }
    let cached =
        Repository::<World>::new(EventStore::new(adapter.clone())).cached(NonZeroUsize::MIN);
    drop(cached.get(&earth()).await.expect("earth"));
    drop(adapter.take());
    (adapter, cached, other)
}

/// How many events were read in each call since the last look.
fn reads(adapter: &Recording<MemoryAdapter>) -> Vec<usize> {
    let reads = adapter.take().into_iter().filter(|call| matches!(call.request, Request::Read(..)));
    reads.map(|call| call.events.len()).collect()
}

/// Appends the number of events that the decision saw.
fn count(world: &World) -> WorldEvent {
    world.make_it_so(&world.history.len().to_string())
}

#[tokio::test]
async fn c1_the_condition_of_the_append_proves_the_cached_state() {
    let (adapter, cached, other) = two().await;
    let done = cached.execute(&earth(), count).await.expect("an event");
    assert_eq!((done.attempts, reads(&adapter)), (1, vec![]), "one call in all");
    assert_eq!(done.state().history, ["a", "b", "2"]);

    other.execute(&earth(), count).await.expect("an event");
    drop(adapter.take());
    let done = cached.execute(&earth(), count).await.expect("an event");
    assert_eq!(
        (done.attempts, reads(&adapter)),
        (2, vec![2]),
        "the last known one, and the new one"
    );
    assert_eq!(done.state().history, ["a", "b", "2", "3", "4"]);
    let earth = other.get(&earth()).await.expect("earth");
    assert_eq!(*earth, *done.state());
}

#[tokio::test]
async fn c2_what_was_discarded_elsewhere_is_not_found() {
    let (_, cached, other) = two().await;
    other.discard(&earth()).await.expect("it exists");
    for _ in 0..2 {
        let outcome = cached.execute(&earth(), count).await.map(|done| done.attempts);
        assert!(matches!(outcome, Err(ExecuteError::Failed(Error::NotFound(_)))), "{outcome:?}");
    }
}

#[tokio::test]
async fn c3_who_has_one_attempt_asks_the_log_first() {
    let (adapter, cached, other) = two().await;
    other.execute(&earth(), count).await.expect("an event");
    drop(adapter.take());
    let once = cached.clone().retry(Retry::NONE);
    let done = once.execute(&earth(), count).await.expect("an event");
    assert_eq!((done.attempts, reads(&adapter)), (1, vec![2]));
    // What is remembered counts as one of the attempts.
    other.execute(&earth(), count).await.expect("an event");
    let twice = cached.retry(Retry::attempts(NonZeroU32::new(2).expect("not 0")));
    assert_eq!(twice.execute(&earth(), count).await.expect("an event").attempts, 2);
    assert_eq!(other.get(&earth()).await.expect("earth").history, ["a", "b", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn c4_a_rejection_of_a_cached_state_is_confirmed_by_the_log() {
    let (adapter, cached, other) = two().await;
    let mut asked = 0;
    let mut unless_two = |world: &World| {
        asked += 1;
        if world.history.len() == 2 { Err("full") } else { Ok(count(world)) }
    };
    let rejected = cached.execute(&earth(), &mut unless_two).await.expect_err("it is full");
    assert_eq!((rejected.rejection(), reads(&adapter)), (Some(&"full"), vec![1]));
    // Newer events change its mind.
    other.execute(&earth(), count).await.expect("an event");
    assert_eq!(cached.execute(&earth(), &mut unless_two).await.expect("an event").attempts, 2);
    let refuse = |world: &World| -> Result<WorldEvent, usize> {
        asked += 1;
        Err(world.history.len())
    };
    let refused = cached.execute(&earth(), refuse).await.expect_err("rejected");
    assert_eq!(refused.rejection(), Some(&4));
    assert_eq!(asked, 4, "a state that the log confirms is decided on once");
}

#[tokio::test]
async fn c5_nothing_is_decided_on_the_current_state() {
    let (adapter, cached, other) = two().await;
    let if_three = |world: &World| -> Result<Option<WorldEvent>, Infallible> {
        Ok((world.history.len() == 3).then(|| count(world)))
    };
    let done = cached.execute(&earth(), if_three).await.expect("nothing");
    assert_eq!((done.events.len(), done.attempts, reads(&adapter)), (0, 1, vec![1]));
    other.execute(&earth(), count).await.expect("an event");
    let done = cached.execute(&earth(), if_three).await.expect("an event");
    assert_eq!((done.events.len(), done.attempts), (1, 2));
}
