//! Orders, reservations and payments that follow one another. The system itself is in `src/orders.rs`.
//!
//! `cargo run --release --example orders -- [--store STORE] [--tasks | --share]`

use std::sync::Arc;
use std::time::Duration;

use annals::BoxError;
use annals_examples::{orders, store};
use annals_processing::SystemTimer;
use annals_state::StateStore;
use clap::Parser;

/// Orders, reservations and payments that follow one another.
#[derive(Parser)]
struct Arguments {
    /// Where to keep them: `memory`, the path of an SQLite file, or the URL of a PostgreSQL database, without orders so far
    #[arg(long, env = "ANNALS_STORE", default_value = "memory")]
    store: String,
    /// Run each application as a task of its own, not all in one thread
    #[arg(long)]
    tasks: bool,
    /// Place nothing, and work on the share of one process until it is killed: start several
    #[arg(long, conflicts_with = "tasks")]
    share: bool,
    /// How often a process that shares the work says that it lives, in milliseconds
    #[arg(long, default_value_t = 1_000)]
    beat: u64,
}

const ORDERS: u32 = 15;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    let log = store::open(&arguments.store).await?;
    let state: Arc<dyn StateStore> = store::open_state(&arguments.store).await?;
    if arguments.share {
        return orders::share(&log, &state, Duration::from_millis(arguments.beat)).await;
    }
    let system = orders::system()?;
    let timer = SystemTimer::new();
    if arguments.tasks {
        let services = system.services(&log, &state, &timer)?;
        let handle = services.handle();
        let running = tokio::spawn(services.run());
        orders::place(&log, 0..ORDERS).await?;
        while !orders::is_done(&log, ORDERS as usize).await? && !running.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        handle.stop();
        running.await??;
    } else {
        let mut settling = system.settling(&log, &state, &timer)?;
        for number in 0..ORDERS {
            orders::place(&log, number..number + 1).await?;
            settling.settle().await?;
        }
    }
    if !orders::is_done(&log, ORDERS as usize).await? {
        return Err(format!("not all is done: {:?}", orders::counts(&log).await?).into());
    }
    for (name, count) in orders::counts(&log).await? {
        println!("{name}: {count}");
    }
    log.close().await;
    state.close().await;
    Ok(())
}
