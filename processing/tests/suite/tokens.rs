//! Read your writes over three views that are killed again and again: no wait for a token returns before what was written is
//! in the view. So many operations as `ANNALS_TOKENS` says (1,500 without it).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::support::{Count, Counts, SECOND, World};
use annals_processing::{Claim, Processor, Progress, Token};
use annals_state::{Collection, Documents};
use annals_testkit::processing::{Interleaving, Task};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const VIEWS: [&str; 3] = ["one", "two", "three"];
/// How many operations there are between two kills, at most.
const A_KILL: usize = 20;

fn operations() -> usize {
    std::env::var("ANNALS_TOKENS").map_or(1_500, |text| text.parse().unwrap())
}

fn documents(world: &World, view: &str) -> Documents<Count> {
    Collection::new(view).unwrap().on(Arc::clone(&world.state))
}

fn start(world: &World, view: &'static str, tasks: &mut Interleaving) -> Task {
    let (made, timer) = (documents(world, view), world.timer.clone());
    let processor = Processor::view(view, &world.store, made, Counts::default(), timer).unwrap();
    // However often it is killed, no event is suspected.
    let processor = processor.with_batch(3, 1 << 20).with_poison_after(u32::MAX);
    tasks.spawn(async move { processor.run().await.unwrap() })
}

#[test]
fn p8_no_token_is_reached_before_what_was_written_is_there() {
    let world = World::new();
    let mut tasks = world.tasks(17);
    let mut random = StdRng::seed_from_u64(17);
    let mut running = VIEWS.map(|view| start(&world, view, &mut tasks));
    let (mut left, mut kills) = (operations(), 0);
    while left > 0 {
        let some = random.random_range(1..=A_KILL).min(left);
        left -= some;
        let (there, seed) = (world.clone(), random.random());
        tasks.block_on(async move { operate(&there, some, seed).await });
        // It is somewhere in the middle of what was written since.
        let nth = random.random_range(0..VIEWS.len());
        tasks.kill(running[nth]);
        running[nth] = start(&world, VIEWS[nth], &mut tasks);
        kills += 1;
    }
    assert!(kills >= operations() / A_KILL);
}

/// Appends and waits, at random; tokens of several appends are merged, and go through text.
async fn operate(world: &World, operations: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut token = Token::default();
    for _ in 0..operations {
        let stream = format!("s-{}", random.random_range(0..4));
        let names = &["counted"; 3][..random.random_range(1..=3)];
        let stored = world.append(&stream, names).await;
        token = token.merge(&Token::of("log", stored.last().unwrap()).to_string().parse().unwrap());
        if random.random_bool(0.5) {
            continue;
        }
        let view = VIEWS[random.random_range(0..VIEWS.len())];
        let claim = Claim::new(view).unwrap();
        let progress = Progress::new(Arc::clone(&world.state), world.timer.clone(), claim);
        progress.wait_for(&token, SECOND * 600).await.unwrap();
        // All events of the log are counted, so it says how many there are.
        let written = token.until("log").unwrap().value();
        let total = documents(world, view).get("total").await.unwrap().unwrap().value.events;
        assert!(total >= written, "{view} has {total} of {written} events");
    }
}
