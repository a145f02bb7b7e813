use annals_domain::Event;

#[derive(Event)]
#[event(name = "World.Created")]
struct Created;

#[derive(Event)]
enum WorldEvent {
    Created(Created),
    #[event(name = "World.Made", alias = "World.Created")]
    Made,
}

fn main() {}
