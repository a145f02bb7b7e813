//! What a harness of state stores may offer beside opening them: a kill, and connections that are cut.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use annals::{BoxError, Payload};
use annals_state::{
    Commit, DocumentKey, Expected, IndexName, Revision, Scan, StateError, StateStore, Write,
    get_all,
};
use futures_util::TryStreamExt;
use futures_util::future::join_all;

use crate::generate::valid;
use crate::proxy::{Proxy, Side};

/// The variable that makes a child of a test binary; its value is the namespace of its [`Work`].
const VARIABLE: &str = "ANNALS_TESTKIT_STATE_CHILD";
const BY: IndexName = IndexName::from_static("by");

/// Something that a harness of state stores can do beside opening a store. A check that needs it is reported as not run
/// where it is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// [`Open::kill`](super::Open::kill)
    Kill,
    /// [`Open::open_cut`](super::Open::open_cut)
    Cut,
}

/// A way to a store that can be cut on purpose, such as a [`Proxy`].
pub trait Cut: Send + Sync + 'static {
    /// Lets so many more packets of `side` pass, and then cuts everything until [`heal`](Self::heal).
    fn cut_after(&self, side: Side, packets: u64);

    /// Lets everything pass again.
    fn heal(&self);
}

impl Cut for Proxy {
    fn cut_after(&self, side: Side, packets: u64) {
        Self::cut_after(self, side, packets);
    }

    fn heal(&self) {
        let _ = Self::heal(self);
    }
}

/// Commits without end, until their process or their store is killed: a few tasks, each of which moves two documents of
/// its own on together, from where they are. Each line that it says is a commit that was acknowledged.
#[derive(Debug, Clone)]
pub struct Work {
    namespace: String,
}

impl Work {
    /// How many tasks commit at once.
    pub(super) const TASKS: usize = 4;

    pub(super) fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into() }
    }

    /// The work of this process, if [`kill_child`](Self::kill_child) has started it: its `main` opens the store of the
    /// [namespace](Self::namespace), [does it](Self::run_as_child), and ends.
    #[must_use]
    pub fn of_child() -> Option<Self> {
        std::env::var(VARIABLE).ok().map(Self::new)
    }

    /// The namespace of the store.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Commits until `say`, which takes the line of each acknowledged commit, returns `false`, or until a commit fails, as
    /// those do whose store was killed.
    ///
    /// # Cancel safety
    /// Dropped, each task has at most one commit that was not said.
    pub async fn run(&self, store: Arc<dyn StateStore>, say: &(dyn Fn(String) -> bool + Sync)) {
        join_all((0..Self::TASKS).map(|task| self.task(&store, task, say))).await;
    }

    /// The same in a child process, whose lines go to standard output until it is killed.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn run_as_child(&self, store: Arc<dyn StateStore>) {
        use std::io::Write as _;
        let say = |line: String| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
        };
        self.run(store, &say).await;
    }

    /// Starts `command`, which runs a test binary whose `main` asks [`of_child`](Self::of_child) first, kills it as
    /// `kill -9` does once so many commits were acknowledged, and returns what it said.
    ///
    /// # Errors
    /// When it does not start, or ends before.
    ///
    /// # Cancel safety
    /// Dropped, the child ends when it says its next line.
    pub async fn kill_child(
        &self,
        mut command: Command,
        acknowledged: usize,
    ) -> Result<Vec<String>, BoxError> {
        command.env(VARIABLE, &self.namespace).stdin(Stdio::null()).stdout(Stdio::piped());
        let killed = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn()?;
            let out = child.stdout.take().ok_or("a child process without output")?;
            let mut lines = BufReader::new(out).lines().map_while(Result::ok);
            let mut said: Vec<String> = lines.by_ref().take(acknowledged).collect();
            let is_early = said.len() < acknowledged;
            child.kill()?;
            // What it said between our last look and the kill was acknowledged, too.
            said.extend(lines);
            child.wait()?;
            if is_early {
                return Err(
                    format!("the child process ended before it was killed: {said:?}").into()
                );
            }
            Ok(said)
        });
        killed.await?
    }

    fn key(&self, kind: &str, task: usize) -> DocumentKey {
        valid(DocumentKey::new(format!("killed-{}", self.namespace), format!("{kind}-{task}")))
    }

    /// A commit that moves both documents of `task` to `round`, each with an entry that says the round.
    pub(super) fn step(&self, task: usize, round: u64, from: Expected) -> Commit {
        let put = |kind| {
            let put = Write::put(self.key(kind, task), valid(Payload::json(&round)), from);
            put.with_entry(BY, format!("{kind}-{task}-{round:06}"))
        };
        Commit::new([put("a"), put("b")])
    }

    async fn task(
        &self,
        store: &Arc<dyn StateStore>,
        task: usize,
        say: &(dyn Fn(String) -> bool + Sync),
    ) {
        let (mut round, mut from) = match self.whole(store, task).await {
            Ok(Some((round, revision))) => (round, Expected::Is(revision)),
            Ok(None) => (0, Expected::Absent),
            // Others may have committed so often by now that the store is killed.
            Err(error) if error.is::<StateError>() => return,
            Err(error) => {
                say(format!("failed {task}: {error}"));
                return;
            }
        };
        loop {
            round += 1;
            let commit = self.step(task, round, from);
            from = Expected::Is(commit.revision);
            match store.commit(commit).await {
                // A line that the kill cuts off has no end.
                Ok(()) if !say(format!("acknowledged {task} {round} .")) => return,
                Ok(()) => tokio::task::yield_now().await,
                Err(error) if error.is_conflict() => {
                    say(format!("failed {task}: {error}"));
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// What a line says, unless it was cut off by the kill.
    pub(super) fn heard(line: &str) -> Option<(usize, u64)> {
        let (_, said) = line.split_once("acknowledged ")?;
        let (task, round) = said.strip_suffix(" .")?.split_once(' ')?;
        Some((task.parse().ok()?, round.parse().ok()?))
    }

    /// The round and the revision that the documents of `task` have, if they are of one commit and stand along the index
    /// as they should.
    pub(super) async fn whole(
        &self,
        store: &Arc<dyn StateStore>,
        task: usize,
    ) -> Result<Option<(u64, Revision)>, BoxError> {
        let got = get_all(store, vec![self.key("a", task), self.key("b", task)]).await?;
        let mut found = Vec::new();
        for document in got.iter().flatten() {
            found.push((document.body.to_json::<u64>()?, document.revision));
        }
        let last = match &found[..] {
            [] => None,
            [a, b] if a == b => Some(*a),
            half => return Err(format!("half of a commit is there: {half:?}").into()),
        };
        let along = Scan::along(self.key("a", task).collection, BY);
        let pages: Vec<_> = store.scan(along).try_collect().await?;
        let entries = pages.iter().flatten().filter(|one| {
            let id = one.document.key.id.as_str();
            id == format!("a-{task}") || id == format!("b-{task}")
        });
        let entries = entries.count();
        if entries != found.len() {
            return Err(format!("{} documents have {entries} entries", found.len()).into());
        }
        Ok(last)
    }
}
