//! The worlds of disintegrate with disintegrate-postgres.

use annals::BoxError;
use disintegrate::serde::json::Json;
use disintegrate::{
    Decision, Event, EventSourcedStateStore, LoadState, NoSnapshot, StateMutate, StateQuery,
};
use disintegrate_postgres::{PgDecisionMaker, PgEventStore, decision_maker};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

// What a user writes: begin.
#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
pub(crate) enum WorldEvent {
    Created {
        #[id]
        world_id: Uuid,
        name: String,
    },
    SomethingHappened {
        #[id]
        world_id: Uuid,
        what: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum WorldError {
    #[error("the world exists")]
    Exists,
    #[error("there is no such world")]
    NotFound,
}

#[derive(Debug, Clone, Default, StateQuery, Serialize, Deserialize)]
#[state_query(WorldEvent)]
pub(crate) struct World {
    #[id]
    world_id: Uuid,
    exists: bool,
    name: String,
    history: Vec<String>,
}

impl World {
    fn unborn(world_id: Uuid) -> Self {
        Self { world_id, ..Self::default() }
    }
}

impl StateMutate for World {
    fn mutate(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Created { name, .. } => {
                self.exists = true;
                self.name = name;
            }
            WorldEvent::SomethingHappened { what, .. } => self.history.push(what),
        }
    }
}

struct CreateWorld {
    world_id: Uuid,
    name: String,
}

impl Decision for CreateWorld {
    type Event = WorldEvent;
    type StateQuery = World;
    type Error = WorldError;

    fn state_query(&self) -> World {
        World::unborn(self.world_id)
    }

    fn process(&self, world: &World) -> Result<Vec<WorldEvent>, WorldError> {
        if world.exists {
            return Err(WorldError::Exists);
        }
        Ok(vec![WorldEvent::Created { world_id: self.world_id, name: self.name.clone() }])
    }
}

struct MakeItSo {
    world_id: Uuid,
    what: String,
}

impl Decision for MakeItSo {
    type Event = WorldEvent;
    type StateQuery = World;
    type Error = WorldError;

    fn state_query(&self) -> World {
        World::unborn(self.world_id)
    }

    fn process(&self, world: &World) -> Result<Vec<WorldEvent>, WorldError> {
        if !world.exists {
            return Err(WorldError::NotFound);
        }
        Ok(vec![WorldEvent::SomethingHappened { world_id: self.world_id, what: self.what.clone() }])
    }
}

type Events = PgEventStore<WorldEvent, Json<WorldEvent>>;

pub(crate) struct Universe {
    decisions: PgDecisionMaker<WorldEvent, Json<WorldEvent>, NoSnapshot>,
    states: EventSourcedStateStore<i64, WorldEvent, Events, NoSnapshot>,
}

impl Universe {
    pub(crate) async fn new(pool: PgPool) -> Result<Self, BoxError> {
        let events = PgEventStore::try_new(pool, Json::default()).await?;
        let states = EventSourcedStateStore::new(events.clone(), NoSnapshot);
        Ok(Self { decisions: decision_maker(events, NoSnapshot), states })
    }

    pub(crate) async fn create_world(&self, name: &str) -> Result<Uuid, BoxError> {
        let world_id = Uuid::new_v4();
        self.decisions.make(CreateWorld { world_id, name: name.into() }).await?;
        Ok(world_id)
    }

    pub(crate) async fn make_it_so(&self, id: Uuid, what: &str) -> Result<(), BoxError> {
        self.decisions.make(MakeItSo { world_id: id, what: what.into() }).await?;
        Ok(())
    }

    pub(crate) async fn story(&self, id: Uuid) -> Result<(String, Vec<String>), BoxError> {
        let world = self.states.load(World::unborn(id)).await?;
        if !world.state().exists {
            return Err(WorldError::NotFound.into());
        }
        Ok((world.state().name.clone(), world.state().history.clone()))
    }
}
// What a user writes: end.
