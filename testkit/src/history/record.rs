//! Records what clients do at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Capabilities, Error, Order};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::calls::{Names, Seen};
use crate::harness::Store;
use crate::history::view::scope;
use crate::history::{History, Operation, Violation};
use crate::model::{Op, Outcome, Scope};
use crate::op::Generator;
use crate::sequential::{SHRINK_TIME, simpler};

/// How often a smaller program is run to see it fail, and how many runs there are in all.
const ATTEMPTS: usize = 20;
const RUNS: usize = 600;

/// Programs that begin together, one for each client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients(pub Vec<Vec<Op>>);

/// A history that is wrong, and the programs that it came from.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) clients: Clients,
    pub(crate) history: History,
    pub(crate) violation: Violation,
}

impl Clients {
    /// Random programs of operations that `capabilities` allow. The same seed makes the same programs; how they
    /// interleave is up to the run.
    #[must_use]
    pub fn random(seed: u64, capabilities: Capabilities, clients: usize, length: usize) -> Self {
        Self::generate(seed, capabilities, (clients, length), Generator::op)
    }

    pub(crate) fn generate(
        seed: u64,
        capabilities: Capabilities,
        (clients, length): (usize, usize),
        op: impl Fn(&mut Generator) -> Op,
    ) -> Self {
        let mut make = Generator::new(seed, capabilities, false);
        Self((0..clients).map(|_| (0..length).map(|_| op(&mut make)).collect()).collect())
    }

    /// Runs all programs at once, each through one of `handles` to the same store, and reads the log in the end.
    ///
    /// # Errors
    /// Those of the read in the end; answers to the programs, errors included, are part of the history.
    ///
    /// # Cancel safety
    /// Dropped before it is done, it stops the clients; appends under way are stored or not.
    pub async fn record(&self, handles: &[Store]) -> annals::Result<History> {
        self.record_in("h", handles).await
    }

    /// The same under names that begin with `namespace`.
    async fn record_in(&self, namespace: &str, handles: &[Store]) -> annals::Result<History> {
        let first = handles.first().ok_or_else(|| Error::invalid("no handle to a store"))?;
        let order = first.capabilities().order;
        let names = Names::new(namespace, first).await;
        let ticks = Arc::new(AtomicU64::new(0));
        let barrier = Arc::new(Barrier::new(self.0.len().max(1)));
        let mut running = JoinSet::new();
        for (client, (program, store)) in self.0.iter().zip(handles.iter().cycle()).enumerate() {
            let (program, store, names) = (program.clone(), Arc::clone(store), names.clone());
            let (ticks, barrier) = (Arc::clone(&ticks), Arc::clone(&barrier));
            running.spawn(async move {
                barrier.wait().await;
                run(client, &program, &store, &names, &ticks).await
            });
        }
        let mut operations = Vec::new();
        while let Some(done) = running.join_next().await {
            let done = done.map_err(|error| Error::invalid(format!("a client: {error}")))?;
            operations.extend(done);
        }
        operations.sort_by_key(|operation| operation.invoked);
        let mut log = Vec::new();
        for scope in self.scopes(order) {
            log.extend(names.all(first, scope).await?);
        }
        Ok(History { order, operations, log })
    }

    fn scopes(&self, order: Order) -> Vec<Scope> {
        let writes = self.0.iter().flatten().filter_map(|op| match op {
            Op::Append(writes) => Some(writes),
            Op::Read(..) => None,
        });
        let mut scopes = Vec::new();
        for scope in writes.flatten().map(|write| scope(order, write.stream)) {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        scopes
    }

    /// Records and checks; when that fails looks for smaller programs that fail too.
    pub(crate) async fn check_in(
        &self,
        namespace: &str,
        handles: &[Store],
    ) -> annals::Result<Result<(), Box<Found>>> {
        let mut runs = RUNS;
        let until = Instant::now() + SHRINK_TIME;
        let Some(mut best) = self.fails(namespace, handles, 1, &mut runs).await? else {
            return Ok(Ok(()));
        };
        'smaller: loop {
            for smaller in best.clients.smaller() {
                if runs == 0 || Instant::now() > until {
                    break 'smaller;
                }
                if let Some(found) = smaller.fails(namespace, handles, ATTEMPTS, &mut runs).await? {
                    best = found;
                    continue 'smaller;
                }
            }
            break;
        }
        Ok(Err(Box::new(best)))
    }

    async fn fails(
        &self,
        namespace: &str,
        handles: &[Store],
        attempts: usize,
        runs: &mut usize,
    ) -> annals::Result<Option<Found>> {
        for _ in 0..attempts.min(*runs) {
            *runs -= 1;
            let history = self.record_in(namespace, handles).await?;
            if let Err(violation) = history.check() {
                return Ok(Some(Found { clients: self.clone(), history, violation }));
            }
        }
        Ok(None)
    }

    /// Without a client, without an operation, with a simpler operation.
    fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        let mut with = |change: &dyn Fn(&mut Vec<Vec<Op>>)| {
            let mut programs = self.0.clone();
            change(&mut programs);
            programs.retain(|program| !program.is_empty());
            smaller.push(Self(programs));
        };
        for client in 0..self.0.len() {
            with(&|programs| drop(programs.remove(client)));
        }
        for (client, program) in self.0.iter().enumerate() {
            for half in [0..program.len() / 2, program.len() / 2..program.len()] {
                if half.len() > 1 {
                    with(&|programs| drop(programs[client].drain(half.clone())));
                }
            }
        }
        for (client, program) in self.0.iter().enumerate() {
            for nth in 0..program.len() {
                with(&|programs| drop(programs[client].remove(nth)));
            }
        }
        for (client, program) in self.0.iter().enumerate() {
            for (nth, op) in program.iter().enumerate() {
                for simple in simpler(op) {
                    with(&|programs| programs[client][nth] = simple.clone());
                }
            }
        }
        smaller
    }
}

async fn run(
    client: usize,
    program: &[Op],
    store: &Store,
    names: &Names,
    ticks: &AtomicU64,
) -> Vec<Operation> {
    let tick = || ticks.fetch_add(1, Ordering::SeqCst);
    let mut seen = Seen::default();
    let mut operations = Vec::new();
    for (nth, op) in program.iter().enumerate() {
        for _ in 0..(client * 5 + nth * 3) % 4 {
            tokio::task::yield_now().await;
        }
        let op = seen.resolve(op, &|number| number);
        let invoked = tick();
        let (outcome, _) = names.call(store, &op).await;
        let returned = tick();
        if let Outcome::Appended(events) | Outcome::Read(events) = &outcome {
            seen.take(events);
        }
        operations.push(Operation { client, invoked, returned, op, outcome });
    }
    operations
}
