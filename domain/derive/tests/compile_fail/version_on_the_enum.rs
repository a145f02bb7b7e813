use annals_domain::Event;

#[derive(Event)]
#[event(version = 2, upcast(v1_to_v2))]
enum WorldEvent {
    #[event(name = "World.Created")]
    Created,
}

fn v1_to_v2(_: &mut serde_json::Value) {}

fn main() {}
