use annals_domain::Event;

#[derive(Event)]
enum WorldEvent {
    #[event(name = "World.Created")]
    Created,
    #[event(name = "World.Created")]
    SomethingHappened,
}

fn main() {}
