//! Policies, workflows, dispatchers and reactions that are known to be wrong, each with the check that must catch it.

use std::sync::Arc;

use annals::{
    Append, Context, Error, EventId, NewEvent, QueryItem, Source, StorageAdapter, StoredEvent,
    StreamId, WriteCondition,
};
use annals_processing::{Batch, Processor, Sink, SinkError, recorded};
use annals_state::{Commit, DocumentPages, Result, Scan, StateStore, Write};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::bent::{Bend, Through, is_of};
use super::flow_suite::{FLOW, FlowHarness, GIVEN, MADE, Place, made, steps};
use super::interleaving::yield_now;

const PARKED: &str = "annals.parked";

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    RandomIds,
    IdsByInput,
    TrackingFirst,
    DispatchesFirst,
    TrackedBeforeDispatch,
    ActsAgain,
    ParksApart,
    ForgetsParked,
}

/// Something that follows from events and is known to be wrong, or the right one to compare with.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BrokenFlow {
    /// What it does wrong.
    pub about: &'static str,
    /// The checks that must catch it; none: it is right.
    pub caught_by: &'static [&'static str],
    fault: Fault,
}

impl BrokenFlow {
    /// A harness of it over the stores that these functions make.
    pub fn harness(
        &self,
        log: impl Fn() -> Arc<dyn StorageAdapter> + Send + Sync + 'static,
        state: impl Fn() -> Arc<dyn StateStore> + Send + Sync + 'static,
    ) -> impl FlowHarness {
        Cage { fault: self.fault, log: Box::new(log), state: Box::new(state) }
    }
}

/// All of them, the right one first.
#[must_use]
pub fn broken_flows() -> &'static [BrokenFlow] {
    macro_rules! flows {
        ($($fault:ident $about:literal [$($check:literal),*];)*) => {
            &[$(BrokenFlow { about: $about, caught_by: &[$($check),*], fault: Fault::$fault }),*]
        };
    }
    flows! {
        None "is right" [];
        RandomIds "a policy that draws the ids of its output" ["y1.once"];
        IdsByInput "a policy whose ids say nothing of its name" ["y1.names"];
        TrackingFirst "a policy that commits its tracking before it appends" ["y1.once"];
        DispatchesFirst "a workflow that carries commands out before it records them" ["y7.recorded"];
        TrackedBeforeDispatch "a dispatcher that commits its tracking before it dispatches" ["y8.dispatched"];
        ActsAgain "a reaction without its ledger" ["y9.rebuild"];
        ParksApart "a processor that parks in a commit of its own" ["x2.parked"];
        ForgetsParked "a processor that applies later events of what is parked" ["x2.parked"];
    }
}

type Make<T> = Box<dyn Fn() -> Arc<T> + Send + Sync>;

struct Cage {
    fault: Fault,
    log: Make<dyn StorageAdapter>,
    state: Make<dyn StateStore>,
}

impl Cage {
    /// The wrong processor if the fault is one of these, else the right one.
    fn made(
        &self,
        place: &Place,
        faults: &[Fault],
        category: annals::CategoryName,
        right: impl FnOnce(&Right<'_>) -> annals_processing::Result<Processor>,
    ) -> annals_processing::Result<Processor> {
        if !faults.contains(&self.fault) {
            return right(&Right(self));
        }
        let sink = Wrong { fault: self.fault, place: place.clone() };
        let (state, timer) = (Arc::clone(&place.state), place.timer.clone());
        let made = Processor::sink(place.name, &place.store, state, sink, timer)?;
        made.with_query(QueryItem::new(Source::Category(category)))
    }
}

/// The same stores, and all that is right.
struct Right<'a>(&'a Cage);

impl FlowHarness for Right<'_> {
    fn state(&self) -> Arc<dyn StateStore> {
        (self.0.state)()
    }

    fn log(&self) -> Arc<dyn StorageAdapter> {
        (self.0.log)()
    }
}

impl FlowHarness for Cage {
    fn state(&self) -> Arc<dyn StateStore> {
        (self.state)()
    }

    fn log(&self) -> Arc<dyn StorageAdapter> {
        (self.log)()
    }

    fn policy(&self, place: &Place) -> annals_processing::Result<Processor> {
        let faults = [Fault::RandomIds, Fault::IdsByInput, Fault::TrackingFirst];
        self.made(place, &faults, GIVEN, |right| right.policy(place))
    }

    fn workflow(&self, place: &Place) -> annals_processing::Result<Processor> {
        self.made(place, &[Fault::DispatchesFirst], GIVEN, |right| right.workflow(place))
    }

    fn commands(&self, place: &Place) -> annals_processing::Result<Processor> {
        let category = annals::CategoryName::from_static(FLOW);
        let faults = [Fault::TrackedBeforeDispatch];
        self.made(place, &faults, category, |right| right.commands(place))
    }

    fn reaction(&self, place: &Place) -> annals_processing::Result<Processor> {
        self.made(place, &[Fault::ActsAgain], GIVEN, |right| right.reaction(place))
    }

    fn seen(&self, state: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        match self.fault {
            Fault::ParksApart | Fault::ForgetsParked => {
                Through::store(state, Arc::new(Parks(self.fault)))
            }
            _ => state,
        }
    }
}

struct Wrong {
    fault: Fault,
    place: Place,
}

impl Wrong {
    /// Appends, unless it was done before.
    async fn append(&self, stream: StreamId, events: Vec<NewEvent>) -> Result<(), SinkError> {
        let append = Append::new(stream, events, WriteCondition::Always);
        match self.place.store.append([append]).await {
            Ok(_) | Err(Error::DuplicateEvent(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn act(&self, event: &StoredEvent) -> Result<(), SinkError> {
        let name = event.stream.name.clone();
        match self.fault {
            Fault::RandomIds | Fault::IdsByInput | Fault::TrackingFirst => {
                let id = match self.fault {
                    Fault::RandomIds => EventId::generate(),
                    Fault::IdsByInput => event.id().derived(0),
                    _ => event.id().derived_for(self.place.name).derived(0),
                };
                let output = Context::caused_by(event).stamp(made().with_id(id))?;
                self.append(StreamId { category: MADE, name }, vec![output]).await
            }
            Fault::DispatchesFirst => {
                let events = recorded(FLOW, event, steps())?;
                if let Some(command) = events.last() {
                    self.place.did(command.id);
                }
                let category = annals::CategoryName::from_static(FLOW);
                self.append(StreamId { category, name }, events).await
            }
            Fault::TrackedBeforeDispatch if *event.name() == "act" => {
                self.place.did(event.id());
                Ok(())
            }
            Fault::ActsAgain => {
                self.place.did(event.id().derived_for("act"));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Sink for Wrong {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let is_tracked_first =
            matches!(self.fault, Fault::TrackingFirst | Fault::TrackedBeforeDispatch);
        if is_tracked_first {
            self.place.state.commit(batch.commit([])).await?;
            yield_now().await;
        }
        for event in batch.events() {
            self.act(event).await?;
        }
        if !is_tracked_first {
            self.place.state.commit(batch.commit([])).await?;
        }
        Ok(())
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A store over which parking is wrong.
#[derive(Debug)]
struct Parks(Fault);

#[async_trait]
impl Bend for Parks {
    async fn commit(&self, inner: &Arc<dyn StateStore>, commit: Commit) -> Result<()> {
        let is_parked = |write: &Write| is_of(write, PARKED);
        if self.0 != Fault::ParksApart || !commit.writes.iter().any(is_parked) {
            return inner.commit(commit).await;
        }
        let (parked, others): (Vec<Write>, Vec<Write>) =
            commit.writes.into_iter().partition(is_parked);
        inner.commit(Commit::with_revision(commit.revision, others)).await?;
        yield_now().await;
        inner.commit(Commit::new(parked)).await
    }

    fn scan(self: Arc<Self>, inner: &Arc<dyn StateStore>, scan: Scan) -> DocumentPages {
        if self.0 == Fault::ForgetsParked && scan.collection.as_str() == PARKED {
            return stream::empty().boxed();
        }
        inner.scan(scan)
    }
}
