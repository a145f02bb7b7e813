//! The worlds of cqrs-es with postgres-es. It asks for its tables first: see [`crate::postgres_es`].

use annals::BoxError;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, DomainEvent, EventStore};
use postgres_es::{PostgresCqrs, PostgresEventRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

// What a user writes: begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum WorldEvent {
    Created { name: String },
    SomethingHappened { what: String },
}

impl DomainEvent for WorldEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created { .. } => "World.Created".into(),
            Self::SomethingHappened { .. } => "World.SomethingHappened".into(),
        }
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

pub(crate) enum WorldCommand {
    Create { name: String },
    MakeItSo { what: String },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum WorldError {
    #[error("the world exists")]
    Exists,
    #[error("there is no such world")]
    NotFound,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct World {
    exists: bool,
    name: String,
    history: Vec<String>,
}

impl Aggregate for World {
    const TYPE: &'static str = "worlds";
    type Command = WorldCommand;
    type Event = WorldEvent;
    type Error = WorldError;
    type Services = ();

    async fn handle(
        &mut self,
        command: WorldCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), WorldError> {
        let event = match command {
            WorldCommand::Create { .. } if self.exists => return Err(WorldError::Exists),
            WorldCommand::MakeItSo { .. } if !self.exists => return Err(WorldError::NotFound),
            WorldCommand::Create { name } => WorldEvent::Created { name },
            WorldCommand::MakeItSo { what } => WorldEvent::SomethingHappened { what },
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Created { name } => {
                self.exists = true;
                self.name = name;
            }
            WorldEvent::SomethingHappened { what } => self.history.push(what),
        }
    }
}

pub(crate) struct Universe {
    worlds: PostgresCqrs<World>,
    store: PersistedEventStore<PostgresEventRepository, World>,
}

impl Universe {
    pub(crate) fn new(pool: PgPool) -> Self {
        let repository = PostgresEventRepository::new(pool.clone());
        let store = PersistedEventStore::new_event_store(repository);
        Self { worlds: postgres_cqrs(pool, vec![], ()), store }
    }

    pub(crate) async fn create_world(&self, name: &str) -> Result<Uuid, BoxError> {
        let id = Uuid::new_v4();
        let create = WorldCommand::Create { name: name.into() };
        self.worlds.execute(&id.to_string(), create).await?;
        Ok(id)
    }

    pub(crate) async fn make_it_so(&self, id: Uuid, what: &str) -> Result<(), BoxError> {
        let make_it_so = WorldCommand::MakeItSo { what: what.into() };
        self.worlds.execute(&id.to_string(), make_it_so).await?;
        Ok(())
    }

    pub(crate) async fn story(&self, id: Uuid) -> Result<(String, Vec<String>), BoxError> {
        let world = self.store.load_aggregate(&id.to_string()).await?.aggregate;
        if !world.exists {
            return Err(WorldError::NotFound.into());
        }
        Ok((world.name, world.history))
    }
}
// What a user writes: end.
