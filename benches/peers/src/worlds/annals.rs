//! The worlds of Annals.

use annals::{BoxError, EventStore};
use annals_domain::{Aggregate, Event, Repository};
use uuid::Uuid;

// What a user writes: begin.
#[derive(Event)]
pub(crate) enum WorldEvent {
    #[event(name = "World.Created")]
    Created { name: String },
    #[event(name = "World.SomethingHappened")]
    SomethingHappened { what: String },
}

#[derive(Clone, Default)]
pub(crate) struct World {
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

pub(crate) struct Universe {
    pub(crate) worlds: Repository<World>,
}

impl Universe {
    pub(crate) fn new(store: EventStore) -> Self {
        Self { worlds: Repository::new(store) }
    }

    pub(crate) async fn create_world(&self, name: &str) -> Result<Uuid, BoxError> {
        let id = Uuid::new_v4();
        self.worlds.create(&id, || WorldEvent::Created { name: name.into() }).await?;
        Ok(id)
    }

    pub(crate) async fn make_it_so(&self, id: Uuid, what: &str) -> Result<(), BoxError> {
        self.worlds.execute(&id, |_| WorldEvent::SomethingHappened { what: what.into() }).await?;
        Ok(())
    }

    pub(crate) async fn story(&self, id: Uuid) -> Result<(String, Vec<String>), BoxError> {
        let world = self.worlds.get(&id).await?;
        Ok((world.name.clone(), world.history.clone()))
    }
}
// What a user writes: end.
