//! Who appends to which stream next. Appends to one stream take turns, because each needs the hash of the one before it;
//! those that wait for one stream are appended together.
//!
//! An append that waits is data, and what is under way is a future that every waiting append polls: a caller that stops
//! polling or drops its future holds up nobody.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::{Append, Error, Result, StoredEvent, StreamId};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// How many appends may wait for one stream.
const MAX_WAITING: usize = 1_024;
/// How many events, and bytes of payload, are appended together.
const MAX_EVENTS: usize = 512;
const MAX_BYTES: usize = 4 << 20;

/// What is under way.
pub(crate) type Turn = Shared<BoxFuture<'static, ()>>;

/// One append of a caller: its writes until its turn comes, then its outcome.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) writes: Vec<Append>,
    outcome: Arc<Outcome>,
}

/// What became of an append: what it returns, or the panic of a predicate, which goes on in its own caller.
#[derive(Debug, Default)]
struct Outcome(Mutex<Option<Ended>>);

type Ended = std::thread::Result<Result<Vec<StoredEvent>>>;

impl Outcome {
    fn get(&self) -> MutexGuard<'_, Option<Ended>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    pub(crate) fn end(&self, outcome: Result<Vec<StoredEvent>>) {
        *self.outcome.get() = Some(Ok(outcome));
    }

    /// Whether it may be appended together with others: what its condition needs is known before the others commit.
    fn is_light(&self) -> bool {
        match self.writes.as_slice() {
            [write] => !write.condition.needs_last_event() && write.condition.queries().is_empty(),
            _ => false,
        }
    }

    fn size(&self) -> (usize, usize) {
        let events = || self.writes.iter().flat_map(|write| &write.events);
        (events().count(), events().map(|event| event.payload.as_bytes().len()).sum())
    }
}

/// An append in line.
struct Waiting {
    /// The streams that it writes to.
    streams: Vec<StreamId>,
    outcome: Arc<Outcome>,
    state: Mutex<State>,
}

enum State {
    InLine(Job),
    /// It keeps what is under way alive, and never the other way round.
    Begun(Turn),
    Gone,
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Arc<Waiting>>,
    under_way: Option<WeakShared<BoxFuture<'static, ()>>>,
}

impl Line {
    fn turn(&self) -> Option<Turn> {
        // One that nobody polls any more is dropped, or has ended.
        self.under_way.as_ref().and_then(WeakShared::upgrade).filter(|turn| turn.peek().is_none())
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.turn().is_none()
    }
}

/// The appends in line, by stream. An append that waits in several lines came to all of them at one moment, so of those that
/// wait the one that came first is always the first in all of its lines.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<StreamId, Line>>);

impl Lines {
    /// Appends in turn: `begin` makes the future of what is appended together.
    pub(crate) async fn append(
        &self,
        writes: Vec<Append>,
        begin: impl Fn(Vec<Job>) -> BoxFuture<'static, ()> + Sync,
    ) -> Result<Vec<StoredEvent>> {
        let place = self.join(writes)?;
        loop {
            let ended = place.waiting.outcome.get().take();
            match ended {
                Some(Ok(outcome)) => return outcome,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => {}
            }
            let turn = place.turn(&begin)?;
            turn.await;
        }
    }

    fn join(&self, writes: Vec<Append>) -> Result<Place<'_>> {
        let with_events = writes.iter().filter(|write| !write.events.is_empty());
        let streams: Vec<StreamId> = with_events.map(|write| write.stream.clone()).collect();
        let outcome = Arc::<Outcome>::default();
        let job = Job { writes, outcome: Arc::clone(&outcome) };
        let state = Mutex::new(State::InLine(job));
        let waiting = Arc::new(Waiting { streams, outcome, state });
        let mut lines = self.lock();
        for stream in &waiting.streams {
            if lines.get(stream).is_some_and(|line| line.waiting.len() >= MAX_WAITING) {
                return Err(Error::unavailable("too many appends wait for one stream"));
            }
        }
        for stream in &waiting.streams {
            lines.entry(stream.clone()).or_default().waiting.push_back(Arc::clone(&waiting));
        }
        drop(lines);
        Ok(Place { lines: self, waiting })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in line; it is left when this is dropped.
struct Place<'a> {
    lines: &'a Lines,
    waiting: Arc<Waiting>,
}

impl Place<'_> {
    /// What to wait for: the own turn if it has begun, else the turn that is under way before it, begun here if need be.
    fn turn(&self, begin: impl Fn(Vec<Job>) -> BoxFuture<'static, ()>) -> Result<Turn> {
        let lost = || Error::outcome_unknown("an append ended without an outcome");
        let mut lines = self.lines.lock();
        if let State::Begun(turn) = &*self.waiting.state() {
            // It has ended, and the outcome is there, or will be at the next look.
            return if turn.peek().is_some() && !self.has_outcome() {
                Err(lost())
            } else {
                Ok(turn.clone())
            };
        }
        let mut stream = self.waiting.streams.first().ok_or_else(lost)?.clone();
        loop {
            let line = lines.get(&stream).ok_or_else(lost)?;
            if let Some(turn) = line.turn() {
                return Ok(turn);
            }
            let first = Arc::clone(line.waiting.front().ok_or_else(lost)?);
            let is_held = |stream: &&StreamId| {
                lines.get(*stream).is_none_or(|line| {
                    let is_first = line.waiting.front().is_some_and(|it| Arc::ptr_eq(it, &first));
                    line.turn().is_some() || !is_first
                })
            };
            match first.streams.iter().find(is_held) {
                Some(held) => stream = held.clone(),
                None => return Ok(start(&mut lines, &first, &begin)),
            }
        }
    }

    fn has_outcome(&self) -> bool {
        self.waiting.outcome.get().is_some()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        for stream in &self.waiting.streams {
            if let Some(line) = lines.get_mut(stream) {
                line.waiting.retain(|it| !Arc::ptr_eq(it, &self.waiting));
                if line.is_idle() {
                    lines.remove(stream);
                }
            }
        }
        let state = std::mem::replace(&mut *self.waiting.state(), State::Gone);
        drop(lines);
        // Outside the lock: it may be the last that keeps a future of the adapter inside.
        drop(state);
    }
}

/// Begins the turn of `first`, together with those behind it that may join it.
fn start(
    lines: &mut HashMap<StreamId, Line>,
    first: &Arc<Waiting>,
    begin: impl Fn(Vec<Job>) -> BoxFuture<'static, ()>,
) -> Turn {
    let mut group = vec![Arc::clone(first)];
    if let [stream] = first.streams.as_slice()
        && let Some(line) = lines.get(stream)
        && let State::InLine(job) = &*first.state()
        && job.is_light()
    {
        let (mut events, mut bytes) = job.size();
        for next in line.waiting.iter().skip(1) {
            let state = next.state();
            let State::InLine(job) = &*state else { break };
            let (more, larger) = job.size();
            events += more;
            bytes += larger;
            if !job.is_light() || events > MAX_EVENTS || bytes > MAX_BYTES {
                break;
            }
            group.push(Arc::clone(next));
        }
    }
    let taken = |waiting: &Arc<Waiting>| match std::mem::replace(&mut *waiting.state(), State::Gone)
    {
        State::InLine(job) => Some(job),
        State::Begun(_) | State::Gone => None,
    };
    let under_way = begin(group.iter().filter_map(taken).collect());
    let outcomes: Vec<_> = group.iter().map(|waiting| Arc::clone(&waiting.outcome)).collect();
    let caught = async move {
        // A predicate of a caller may panic. It is appended alone, so there is no other whose panic that could be.
        if let Err(mut panic) = AssertUnwindSafe(under_way).catch_unwind().await {
            for outcome in outcomes {
                let mut outcome = outcome.get();
                if outcome.is_none() {
                    let other = Box::new("an append that was made together with this one panicked");
                    *outcome = Some(Err(std::mem::replace(&mut panic, other)));
                }
            }
        }
    };
    let turn = caught.boxed().shared();
    for waiting in &group {
        *waiting.state() = State::Begun(turn.clone());
        for stream in &waiting.streams {
            if let Some(line) = lines.get_mut(stream) {
                line.waiting.retain(|it| !Arc::ptr_eq(it, waiting));
                line.under_way = turn.downgrade();
            }
        }
    }
    turn
}
