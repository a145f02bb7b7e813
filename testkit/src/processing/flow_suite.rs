//! A suite for what follows from events: policies, workflows, commands, reactions and parked sequences, each killed at every
//! step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use annals::{
    BoxError, CategoryName, EventId, EventName, EventStore, NewEvent, Payload, QueryItem,
    ReadOptions, Source, StorageAdapter, StoredEvent, StreamId, StreamName, WriteCondition,
};
use annals_processing::{
    Batch, Claim, CommandBus, Decision, Effects, LogUpTo, Out, Policy, Processor, Reaction, Sink,
    SinkError, Step, Workflow, reset,
};
use annals_state::{CollectionName, DocumentKey, Expected, Scan, StateError, StateStore, Write};
use async_trait::async_trait;
use futures_executor::block_on;
use futures_util::TryStreamExt;

use super::chaos::{Chaos, Odds};
use super::group_bench::text;
use super::interleaving::Interleaving;
use super::timer::ManualTimer;

pub(super) const GIVEN: CategoryName = CategoryName::from_static("given");
pub(super) const MADE: CategoryName = CategoryName::from_static("made");
/// The name of the workflow, and so the category of its streams.
pub(super) const FLOW: &str = "flow";
const APPLIED: CollectionName = CollectionName::from_static("applied");
const INPUTS: usize = 4;
/// A processor that takes more steps does not end.
const MOST_STEPS: usize = 5_000;

/// Where a processor of the suite works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Place {
    /// The name of the processor.
    pub name: &'static str,
    /// The log.
    pub store: EventStore,
    /// Where its tracking is.
    pub state: Arc<dyn StateStore>,
    /// Its time.
    pub timer: ManualTimer,
    /// What was done outside, by the ids of commands or of effects, each time that it was done.
    pub done: Arc<Mutex<Vec<EventId>>>,
}

impl Place {
    pub(super) fn did(&self, id: EventId) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    fn all_done(&self) -> Vec<EventId> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How the suite makes stores and processors. The processors are those of `annals-processing`, unless they are to be wrong.
pub trait FlowHarness: Send + Sync {
    /// A state store that is empty.
    fn state(&self) -> Arc<dyn StateStore>;

    /// An adapter that is empty.
    fn log(&self) -> Arc<dyn StorageAdapter>;

    /// Appends one event to category `made` for each event of category `given`.
    ///
    /// # Errors
    /// Those of the processor.
    fn policy(&self, place: &Place) -> annals_processing::Result<Processor> {
        let (state, timer) = (Arc::clone(&place.state), place.timer.clone());
        let made = Processor::policy(place.name, &place.store, state, Follow, timer)?;
        made.with_query(QueryItem::new(Source::Category(GIVEN)))
    }

    /// Records an event and a command `act` for each event of category `given`.
    ///
    /// # Errors
    /// Those of the processor.
    fn workflow(&self, place: &Place) -> annals_processing::Result<Processor> {
        let (state, timer) = (Arc::clone(&place.state), place.timer.clone());
        Processor::workflow(FLOW, &place.store, state, Act, timer)
    }

    /// Dispatches the commands of the workflow: each is noted in `done`.
    ///
    /// # Errors
    /// Those of the processor.
    fn commands(&self, place: &Place) -> annals_processing::Result<Processor> {
        let (state, timer) = (Arc::clone(&place.state), place.timer.clone());
        let noted = place.clone();
        let bus = CommandBus::new().on("act", move |command| {
            noted.did(command.id());
            async { Ok(()) }
        })?;
        Processor::commands(place.name, &place.store, state, FLOW, bus, timer)
    }

    /// Makes one effect for each event of category `given`, and notes its key in `done`.
    ///
    /// # Errors
    /// Those of the processor.
    fn reaction(&self, place: &Place) -> annals_processing::Result<Processor> {
        let (state, timer) = (Arc::clone(&place.state), place.timer.clone());
        let made =
            Processor::reaction(place.name, &place.store, state, React(place.clone()), timer)?;
        made.with_query(QueryItem::new(Source::Category(GIVEN)))
    }

    /// The store as a processor that parks sees it. A harness of a wrong processor wraps it; others leave it as it is.
    fn seen(&self, state: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        state
    }
}

/// A check of the suite.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct FlowCheck {
    /// Its name, which begins with the rule.
    pub name: &'static str,
    /// What it proves.
    pub about: &'static str,
    run: fn(&dyn FlowHarness) -> Result<(), String>,
}

impl FlowCheck {
    /// Runs it.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run(&self, harness: &dyn FlowHarness) -> Result<(), String> {
        (self.run)(harness).map_err(|wrong| format!("{}: {wrong}", self.name))
    }
}

impl std::fmt::Debug for FlowCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowCheck").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All checks. Each kills its processor at every step in turn.
#[must_use]
pub fn flow_checks() -> &'static [FlowCheck] {
    macro_rules! checks {
        ($($name:literal $run:ident $about:literal;)*) => {
            &[$(FlowCheck { name: $name, about: $about, run: $run }),*]
        };
    }
    checks! {
        "y1.once" once "each input of a policy has its output once";
        "y1.names" names "two policies do not take each other's output for their own";
        "y7.recorded" recorded "no command is carried out that is not recorded";
        "y8.dispatched" dispatched "every command that is recorded is carried out";
        "y9.rebuild" rebuild "each effect has one key, and a rebuild makes none";
        "x2.parked" parked "what fails is parked with its tracking, and nothing after it in its stream is applied";
    }
}

struct Bench<'a> {
    harness: &'a dyn FlowHarness,
    place: Place,
    quiet: EventStore,
    raw: Arc<dyn StateStore>,
    tasks: Interleaving,
    inputs: Vec<StoredEvent>,
}

type Make<'a> = &'a dyn Fn(&Bench<'_>) -> annals_processing::Result<Processor>;

impl<'a> Bench<'a> {
    fn new(harness: &'a dyn FlowHarness) -> Self {
        let timer = ManualTimer::new();
        let tasks = Interleaving::new(1, timer.clone());
        let odds = Odds { yields: 1, ..Odds::CALM };
        let log = harness.log();
        let raw = harness.state();
        let seen: Arc<dyn StateStore> =
            Arc::new(Chaos::new(Arc::clone(&raw), 1, odds).with_outside(tasks.outside()));
        let chaos = Chaos::new(Arc::clone(&log), 1, odds).with_outside(tasks.outside());
        let place = Place {
            name: "first",
            store: EventStore::new(chaos),
            state: seen,
            timer,
            done: Arc::default(),
        };
        Self { harness, place, quiet: EventStore::new(log), raw, tasks, inputs: Vec::new() }
    }

    fn append(&mut self, stream: &str, name: &'static str) -> Result<(), String> {
        let id = StreamId { category: GIVEN, name: StreamName::new(stream).map_err(text)? };
        let event = NewEvent::new(EventName::from_static(name), Payload::bytes(""));
        let stored = block_on(self.quiet.stream(id).append([event], WriteCondition::Always))
            .map_err(text)?;
        self.inputs.extend(stored);
        Ok(())
    }

    fn settle(&mut self, make: Make<'_>) -> Result<(), String> {
        let mut processor = make(self).map_err(text)?;
        let settled = self.tasks.block_on(async move { processor.settle().await });
        settled.map(drop).map_err(text)
    }

    fn read(&self, category: CategoryName) -> Result<Vec<StoredEvent>, String> {
        let query = QueryItem::new(Source::Category(category));
        block_on(self.quiet.read(query, ReadOptions::default()).into_vec()).map_err(text)
    }

    /// How many events each input has caused.
    fn caused(&self, events: Vec<StoredEvent>) -> BTreeMap<EventId, usize> {
        let mut counts: BTreeMap<EventId, usize> =
            self.inputs.iter().map(|input| (input.id(), 0)).collect();
        for event in events {
            let metadata: Option<serde_json::Value> =
                event.metadata().and_then(|metadata| metadata.to_json().ok());
            let cause = metadata.as_ref().and_then(|found| found.get("$causationId")?.as_str());
            if let Some(cause) = cause.and_then(|cause| cause.parse().ok()) {
                *counts.entry(cause).or_default() += 1;
            }
        }
        counts
    }

    fn check_caused(&self, category: CategoryName, wanted: usize) -> Result<(), String> {
        let counts = self.caused(self.read(category)?);
        match counts.into_iter().find(|(_, count)| *count != wanted) {
            None => Ok(()),
            Some((input, count)) => Err(format!("{count} events follow from {input}")),
        }
    }
}

/// Kills what `make` makes at every step in turn, looks, and lets another one finish.
fn everywhere(
    harness: &dyn FlowHarness,
    begin: impl Fn(&mut Bench<'_>) -> Result<(), String>,
    make: Make<'_>,
    killed: impl Fn(&Bench<'_>) -> Result<(), String>,
    finished: impl Fn(&mut Bench<'_>) -> Result<(), String>,
) -> Result<(), String> {
    for steps in 0..MOST_STEPS {
        let mut bench = Bench::new(harness);
        begin(&mut bench)?;
        let mut processor = make(&bench).map_err(text)?;
        let task = bench.tasks.spawn(async move { drop(processor.settle().await) });
        bench.tasks.steps(steps);
        let has_ended = !bench.tasks.is_running(task);
        bench.tasks.kill(task);
        let at = |wrong: String| format!("killed after {steps} steps: {wrong}");
        killed(&bench).map_err(at)?;
        bench.settle(make).map_err(at)?;
        finished(&mut bench).map_err(at)?;
        if has_ended {
            return Ok(());
        }
    }
    Err("it does not end".into())
}

fn inputs(bench: &mut Bench<'_>) -> Result<(), String> {
    for nth in 0..INPUTS {
        bench.append(["a", "b"][nth % 2], "given")?;
    }
    Ok(())
}

fn once(harness: &dyn FlowHarness) -> Result<(), String> {
    let make = |bench: &Bench<'_>| bench.harness.policy(&bench.place);
    everywhere(harness, inputs, &make, |_| Ok(()), |bench| bench.check_caused(MADE, 1))
}

fn names(harness: &dyn FlowHarness) -> Result<(), String> {
    let mut bench = Bench::new(harness);
    inputs(&mut bench)?;
    for name in ["first", "second"] {
        bench.place.name = name;
        bench.settle(&|bench| bench.harness.policy(&bench.place))?;
    }
    bench.check_caused(MADE, 2)
}

fn recorded(harness: &dyn FlowHarness) -> Result<(), String> {
    let make = |bench: &Bench<'_>| bench.harness.workflow(&bench.place);
    let is_recorded = |bench: &Bench<'_>| {
        let events = bench.read(CategoryName::from_static(FLOW))?;
        let ids: BTreeSet<EventId> = events.iter().map(StoredEvent::id).collect();
        match bench.place.all_done().into_iter().find(|id| !ids.contains(id)) {
            None => Ok(()),
            Some(id) => Err(format!("command {id} was carried out and is not recorded")),
        }
    };
    let finished = |bench: &mut Bench<'_>| bench.check_caused(CategoryName::from_static(FLOW), 2);
    everywhere(harness, inputs, &make, is_recorded, finished)
}

fn dispatched(harness: &dyn FlowHarness) -> Result<(), String> {
    let begin = |bench: &mut Bench<'_>| {
        inputs(bench)?;
        bench.settle(&|bench| bench.harness.workflow(&bench.place))
    };
    let make = |bench: &Bench<'_>| bench.harness.commands(&bench.place);
    let finished = |bench: &mut Bench<'_>| {
        let done = bench.place.all_done();
        for event in bench.read(CategoryName::from_static(FLOW))? {
            if *event.name() == "act" && !done.contains(&event.id()) {
                return Err(format!("command {} was not carried out", event.id()));
            }
        }
        Ok(())
    };
    everywhere(harness, begin, &make, |_| Ok(()), finished)
}

fn rebuild(harness: &dyn FlowHarness) -> Result<(), String> {
    let make = |bench: &Bench<'_>| bench.harness.reaction(&bench.place);
    let finished = |bench: &mut Bench<'_>| {
        let done = bench.place.all_done();
        let keys: BTreeSet<&EventId> = done.iter().collect();
        if keys.len() != INPUTS {
            return Err(format!("{} effects of {INPUTS} events", keys.len()));
        }
        let claim = Claim::new(bench.place.name).map_err(text)?;
        let state = Arc::clone(&bench.raw);
        block_on(reset(&*state, &claim)).map_err(text)?;
        bench.settle(&|bench| bench.harness.reaction(&bench.place))?;
        match bench.place.all_done().len() - done.len() {
            0 => Ok(()),
            again => Err(format!("a rebuild has made {again} effects")),
        }
    };
    everywhere(harness, inputs, &make, |_| Ok(()), finished)
}

fn parked(harness: &dyn FlowHarness) -> Result<(), String> {
    let begin = |bench: &mut Bench<'_>| {
        for (stream, name) in
            [("a", "given"), ("b", "given"), ("a", "poison"), ("a", "given"), ("b", "given")]
        {
            bench.append(stream, name)?;
        }
        Ok(())
    };
    let make = |bench: &Bench<'_>| {
        let state = bench.harness.seen(Arc::clone(&bench.place.state));
        let sink = Apply { state: Arc::clone(&state) };
        let Place { name, store, timer, .. } = &bench.place;
        let made = Processor::sink(*name, store, state, sink, timer.clone())?;
        Ok(made.with_batch(2, 1 << 20).with_errors(|_| Decision::Park))
    };
    let applied = |bench: &Bench<'_>| {
        let found = block_on(bench.raw.scan(Scan::along_ids(APPLIED)).try_concat());
        let id = |one: annals_state::Scanned| one.document.key.id.as_str().to_owned();
        Ok::<Vec<String>, String>(found.map_err(text)?.into_iter().map(id).collect())
    };
    let finished = |bench: &mut Bench<'_>| {
        let before = applied(bench)?;
        if before != ["a 1", "b 2", "b 5"] {
            return Err(format!("applied is {before:?}"));
        }
        bench.append("a", "given")?;
        bench.append("b", "given")?;
        bench.settle(&make)?;
        let after = applied(bench)?;
        if after != ["a 1", "b 2", "b 5", "b 7"] {
            return Err(format!("later events of what is parked: {after:?}"));
        }
        let claim = Claim::new(bench.place.name).map_err(text)?;
        let all = CollectionName::from_static("annals.parked");
        let found = block_on(bench.raw.scan(Scan::along_ids(all)).try_concat()).map_err(text)?;
        let is_ours = |id: &str| id.starts_with(&claim.to_string());
        match found.iter().filter(|one| is_ours(one.document.key.id.as_str())).count() {
            1 => Ok(()),
            count => Err(format!("{count} sequences are parked")),
        }
    };
    everywhere(harness, begin, &make, |_| Ok(()), finished)
}

struct Follow;

#[async_trait]
impl Policy for Follow {
    async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
        let stream = StreamId { category: MADE, name: event.stream.name.clone() };
        Ok(out.append(stream, [made()], WriteCondition::Always)?)
    }
}

pub(super) fn made() -> NewEvent {
    NewEvent::new(EventName::from_static("made"), Payload::bytes(""))
}

/// What the workflow records for an input.
pub(super) fn steps() -> Vec<Step> {
    let event = |name| NewEvent::new(EventName::from_static(name), Payload::bytes(""));
    vec![Step::Event(event("noted")), Step::Command(event("act"))]
}

struct Act;

impl Workflow for Act {
    type State = ();

    fn instance(&self, event: &StoredEvent) -> Result<Option<StreamName>, BoxError> {
        Ok((event.stream.category == GIVEN).then(|| event.stream.name.clone()))
    }

    fn initial(&self) {}

    fn evolve(&self, (): &mut (), _: &StoredEvent) -> Result<(), BoxError> {
        Ok(())
    }

    fn decide(&self, (): &(), _: &StoredEvent) -> Result<Vec<Step>, BoxError> {
        Ok(steps())
    }
}

struct React(Place);

#[async_trait]
impl Reaction for React {
    async fn handle(&self, _: &StoredEvent, effects: &Effects<'_>) -> Result<(), BoxError> {
        let act = |key| async move {
            self.0.did(key);
            Ok(())
        };
        effects.once("act", act).await
    }
}

/// Makes a document for each event but those that are poison.
struct Apply {
    state: Arc<dyn StateStore>,
}

#[async_trait]
impl Sink for Apply {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        let mut writes = Vec::new();
        for event in batch.events() {
            if *event.name() == "poison" {
                return Err(SinkError::handler(event, "it is poison"));
            }
            let id = format!("{} {}", event.stream.name, event.sequence_number);
            let key = DocumentKey::new(APPLIED, id).map_err(StateError::from)?;
            writes.push(Write::put(key, Payload::bytes(""), Expected::Any));
        }
        Ok(self.state.commit(batch.commit(writes)).await?)
    }

    fn forget(&mut self) {}

    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Ok(())
    }
}
