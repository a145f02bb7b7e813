//! Workflows: state machines that are made of events. What they command is recorded with their events.

use std::fmt;
use std::sync::Arc;

use annals::{
    Append, BoxError, CategoryName, Context, Error, EventStore, KnownIds, NewEvent, Position,
    QueryItem, ReadOptions, Source, StoredEvent, StreamId, StreamName, WriteCondition,
};
use annals_state::{StateStore, Write};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use serde::Deserialize;

use crate::claim::Claim;
use crate::error::{ProcessingError, Result};
use crate::sink::{Batch, Sink, SinkError};

/// The key in the metadata of what a workflow appends that says the number of the input.
const INPUT: &str = "$input";
/// The key in the metadata of a command.
const COMMAND: &str = "$command";
/// How often an input is decided on again because its instance has changed meanwhile.
const MAX_TRIES: u32 = 8;

/// What a workflow does next.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// It notes something in its stream.
    Event(NewEvent),
    /// It commands something: an event of its stream that is dispatched once it is stored. See
    /// [`Processor::commands`](crate::Processor::commands).
    Command(NewEvent),
}

/// A state machine that reacts to events with events and commands of its own.
///
/// Each instance is a stream: its category has the name of the processor. What follows from one input is appended to it in
/// one call: events and commands together or not at all, with ids that follow from the input. So a decision that is made
/// again changes nothing, no command is sent that is not recorded, and none that is recorded is forgotten.
///
/// An instance decides on what earlier inputs led to. Therefore all inputs of one instance belong to one part of the
/// processor, as they do if there is one part, or if they are events of one stream; anything else is an error.
pub trait Workflow: Send + Sync + 'static {
    /// What an instance knows.
    type State: Send + Sync;

    /// The instance that the event concerns, if any. It is not asked about events of the workflow itself.
    ///
    /// # Errors
    /// If it cannot say: the event cannot be applied.
    fn instance(&self, event: &StoredEvent) -> Result<Option<StreamName>, BoxError>;

    /// An instance that has seen nothing.
    fn initial(&self) -> Self::State;

    /// Applies an event or a command of the instance's own stream.
    ///
    /// # Errors
    /// If it cannot be applied: then neither can the input.
    fn evolve(&self, state: &mut Self::State, event: &StoredEvent) -> Result<(), BoxError>;

    /// What follows from `input`. It must depend on nothing but its arguments.
    ///
    /// # Errors
    /// If it cannot decide: the event cannot be applied.
    fn decide(&self, state: &Self::State, input: &StoredEvent) -> Result<Vec<Step>, BoxError>;
}

#[derive(Deserialize)]
struct Origin {
    #[serde(rename = "$input")]
    input: u64,
    #[serde(rename = "$command", default)]
    is_command: bool,
}

/// Whether a workflow has recorded the event as a command.
pub(crate) fn is_command(event: &StoredEvent) -> bool {
    origin(event).is_some_and(|origin| origin.is_command)
}

fn origin(event: &StoredEvent) -> Option<Origin> {
    event.metadata().and_then(|metadata| metadata.to_json().ok())
}

/// The events with which the workflow of this name answers `input`: with their ids and their causes. For tests of workflows.
///
/// # Errors
/// [`Invalid`](Error::Invalid) for metadata that is no JSON object.
pub fn recorded(
    name: &str,
    input: &StoredEvent,
    steps: Vec<Step>,
) -> annals::Result<Vec<NewEvent>> {
    let base = input.id().derived_for(name);
    let context = Context::caused_by(input).with(INPUT, input.sequence_number.value());
    let command = context.clone().with(COMMAND, true);
    let record = |(nth, step)| {
        let (context, event) = match step {
            Step::Event(event) => (&context, event),
            Step::Command(event) => (&command, event),
        };
        context.stamp(event.with_id(base.derived(nth)))
    };
    (0..).zip(steps).map(record).collect()
}

/// A workflow as a sink, for [`Processor::sink`](crate::Processor::sink).
pub struct WorkflowSink<W> {
    workflow: W,
    store: EventStore,
    state: Arc<dyn StateStore>,
    category: Option<CategoryName>,
}

impl<W: Workflow> WorkflowSink<W> {
    /// Appends to `store` what `workflow` decides, and keeps the tracking of its processor in `state`.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if the log does not recognise the ids of all its events.
    pub fn new(store: &EventStore, state: Arc<dyn StateStore>, workflow: W) -> Result<Self> {
        if store.capabilities().known_ids < KnownIds::Forever {
            let text = "a workflow needs a log that recognises the ids of all its events";
            return Err(ProcessingError::misuse(text));
        }
        Ok(Self { workflow, store: store.clone(), state, category: None })
    }

    async fn react(&self, input: &StoredEvent) -> Result<(), SinkError> {
        let Some(category) = self.category.clone() else {
            return Err(SinkError::Unsupported("a take before its processor has begun"));
        };
        if input.stream.category == category {
            return Ok(());
        }
        let failed = |error| SinkError::handler(input, error);
        let Some(name) = self.workflow.instance(input).map_err(failed)? else { return Ok(()) };
        let stream = StreamId { category, name };
        for tries in 1.. {
            let found = self.load(&stream, input).await?;
            if found.is_done {
                return Ok(());
            }
            let steps = self.workflow.decide(&found.state, input).map_err(failed)?;
            if steps.is_empty() {
                return Ok(());
            }
            if found.has_later {
                let text = format!("inputs of {stream} belong to several parts of the workflow");
                return Err(SinkError::handler(input, text));
            }
            let name = stream.category.as_str();
            let events = recorded(name, input, steps).map_err(|error| failed(error.into()))?;
            let condition =
                found.last.map_or(WriteCondition::StreamIsEmpty, WriteCondition::PositionIs);
            match self.store.append([Append::new(stream.clone(), events, condition)]).await {
                Ok(_) | Err(Error::DuplicateEvent(_)) => return Ok(()),
                Err(Error::ConditionFailed(_)) if tries < MAX_TRIES => {}
                Err(
                    error @ (Error::ConditionFailed(_)
                    | Error::Invalid(_)
                    | Error::Unsupported { .. }),
                ) => return Err(failed(error.into())),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The instance as the inputs before this one have left it.
    async fn load(
        &self,
        stream: &StreamId,
        input: &StoredEvent,
    ) -> Result<Found<W::State>, SinkError> {
        let failed = |error| SinkError::handler(input, error);
        let mut found =
            Found { state: self.workflow.initial(), last: None, is_done: false, has_later: false };
        let item = QueryItem::new(Source::Stream(stream.clone()));
        let mut pages = self.store.pages(item, ReadOptions::default());
        while let Some(page) = pages.try_next().await? {
            for event in page.events {
                let Some(origin) = origin(&event) else {
                    let text = format!("{event} is not of the workflow that its stream belongs to");
                    return Err(failed(text.into()));
                };
                found.last = Some(event.position);
                let number = input.sequence_number.value();
                found.is_done |= origin.input == number;
                found.has_later |= origin.input > number;
                if origin.input < number {
                    self.workflow.evolve(&mut found.state, &event).map_err(failed)?;
                }
            }
        }
        Ok(found)
    }
}

struct Found<S> {
    state: S,
    last: Option<Position>,
    /// The input was decided on before.
    is_done: bool,
    has_later: bool,
}

#[async_trait]
impl<W: Workflow> Sink for WorkflowSink<W> {
    fn begin(&mut self, claim: &Claim) {
        // The name of a processor is shorter than that of a category may be.
        self.category = CategoryName::new(claim.processor()).ok();
    }

    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        for input in batch.events() {
            self.react(input).await?;
        }
        self.state.commit(batch.commit([])).await?;
        Ok(())
    }

    fn forget(&mut self) {}

    /// What a workflow has recorded stays, and is recognised when it decides again on all events.
    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}

impl<W> fmt::Debug for WorkflowSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowSink").field("category", &self.category).finish_non_exhaustive()
    }
}
