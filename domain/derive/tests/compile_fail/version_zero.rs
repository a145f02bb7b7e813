use annals_domain::Event;

#[derive(Event)]
#[event(name = "World.Created", version = 0)]
struct Created;

fn main() {}
