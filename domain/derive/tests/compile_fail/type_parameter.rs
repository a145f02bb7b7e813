use annals_domain::Event;

#[derive(Event)]
enum WorldEvent<'a> {
    #[event(name = "World.Created")]
    Created { name: &'a str },
}

fn main() {}
