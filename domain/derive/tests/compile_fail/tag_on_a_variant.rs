use annals_domain::Event;

#[derive(Event)]
enum WorldEvent {
    #[event(name = "World.Created", tag = "world")]
    Created { world: String },
}

fn main() {}
