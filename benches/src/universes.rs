//! Aggregates of several libraries beside each other, on one server: loading a long one, and commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::BoxError;
use async_trait::async_trait;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::measure::Spread;
use crate::report::short;

/// Events of the long world.
const LONG: u64 = 1_000;
/// Events of each short world.
const SHORT: u64 = 10;
/// How many commands on the long world are timed together, so that it grows by as much for each library.
const COMMANDS: u64 = 20;
/// How often a command is repeated after conflicts.
const ATTEMPTS: u64 = 1_000;
/// Writers, each on short worlds of its own.
const WRITERS: usize = 32;

/// An application with worlds, written with one library as its own users would.
#[async_trait]
pub trait Universe: Send + Sync {
    /// The library and its version.
    fn name(&self) -> String;

    /// Creates a world, and returns its id.
    async fn create_world(&self, name: &str) -> Result<Uuid, BoxError>;

    /// A command on a world that exists.
    async fn make_it_so(&self, id: Uuid, what: &str) -> Result<(), BoxError>;

    /// The name of a world, and what happened in it.
    async fn story(&self, id: Uuid) -> Result<(String, Vec<String>), BoxError>;

    /// Whether a call failed only because others were at work at the same time.
    fn is_conflict(&self, error: &BoxError) -> bool;

    /// Takes what it made on the server away.
    async fn close(&self);
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Load,
    CommandsOnLong,
    CommandsOnShort { writers: usize },
}

impl Work {
    const ALL: [Self; 4] = [
        Self::Load,
        Self::CommandsOnLong,
        Self::CommandsOnShort { writers: 1 },
        Self::CommandsOnShort { writers: WRITERS },
    ];

    fn name(self) -> String {
        match self {
            Self::Load => format!("load a world of {LONG} events"),
            Self::CommandsOnLong => format!("commands on a world of {LONG} events and more"),
            Self::CommandsOnShort { writers: 1 } => {
                format!("commands on worlds of {SHORT} events, 1 writer")
            }
            Self::CommandsOnShort { writers } => {
                format!("commands on worlds of {SHORT} events, {writers} writers")
            }
        }
    }
}

/// A universe with a long world.
struct Contestant {
    universe: Arc<dyn Universe>,
    long: Uuid,
    /// How many events the long world has.
    events: u64,
}

fn what(nth: u64) -> String {
    format!("something number {nth}")
}

/// Creates a world, or makes something happen in one, until no other call is in the way; returns its id.
async fn command(
    universe: &dyn Universe,
    world: Option<Uuid>,
    what: &str,
) -> Result<Uuid, BoxError> {
    let mut attempts = 1;
    loop {
        let done = match world {
            None => universe.create_world(what).await,
            Some(id) => universe.make_it_so(id, what).await.map(|()| id),
        };
        match done {
            Err(error) if attempts < ATTEMPTS && universe.is_conflict(&error) => attempts += 1,
            outcome => return outcome,
        }
    }
}

/// Creates a world of so many events, one command each.
async fn world(universe: &dyn Universe, events: u64) -> Result<Uuid, BoxError> {
    let id = command(universe, None, "Earth").await?;
    for nth in 1..events {
        command(universe, Some(id), &what(nth)).await?;
    }
    Ok(id)
}

impl Contestant {
    async fn new(universe: Box<dyn Universe>) -> Result<Self, BoxError> {
        let universe: Arc<dyn Universe> = Arc::from(universe);
        let long = world(&*universe, LONG).await?;
        let contestant = Self { universe, long, events: LONG };
        contestant.load().await?;
        Ok(contestant)
    }

    /// Loads the long world, and checks that it is complete.
    async fn load(&self) -> Result<(), BoxError> {
        let (name, history) = self.universe.story(self.long).await?;
        let last = history.last().map(String::as_str);
        let is_complete = history.len() as u64 + 1 == self.events
            && name == "Earth"
            && last == Some(&*what(self.events - 1));
        if is_complete {
            return Ok(());
        }
        Err(format!("{}: {} events end with {last:?}", self.universe.name(), self.events).into())
    }

    /// How much of `work` is done in a second.
    async fn once(&mut self, work: Work, time: Duration) -> Result<f64, BoxError> {
        let begin = Instant::now();
        let done = match work {
            Work::Load => {
                let mut done = 0;
                while done == 0 || begin.elapsed() < time {
                    self.load().await?;
                    done += 1;
                }
                done
            }
            Work::CommandsOnLong => {
                for _ in 0..COMMANDS {
                    command(&*self.universe, Some(self.long), &what(self.events)).await?;
                    self.events += 1;
                }
                COMMANDS
            }
            Work::CommandsOnShort { writers } => {
                let mut tasks = JoinSet::new();
                for _ in 0..writers {
                    let universe = Arc::clone(&self.universe);
                    tasks.spawn(async move {
                        let mut done = 0;
                        while done == 0 || begin.elapsed() < time {
                            world(&*universe, SHORT).await?;
                            done += SHORT;
                        }
                        Ok::<u64, BoxError>(done)
                    });
                }
                let mut done = 0;
                while let Some(joined) = tasks.join_next().await {
                    done += joined??;
                }
                done
            }
        };
        Ok(rate(done, begin.elapsed()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are small")]
fn rate(done: u64, elapsed: Duration) -> f64 {
    done as f64 / elapsed.as_secs_f64()
}

/// The lines of the report: each work by each universe in turn, `rounds` times after one that is not counted. A ratio is
/// that of the first universe to another one in the same round.
///
/// # Errors
/// A universe's; a world that has not all that happened in it.
pub async fn measure(
    universes: Vec<Box<dyn Universe>>,
    rounds: usize,
    time: Duration,
) -> Result<Vec<String>, BoxError> {
    let mut contestants = Vec::new();
    for universe in universes {
        contestants.push(Contestant::new(universe).await?);
    }
    let mut lines = Vec::new();
    for work in Work::ALL {
        let mut rates = vec![Vec::new(); contestants.len()];
        for round in 0..=rounds {
            for (contestant, rates) in contestants.iter_mut().zip(&mut rates) {
                let rate = contestant.once(work, time).await?;
                if round > 0 {
                    rates.push(rate);
                }
            }
        }
        let first = rates.first().cloned().unwrap_or_default();
        for (contestant, rates) in contestants.iter().zip(rates) {
            let ratios = first.iter().zip(&rates).map(|(first, rate)| first / rate);
            if let (Some(ratio), Some(rate)) =
                (Spread::of(ratios), Spread::of(rates.iter().copied()))
            {
                lines.push(format!(
                    "| {} | {} | {} | {:.2} | {:.2}–{:.2} |",
                    work.name(),
                    contestant.universe.name(),
                    short(rate.median),
                    ratio.median,
                    ratio.min,
                    ratio.max
                ));
            }
        }
    }
    for contestant in contestants {
        contestant.load().await?;
        contestant.universe.close().await;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Worlds in memory, of which each second call meets another one.
    #[derive(Default)]
    struct Plain {
        worlds: Mutex<HashMap<Uuid, Vec<String>>>,
        calls: AtomicU64,
        forgets: bool,
    }

    #[async_trait]
    impl Universe for Plain {
        fn name(&self) -> String {
            "plain".to_owned()
        }

        async fn create_world(&self, _: &str) -> Result<Uuid, BoxError> {
            let id = annals::EventId::generate().as_uuid();
            self.worlds.lock().expect("no panic").insert(id, Vec::new());
            Ok(id)
        }

        async fn make_it_so(&self, id: Uuid, what: &str) -> Result<(), BoxError> {
            if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return Err("conflict".into());
            }
            let mut worlds = self.worlds.lock().expect("no panic");
            let history = worlds.get_mut(&id).ok_or("no such world")?;
            if !(self.forgets && history.len() == 7) {
                history.push(what.to_owned());
            }
            Ok(())
        }

        async fn story(&self, id: Uuid) -> Result<(String, Vec<String>), BoxError> {
            let worlds = self.worlds.lock().expect("no panic");
            Ok(("Earth".to_owned(), worlds.get(&id).cloned().ok_or("no such world")?))
        }

        fn is_conflict(&self, error: &BoxError) -> bool {
            error.to_string() == "conflict"
        }

        async fn close(&self) {}
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_work_is_done_by_each() {
        let two = || -> Vec<Box<dyn Universe>> {
            vec![Box::new(Plain::default()), Box::new(Plain::default())]
        };
        let lines = measure(two(), 1, Duration::from_millis(2)).await.expect("it is measured");
        assert_eq!(lines.len(), 2 * Work::ALL.len());
    }

    #[tokio::test]
    async fn a_world_that_lost_something_is_an_error() {
        let forgets = Plain { forgets: true, ..Plain::default() };
        let lines = measure(vec![Box::new(forgets)], 1, Duration::ZERO).await;
        assert!(lines.expect_err("it forgets").to_string().contains("1000 events"));
    }
}
