//! Writers at once to different streams, of which one may win: decisions on a query, guards, and repeated ids.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use annals::{
    Append, Error, EventId, EventName, Predicate, Query, QueryItem, SequenceNumber, Source,
    StoredEvent, StreamId, Tags, WriteCondition,
};

use crate::checks::support::ledger::{Ledger, describe, light, most, needs_room};
use crate::checks::support::racing_clients::{Round, Start, race, rounds};
use crate::engine::{Failure, Outcome, ensure};
use crate::error::chain;
use crate::subject::{Context, Subject, but, event};

/// Makes the calls of each heat at once: one must be done, and each other refused as `loses` says.
async fn one_of(
    ledger: &mut Ledger,
    other: &Subject,
    round: Round,
    what: &str,
    heats: Vec<Vec<Vec<Append>>>,
    loses: impl Fn(&Error) -> bool,
) -> Outcome {
    let ended = race(round, what, [&ledger.store, other], heats, true).await?;
    for heat in ended {
        let (count, mut won) = (heat.len(), Vec::new());
        for (call, outcome) in heat {
            match outcome {
                Ok(stored) => {
                    ledger.record(&call, &stored).map_err(|failure| failure.in_context(what))?;
                    won.push(describe(&call));
                }
                Err(error) if loses(&error) => {}
                Err(error) => {
                    return Err(Failure::new(format!(
                        "{what}: a loser was told: {}",
                        chain(&error)
                    )));
                }
            }
        }
        ensure!(
            won.len() == 1,
            "{what}: expected one of {count} to win, {} did: {}",
            won.len(),
            won.join(" and ")
        );
    }
    Ok(())
}

/// The last number that the ledger knows of.
fn head(ledger: &Ledger) -> SequenceNumber {
    ledger.sorted(|_| true).last().map_or(ledger.store.start, |last| last.sequence_number)
}

/// What a decision is made on.
#[derive(Debug, Clone, Copy)]
enum Boundary {
    Category,
    Names,
    Tags,
    /// The streams of all, as alternatives.
    Streams,
    /// The streams of the others only.
    OthersStreams,
}

/// The streams and queries of writers that decide on the same boundary.
struct Decision {
    boundary: Boundary,
    name: EventName,
    tags: Tags,
    streams: Vec<StreamId>,
}

impl Decision {
    fn new(store: &Subject, boundary: Boundary, place: &str, writers: usize) -> Outcome<Self> {
        let category = store.category(place);
        let stream = |writer: usize| match boundary {
            Boundary::Names | Boundary::Tags => store.stream(&format!("c{writer}"), place),
            _ => store.stream(place, &format!("s{writer}")),
        };
        let tags = store.capabilities.tags.then(|| store.tags(&[place]));
        Ok(Self {
            boundary,
            name: EventName::new(category.as_str()).map_err(Error::from)?,
            tags: tags.unwrap_or_default(),
            streams: (0..writers).map(stream).collect(),
        })
    }

    fn query(&self, writer: usize) -> Query {
        let log = QueryItem::new(Source::Log);
        match self.boundary {
            Boundary::Names => but(&log, |it| it.names = Some(vec![self.name.clone()])).into(),
            Boundary::Tags => log.with_tags(self.tags.clone()).into(),
            Boundary::Category => self.streams[writer].category.clone().into(),
            Boundary::Streams => Query::any_of(self.streams.iter().cloned().map(QueryItem::new)),
            Boundary::OthersStreams => {
                let others = self.streams.iter().filter(|stream| **stream != self.streams[writer]);
                Query::any_of(others.cloned().map(QueryItem::new))
            }
        }
    }

    /// Each writes to a stream of its own, if nothing was decided after `after`.
    fn calls(&self, after: SequenceNumber) -> Vec<Vec<Append>> {
        let call = |(writer, stream): (usize, &StreamId)| {
            let event = but(&event("decided"), |it| it.name = self.name.clone());
            let event = event.with_tags(self.tags.clone());
            let condition = WriteCondition::no_match(self.query(writer), after);
            vec![Append::new(stream.clone(), [event], condition)]
        };
        self.streams.iter().enumerate().map(call).collect()
    }
}

pub(crate) async fn no_match_race(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let mut boundaries =
        vec![Boundary::Category, Boundary::Names, Boundary::Streams, Boundary::OthersStreams];
    boundaries.extend(ledger.store.capabilities.tags.then_some(Boundary::Tags));
    for round in rounds(&cx, boundaries.len()) {
        let boundary = boundaries[round.nth / 3 % boundaries.len()];
        let decision = |heat: usize| {
            let place = format!("decisions-{}-{heat}", round.nth);
            Decision::new(&ledger.store, boundary, &place, round.clients())
        };
        let decisions = (0..round.heats).map(decision).collect::<Outcome<Vec<_>>>()?;
        // The first decision on nothing, the second on what the first left.
        for _ in 0..2 {
            let after = head(&ledger);
            let heats = decisions.iter().map(|decision| decision.calls(after)).collect();
            let what = format!("decisions on one query ({boundary:?}) at once");
            one_of(&mut ledger, &other, round, &what, heats, Error::is_condition_failed).await?;
        }
    }
    ledger.verify_wide("after decisions at once").await
}

pub(crate) async fn guard_race(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    needs_room(&ledger.store, 2)?;
    let turns = if ledger.store.capabilities.query_conditions { 3 } else { 2 };
    for round in rounds(&cx, 3) {
        for turn in 0..turns {
            let calls = |heat: usize| {
                let name = |writer: usize| {
                    let name = format!("{}-{heat}-{writer}", round.nth);
                    ledger.store.stream(["a", "b"][writer % 2], &name)
                };
                let streams: Vec<_> = (0..round.clients()).map(name).collect();
                let call = |writer: usize| {
                    let here = |to: &StreamId| {
                        let last = ledger.stream(to).last().map(|last| last.sequence_number);
                        match turn {
                            2 => WriteCondition::no_match(to.clone(), last.unwrap_or_default()),
                            _ => ledger.as_it_is(to),
                        }
                    };
                    let guard = |to: &StreamId| Append::guard(to.clone(), here(to));
                    let mut call: Vec<_> = streams.iter().map(guard).collect();
                    call[writer].events = light(1);
                    if turn > 0 {
                        // Its own stream is not asked about: only the guards keep the others out.
                        call[writer].condition = WriteCondition::Always;
                    }
                    call.rotate_left(writer);
                    call
                };
                (0..streams.len()).map(call).collect()
            };
            let heats = (0..round.heats).map(calls).collect();
            let what = "writers that guard the streams of the others, at once";
            one_of(&mut ledger, &other, round, what, heats, Error::is_condition_failed).await?;
        }
    }
    ledger.verify_wide("after writers that guard each other's streams").await
}

/// Calls that share at least one event, and its id or theirs.
fn repeats(
    store: &Subject,
    kind: usize,
    place: &str,
    writers: usize,
) -> (Vec<Vec<Append>>, Vec<EventId>) {
    let room = most(store).min(3);
    // In two categories: in the weaker orders nothing may keep these apart but the ids themselves.
    let stream = |writer: usize| {
        store.stream(["repeats", "again"][writer % 2], &format!("{place}-{writer}"))
    };
    let batch = light(room);
    let shared = batch[room - 1].clone();
    let call = |writer: usize| {
        let mut mixed = light(room);
        mixed[writer % room] = shared.clone();
        let always = WriteCondition::Always;
        match kind {
            // The same call, without and with a condition that the winner makes false.
            0 => vec![Append::new(stream(0), batch.clone(), always)],
            1 => vec![Append::new(stream(0), batch.clone(), WriteCondition::StreamIsEmpty)],
            // The same events to different streams, and one of them amid others.
            2 => vec![Append::new(stream(writer), batch.clone(), always)],
            3 => vec![Append::new(stream(writer), mixed, always)],
            _ => {
                let own = Append::new(stream(writer + 100), light(1), always.clone());
                vec![own, Append::new(stream(writer), mixed, always)]
            }
        }
    };
    let ids: Vec<_> = batch.iter().map(|event| event.id).collect();
    let shared = if kind < 3 { ids } else { vec![shared.id] };
    ((0..writers).map(call).collect(), shared)
}

pub(crate) async fn duplicate_race(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let store = ledger.store.clone();
    let kinds = if store.capabilities.multi_stream_append && most(&store) >= 4 { 5 } else { 4 };
    for round in rounds(&cx, kinds) {
        let calls = |heat: usize| {
            let place = format!("{}-{heat}", round.nth);
            repeats(&store, round.nth / 3 % kinds, &place, round.clients())
        };
        let (heats, ids): (Vec<_>, Vec<_>) = (0..round.heats).map(calls).unzip();
        let ids = ids.concat();
        let known = |error: &Error| matches!(error, Error::DuplicateEvent(id) if ids.contains(id));
        let what = "appends of the same events at once";
        let mut again = heats[0][0].clone();
        for write in &mut again {
            write.events.retain(|event| ids.contains(&event.id));
        }
        one_of(&mut ledger, &other, round, what, heats, known).await?;
        ledger.duplicate(again, &ids, "after it was appended at once").await?;
    }
    ledger.verify_wide("after appends of the same events at once").await?;
    ledger.verify_no_hole("after appends of the same events at once").await
}

/// Holds always, and is in no hurry: it waits a moment for a second one that is judged at the same time.
#[derive(Debug, Default)]
struct Meeting {
    judged: Mutex<usize>,
    came: Condvar,
}

impl Predicate for Meeting {
    fn expectation(&self) -> String {
        "nothing".to_owned()
    }

    fn holds(&self, _: Option<&StoredEvent>) -> bool {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        *judged += 1;
        self.came.notify_all();
        let alone = |judged: &mut usize| *judged < 2;
        drop(self.came.wait_timeout_while(judged, Duration::from_millis(40), alone));
        true
    }
}

/// Where one writer is held inside its judgement until another is judged, or for a moment: whatever keeps them apart
/// must do so until the first has written.
pub(crate) async fn judged_inside(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let can = ledger.store.capabilities;
    for (nth, _) in cx.cases(2).enumerate() {
        let round = Round { nth, start: Start::Threads, heats: 1 };
        let shared = ledger.filled(&format!("shared-{nth}"), nth).await?;
        // Not all of one category, which may be what a store locks.
        let streams = [0, 1, 2].map(|writer| {
            ledger.store.stream(&format!("own-{nth}-{}", writer % 2), &format!("{writer}"))
        });
        let write = |to: &StreamId, condition, meeting: &Arc<Meeting>| {
            let meeting = WriteCondition::Custom(Arc::clone(meeting) as Arc<dyn Predicate>);
            Append::new(to.clone(), light(1), WriteCondition::All(vec![condition, meeting]))
        };
        let meeting = Arc::default();
        let here = ledger.as_it_is(&shared);
        let calls = [(); 3].map(|()| vec![write(&shared, here.clone(), &meeting)]).to_vec();
        let what = "writers to one stream that are judged at once";
        one_of(&mut ledger, &other, round, what, vec![calls], Error::is_condition_failed).await?;
        if can.query_conditions {
            let meeting = Arc::default();
            let all = Query::any_of(streams.iter().cloned().map(QueryItem::new));
            let none = WriteCondition::no_match(all, head(&ledger));
            let calls =
                streams.each_ref().map(|to| vec![write(to, none.clone(), &meeting)]).to_vec();
            let what = "decisions on one query that are judged at once";
            one_of(&mut ledger, &other, round, what, vec![calls], Error::is_condition_failed)
                .await?;
        }
        if can.multi_stream_append {
            let meeting = Arc::default();
            let call = |writer: usize| {
                let guard = |to: &StreamId| Append::guard(to.clone(), ledger.as_it_is(to));
                let mut call: Vec<_> = streams.iter().map(guard).collect();
                call[writer] = write(&streams[writer], WriteCondition::Always, &meeting);
                call
            };
            let calls = (0..3).map(call).collect();
            let what = "writers that guard the streams of the others and are judged at once";
            one_of(&mut ledger, &other, round, what, vec![calls], Error::is_condition_failed)
                .await?;
        }
    }
    ledger.verify_wide("after writers that were judged at once").await
}
