//! Appends that may be dropped on their way: how far they are polled, and what they may leave.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker};
use std::time::Duration;

use annals::{Append, Error, EventId, NewEvent, QueryItem, ReadOptions, Result, StoredEvent, Tags};
use tokio::sync::Notify;

use crate::checks::support::ledger::{Ledger, describe, light, patient, summary};
use crate::engine::{Failure, Outcome, ensure};
use crate::error::chain;
use crate::subject::{Context, Subject, count, within};

/// How long an append may take after others were dropped: far more than any takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// How long a poll waits for a wake-up before the next one: what the work waits for may be up to the caller.
const PAUSE: Duration = Duration::from_millis(5);

/// The most polls of a sweep.
pub(crate) const POLLS: usize = 100;

/// What is asked for by tag after drops.
const TAG: &str = "dropped";

/// Cheap events with a tag where there are tags: an index of them is written whole as well, or not at all.
pub(crate) fn tagged(store: &Subject, count: usize) -> Vec<NewEvent> {
    let tags = if store.capabilities.tags { store.tags(&[TAG]) } else { Tags::default() };
    light(count).into_iter().map(|event| event.with_tags(tags.clone())).collect()
}

/// Notes that a future wants to be polled.
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Polls so often, and returns the output if that was enough. With `linger` the last poll is followed by a wait as
/// well: what it began may then be done, and its result not yet taken.
pub(crate) async fn poll_times<T>(
    polls: usize,
    linger: bool,
    mut poll: impl FnMut(&mut task::Context<'_>) -> Poll<T>,
) -> Option<T> {
    let woken = Arc::new(Woken(Notify::new()));
    let waker = Waker::from(Arc::clone(&woken));
    for nth in 1..=polls {
        if let Poll::Ready(output) = poll(&mut task::Context::from_waker(&waker)) {
            return Some(output);
        }
        if linger || nth < polls {
            let _ = tokio::time::timeout(PAUSE, woken.0.notified()).await;
        }
    }
    None
}

pub(crate) type Appending<'a> = Pin<Box<dyn Future<Output = Result<Vec<StoredEvent>>> + Send + 'a>>;

/// Polls an append so often and drops it.
pub(crate) async fn drop_after(
    mut work: Appending<'_>,
    polls: usize,
    linger: bool,
) -> Option<Result<Vec<StoredEvent>>> {
    poll_times(polls, linger, |cx| work.as_mut().poll(cx)).await
}

/// So many polls, one more each time and later more at a step.
pub(crate) fn sweep() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(0), |polls| Some(polls + 1 + polls / 8))
        .take_while(|polls| *polls <= POLLS)
}

/// What is known of an append that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stored,
    Absent,
    /// It may be stored whole, or not.
    Open,
}

/// An append that was begun.
#[derive(Debug)]
struct Begun {
    writes: Vec<Append>,
    how: String,
    fate: Fate,
}

/// All appends of a check, and what they may leave.
#[derive(Debug)]
pub(crate) struct Drops {
    pub(crate) store: Subject,
    /// A second handle, which takes turns with the first: what one has leaked the other may lack.
    pub(crate) other: Subject,
    begun: Vec<Begun>,
}

impl Drops {
    pub(crate) async fn open(cx: &Context) -> Outcome<Self> {
        Ok(Self { store: cx.open().await?, other: cx.open().await?, begun: Vec::new() })
    }

    /// The handle whose turn it is.
    pub(crate) fn handle(&self, turn: usize) -> Subject {
        if turn.is_multiple_of(2) { self.store.clone() } else { self.other.clone() }
    }

    /// Keeps an append and what came of it; nothing, when it was dropped before its end.
    pub(crate) fn keep(
        &mut self,
        writes: Vec<Append>,
        how: String,
        outcome: Option<&Result<Vec<StoredEvent>>>,
    ) -> Outcome {
        let fate = match outcome {
            None | Some(Err(Error::OutcomeUnknown(_))) => Fate::Open,
            Some(Ok(stored)) => {
                own_answer(&writes, stored).map_err(|failure| failure.in_context(&how))?;
                Fate::Stored
            }
            Some(Err(error)) if error.is_retryable() => Fate::Absent,
            Some(Err(error)) => {
                let what = describe(&writes);
                return Err(Failure::new(format!("{what}, {how}, failed: {}", chain(error))));
            }
        };
        self.begun.push(Begun { writes, how, fate });
        Ok(())
    }

    /// Keeps an append that had to be refused for its condition, or that was dropped before.
    pub(crate) fn refuse(
        &mut self,
        writes: Vec<Append>,
        how: String,
        outcome: Option<Result<Vec<StoredEvent>>>,
    ) -> Outcome {
        let found = match outcome {
            None | Some(Err(Error::ConditionFailed(_) | Error::Unavailable(_))) => {
                self.begun.push(Begun { writes, how, fate: Fate::Absent });
                return Ok(());
            }
            Some(Ok(_)) => "it was stored".to_owned(),
            Some(Err(error)) => chain(&error),
        };
        let what = describe(&writes);
        Err(Failure::new(format!("{what}, {how}: expected ConditionFailed, found: {found}")))
    }

    /// An append that must succeed, and soon.
    pub(crate) async fn next(
        &mut self,
        store: &Subject,
        writes: Vec<Append>,
        after: &str,
    ) -> Outcome {
        let what = format!("the next append after one {after}");
        let outcome = within(LIMIT, &what, certain(store, &writes)).await?;
        let stored = outcome.map_err(|error| Failure::from(error).in_context(&what))?;
        if let Some(stored) = stored {
            own_answer(&writes, &stored).map_err(|failure| failure.in_context(&what))?;
        }
        self.begun.push(Begun {
            writes,
            how: format!("next after one {after}"),
            fate: Fate::Stored,
        });
        Ok(())
    }

    /// Makes the last append again: it is done now, or it was before.
    pub(crate) async fn again(&mut self, turn: usize) -> Outcome {
        let store = self.handle(turn);
        let Some(last) = self.begun.last_mut() else { return Ok(()) };
        let what = format!("the repeat of an append {}", last.how);
        match within(LIMIT, &what, patient(&store, &last.writes)).await? {
            Ok(stored) => {
                own_answer(&last.writes, &stored).map_err(|failure| failure.in_context(&what))?;
                ensure!(last.fate != Fate::Stored, "{what} stored its events a second time");
            }
            Err(Error::DuplicateEvent(_)) => {
                ensure!(last.fate != Fate::Absent, "{what} was told that its events are known");
            }
            Err(error) => return Err(Failure::from(error).in_context(what)),
        }
        last.fate = Fate::Stored;
        Ok(())
    }

    /// Each append is there whole or not at all, as its fate says, in an order that appends can have.
    pub(crate) async fn judge(&self) -> Outcome {
        // What others do for an append that was dropped may still be under way.
        let settled = async {
            while self.judge_now().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match within(Duration::from_secs(3), "a dropped append", settled).await {
            Ok(()) => Ok(()),
            Err(_) => self.judge_now().await,
        }
    }

    async fn judge_now(&self) -> Outcome {
        let mut streams: Vec<_> = Vec::new();
        let mut sent: HashMap<EventId, usize> = HashMap::new();
        for (nth, begun) in self.begun.iter().enumerate() {
            for write in &begun.writes {
                sent.extend(write.events.iter().map(|event| (event.id, nth)));
                if !streams.contains(&write.stream) {
                    streams.push(write.stream.clone());
                }
            }
        }
        let mut stored: HashMap<usize, Vec<StoredEvent>> = HashMap::new();
        for event in self.store.all_events(&streams).await? {
            let Some(nth) = sent.get(&event.event.id) else {
                return Err(Failure::new(format!("nobody appended {event}, which is there")));
            };
            stored.entry(*nth).or_default().push(event);
        }
        for (nth, Begun { writes, how, fate }) in self.begun.iter().enumerate() {
            let all = count(writes);
            let there = stored.get(&nth).map_or(0, Vec::len);
            let right = match fate {
                Fate::Stored => there == all,
                Fate::Absent => there == 0,
                Fate::Open => there == 0 || there == all,
            };
            let what = describe(writes);
            ensure!(right, "{what}, {how}, must be {fate:?}: {there} of {all} events are there");
        }
        // Every batch is whole; told in their order to a ledger, they are what appends leave.
        let mut order: Vec<_> = stored.into_iter().collect();
        for (_, events) in &mut order {
            events.sort_by_key(|event| event.sequence_number);
        }
        order.sort_by_key(|(_, events)| events.first().map(|event| event.sequence_number));
        let mut ledger = Ledger::of(self.store.clone());
        for (nth, events) in &order {
            if let Some(Begun { writes, how, .. }) = self.begun.get(*nth) {
                let what = format!("{}, {how}", describe(writes));
                ledger.record(writes, events).map_err(|failure| failure.in_context(what))?;
            }
        }
        if self.store.capabilities.tags {
            let tags = self.store.tags(&[TAG]);
            for stream in &streams {
                let tagged = QueryItem::new(stream.clone()).with_tags(tags.clone());
                let found = self.store.read(tagged, ReadOptions::default()).await?;
                let all = ledger.stream(stream).iter();
                let all: Vec<_> = all.filter(|event| event.event.tags == tags).cloned().collect();
                self.store.same(&found, &all, &format!("the events of {stream} by their tag"))?;
            }
        }
        let streams: Vec<_> = streams.iter().collect();
        ledger.verify_with(&streams, "after dropped appends").await?;
        ledger.verify_no_hole("after dropped appends").await
    }
}

/// Repeats an append for as long as it is unknown what came of it, or the store too busy: with the same ids that
/// is safe. What the store kept for a caller who is gone may fail once.
async fn certain(store: &Subject, writes: &[Append]) -> Result<Option<Vec<StoredEvent>>> {
    let mut unknown = 0;
    loop {
        match patient(store, writes).await {
            Err(Error::OutcomeUnknown(_)) if unknown < 5 => unknown += 1,
            Err(Error::DuplicateEvent(_)) if unknown > 0 => return Ok(None),
            other => return other.map(Some),
        }
    }
}

/// What an append gets is about its own events: not the answer to one that was dropped.
fn own_answer(writes: &[Append], stored: &[StoredEvent]) -> Outcome {
    let sent = writes.iter().flat_map(|write| &write.events).map(|event| event.id);
    let told = stored.iter().map(|event| event.event.id);
    let what = describe(writes);
    ensure!(sent.eq(told), "{what} was told of other events than its own: {}", summary(stored));
    Ok(())
}
