use annals_domain::{Aggregate, Event, Root};

#[derive(Event)]
enum WorldEvent {
    #[event(name = "World.Created")]
    Created,
    #[event(name = "World.Ended")]
    Ended,
}

#[derive(Clone, Default)]
struct World;

impl Aggregate for World {
    const CATEGORY: &'static str = "worlds";
    type Id = String;
    type Event = WorldEvent;

    fn apply(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::Created => Root::trigger(self, WorldEvent::Ended).unwrap(),
            WorldEvent::Ended => {}
        }
    }
}

fn main() {}
