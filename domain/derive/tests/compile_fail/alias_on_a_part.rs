use annals_domain::Event;

#[derive(Event)]
#[event(name = "World.Created")]
struct Created;

#[derive(Event)]
enum WorldEvent {
    #[event(alias = "World.Made")]
    Created(Created),
}

fn main() {}
