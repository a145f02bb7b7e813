use annals_domain::Event;

#[derive(Event)]
enum WorldEvent {
    #[event(named = "World.Created")]
    Created,
}

fn main() {}
