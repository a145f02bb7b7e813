//! Appends of the weaker orders that wait for a category or stream that others hold, and keep up nobody else.
//!
//! They are tried again and again without waiting in the server, so that they take no connection while they wait.

use std::time::Duration;

use annals_sql::queue::{Intake, Job, Message};
use hashbrown::HashSet;
use tokio::time::Instant;

use crate::append::locks::locks;
use crate::error::{Failure, NAME};
use crate::store::Store;

/// Between the first two tries; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Between any two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Its room is that of the queue: each append keeps its place there until it is answered.
#[derive(Debug)]
pub(crate) struct Held {
    jobs: Vec<Job>,
    /// What they wait for.
    keys: HashSet<i64>,
    due: Instant,
    pause: Duration,
}

impl Default for Held {
    fn default() -> Self {
        let (jobs, keys) = (Vec::new(), HashSet::new());
        Self { jobs, keys, due: Instant::now(), pause: FIRST_PAUSE }
    }
}

impl Held {
    /// What is queued next; nothing when it is time to try these again first. `None`: all callers are gone, of these too.
    pub(crate) async fn next<X>(&mut self, intake: &mut Intake<X>) -> Option<Vec<Message<X>>> {
        self.jobs.retain(|job| !job.is_abandoned());
        if self.jobs.is_empty() {
            return intake.next().await;
        }
        match tokio::time::timeout_at(self.due, intake.next()).await {
            Ok(Some(messages)) => Some(messages),
            Ok(None) => self.wait().await.then(Vec::new),
            Err(_) => Some(Vec::new()),
        }
    }

    /// Waits until it is time to try these again; whether there are any.
    pub(crate) async fn wait(&mut self) -> bool {
        self.jobs.retain(|job| !job.is_abandoned());
        if !self.jobs.is_empty() {
            tokio::time::sleep_until(self.due).await;
        }
        !self.jobs.is_empty()
    }

    /// Those that are to be tried again now.
    pub(crate) fn take_due(&mut self) -> Vec<Job> {
        if Instant::now() < self.due {
            return Vec::new();
        }
        self.pause = (self.pause * 2).min(PAUSE);
        self.due = Instant::now() + self.pause;
        self.keys.clear();
        std::mem::take(&mut self.jobs)
    }

    /// Keeps those of `jobs` that need what these wait for, and returns the others.
    pub(crate) fn keep_known(&mut self, store: &Store, jobs: Vec<Job>) -> Vec<Job> {
        if self.jobs.is_empty() {
            return jobs;
        }
        let keys = self.keys.clone();
        self.keep_those(store, jobs, &keys)
    }

    /// Keeps those of `jobs` that need one of `keys`, which others hold, and returns the others. One that has waited as
    /// long as it may is refused.
    pub(crate) fn keep(&mut self, store: &Store, jobs: Vec<Job>, keys: &[i64]) -> Vec<Job> {
        let free = self.keep_those(store, jobs, &keys.iter().copied().collect());
        tracing::event!(
            name: "annals.held",
            target: "annals",
            tracing::Level::DEBUG,
            adapter = NAME,
            appends = self.jobs.len(),
        );
        let now = Instant::now();
        if self.due <= now {
            // They are the first to wait.
            self.pause = FIRST_PAUSE;
            self.due = now + FIRST_PAUSE;
        } else if !free.is_empty() {
            // Where some go on, others may follow soon.
            self.pause = FIRST_PAUSE;
            self.due = self.due.min(now + FIRST_PAUSE);
        }
        free
    }

    fn keep_those(&mut self, store: &Store, jobs: Vec<Job>, keys: &HashSet<i64>) -> Vec<Job> {
        let limit = store.options.common.lock_timeout;
        let now = Instant::now().into_std();
        let mut free = Vec::new();
        for mut job in jobs {
            let mut needs = locks(store, job.writes());
            needs.retain(|need| keys.contains(need));
            if needs.is_empty() {
                free.push(job);
            } else if now - job.held_since(now) >= limit {
                let error = Failure::Held(Vec::new()).into_fault().error(NAME);
                job.answer(Err(error));
            } else {
                self.keys.extend(needs);
                self.jobs.push(job);
            }
        }
        free
    }
}
