use annals_domain::{Aggregate, Event, Repository};

#[derive(Event)]
#[event(name = "World.Created")]
struct Created(String);

#[derive(Clone, Default)]
struct World;

impl Aggregate for World {
    const CATEGORY: &'static str = "worlds";
    type Id = u64;
    type Event = Created;

    fn apply(&mut self, _: Created) {}
}

fn create(worlds: &Repository<World>, name: String) {
    drop(worlds.create(&1, move || Created(name)));
}

fn main() {}
