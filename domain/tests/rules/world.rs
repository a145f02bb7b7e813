//! The aggregate that most tests are about.

use annals_domain::{Aggregate, Event};

#[derive(Event, Debug, Clone, PartialEq)]
pub(crate) enum WorldEvent {
    #[event(name = "World.Created")]
    Created { name: String },
    #[event(name = "World.SomethingHappened")]
    SomethingHappened { what: String },
}

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) history: Vec<String>,
}

impl Aggregate for World {
    const CATEGORY: &'static str = "worlds";
    type Id = String;
    type Event = WorldEvent;

    fn apply(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Created { name } => self.name = name,
            WorldEvent::SomethingHappened { what } => self.history.push(what),
        }
    }
}

impl World {
    pub(crate) fn created(name: &str) -> WorldEvent {
        WorldEvent::Created { name: name.to_owned() }
    }

    pub(crate) fn created_state(name: &str) -> Self {
        Self { name: name.to_owned(), history: Vec::new() }
    }

    #[expect(clippy::unused_self, reason = "a decision is a method of the state")]
    pub(crate) fn make_it_so(&self, what: &str) -> WorldEvent {
        WorldEvent::SomethingHappened { what: what.to_owned() }
    }
}
