//! Worlds that make things happen: versions, conflicts, the log in sections; the same with cache and snapshots. Each step
//! is asserted.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use annals::{BoxError, EventStore, Position, SequenceNumber, StoredEvent};
use annals_domain::{
    Aggregate, Application, Env, Event, LogReader, MemorySnapshots, Repository, Root,
    SnapshotPolicy, SnapshotStore,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::configured;
use crate::story::Say;

/// What happens to a world.
#[derive(Event, Debug, Clone, PartialEq)]
pub enum WorldEvent {
    /// It begins.
    #[event(name = "World.Created")]
    Created {
        /// What it is called.
        name: String,
    },
    /// It goes on.
    #[event(name = "World.SomethingHappened")]
    SomethingHappened {
        /// What happened.
        what: String,
    },
}

/// A world and its history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    name: String,
    history: Vec<String>,
}

impl Aggregate for World {
    const CATEGORY: &'static str = "worlds";
    type Id = Uuid;
    type Event = WorldEvent;

    fn apply(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Created { name } => self.name = name,
            WorldEvent::SomethingHappened { what } => self.history.push(what),
        }
    }
}

impl World {
    /// What happened, in its order.
    #[must_use]
    pub fn history(&self) -> &[String] {
        &self.history
    }

    #[expect(clippy::unused_self, reason = "a decision is a method of the state")]
    fn make_it_so(&self, what: &str) -> WorldEvent {
        WorldEvent::SomethingHappened { what: what.to_owned() }
    }
}

/// Where snapshots are, if the application has any. With them it has a cache as well.
pub type Snapshots = Option<Arc<dyn SnapshotStore>>;

/// The application: worlds by id.
struct Universe {
    worlds: Repository<World>,
    application: Application,
}

impl Universe {
    fn new(store: &EventStore, snapshots: Snapshots) -> Result<Self, BoxError> {
        let application = Application::new("Universe", store.clone());
        let mut worlds = application.repository();
        if let Some(snapshots) = snapshots {
            let every = SnapshotPolicy::every(NonZeroU64::new(2).ok_or("not 0")?);
            let most = NonZeroUsize::new(10).ok_or("not 0")?;
            worlds = worlds.cached(most).snapshots(snapshots, every);
        }
        Ok(Self { worlds, application })
    }

    async fn create_world(&self, name: &str) -> Result<Uuid, BoxError> {
        let id = annals::EventId::generate().as_uuid();
        self.worlds.create(&id, || WorldEvent::Created { name: name.to_owned() }).await?;
        Ok(id)
    }

    async fn make_it_so(&self, id: Uuid, what: &str) -> Result<(), BoxError> {
        self.worlds.execute(&id, |world| world.make_it_so(what)).await?;
        Ok(())
    }

    async fn history(&self, id: Uuid) -> Result<Vec<String>, BoxError> {
        Ok(self.worlds.get(&id).await?.history.clone())
    }

    async fn section(&self, id: &str) -> Result<Vec<StoredEvent>, BoxError> {
        let log = self.application.log(NonZeroU64::new(10).ok_or("not 0")?);
        Ok(log.section(id.parse()?).await?.items)
    }

    async fn read_from(&self, start: u64) -> Result<Vec<StoredEvent>, BoxError> {
        let log = self.application.log(NonZeroU64::new(10).ok_or("not 0")?);
        Ok(LogReader::new(log, start).read().await?)
    }
}

/// The model alone, without a store.
fn alone() -> Result<(), BoxError> {
    let id = annals::EventId::generate().as_uuid();
    let mut world: Root<World> =
        Root::create(id, WorldEvent::Created { name: "Earth".to_owned() })?;
    assert_eq!((world.name.as_str(), world.history.len()), ("Earth", 0));
    for what in ["dinosaurs", "trucks", "internet"] {
        world.execute(|world| world.make_it_so(what))?;
    }
    let names: Vec<_> = world.pending().iter().map(|event| event.name.as_str()).collect();
    let happened = "World.SomethingHappened";
    assert_eq!(names, ["World.Created", happened, happened, happened]);
    assert_eq!((world.version(), world.history.len()), (4, 3));

    // What a store would make of them, replayed.
    let stored = (0..).zip(world.pending()).map(|(nth, event)| {
        let (at, number) = (Position::new(nth), SequenceNumber::new(nth + 1));
        StoredEvent::new(event.clone(), world.stream().clone(), at, number, event.occurred_at)
    });
    let stored: Vec<_> = stored.collect();
    let again = Root::<World>::replay(id, &stored)?;
    assert_eq!((&*again, again.id(), again.version()), (&*world, &id, 4));
    assert_eq!(again.created_at(), world.created_at());
    assert_eq!(again.modified_at(), world.modified_at());
    Ok(())
}

/// How many of the events show one of the words.
fn showing(events: &[StoredEvent]) -> usize {
    let words = ["dinosaurs", "trucks", "internet"];
    let shows = |event: &&StoredEvent| {
        let text = String::from_utf8_lossy(event.payload().as_bytes()).into_owned();
        words.iter().any(|word| text.contains(word))
    };
    events.iter().filter(shows).count()
}

/// Plays the story of an application on an empty store; `raw` is the same store as the database has it, and `visible` says
/// whether that shows what events say. With `snapshots` it is played with one of every second event, and a cache.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// If the store does not do what a step of the story expects.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn test(
    store: &EventStore,
    raw: &EventStore,
    visible: bool,
    snapshots: Snapshots,
) -> Result<(), BoxError> {
    let universe = Universe::new(store, snapshots)?;
    assert!(universe.section("1,10").await?.is_empty());
    let earth = universe.create_world("Earth").await?;
    universe.make_it_so(earth, "dinosaurs").await?;
    universe.make_it_so(earth, "trucks").await?;
    assert_eq!(universe.history(earth).await?, ["dinosaurs", "trucks"]);
    universe.make_it_so(earth, "internet").await?;
    assert_eq!(universe.history(earth).await?, ["dinosaurs", "trucks", "internet"]);

    let log = raw.log().read(annals::ReadOptions::default()).into_vec().await?;
    assert_eq!(showing(&log), if visible { 3 } else { 0 });

    let mut old = universe.worlds.get_at(&earth, 3).await?;
    assert_eq!(old.history, ["dinosaurs", "trucks"]);
    assert_eq!(universe.section("1,10").await?.len(), 4);

    old.execute(|world| world.make_it_so("future"))?;
    let conflict = universe.worlds.save(&mut old).await.expect_err("it is old");
    assert!(conflict.is_conflict());
    assert_eq!(universe.section("1,10").await?.len(), 4);
    let four = universe.read_from(1).await?;
    assert_eq!(four.len(), 4);

    for (name, whats) in
        [("Mars", ["plants", "fish", "mammals"]), ("Venus", ["morning", "afternoon", "evening"])]
    {
        let world = universe.create_world(name).await?;
        for what in whats {
            universe.make_it_so(world, what).await?;
        }
    }
    let last = four.last().ok_or("four events")?.sequence_number.value();
    assert_eq!(universe.read_from(last + 1).await?.len(), 8);
    assert_eq!(universe.read_from(1).await?.len(), 12);

    let section = universe.section("1,4").await?;
    let numbers: Vec<_> = section.iter().map(|event| event.sequence_number.value()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let names: Vec<_> = section.iter().map(|event| event.name().as_str()).collect();
    let happened = "World.SomethingHappened";
    assert_eq!(names, ["World.Created", happened, happened, happened]);
    assert!(section.iter().all(|event| event.stream.name.as_str() == earth.to_string()));
    for (event, word) in section.iter().zip(["Earth", "dinosaurs", "trucks", "internet"]) {
        let text = String::from_utf8_lossy(event.payload().as_bytes()).into_owned();
        assert!(text.contains(word), "{text}");
    }
    Ok(())
}

/// Plays the story of an application on the empty store that `env` describes; see [`configured`]. If that is encrypted, no
/// word is in its rows.
///
/// # Errors
/// What the environment lacks; as [`test()`].
///
/// # Panics
/// As [`test()`].
///
/// # Cancel safety
/// As [`test()`].
pub async fn test_configured(env: &Env, fast: bool) -> Result<(), BoxError> {
    let (store, raw) = configured::open(env).await?;
    let visible = env.get("CIPHER_KEY").is_none();
    // A store in memory cannot be opened a second time.
    let played = test(&store, if visible { &store } else { &raw }, visible, in_memory(fast)).await;
    raw.close().await;
    store.close().await;
    played
}

fn in_memory(fast: bool) -> Snapshots {
    fast.then(|| Arc::new(MemorySnapshots::new()) as Arc<dyn SnapshotStore>)
}

/// Plays the story on an empty store, and passes what happens to `say`.
///
/// # Errors
/// As [`test()`].
///
/// # Panics
/// As [`test()`].
///
/// # Cancel safety
/// As [`test()`].
pub async fn story(store: &EventStore, say: Say<'_>) -> Result<(), BoxError> {
    alone()?;
    test(store, store, true, None).await?;
    say("three worlds, twelve events, and no future for an old copy".to_owned());
    let fast = EventStore::new(annals_memory::MemoryAdapter::new());
    test(&fast, &fast, true, in_memory(true)).await?;
    say("the same with a cache and snapshots".to_owned());
    Ok(())
}
