//! The commits of one scope of the declared order, and what is known of their time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use annals::Order;

use crate::history::{Anomaly, History, Violation};
use crate::model::{Condition, Item, Mark, Op, Outcome, Scope, Stored, Write, judge, matches};

/// One scope: commits in the order of sequence numbers. State n is the log after the first n commits.
pub(super) struct View<'a> {
    pub(super) history: &'a History,
    pub(super) scope: Scope,
    /// Ascending.
    pub(super) log: Vec<&'a Stored>,
    pub(super) commits: Vec<Commit>,
    /// For each event of `log` its commit.
    pub(super) commit_of: Vec<usize>,
    /// The place of each event id.
    pub(super) places: HashMap<u32, usize>,
    /// The places of each stream's events, ascending.
    streams: HashMap<u8, Vec<usize>>,
    /// For each state the latest begin of the commits in it.
    begun: Vec<u64>,
    /// For each state the earliest answer of the commits not in it.
    done: Vec<u64>,
    matched: RefCell<HashMap<Vec<Item>, Rc<Vec<usize>>>>,
}

pub(super) struct Commit {
    pub(super) operation: usize,
    /// Its events, as places in the log of the scope.
    pub(super) places: Range<usize>,
}

/// The scope of the declared order that a stream belongs to.
pub(super) fn scope(order: Order, stream: u8) -> Scope {
    match order {
        Order::Log => Scope::Log,
        Order::Category => Scope::Category(stream / 2),
        Order::Stream => Scope::Stream(stream),
    }
}

/// The views of all scopes that operations or events are in.
pub(super) fn split<'a>(history: &'a History, owners: &[usize]) -> Vec<View<'a>> {
    let mut scopes: Vec<Scope> = Vec::new();
    let written = history.operations.iter().filter_map(|operation| match &operation.op {
        Op::Append(writes) => Some(writes.iter().map(|write| write.stream)),
        Op::Read(..) => None,
    });
    let streams = written.flatten().chain(history.log.iter().map(|stored| stored.stream));
    let read = history.operations.iter().filter_map(|operation| match &operation.op {
        Op::Read(items, _) => Some(Item::scope(items)),
        Op::Append(_) => None,
    });
    let read = read.filter_map(|wanted| match wanted {
        Scope::Stream(stream) => Some(scope(history.order, stream)),
        Scope::Category(category) if history.order >= Order::Category => {
            Some(scope(history.order, category.saturating_mul(2)))
        }
        Scope::Log if history.order == Order::Log => Some(Scope::Log),
        _ => None,
    });
    for scope in streams.map(|stream| scope(history.order, stream)).chain(read) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes.into_iter().map(|scope| View::new(history, scope, owners)).collect()
}

impl<'a> View<'a> {
    fn new(history: &'a History, scope: Scope, owners: &[usize]) -> Self {
        let mut view = Self {
            history,
            scope,
            log: Vec::new(),
            commits: Vec::new(),
            commit_of: Vec::new(),
            places: HashMap::new(),
            streams: HashMap::new(),
            begun: vec![0],
            done: Vec::new(),
            matched: RefCell::default(),
        };
        for (stored, &operation) in history.log.iter().zip(owners) {
            if !view.covers(Scope::Stream(stored.stream)) {
                continue;
            }
            let place = view.log.len();
            match view.commits.last_mut() {
                Some(last) if last.operation == operation => last.places.end = place + 1,
                _ => view.commits.push(Commit { operation, places: place..place + 1 }),
            }
            view.log.push(stored);
            view.places.insert(stored.event.id, place);
            view.commit_of.push(view.commits.len() - 1);
            view.streams.entry(stored.stream).or_default().push(place);
        }
        let mut latest = 0;
        for commit in &view.commits {
            latest = latest.max(history.operations[commit.operation].invoked);
            view.begun.push(latest);
        }
        let mut earliest = u64::MAX;
        view.done.push(earliest);
        for commit in view.commits.iter().rev() {
            earliest = earliest.min(view.answered(commit.operation));
            view.done.push(earliest);
        }
        view.done.reverse();
        view
    }

    /// Whether all that `wanted` holds belongs to the scope.
    pub(super) fn covers(&self, wanted: Scope) -> bool {
        match (self.scope, wanted) {
            (Scope::Log, _) => true,
            (Scope::Category(category), Scope::Stream(stream)) => stream / 2 == category,
            (all, wanted) => all == wanted,
        }
    }

    /// When the operation was surely done: never, if its answer does not tell.
    fn answered(&self, operation: usize) -> u64 {
        let operation = &self.history.operations[operation];
        if operation.outcome == Outcome::Unknown { u64::MAX } else { operation.returned }
    }

    /// The states that the scope may have been in at some instant of the operation.
    pub(super) fn window(&self, operation: usize) -> Range<usize> {
        let operation = &self.history.operations[operation];
        let first = self.done.partition_point(|done| *done < operation.invoked);
        let end = self.begun.partition_point(|begun| *begun <= operation.returned);
        first..end
    }

    /// How many events state `state` has.
    pub(super) fn length(&self, state: usize) -> usize {
        state.checked_sub(1).map_or(0, |last| self.commits[last].places.end)
    }

    /// The places of all events that match, ascending.
    pub(super) fn matching(&self, items: &[Item]) -> Rc<Vec<usize>> {
        if let Some(places) = self.matched.borrow().get(items) {
            return Rc::clone(places);
        }
        let places = (0..self.log.len()).filter(|place| matches(items, self.log[*place]));
        let places = Rc::new(places.collect::<Vec<_>>());
        self.matched.borrow_mut().insert(items.to_vec(), Rc::clone(&places));
        places
    }

    /// Whether a condition on `stream` holds in a state; `None`: that depends on what lies beyond the scope.
    pub(super) fn holds(&self, state: usize, stream: u8, condition: &Condition) -> Option<bool> {
        if !self.covers(Scope::Stream(stream)) {
            return None;
        }
        let end = self.length(state);
        let places = self.streams.get(&stream).map(Vec::as_slice).unwrap_or_default();
        let length = places.partition_point(|place| *place < end) as u64;
        let found = |items: &[Item], after| {
            if !self.covers(Item::scope(items)) {
                return None;
            }
            let Mark::At(after) = after else { return None };
            let places = self.matching(items);
            let next = places.partition_point(|place| self.log[*place].number <= after);
            Some(places.get(next).is_some_and(|place| *place < end))
        };
        judge(condition, length, &found)
    }

    /// Batches are whole and in order, time is kept, conditions hold.
    pub(super) fn check_commits(&self) -> Result<(), Violation> {
        let mut seen = HashMap::new();
        for (nth, commit) in self.commits.iter().enumerate() {
            let operation = &self.history.operations[commit.operation];
            let violation = |anomaly, text| Err(Violation::new(anomaly, commit.operation, text));
            if seen.insert(commit.operation, nth).is_some() {
                let first = self.log[commit.places.start].number;
                let text = format!("another append stands before #{first} amid its events");
                return violation(Anomaly::InterleavedBatch, text);
            }
            let Op::Append(writes) = &operation.op else { continue };
            let events = writes.iter().filter(|write| self.covers(Scope::Stream(write.stream)));
            let given = events.flat_map(|write| write.events.iter().map(|event| event.id));
            let given: Vec<u32> = given.collect();
            let found: Vec<u32> =
                self.log[commit.places.clone()].iter().map(|stored| stored.event.id).collect();
            let mut sorted = (given.clone(), found.clone());
            sorted.0.sort_unstable();
            sorted.1.sort_unstable();
            if found != given && sorted.0 == sorted.1 {
                let text = format!("events {given:?} were stored as {found:?}");
                return violation(Anomaly::BatchOutOfOrder, text);
            }
        }
        for (nth, commit) in self.commits.iter().enumerate() {
            let operation = &self.history.operations[commit.operation];
            let violation = |anomaly, text| Err(Violation::new(anomaly, commit.operation, text));
            if self.done[nth + 1] < operation.invoked {
                let number = self.log[commit.places.start].number;
                let text =
                    format!("#{number} was begun after an append with a higher number was done");
                return violation(Anomaly::RealTimeInversion, text);
            }
            let Op::Append(writes) = &operation.op else { continue };
            if let Some(write) =
                writes.iter().find(|w| self.holds(nth, w.stream, &w.condition) == Some(false))
            {
                let number = self.log[commit.places.start].number;
                let Write { stream, condition, .. } = write;
                let text = format!("before #{number} stream {stream} was not {condition:?}");
                return violation(broken(condition), text);
            }
        }
        Ok(())
    }
}

/// What it means that the condition did not hold.
fn broken(condition: &Condition) -> Anomaly {
    match condition {
        Condition::PositionIs(_) | Condition::StreamIsEmpty => Anomaly::LostUpdate,
        _ => Anomaly::ConditionDidNotHold,
    }
}
