//! Processors: a name, a source of events, a sink.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals::{
    CategoryName, EventId, EventStore, Query, QueryItem, SequenceNumber, Source, StoredEvent,
};
use annals_state::{Documents, StateStore};
use uuid::Uuid;

use crate::claim::Claim;
use crate::command::{CommandBus, Dispatcher};
use crate::error::{HandlerError, ProcessingError, Result};
use crate::failing::{Decision, Errors, Jitter};
use crate::handle::{EndsWithIt, Handle, Shared};
use crate::made::View;
use crate::partition::Partition;
use crate::policy::{Policy, PolicySink};
use crate::reaction::{Reaction, ReactionSink};
use crate::runner::{IDLE_ALONE, Options, Runner};
use crate::sink::Sink;
use crate::timer::Timer;
use crate::view::ViewSink;
use crate::workflow::{Workflow, WorkflowSink};

/// Applies the events of a log to a sink, each once, and keeps how far it is in the same commit.
///
/// It is one future that works on any executor and starts no task. It may be killed or dropped at any point, the stores
/// may fail at any point, and another processor of its name may run at the same time: what it makes is what one run
/// without any of that would make.
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use annals::{BoxError, EventStore, NewEvent, StoredEvent, StreamId, WriteCondition};
/// # use annals_memory::{MemoryAdapter, MemoryState};
/// # use annals_processing::{Processor, SystemTimer, View};
/// # use annals_state::{Collection, DocumentId};
/// # struct Counts;
/// # impl View for Counts {
/// #     type State = u64;
/// #     fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
/// #         Ok(vec![DocumentId::new(event.stream.name.as_str())?])
/// #     }
/// #     fn apply(&self, _: &DocumentId, count: &mut Option<u64>, _: &StoredEvent) -> Result<(), BoxError> {
/// #         *count.get_or_insert_default() += 1;
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let store = EventStore::new(MemoryAdapter::new());
/// let counts = Collection::new("counts")?.on(Arc::new(MemoryState::new()));
/// let processor = Processor::view("counts", &store, counts.clone(), Counts, SystemTimer::new())?;
/// let handle = processor.handle();
/// let running = tokio::spawn(processor.run());
///
/// let stream = store.stream(StreamId::from_static("orders", "o-1"));
/// let placed = stream.append([NewEvent::json("order-placed", &12)?], WriteCondition::Always).await?;
/// // Read your writes.
/// handle.wait(placed[0].sequence_number, Duration::from_secs(5)).await?;
/// assert_eq!(counts.get("o-1").await?.unwrap().value, 1);
///
/// handle.stop();
/// running.await??;
/// # Ok(())
/// # }
/// ```
#[must_use = "a processor does nothing until it runs"]
pub struct Processor {
    pub(crate) runner: Runner,
    /// However the processor ends, its handles learn it.
    ended: EndsWithIt,
}

impl Processor {
    /// A processor of this name that hands all events of `store` to `sink`, and keeps its tracking in `state`, the store
    /// whose commits the sink makes.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) for an invalid name: see [`Claim::new`].
    pub fn sink(
        name: impl Into<Box<str>>,
        store: &EventStore,
        state: Arc<dyn StateStore>,
        sink: impl Sink + 'static,
        timer: impl Timer,
    ) -> Result<Self> {
        let claim = Arc::new(Claim::new(name)?);
        let shared = Arc::new(Shared::default());
        let id = EventId::generate().as_uuid();
        let options = Options {
            batch_events: 500,
            batch_bytes: 4 << 20,
            beat: Duration::from_secs(1),
            idle: IDLE_ALONE,
            takeover: Duration::from_secs(5),
            poison_after: 3,
            max_parked: 1_000,
            errors: Errors::default(),
            sequence: None,
            version: 1,
        };
        let runner = Runner {
            claim,
            store: store.clone(),
            state,
            sink: Box::new(sink),
            query: Query::All,
            options,
            shared: Arc::clone(&shared),
            timer: Arc::new(timer),
            node: id,
            jitter: Jitter::new(id.as_u64_pair().1),
            failures: 0,
            known: [None, None],
            lost: false,
            in_group: false,
            careful: false,
            looking: Vec::new(),
            head: None,
        };
        Ok(Self { runner, ended: EndsWithIt(shared) })
    }

    /// A processor of this name that keeps `view` as `documents`, and its tracking in their store.
    ///
    /// # Errors
    /// As [`sink`](Self::sink).
    pub fn view<V: View>(
        name: impl Into<Box<str>>,
        store: &EventStore,
        documents: Documents<V::State>,
        view: V,
        timer: impl Timer,
    ) -> Result<Self> {
        let state = Arc::clone(documents.store());
        Self::sink(name, store, state, ViewSink::new(view, documents), timer)
    }

    /// A processor of this name that appends to `store` what `policy` decides, and keeps its tracking in `state`. For other
    /// ways to do it make a [`PolicySink`].
    ///
    /// # Errors
    /// As [`sink`](Self::sink) and [`PolicySink::new`].
    pub fn policy(
        name: impl Into<Box<str>>,
        store: &EventStore,
        state: Arc<dyn StateStore>,
        policy: impl Policy,
        timer: impl Timer,
    ) -> Result<Self> {
        let sink = PolicySink::new(store, Arc::clone(&state), policy)?;
        Self::sink(name, store, state, sink, timer)
    }

    /// A processor of this name that records in `store` what `workflow` decides, in streams of the category of its name,
    /// and keeps its tracking in `state`.
    ///
    /// # Errors
    /// As [`sink`](Self::sink) and [`WorkflowSink::new`].
    pub fn workflow(
        name: impl Into<Box<str>>,
        store: &EventStore,
        state: Arc<dyn StateStore>,
        workflow: impl Workflow,
        timer: impl Timer,
    ) -> Result<Self> {
        let sink = WorkflowSink::new(store, Arc::clone(&state), workflow)?;
        Self::sink(name, store, state, sink, timer)
    }

    /// A processor of this name that dispatches the commands that the workflow of the name `of` has recorded: each after it
    /// is stored, in the order of its instance, and at least once. A handler that does its work once for each
    /// [`id`](crate::Command::id) does it exactly once. A reset of it is
    /// rejected, and changes nothing.
    ///
    /// # Errors
    /// As [`sink`](Self::sink).
    pub fn commands(
        name: impl Into<Box<str>>,
        store: &EventStore,
        state: Arc<dyn StateStore>,
        of: &str,
        bus: CommandBus,
        timer: impl Timer,
    ) -> Result<Self> {
        let category = CategoryName::new(of).map_err(annals::Error::from)?;
        let sink = Dispatcher::new(bus, Arc::clone(&state));
        let made = Self::sink(name, store, state, sink, timer)?;
        made.with_query(QueryItem::new(Source::Category(category)))
    }

    /// A processor of this name that does outside what `reaction` does, and keeps its ledger and its tracking in `state`.
    ///
    /// # Errors
    /// As [`sink`](Self::sink).
    pub fn reaction(
        name: impl Into<Box<str>>,
        store: &EventStore,
        state: Arc<dyn StateStore>,
        reaction: impl Reaction,
        timer: impl Timer,
    ) -> Result<Self> {
        let sink = ReactionSink::new(Arc::clone(&state), reaction);
        Self::sink(name, store, state, sink, timer)
    }

    /// Asks only for the events that `query` matches. Where the order of the log is weaker than that of the query, its
    /// follow is `Unsupported`.
    ///
    /// Events of categories that begin with `annals.` are not given to the sink unless the query names such a category
    /// or stream.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) for a query that matches nothing.
    pub fn with_query(mut self, query: impl Into<Query>) -> Result<Self> {
        let query = query.into();
        if query.scope().is_none() {
            return Err(ProcessingError::misuse("the query of a processor matches no event"));
        }
        self.runner.query = query;
        Ok(self)
    }

    /// Names the source: see [`Claim::with_source`].
    ///
    /// # Errors
    /// As [`Claim::with_source`].
    pub fn with_source(mut self, source: impl Into<Box<str>>) -> Result<Self> {
        self.runner.claim = Arc::new((*self.runner.claim).clone().with_source(source)?);
        Ok(self)
    }

    /// Takes only the events of this part of the streams. All processors of one name must divide them alike.
    pub fn with_partition(mut self, partition: Partition) -> Self {
        self.runner.claim = Arc::new((*self.runner.claim).clone().with_partition(partition));
        self
    }

    /// Takes at most so many events in one batch, and no more once they have so many bytes (500 and 4 MiB by default).
    /// No result depends on it.
    pub fn with_batch(mut self, events: usize, bytes: usize) -> Self {
        self.runner.options.batch_events = events.max(1);
        self.runner.options.batch_bytes = bytes;
        self
    }

    /// Decides what to do about an event that the sink cannot apply ([`Decision::Stop`] by default).
    pub fn with_errors(
        mut self,
        decide: impl Fn(&HandlerError) -> Decision + Send + Sync + 'static,
    ) -> Self {
        self.runner.options.errors = Errors::new(decide);
        self
    }

    /// Parks and retries events in these sequences, not in streams. Events of a partition must be of sequences of their
    /// own.
    pub fn with_sequence(
        mut self,
        sequence: impl Fn(&StoredEvent) -> String + Send + Sync + 'static,
    ) -> Self {
        self.runner.options.sequence = Some(Arc::new(sequence));
        self
    }

    /// Stops with an error if another sequence fails while so many are parked (1,000 by default, and at most).
    pub fn with_max_parked(mut self, sequences: usize) -> Self {
        self.runner.options.max_parked = sequences.min(1_000);
        self
    }

    /// After how many ends of the process at the same event that event is poison (3 by default, at least 1): the decision
    /// about it is asked for, with [`HandlerError::is_poison`].
    pub fn with_poison_after(mut self, ends: u32) -> Self {
        self.runner.options.poison_after = ends.max(1);
        self
    }

    /// How often it looks at what it waits for: at requests and at a rival of its name; and at most how often it stores
    /// its tracking if no event concerns it (1 second by default).
    pub fn with_beat(mut self, beat: Duration) -> Self {
        self.runner.options.beat = beat.max(Duration::from_millis(1));
        self
    }

    /// After what time it takes over from a rival of its name that does not move although there are events (5 seconds by
    /// default).
    pub fn with_takeover(mut self, after: Duration) -> Self {
        self.runner.options.takeover = after;
        self
    }

    /// Which version of its handlers it has (1 by default). A program of another version does not run until the processor
    /// is reset.
    pub fn with_version(mut self, version: u32) -> Self {
        self.runner.options.version = version;
        self
    }

    /// Draws the times between two tries from this seed, for tests.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.runner.jitter = Jitter::new(seed);
        self
    }

    /// It is the processor of a part that this node of a group has taken.
    pub(crate) fn in_group(mut self, node: Uuid, is_careful: bool) -> Self {
        self.runner.node = node;
        self.runner.in_group = true;
        self.runner.careful = is_careful;
        self
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

    /// A handle to it. Ask for it once all else is said.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            claim: Arc::clone(&self.runner.claim),
            state: Arc::clone(&self.runner.state),
            timer: Arc::clone(&self.runner.timer),
            shared: Arc::clone(&self.runner.shared),
        }
    }

    /// Applies what is there and what comes, until it is asked to stop.
    ///
    /// # Errors
    /// - [`Handler`](ProcessingError::Handler) if an event cannot be applied and [`Decision::Stop`] was decided.
    /// - [`AheadOfLog`](ProcessingError::AheadOfLog), [`DefinitionChanged`](ProcessingError::DefinitionChanged),
    ///   [`TooManyParked`](ProcessingError::TooManyParked), [`Misuse`](ProcessingError::Misuse).
    /// - Those of the stores that trying again does not help. A store that is away, an unknown outcome and a lost race
    ///   never end it.
    ///
    /// # Cancel safety
    /// If it is dropped, each batch was made with its tracking or not at all. The next processor of its name goes on
    /// there, one by one at first.
    pub async fn run(mut self) -> Result<()> {
        let outcome = self.runner.drive(true).await.map(drop);
        self.ended.0.end(outcome.clone());
        outcome
    }

    /// Applies what is there now, and returns how far it is. For tests, jobs and rebuilds.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// As [`run`](Self::run); call it again to go on.
    pub async fn settle(&mut self) -> Result<SequenceNumber> {
        self.runner.drive(false).await
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("claim", &self.runner.claim.to_string())
            .field("query", &self.runner.query.to_string())
            .finish_non_exhaustive()
    }
}
