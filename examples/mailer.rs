//! Letters for orders, each once, however often the process is killed: a reaction with its ledger.
//!
//! `cargo run --release --example mailer -- --letters FILE [--store STORE] [--follow]`

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::{BoxError, EventId, QueryItem, Source, StoredEvent};
use annals_examples::store;
use annals_processing::{Claim, Effects, Processor, Reaction, SystemTimer, async_trait, reset};
use clap::Parser;

/// Letters for orders, each once, however often the process is killed.
#[derive(Parser)]
struct Arguments {
    /// Where the orders are: the path of an SQLite file, or the URL of a PostgreSQL database
    #[arg(long, env = "ANNALS_STORE")]
    store: String,
    /// The file that letters are sent to. It takes a letter whose key it has for one that it has
    #[arg(long)]
    letters: PathBuf,
    /// Go on with orders that come later, until it is killed
    #[arg(long)]
    follow: bool,
    /// Go over all orders again
    #[arg(long)]
    again: bool,
}

struct Mailer {
    letters: PathBuf,
}

/// Sends a letter, unless one with its key was sent. Returns whether it was.
fn send(letters: &Path, key: EventId, order: &str) -> std::io::Result<bool> {
    let sent = std::fs::read_to_string(letters).unwrap_or_default();
    let keys: BTreeSet<&str> = sent.lines().filter_map(|line| line.split(' ').next()).collect();
    let is_new = !keys.contains(key.to_string().as_str());
    if is_new {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(letters)?;
        // A line is written as a whole or not at all.
        file.write_all(format!("{key} {order}\n").as_bytes())?;
    }
    Ok(is_new)
}

#[async_trait]
impl Reaction for Mailer {
    async fn handle(&self, event: &StoredEvent, effects: &Effects<'_>) -> Result<(), BoxError> {
        if *event.name() != "order-placed" {
            return Ok(());
        }
        let order = event.stream.name.as_str();
        effects.once("letter", |key| async move { Ok(send(&self.letters, key, order)?) }).await?;
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    let log = store::open(&arguments.store).await?;
    let state = store::open_state(&arguments.store).await?;
    if arguments.again {
        reset(&*state, &Claim::new("mailer")?).await?;
    }
    let mailer = Mailer { letters: arguments.letters };
    let made = Processor::reaction("mailer", &log, Arc::clone(&state), mailer, SystemTimer::new())?;
    let orders = QueryItem::new(Source::Category(annals::CategoryName::from_static("orders")));
    // Who is killed all the time is no poison.
    let mut made = made.with_query(orders)?.with_batch(10, 1 << 20).with_poison_after(u32::MAX);
    if arguments.follow {
        made.run().await?;
    } else {
        made.settle().await?;
    }
    log.close().await;
    state.close().await;
    Ok(())
}
