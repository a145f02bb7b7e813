use annals_domain::Event;

#[derive(Event)]
#[event(name = "World.Created", version = 2, upcast(v1_to_v2))]
struct Created {
    name: String,
}

fn v1_to_v2(payload: String) -> String {
    payload
}

fn main() {}
