use annals_domain::Event;

#[derive(Event)]
enum WorldEvent {
    #[event(name = "World.Created", version = 3, upcast(v1_to_v2))]
    Created { name: String },
}

fn v1_to_v2(_: &mut serde_json::Value) {}

fn main() {}
