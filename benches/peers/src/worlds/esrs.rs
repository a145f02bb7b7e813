//! The worlds of esrs. Its manager loads nothing of a missing world, and nobody creates one under an id that exists.

use annals::BoxError;
use esrs::manager::AggregateManager;
use esrs::store::postgres::{PgStore, PgStoreBuilder};
use esrs::{Aggregate, AggregateState};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

// What a user writes: begin.
#[derive(Serialize, Deserialize)]
pub(crate) enum WorldEvent {
    Created { name: String },
    SomethingHappened { what: String },
}

pub(crate) enum WorldCommand {
    Create { name: String },
    MakeItSo { what: String },
}

#[derive(Debug, thiserror::Error)]
#[error("there is no such world")]
pub(crate) struct NoSuchWorld;

#[derive(Default)]
pub(crate) struct WorldState {
    name: String,
    history: Vec<String>,
}

pub(crate) struct World;

impl Aggregate for World {
    const NAME: &'static str = "worlds";
    type State = WorldState;
    type Command = WorldCommand;
    type Event = WorldEvent;
    type Error = NoSuchWorld;

    fn handle_command(
        _: &WorldState,
        command: WorldCommand,
    ) -> Result<Vec<WorldEvent>, NoSuchWorld> {
        match command {
            WorldCommand::Create { name } => Ok(vec![WorldEvent::Created { name }]),
            WorldCommand::MakeItSo { what } => Ok(vec![WorldEvent::SomethingHappened { what }]),
        }
    }

    fn apply_event(mut world: WorldState, event: WorldEvent) -> WorldState {
        match event {
            WorldEvent::Created { name } => world.name = name,
            WorldEvent::SomethingHappened { what } => world.history.push(what),
        }
        world
    }
}

pub(crate) struct Universe {
    worlds: AggregateManager<PgStore<World>>,
}

impl Universe {
    pub(crate) async fn new(pool: PgPool) -> Result<Self, BoxError> {
        let store = PgStoreBuilder::new(pool).try_build().await?;
        Ok(Self { worlds: AggregateManager::new(store) })
    }

    pub(crate) async fn create_world(&self, name: &str) -> Result<Uuid, BoxError> {
        let world = AggregateState::new();
        let id = *world.id();
        let create = WorldCommand::Create { name: name.into() };
        self.worlds.handle_command(world, create).await??;
        Ok(id)
    }

    pub(crate) async fn make_it_so(&self, id: Uuid, what: &str) -> Result<(), BoxError> {
        let world = self.worlds.load(id).await?.ok_or(NoSuchWorld)?;
        let make_it_so = WorldCommand::MakeItSo { what: what.into() };
        self.worlds.handle_command(world, make_it_so).await??;
        Ok(())
    }

    pub(crate) async fn story(&self, id: Uuid) -> Result<(String, Vec<String>), BoxError> {
        let world = self.worlds.load(id).await?.ok_or(NoSuchWorld)?.into_inner();
        Ok((world.name, world.history))
    }
}
// What a user writes: end.
