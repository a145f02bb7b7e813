use annals_domain::Event;

#[derive(Event)]
#[event(name = "World.Created", upcast(v1_to_v2))]
struct Created {
    name: String,
}

fn v1_to_v2(_: &mut serde_json::Value) {}

fn main() {}
