//! What the domain layer takes for granted of an aggregate.

use std::fmt;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use annals::{BoxError, EventName, EventStore, NewEvent, Position, SequenceNumber, StoredEvent};
use annals_domain::{
    Aggregate, Event, Kind, MemorySnapshots, Repository, Root, SnapshotPolicy, decode, new_event,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A law that every aggregate keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Law {
    /// The history has an event of each kind, so that the other laws speak of all of them.
    Complete,
    /// An event is one of the kinds of its type, reads back equal, under aliases too, and is written again in the same way.
    Encoding,
    /// The state after a replay of the pending events equals the state before, at each version, as often as it is made.
    Replay,
    /// A copy of a state is one of its own: the cache changes nothing.
    Cache,
    /// A state reads back equal from a snapshot: snapshots change nothing.
    Snapshots,
    /// Saved to a store and loaded again, at each version, the state is the same.
    Store,
}

/// An aggregate that breaks a law.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenLaw {
    /// The law.
    pub law: Law,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for BrokenLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the law {:?} is broken: {}", self.law, self.seen)
    }
}

impl std::error::Error for BrokenLaw {}

type Body<A> = fn(&A) -> Result<A, BoxError>;
type Kept<A> = fn(Repository<A>, MemorySnapshots) -> Repository<A>;

/// The laws for an aggregate, on a history of it.
///
/// ```
/// # use annals::EventStore;
/// # use annals_domain::{Aggregate, Event};
/// # use annals_memory::MemoryAdapter;
/// use annals_testkit::domain::{BrokenLaw, Laws};
///
/// # #[derive(Event, Debug, Clone, PartialEq)]
/// # enum WorldEvent {
/// #     #[event(name = "World.Created")]
/// #     Created { name: String },
/// # }
/// # #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
/// # struct World(String);
/// # impl Aggregate for World {
/// #     const CATEGORY: &'static str = "worlds";
/// #     type Id = String;
/// #     type Event = WorldEvent;
/// #     fn apply(&mut self, event: WorldEvent) {
/// #         let WorldEvent::Created { name } = event;
/// #         self.0 = name;
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BrokenLaw> {
/// let store = EventStore::new(MemoryAdapter::new());
/// let history = [WorldEvent::Created { name: "Earth".to_owned() }];
/// Laws::<World>::new("earth".to_owned(), history).with_snapshots().check(&store).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "check them"]
pub struct Laws<A: Aggregate> {
    id: A::Id,
    events: Vec<A::Event>,
    snapshots: Option<(Body<A>, Kept<A>)>,
}

impl<A: Aggregate> Debug for Laws<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Laws").field("events", &self.events.len()).finish_non_exhaustive()
    }
}

fn broken(law: Law, seen: impl Into<String>) -> BrokenLaw {
    BrokenLaw { law, seen: seen.into() }
}

impl<A> Laws<A>
where
    A: Aggregate<Event: Clone + PartialEq + Debug> + PartialEq + Debug,
{
    /// The aggregate of this id, to which these events happen: at least one of each kind, in an order that can be.
    pub fn new(id: A::Id, events: impl IntoIterator<Item = A::Event>) -> Self {
        Self { id, events: events.into_iter().collect(), snapshots: None }
    }

    /// Also that snapshots change nothing.
    pub fn with_snapshots(mut self) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        let body: Body<A> = |state| Ok(serde_json::from_slice(&serde_json::to_vec(state)?)?);
        let kept: Kept<A> = |repository, snapshots| {
            repository.snapshots(Arc::new(snapshots), SnapshotPolicy::manual())
        };
        self.snapshots = Some((body, kept));
        self
    }

    /// Proves all laws. `store` may be in memory; the aggregate must not be in it.
    ///
    /// # Errors
    /// The first law that is broken; an error of the store breaks the law that needed the call.
    ///
    /// # Cancel safety
    /// Dropped, it leaves a part of the history in the store.
    pub async fn check(self, store: &EventStore) -> Result<(), BrokenLaw> {
        self.complete()?;
        for event in &self.events {
            encoding(&A::stream(&self.id).map_err(of(Law::Encoding))?, event)?;
        }
        let states = self.replay()?;
        self.copies(&states)?;
        self.bodies(&states)?;
        self.stored(store, &states).await
    }

    fn complete(&self) -> Result<(), BrokenLaw> {
        for kind in A::Event::KINDS {
            if !self.events.iter().any(|event| event.kind().name() == kind.name()) {
                return Err(broken(Law::Complete, format!("no {} happens", kind.name())));
            }
        }
        Ok(())
    }

    /// The states after each event, from none on.
    fn replay(&self) -> Result<Vec<A>, BrokenLaw> {
        let law = Law::Replay;
        let mut root = Root::<A>::new(self.id.clone()).map_err(of(law))?;
        let mut states = vec![A::default()];
        for event in &self.events {
            root.trigger(event.clone()).map_err(of(law))?;
            states.push((*root).clone());
        }
        let stored = (0..).zip(root.pending()).map(|(at, new)| {
            let number = SequenceNumber::new(at + 1);
            let stream = root.stream().clone();
            StoredEvent::new(new.clone(), stream, Position::new(at), number, new.occurred_at)
        });
        let stored = stored.collect::<Vec<_>>();
        for (version, state) in states.iter().enumerate() {
            for _ in 0..2 {
                let again = Root::<A>::replay(self.id.clone(), stored.iter().take(version));
                let again = again.map_err(of(law))?;
                same(law, &format!("after {version} events, replayed"), state, &again)?;
                if again.version() != version as u64 {
                    return Err(broken(law, format!("{version} events make {}", again.version())));
                }
            }
        }
        Ok(states)
    }

    /// What happens to a copy does not happen to the original.
    fn copies(&self, states: &[A]) -> Result<(), BrokenLaw> {
        for ((state, next), event) in states.iter().zip(states.iter().skip(1)).zip(&self.events) {
            let before = format!("{state:?}");
            let mut copy = state.clone();
            same(Law::Cache, "a copy", state, &copy)?;
            Aggregate::apply(&mut copy, event.clone());
            same(Law::Cache, &format!("a copy after {event:?}"), next, &copy)?;
            let after = format!("{state:?}");
            if before != after {
                return Err(broken(
                    Law::Cache,
                    format!("{event:?} on a copy made {after} of {before}"),
                ));
            }
        }
        Ok(())
    }

    fn bodies(&self, states: &[A]) -> Result<(), BrokenLaw> {
        let Some((body, _)) = self.snapshots else { return Ok(()) };
        for state in states {
            let read = catch_unwind(AssertUnwindSafe(|| body(state)));
            let read = read.map_err(|_| broken(Law::Snapshots, format!("{state:?} panics")))?;
            let read =
                read.map_err(|error| broken(Law::Snapshots, format!("{state:?}: {error}")))?;
            same(Law::Snapshots, "from a snapshot", state, &read)?;
        }
        Ok(())
    }

    async fn stored(&self, store: &EventStore, states: &[A]) -> Result<(), BrokenLaw> {
        let plain = Repository::<A>::new(store.clone());
        let few = NonZeroUsize::MIN;
        let cached = Repository::<A>::new(store.clone()).cached(few);
        let mut repositories = vec![(Law::Store, plain), (Law::Cache, cached.clone())];
        if let Some((_, kept)) = self.snapshots {
            let snapshots = kept(Repository::new(store.clone()), MemorySnapshots::new());
            repositories.push((Law::Snapshots, snapshots));
        }
        for (version, (event, state)) in self.events.iter().zip(states.iter().skip(1)).enumerate() {
            let mut root = match version {
                0 => Root::new(self.id.clone()),
                _ => cached.get(&self.id).await,
            };
            let root = root.as_mut().map_err(|error| broken(Law::Cache, error.to_string()))?;
            root.trigger(event.clone()).map_err(of(Law::Cache))?;
            cached.save(root).await.map_err(of(Law::Store))?;
            for (law, repository) in &repositories {
                let loaded = repository.get(&self.id).await.map_err(of(*law))?;
                same(*law, &format!("loaded at version {}", version + 1), state, &loaded)?;
                if *law == Law::Snapshots {
                    // The next look begins at it.
                    repository.snapshot(&self.id).await.map_err(of(*law))?;
                    let loaded = repository.get(&self.id).await.map_err(of(*law))?;
                    same(
                        *law,
                        &format!("from a snapshot of version {}", version + 1),
                        state,
                        &loaded,
                    )?;
                }
            }
        }
        for (version, state) in (0_u64..).zip(states).skip(1) {
            for (law, repository) in &repositories {
                let loaded = repository.get_at(&self.id, version).await.map_err(of(*law))?;
                same(*law, &format!("loaded as of version {version}"), state, &loaded)?;
            }
        }
        Ok(())
    }
}

fn of(law: Law) -> impl Fn(annals_domain::Error) -> BrokenLaw {
    move |error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        broken(law, format!("{error} {cause}"))
    }
}

fn same<A: PartialEq + Debug>(law: Law, place: &str, is: &A, other: &A) -> Result<(), BrokenLaw> {
    if is == other { Ok(()) } else { Err(broken(law, format!("{place}: {other:?}, not {is:?}"))) }
}

/// That an event is one of its type's kinds, and reads back equal.
fn encoding<E: Event + Clone + PartialEq + Debug>(
    stream: &annals::StreamId,
    event: &E,
) -> Result<(), BrokenLaw> {
    let law = Law::Encoding;
    let kind = event.kind();
    if !Kind::named(E::KINDS, kind.name()) {
        return Err(broken(law, format!("{} is no kind of its type", kind.name())));
    }
    let (returned, new) = new_event(event.clone()).map_err(of(law))?;
    same(law, "written, and returned", event, &returned)?;
    for name in kind.names() {
        let mut named = new.clone();
        named.name = EventName::from_static(name);
        let (at, number) = (Position::new(0), SequenceNumber::new(1));
        let stored = StoredEvent::new(named, stream.clone(), at, number, new.occurred_at);
        let read = decode::<E>(&stored).map_err(of(law))?;
        let read = read.ok_or_else(|| broken(law, format!("{name} reads as nothing")))?;
        same(law, &format!("read as {name}"), event, &read)?;
        let (_, again) = new_event(read).map_err(of(law))?;
        let parts = |new: &NewEvent| {
            (new.name.clone(), new.payload.clone(), new.tags.clone(), new.metadata.clone())
        };
        same(law, "written again", &parts(&new), &parts(&again))?;
    }
    Ok(())
}
