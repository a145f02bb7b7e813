use annals_domain::Event;

#[derive(Event)]
enum WorldEvent {
    #[event(name = "World.Moved")]
    Moved(f64, f64),
}

fn main() {}
