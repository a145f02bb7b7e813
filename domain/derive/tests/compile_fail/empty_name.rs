use annals_domain::Event;

#[derive(Event)]
enum WorldEvent {
    #[event(name = "")]
    Created,
}

fn main() {}
