use annals_domain::{Aggregate, Event, Root};

#[derive(Event)]
#[event(name = "World.Created")]
struct Created;

#[derive(Clone, Default)]
struct World {
    name: String,
}

impl Aggregate for World {
    const CATEGORY: &'static str = "worlds";
    type Id = String;
    type Event = Created;

    fn apply(&mut self, _: Created) {}
}

fn main() {
    let mut world = Root::<World>::new("earth".to_owned()).unwrap();
    world.name = "Mars".to_owned();
}
