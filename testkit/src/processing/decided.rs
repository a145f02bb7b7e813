//! Given, when, then: tests of policies and workflows without a processor.

use std::collections::BTreeMap;
use std::fmt;

use annals::{Append, BoxError, EventStore, NewEvent, StoredEvent, StreamId, WriteCondition};
use annals_processing::{LogUpTo, Policy, Step, Workflow, decided, recorded};
use futures_executor::block_on;

/// A policy, and a log whose events a test provides.
///
/// Each decision is made twice, and must be the same: one that depends on a clock, a random number or its own memory is
/// none that a policy may make.
///
/// ```
/// use annals::{BoxError, EventStore, NewEvent, StoredEvent, StreamId, WriteCondition};
/// use annals_memory::MemoryAdapter;
/// use annals_processing::{LogUpTo, Out, Policy, async_trait};
/// use annals_testkit::processing::GivenPolicy;
///
/// struct Bill;
///
/// #[async_trait]
/// impl Policy for Bill {
///     async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
///         if *event.name() == "placed" {
///             let stream = StreamId::new("bills", event.stream.name.as_str())?;
///             out.append(stream, [NewEvent::json("billed", &1)?], WriteCondition::Always)?;
///         }
///         Ok(())
///     }
/// }
///
/// let order = StreamId::from_static("orders", "o-1");
/// GivenPolicy::new(&EventStore::new(MemoryAdapter::new()), "bills", Bill)
///     .event(&order, NewEvent::json("opened", &1)?)
///     .when(&order, NewEvent::json("placed", &1)?)
///     .then("bills/o-1", &["billed"])
///     .when(&order, NewEvent::json("closed", &1)?)
///     .then_nothing();
/// # Ok::<(), annals::Error>(())
/// ```
#[must_use = "a given policy is looked at with `then`"]
pub struct GivenPolicy<P: Policy> {
    store: EventStore,
    name: String,
    policy: P,
    decided: Result<Vec<Append>, String>,
}

impl<P: Policy> GivenPolicy<P> {
    /// A policy of a processor of this name. What is given is appended to `store`.
    pub fn new(store: &EventStore, name: &str, policy: P) -> Self {
        Self { store: store.clone(), name: name.to_owned(), policy, decided: Ok(Vec::new()) }
    }

    /// Given this event in the log, on which the policy is not asked.
    ///
    /// # Panics
    /// If the store does not take it.
    #[track_caller]
    pub fn event(self, stream: &StreamId, event: NewEvent) -> Self {
        let _stored = self.append(stream, event);
        self
    }

    /// When this event comes. What follows is appended, too.
    ///
    /// # Panics
    /// If the store does not take the event, or if the policy decides differently when it is asked again.
    #[track_caller]
    pub fn when(mut self, stream: &StreamId, event: NewEvent) -> Self {
        let stored = self.append(stream, event);
        let first = self.decide(&stored);
        let again = self.decide(&stored);
        let same = match (&first, &again) {
            (Ok(first), Ok(again)) => outputs(first) == outputs(again),
            (Err(first), Err(again)) => first == again,
            _ => false,
        };
        assert!(same, "asked again on {stored}, the policy decides differently: {again:?}");
        self.decided = first;
        if let Ok(appends) = &self.decided
            && !appends.is_empty()
        {
            let taken = block_on(self.store.append(appends.clone()));
            self.decided = taken.map(|_| appends.clone()).map_err(|error| error.to_string());
        }
        self
    }

    /// Then exactly these events are appended to this stream, by their names.
    ///
    /// # Panics
    /// If others are.
    #[track_caller]
    pub fn then(self, stream: &str, names: &[&str]) -> Self {
        let found: Vec<&str> = self
            .appends()
            .iter()
            .filter(|append| append.stream.to_string() == stream)
            .flat_map(|append| &append.events)
            .map(|event| event.name.as_str())
            .collect();
        assert_eq!(found, names, "in stream {stream}");
        self
    }

    /// Then nothing follows.
    ///
    /// # Panics
    /// If something does.
    #[track_caller]
    pub fn then_nothing(self) -> Self {
        let found = outputs(self.appends());
        assert!(found.is_empty(), "there follows {found:?}");
        self
    }

    /// Then the policy cannot decide, or the log does not take what it decides, with an error that says this.
    ///
    /// # Panics
    /// If it could, or if the error does not say it.
    #[track_caller]
    pub fn then_error(self, text: &str) -> Self {
        match &self.decided {
            Err(error) => assert!(error.contains(text), "{error} does not say {text}"),
            Ok(appends) => panic!("there follows {:?}", outputs(appends)),
        }
        self
    }

    #[track_caller]
    fn appends(&self) -> &[Append] {
        match &self.decided {
            Ok(appends) => appends,
            Err(error) => panic!("the policy could not decide: {error}"),
        }
    }

    #[track_caller]
    fn append(&self, stream: &StreamId, event: NewEvent) -> StoredEvent {
        let handle = self.store.stream(stream.clone());
        match block_on(handle.append([event], WriteCondition::Always)) {
            Ok(stored) => stored.into_vec().remove(0),
            Err(error) => panic!("the log does not take what is given: {error}"),
        }
    }

    fn decide(&self, event: &StoredEvent) -> Result<Vec<Append>, String> {
        let log = LogUpTo::new(&self.store, event);
        let decided = decided(&self.policy, &self.name, event, &log);
        block_on(decided).map_err(|error| error.to_string())
    }
}

/// What a decision says, but for the times at which it was made.
fn outputs(appends: &[Append]) -> Vec<String> {
    let line = |append: &Append| {
        let events = append.events.iter().map(|event| {
            let payload = String::from_utf8_lossy(event.payload.as_bytes()).into_owned();
            format!("{} {} {payload}", event.id, event.name)
        });
        format!(
            "{} if {}: {}",
            append.stream,
            append.condition,
            events.collect::<Vec<_>>().join(", ")
        )
    };
    appends.iter().filter(|append| !append.events.is_empty()).map(line).collect()
}

impl<P: Policy> fmt::Debug for GivenPolicy<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenPolicy").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A workflow, and the inputs that a test provides. Instances are kept in memory.
///
/// ```
/// use annals::{BoxError, NewEvent, StoredEvent, StreamName};
/// use annals_processing::{Step, Workflow};
/// use annals_testkit::StoredEventBuilder;
/// use annals_testkit::processing::GivenWorkflow;
///
/// struct Ship;
///
/// impl Workflow for Ship {
///     type State = u32;
///     fn instance(&self, event: &StoredEvent) -> Result<Option<StreamName>, BoxError> {
///         Ok(Some(event.stream.name.clone()))
///     }
///     fn initial(&self) -> u32 {
///         0
///     }
///     fn evolve(&self, noted: &mut u32, _: &StoredEvent) -> Result<(), BoxError> {
///         *noted += 1;
///         Ok(())
///     }
///     fn decide(&self, noted: &u32, _: &StoredEvent) -> Result<Vec<Step>, BoxError> {
///         Ok(match noted {
///             0 => vec![Step::Event(NewEvent::json("noted", &1)?)],
///             _ => vec![Step::Command(NewEvent::json("ship", &1)?)],
///         })
///     }
/// }
///
/// let builder = StoredEventBuilder::new().with_name("placed");
/// GivenWorkflow::new("shipping", Ship)
///     .when(&builder.clone().with_sequence_number(1).build())
///     .then(&["noted"], &[])
///     .when(&builder.with_sequence_number(2).build())
///     .then(&[], &["ship"]);
/// ```
#[must_use = "a given workflow is looked at with `then`"]
pub struct GivenWorkflow<W: Workflow> {
    name: String,
    workflow: W,
    instances: BTreeMap<String, Vec<StoredEvent>>,
    decided: Result<Vec<Step>, String>,
}

impl<W: Workflow> GivenWorkflow<W> {
    /// A workflow of a processor of this name, without instances.
    pub fn new(name: &str, workflow: W) -> Self {
        let decided = Ok(Vec::new());
        Self { name: name.to_owned(), workflow, instances: BTreeMap::new(), decided }
    }

    /// When this input comes. What follows is recorded in its instance.
    pub fn when(mut self, input: &StoredEvent) -> Self {
        self.decided = self.decide(input).map_err(|error| error.to_string());
        self
    }

    fn decide(&mut self, input: &StoredEvent) -> Result<Vec<Step>, BoxError> {
        let Some(instance) = self.workflow.instance(input)? else { return Ok(Vec::new()) };
        let events = self.instances.entry(instance.as_str().to_owned()).or_default();
        let mut state = self.workflow.initial();
        for event in events.iter() {
            self.workflow.evolve(&mut state, event)?;
        }
        let steps = self.workflow.decide(&state, input)?;
        let stream = StreamId::new(self.name.as_str(), instance.as_str())?;
        for event in recorded(&self.name, input, steps.clone())? {
            let position = annals::Position::new(events.len() as u64);
            let (number, at) = (input.sequence_number, input.recorded_at);
            events.push(StoredEvent::new(event, stream.clone(), position, number, at));
        }
        Ok(steps)
    }

    /// Then exactly these events and commands follow, by their names.
    ///
    /// # Panics
    /// If others do, or if the workflow could not decide.
    #[track_caller]
    pub fn then(self, events: &[&str], commands: &[&str]) -> Self {
        let steps = match &self.decided {
            Ok(steps) => steps,
            Err(error) => panic!("the workflow could not decide: {error}"),
        };
        let (mut noted, mut commanded) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Event(event) => noted.push(event.name.as_str()),
                Step::Command(event) => commanded.push(event.name.as_str()),
                _ => {}
            }
        }
        assert_eq!(noted, events, "events");
        assert_eq!(commanded, commands, "commands");
        self
    }

    /// Then the workflow cannot decide, with an error that says this.
    ///
    /// # Panics
    /// If it could, or if the error does not say it.
    #[track_caller]
    pub fn then_error(self, text: &str) -> Self {
        match &self.decided {
            Err(error) => assert!(error.contains(text), "{error} does not say {text}"),
            Ok(steps) => panic!("there follows {steps:?}"),
        }
        self
    }
}

impl<W: Workflow> fmt::Debug for GivenWorkflow<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenWorkflow").field("name", &self.name).finish_non_exhaustive()
    }
}
