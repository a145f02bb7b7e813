//! Groups: nodes that share the parts of a processor, without a coordinator.

mod member;
mod node;
mod plan;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use annals::EventId;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::claim::{Claim, MEMBERS};
use crate::error::{ProcessingError, Result, chain};
use crate::handle::Handle;
use crate::measure;
use crate::partition::Partitions;
use crate::processor::Processor;
use crate::status::{Limits, Phase, Status};
use crate::stopping::Stopping;
use crate::timer::Timer;

pub(crate) use member::{Members, Times};
use node::{Beat, Node};

/// One node of a group: it works on an equal share of the parts of a processor. The other nodes are groups of the same
/// processor in other processes, over the same stores.
///
/// There is no coordinator. Each node beats: it replaces a document of its own, looks at those of the others, and computes
/// who should have which part. It takes a part that is free, and leaves what it has above its share; nothing else moves.
/// A node whose beat did not change for `dead_after`, by the timer of who looks at it, is dead, and its parts are free.
///
/// Every commit of a processor expects the tracking that it knows, and a node that takes a part replaces it. So of two
/// nodes that believe that they have a part at most one can commit, however long one of them was stopped, and whatever
/// their clocks say; the other one stops to work on it. The order of each stream is kept when its part moves.
///
/// A singleton is a group of one part: [`Partitions::Whole`].
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use annals::{BoxError, EventStore, StoredEvent};
/// # use annals_memory::{MemoryAdapter, MemoryState};
/// # use annals_processing::{Group, LogUpTo, Out, Partitions, Policy, Processor, SystemTimer, async_trait};
/// # #[derive(Clone)]
/// # struct Reserve;
/// # #[async_trait]
/// # impl Policy for Reserve {
/// #     async fn react(&self, _: &StoredEvent, _: &LogUpTo, _: &mut Out) -> Result<(), BoxError> {
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let (store, state) = (EventStore::new(MemoryAdapter::new()), Arc::new(MemoryState::new()));
/// let group = Group::new(Partitions::hash(3)?, move || {
///     Processor::policy("reservations", &store, state.clone(), Reserve, SystemTimer::new())
/// })?
/// .with_beat(Duration::from_millis(20), Duration::from_millis(100));
/// let handle = group.handle();
/// let running = tokio::spawn(group.run());
/// while handle.status().parts.len() < 3 {
///     tokio::time::sleep(Duration::from_millis(5)).await;
/// }
/// handle.stop();
/// running.await??;
/// # Ok(())
/// # }
/// ```
#[must_use = "a group does nothing until it runs"]
pub struct Group {
    node: Node,
    timer: Arc<dyn Timer>,
    make: Make,
    shared: Arc<Shared>,
}

type Make = Box<dyn Fn() -> Result<Processor> + Send>;

struct Shared {
    /// Of no part.
    claim: Claim,
    stopping: Stopping,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    parts: BTreeMap<u16, Handle>,
    nodes: usize,
    waits_for: Option<String>,
    error: Option<String>,
}

/// What a node does now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// The numbers of the parts that it works on, each with the status of its processor.
    pub parts: Vec<(u16, Status)>,
    /// How many nodes live, as it sees them, itself included.
    pub nodes: usize,
    /// Why it takes no part: the group is defined differently in the store, as in the middle of a change of programs.
    pub waits_for: Option<String>,
    /// Why its last beat failed; it tries again at the next one.
    pub error: Option<String>,
}

impl GroupStatus {
    /// All parts as one: as far as the part that is least far, as far behind as the one that is most behind, and the sums
    /// of what is counted. A node without parts is on standby, or waits. The error is that of the beat, what the node waits
    /// for, or that of a part.
    #[must_use]
    pub fn overall(&self) -> Status {
        let parts = || self.parts.iter().map(|(_, status)| status);
        let phase = match () {
            () if self.waits_for.is_some() || self.nodes == 0 => Phase::Waiting,
            () if self.parts.is_empty() => Phase::Standby,
            () => {
                [Phase::Failed, Phase::Retrying, Phase::Paused, Phase::CatchingUp, Phase::Waiting]
                    .into_iter()
                    .find(|phase| parts().any(|status| status.phase == *phase))
                    .unwrap_or(Phase::Live)
            }
        };
        let error = self.error.clone().or_else(|| self.waits_for.clone());
        Status {
            phase,
            tracked: parts().map(|status| status.tracked).min().unwrap_or_default(),
            head: parts().map(|status| status.head).max().unwrap_or_default(),
            behind: parts().map(|status| status.behind).max().unwrap_or_default(),
            applied: parts().map(|status| status.applied).sum(),
            skipped: parts().map(|status| status.skipped).sum(),
            retries: parts().map(|status| status.retries).sum(),
            parked: parts().map(|status| status.parked).sum(),
            error: error.or_else(|| parts().find_map(|status| status.error.clone())),
        }
    }

    /// What is not well in the parts that this node works on, and whether its beat fails; nothing if all is. A node that
    /// waits for others is well.
    #[must_use]
    pub fn complaints(&self, limits: &Limits) -> Vec<String> {
        let of_part = |(nth, status): &(u16, Status)| {
            let complaints = status.complaints(limits).into_iter();
            let nth = *nth;
            complaints.map(move |complaint| format!("part {nth}: {complaint}"))
        };
        let beat = self.error.iter().map(|error| format!("its beat fails: {error}"));
        self.parts.iter().flat_map(of_part).chain(beat).collect()
    }
}

impl Group {
    /// A node for the parts of the processor that `make` makes: one processor for each part that it works on, whose part
    /// the group says. All nodes of a group have the same parts; one that has others waits until the stored
    /// definition is its own.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn new(
        partitions: Partitions,
        make: impl Fn() -> Result<Processor> + Send + 'static,
    ) -> Result<Self> {
        let sample = make()?.with_partition(partitions.nth(0)?);
        let runner = sample.runner();
        let (state, timer) = (Arc::clone(&runner.state), Arc::clone(&runner.timer));
        let claim = (*runner.claim).clone();
        let wanted = runner.definition();
        let prefix = format!("{}/{}/", claim.processor(), claim.source());
        let node = EventId::generate().as_uuid();
        let members = Members::new(Arc::clone(&state), Arc::clone(&timer), (MEMBERS, prefix), node);
        let node = Node { members, state, claim, partitions, wanted, newest_wins: false };
        let shared = Shared {
            claim: node.claim.clone(),
            stopping: Stopping::default(),
            inner: Mutex::default(),
        };
        Ok(Self { node, timer, make: Box::new(make), shared: Arc::new(shared) })
    }

    /// How often it beats (1 second by default), and after what time without a beat another node is dead (5 seconds by
    /// default, at least two beats). A handler that keeps the thread for longer makes its node look dead.
    pub fn with_beat(mut self, every: Duration, dead_after: Duration) -> Self {
        self.node.members.times = Times::new(every, dead_after);
        self
    }

    /// Takes the group over if the stored [version](Processor::with_version) is older than that of this program: what was
    /// made is removed, and made again by this version. The nodes of older programs lose their parts at that moment, say
    /// what they wait for, and do not take the group back. Without it a newer program waits until somebody
    /// [resets](crate::reset) the processor.
    ///
    /// A processor that cannot be reset is not taken over. The division of the streams may differ, too.
    pub fn newest_wins(mut self) -> Self {
        self.node.newest_wins = true;
        self
    }

    /// A handle to this node.
    #[must_use]
    pub fn handle(&self) -> GroupHandle {
        GroupHandle(Arc::clone(&self.shared))
    }

    /// Works until it is asked to stop. Then it finishes the batches in hand and returns its parts.
    ///
    /// # Errors
    /// The error of the first processor that ends with one, once the others have ended. A part that another node has
    /// taken, a definition that has changed and a store that is away are none.
    ///
    /// # Cancel safety
    /// If it is dropped, each batch was made with its tracking or not at all; the other nodes take its parts once it is
    /// dead to them.
    pub async fn run(self) -> Result<()> {
        let Self { mut node, timer, make, shared } = self;
        let times = node.members.times;
        let me = node.members.node();
        let partitions = node.partitions.clone();
        let mut running: FuturesUnordered<BoxFuture<'static, (u16, Result<()>)>> =
            FuturesUnordered::new();
        let mut failed = None;
        let outcomes = Mutex::new(VecDeque::new());
        {
            let beats = async {
                loop {
                    let begun = timer.elapsed();
                    let parts: BTreeSet<u16> = shared.lock().parts.keys().copied().collect();
                    let is_leaving = shared.stopping.is_asked();
                    let outcome = node.beat(&parts, is_leaving).await;
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push_back(outcome);
                    let took = timer.elapsed().saturating_sub(begun);
                    timer.sleep(times.beat.saturating_sub(took)).await;
                }
            };
            let mut beats = pin!(beats);
            let mut asked = shared.stopping.wait().boxed();
            let mut is_asked = false;
            loop {
                if is_asked {
                    let inner = shared.lock();
                    if inner.parts.is_empty() {
                        break;
                    }
                    inner.parts.values().for_each(Handle::stop);
                }
                let next = poll_fn(|context| {
                    // The beats never end.
                    let _ = beats.as_mut().poll(context).is_ready();
                    let outcome =
                        outcomes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    if let Some(outcome) = outcome {
                        return Poll::Ready(Next::Beat(outcome));
                    }
                    if let Poll::Ready(Some(ended)) = running.poll_next_unpin(context) {
                        return Poll::Ready(Next::Ended(ended));
                    }
                    if is_asked {
                        Poll::Pending
                    } else {
                        asked.poll_unpin(context).map(|()| Next::Asked)
                    }
                });
                match next.await {
                    Next::Asked => is_asked = true,
                    Next::Beat(Err(error)) => {
                        measure::beat_failed(&shared.claim);
                        tracing::warn!(name: "annals.beat_failed", error = %chain(&error));
                        shared.lock().error = Some(chain(&error));
                    }
                    Next::Beat(Ok(beat)) => {
                        let starts = shared.seen(&beat);
                        for (nth, is_careful) in starts {
                            if is_asked {
                                break;
                            }
                            let made = make().and_then(|made| {
                                let made = made.with_partition(partitions.nth(nth)?);
                                Ok(made.in_group(me, is_careful))
                            });
                            match made {
                                Ok(processor) => {
                                    shared.lock().parts.insert(nth, processor.handle());
                                    running
                                        .push(processor.run().map(move |end| (nth, end)).boxed());
                                }
                                Err(error) => {
                                    failed.get_or_insert(error);
                                    shared.stopping.ask();
                                }
                            }
                        }
                    }
                    Next::Ended((nth, ended)) => {
                        shared.lock().parts.remove(&nth);
                        match ended {
                            Ok(())
                            | Err(
                                ProcessingError::Fenced { .. }
                                | ProcessingError::DefinitionChanged { .. },
                            ) => {}
                            Err(error) => {
                                failed.get_or_insert(error);
                                shared.stopping.ask();
                            }
                        }
                    }
                }
            }
        }
        node.leave().await;
        failed.map_or(Ok(()), Err)
    }
}

/// What happens next in a group.
enum Next {
    Beat(Result<Beat, annals_state::StateError>),
    Ended((u16, Result<()>)),
    Asked,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a beat has seen, stops what has to stop, and returns what has to be started.
    fn seen(&self, beat: &Beat) -> Vec<(u16, bool)> {
        let mut inner = self.lock();
        inner.nodes = beat.nodes;
        measure::beat(&self.claim, beat.nodes, inner.parts.len());
        inner.waits_for.clone_from(&beat.waits_for);
        inner.error = None;
        for nth in &beat.stop {
            if let Some(handle) = inner.parts.get(nth) {
                handle.stop();
            }
        }
        let is_new = |(nth, _): &(u16, bool)| !inner.parts.contains_key(nth);
        beat.start.iter().copied().filter(is_new).collect()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("claim", &self.node.claim.to_string())
            .field("node", &self.node.members.node())
            .finish_non_exhaustive()
    }
}

/// A handle to a node of a group. Clones are handles to the same node.
#[derive(Clone)]
pub struct GroupHandle(Arc<Shared>);

impl GroupHandle {
    /// Asks the node to leave the group: it finishes the batches in hand.
    pub fn stop(&self) {
        self.0.stopping.ask();
    }

    /// What the node does now.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let inner = self.0.lock();
        let status = |(nth, handle): (&u16, &Handle)| (*nth, handle.status());
        GroupStatus {
            parts: inner.parts.iter().map(status).collect(),
            nodes: inner.nodes,
            waits_for: inner.waits_for.clone(),
            error: inner.error.clone(),
        }
    }

    /// The processor and the source, of no part.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.0.claim
    }

    /// Handles to the processors of the parts that the node works on now.
    pub(crate) fn parts(&self) -> Vec<Handle> {
        self.0.lock().parts.values().cloned().collect()
    }

    /// A handle to the processor of a part, if the node works on it now.
    #[must_use]
    pub fn part(&self, nth: u16) -> Option<Handle> {
        self.0.lock().parts.get(&nth).cloned()
    }
}

impl fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupHandle").field(&self.status()).finish()
    }
}
