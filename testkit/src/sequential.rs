//! Sequential programs: each answer of an adapter is compared with the model's.

use std::fmt;
use std::time::Duration;

use annals::{Capabilities, SequenceNumber, StorageAdapter, StoredEvent};

use tokio::time::Instant;

use crate::calls::{Names, Seen};
use crate::model::{Condition, Item, Mark, Model, Op, Outcome, Part, Scope};
use crate::op::Generator;

/// How many shorter programs are tried for a counterexample.
const SHRINK_STEPS: usize = 400;
/// How long the search for a smaller counterexample may take: well below the limit of a check, on a slow store too.
pub(crate) const SHRINK_TIME: Duration = Duration::from_secs(5);

/// Operations one after the other, each through the handle of that number.
///
/// A failing check of the suite prints one as Rust source, to be pasted into a regression test:
///
/// ```
/// use annals_memory::MemoryAdapter;
/// use annals_testkit::model::{Condition::*, Mark::*, Op::*, Scope::*, *};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let program = Program(vec![
///     (0, Append(vec![Write { stream: 0, events: vec![Event { id: 1, name: 0, tags: vec![] }], condition: StreamIsEmpty }])),
///     (0, Read(vec![Item { source: Stream(0), names: vec![], tags: vec![] }], Part { after: Start, until: None, limit: None, backward: false })),
/// ]);
/// let store = Arc::new(MemoryAdapter::new());
/// program.run(&[store]).await.unwrap();
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Program(pub Vec<(usize, Op)>);

/// A program, and where the adapter's answer differs from the model's.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The shortest program found.
    pub program: Program,
    /// What was expected and what was found.
    pub message: String,
}

impl Program {
    /// A random program of operations that `capabilities` allow, for so many handles.
    #[must_use]
    pub fn random(seed: u64, capabilities: Capabilities, handles: usize, length: usize) -> Self {
        let mut make = Generator::new(seed, capabilities, true);
        let handles = u8::try_from(handles.clamp(1, 255)).unwrap_or(u8::MAX);
        Self((0..length).map(|_| (usize::from(make.below(handles)), make.op())).collect())
    }

    /// Runs it on handles to one store, under names that nothing else uses.
    ///
    /// # Errors
    /// Reports the first operation whose answer differs from the model's, and both answers.
    ///
    /// # Cancel safety
    /// The operations until then were made.
    pub async fn run(&self, handles: &[impl StorageAdapter]) -> Result<(), String> {
        self.run_in("m", handles).await
    }

    /// The same under names that begin with `namespace`.
    async fn run_in(&self, namespace: &str, handles: &[impl StorageAdapter]) -> Result<(), String> {
        let first = handles.first().ok_or("no handle to a store")?;
        let names = Names::new(namespace, first).await;
        let mut run = Run { names, model: Model::default(), stored: Vec::new() };
        for (nth, (handle, op)) in self.0.iter().enumerate() {
            let store = handles.get(*handle % handles.len()).unwrap_or(first);
            let step = run.step(store, op).await;
            step.map_err(|message| format!("operation {nth}, {op:?}: {message}"))?;
        }
        for stream in 0..4 {
            let source = Scope::Stream(stream);
            let item = Item { source, names: Vec::new(), tags: Vec::new() };
            let part = Part { after: Mark::Start, until: None, limit: None, backward: false };
            let whole = run.step(first, &Op::Read(vec![item], part)).await;
            whole.map_err(|message| format!("stream {stream} at the end: {message}"))?;
        }
        Ok(())
    }

    /// Runs it, and when it fails looks for a shorter program that fails too.
    ///
    /// # Errors
    /// The shortest found.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn check(&self, handles: &[impl StorageAdapter]) -> Result<(), Counterexample> {
        self.check_in("m", handles).await
    }

    pub(crate) async fn check_in(
        &self,
        namespace: &str,
        handles: &[impl StorageAdapter],
    ) -> Result<(), Counterexample> {
        let Err(message) = self.run_in(namespace, handles).await else { return Ok(()) };
        let mut best = Counterexample { program: self.clone(), message };
        let mut steps = SHRINK_STEPS;
        let until = Instant::now() + SHRINK_TIME;
        loop {
            let mut shorter = None;
            for program in best.program.smaller() {
                if steps == 0 || Instant::now() > until {
                    return Err(best);
                }
                steps -= 1;
                if let Err(message) = program.run_in(namespace, handles).await {
                    shorter = Some(Counterexample { program, message });
                    break;
                }
            }
            match shorter {
                Some(shorter) => best = shorter,
                None => return Err(best),
            }
        }
    }

    /// Programs with one thing less, the smallest first: delta debugging (Zeller and Hildebrandt 2002) that goes on
    /// inside the operations.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let ops = &self.0;
        let mut smaller = Vec::new();
        let mut size = ops.len() / 2;
        while size > 0 {
            for start in (0..ops.len()).step_by(size) {
                let end = (start + size).min(ops.len());
                smaller.push(Self([&ops[..start], &ops[end..]].concat()));
            }
            size /= 2;
        }
        for (nth, (handle, op)) in ops.iter().enumerate() {
            for op in simpler(op) {
                let mut program = self.clone();
                program.0[nth] = (*handle, op);
                smaller.push(program);
            }
        }
        smaller
    }
}

/// The operation with one thing less.
pub(crate) fn simpler(op: &Op) -> Vec<Op> {
    let mut simpler = Vec::new();
    match op {
        Op::Append(writes) => {
            let mut with = |nth: usize, change: &dyn Fn(&mut crate::model::Write)| {
                let mut writes = writes.clone();
                change(&mut writes[nth]);
                simpler.push(Op::Append(writes));
            };
            for (nth, write) in writes.iter().enumerate() {
                for event in 0..write.events.len() {
                    with(nth, &|write| drop(write.events.remove(event)));
                    if !write.events[event].tags.is_empty() {
                        with(nth, &|write| write.events[event].tags.clear());
                    }
                }
                let parts = match &write.condition {
                    Condition::Always => Vec::new(),
                    Condition::All(parts) | Condition::Any(parts) => {
                        [&[Condition::Always][..], parts].concat()
                    }
                    _ => vec![Condition::Always],
                };
                for part in parts {
                    with(nth, &|write| write.condition = part.clone());
                }
            }
            if writes.len() > 1 {
                for nth in 0..writes.len() {
                    let mut writes = writes.clone();
                    writes.remove(nth);
                    simpler.push(Op::Append(writes));
                }
            }
        }
        Op::Read(query, part) => {
            for nth in 0..query.len() {
                if query.len() > 1 {
                    let mut query = query.clone();
                    query.remove(nth);
                    simpler.push(Op::Read(query, part.clone()));
                }
                if !query[nth].names.is_empty() || !query[nth].tags.is_empty() {
                    let mut query = query.clone();
                    query[nth] =
                        Item { source: query[nth].source, names: Vec::new(), tags: Vec::new() };
                    simpler.push(Op::Read(query, part.clone()));
                }
            }
            let plain = Part { after: Mark::Start, until: None, limit: None, backward: false };
            let parts = [
                Part { after: Mark::Start, ..part.clone() },
                Part { until: None, ..part.clone() },
                Part { limit: None, ..part.clone() },
                Part { backward: false, ..part.clone() },
                plain,
            ];
            let fewer = parts.into_iter().filter(|fewer| fewer != part);
            simpler.extend(fewer.map(|part| Op::Read(query.clone(), part)));
        }
    }
    simpler
}

struct Run {
    names: Names,
    model: Model,
    /// The events of the model as the store gave them, in the same order.
    stored: Vec<StoredEvent>,
}

impl Run {
    async fn step(&mut self, store: &dyn StorageAdapter, op: &Op) -> Result<(), String> {
        let (model, expected) = std::mem::take(&mut self.model).step(op);
        let mut seen = Seen::default();
        seen.take(&self.names.tell(&self.stored));
        let number = |nth: u64| self.number(nth).value();
        let call = seen.resolve(op, &number);
        let (found, events) = self.names.call(store, &call).await;
        self.model = model;
        if let Outcome::Appended(_) = found {
            let last = self.stored.last().map_or(0, |event| event.sequence_number.value());
            let mut numbers = vec![last];
            numbers.extend(events.iter().map(|event| event.sequence_number.value()));
            if !numbers.is_sorted_by(|a, b| a < b) {
                return Err(format!("sequence numbers do not rise: {numbers:?}"));
            }
            self.stored.extend(events.iter().cloned());
        }
        let found = self.ordinal(found);
        if found != expected {
            return Err(format!("expected {expected:?}, found {found:?}"));
        }
        let changed = events.iter().find(|event| !self.stored.contains(event));
        changed.map_or(Ok(()), |event| Err(format!("not read as it was appended: {event:?}")))
    }

    /// The number of the nth event of the program; beyond the last, as far beyond.
    fn number(&self, nth: u64) -> SequenceNumber {
        let at = |nth: u64| usize::try_from(nth).ok().and_then(|nth| self.stored.get(nth));
        match nth.checked_sub(1).map(|before| (before, at(before))) {
            None => SequenceNumber::START,
            Some((_, Some(event))) => event.sequence_number,
            Some((before, None)) => {
                let last = self.stored.last().map_or(0, |event| event.sequence_number.value());
                SequenceNumber::new(last + (before + 1 - self.stored.len() as u64))
            }
        }
    }

    /// The outcome with dense numbers, as the model returns them; 0 for a number that the store never gave.
    fn ordinal(&self, outcome: Outcome) -> Outcome {
        let dense = |mut events: Vec<crate::model::Stored>| {
            for event in &mut events {
                let place = self
                    .stored
                    .binary_search_by_key(&event.number, |known| known.sequence_number.value());
                event.number = place.map_or(0, |place| place as u64 + 1);
            }
            events
        };
        match outcome {
            Outcome::Appended(events) => Outcome::Appended(dense(events)),
            Outcome::Read(events) => Outcome::Read(dense(events)),
            other => other,
        }
    }
}

impl fmt::Display for Program {
    /// As Rust source. `Debug` of operations holds no text, so each bracket opens a list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Program(vec![")?;
        for step in &self.0 {
            writeln!(f, "    {},", format!("{step:?}").replace('[', "vec!["))?;
        }
        f.write_str("])")
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Counterexample {
    /// A regression test, to be pasted into the adapter's own tests.
    #[must_use]
    pub fn to_source(&self) -> String {
        format!(
            "#[tokio::test]\nasync fn regression() {{\n    use annals_testkit::model::{{Condition::*, Mark::*, Op::*, \
             Scope::*, *}};\n    let program = {};\n    // One handle for each number used: open the store here.\n    \
             let handles = [open().await, open().await];\n    program.run(&handles).await.unwrap();\n}}",
            self.program.to_string().replace('\n', "\n    ")
        )
    }
}
