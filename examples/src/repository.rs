//! A store and a repository: versions, conflicts, and an aggregate that is saved and loaded. Each step is asserted.

use annals::{BoxError, EventStore, NewEvent, Position, ReadOptions, StreamId, WriteCondition};
use annals_domain::{Aggregate, Event, Repository, Root};
use serde_json::json;

use crate::story::Say;

/// What happens to a thing.
#[derive(Event, Debug, Clone, PartialEq)]
#[event(name = "something-done")]
pub struct SomethingDone {
    what: String,
}

/// A thing to which something is done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thing {
    done: Vec<String>,
}

impl Aggregate for Thing {
    const CATEGORY: &'static str = "things";
    type Id = u64;
    type Event = SomethingDone;

    fn apply(&mut self, event: SomethingDone) {
        self.done.push(event.what);
    }
}

impl Thing {
    #[expect(clippy::unused_self, reason = "a decision is a method of the state")]
    fn do_something(&self, what: &str) -> SomethingDone {
        SomethingDone { what: what.to_owned() }
    }
}

/// The store alone: a version is a number of events.
async fn versions(store: &EventStore, say: Say<'_>) -> Result<(), BoxError> {
    let stream = store.stream(StreamId::new("raw", "one")?);
    let event = |text: &str| NewEvent::json("happened", &json!({ "text": text }));
    stream.append([event("1")?], WriteCondition::StreamIsEmpty).await?;
    let second = stream
        .append([event("a \"quoted\" %s")?], WriteCondition::PositionIs(Position::FIRST))
        .await?;
    assert_eq!(second.position(), Some(Position::new(1)), "version 2");
    for wrong in [WriteCondition::StreamIsEmpty, WriteCondition::PositionIs(Position::new(7))] {
        let rejected = stream.append([event("x")?], wrong).await;
        assert!(rejected.is_err_and(|error| error.is_condition_failed()));
    }
    let two = [event("3")?, event("4")?];
    let ids = two.each_ref().map(|event| event.id);
    stream.append(two, second.is_last()).await?;
    let read = stream.read(ReadOptions::default()).into_vec().await?;
    assert_eq!(read.iter().skip(2).map(annals::StoredEvent::id).collect::<Vec<_>>(), ids);
    let text: serde_json::Value = read.get(1).ok_or("four events")?.payload().to_json()?;
    assert_eq!(text, json!({ "text": "a \"quoted\" %s" }));
    say("four events under three conditions that held, and none under two that did not".to_owned());
    Ok(())
}

/// Plays the story on an empty store, and passes what happens to `say`.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// If the store does not do what a step of the story expects.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn story(store: &EventStore, say: Say<'_>) -> Result<(), BoxError> {
    versions(store, &mut *say).await?;
    let things = Repository::<Thing>::new(store.clone());
    let mut thing = Root::<Thing>::new(1)?;
    thing.execute(|thing| thing.do_something("painted"))?;
    assert_eq!(things.save(&mut thing).await?.len(), 1);
    let loaded = things.get(&1).await?;
    assert_eq!((&*loaded, loaded.id(), loaded.version()), (&*thing, &1, 1));

    thing.execute(|thing| thing.do_something("hung"))?;
    assert_eq!(things.save(&mut thing).await?.len(), 1, "the same object is saved again");
    assert_eq!(things.get(&1).await?.done, ["painted", "hung"]);
    assert!(things.get(&2).await.is_err_and(|error| error.is_not_found()));
    say("a thing was painted and hung, and another one does not exist".to_owned());
    Ok(())
}
