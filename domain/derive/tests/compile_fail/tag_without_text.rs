use annals_domain::Event;

#[derive(Event)]
#[event(name = "World.Moved")]
struct Moved {
    #[event(tag = "place")]
    place: Vec<f64>,
}

fn main() {}
