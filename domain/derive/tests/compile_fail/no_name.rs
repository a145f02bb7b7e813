use annals_domain::Event;

#[derive(Event)]
enum WorldEvent {
    #[event(name = "World.Created")]
    Created { name: String },
    SomethingHappened { what: String },
}

fn main() {}
