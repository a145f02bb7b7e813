use annals_domain::Event;

#[derive(Event)]
enum WorldEvent {
    #[event(name = "discarded")]
    Discarded,
}

fn main() {}
