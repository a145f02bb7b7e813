use annals_domain::{Event, State};

#[derive(Event)]
enum WorldEvent {
    #[event(name = "World.Created")]
    Created,
    #[event(name = "World.Ended")]
    Ended,
}

#[derive(Clone, Default)]
struct World;

impl State for World {
    type Event = WorldEvent;

    fn apply(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Created => {}
        }
    }
}

fn main() {}
