//! Conditions under concurrent writers.

use annals::{
    Append, Error, Payload, Position, SequenceNumber, StoredEvent, StreamId, WriteCondition,
};

use crate::checks::custom::LastIs;
use crate::checks::support::decided_races;
use crate::checks::support::ledger::{Ledger, always, light, most, patient};
use crate::checks::support::racing_clients::{Ended, Round, at_once, race, rounds};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::error::chain;
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, event};

pub(super) const CHECKS: &[Check] = &[
    check!("cond.one_winner", [A4 A2], Stochastic, [], one_winner, "of writers with the same expectation one wins"),
    check!(
        "cond.loser_error",
        [A4],
        Stochastic,
        [],
        loser_error,
        "every loser of a race gets ConditionFailed, with the state that the winner left"
    ),
    check!("cond.progress", [A4], Stochastic, [], progress, "writers that race do not all lose"),
    check!("cond.counter", [A4 R1], Stochastic, [], counter, "reading, deciding and appending in turns loses no update"),
    check!(
        "cond.no_spurious",
        [A4],
        Stochastic,
        [],
        no_spurious,
        "an append whose condition holds is not refused because of others"
    ),
    check!(
        "cond.no_match_race",
        [A4],
        Stochastic,
        [Need::Has(Feature::QueryConditions)],
        decided_races::no_match_race,
        "of decisions on one query one wins, though they write to different streams"
    ),
    check!(
        "cond.guard_race",
        [A4 A7],
        Stochastic,
        [Need::Has(Feature::MultiStreamAppend)],
        decided_races::guard_race,
        "of writers that each guard what the others write one wins"
    ),
    check!(
        "cond.judged_inside",
        [A4],
        Stochastic,
        [Need::Has(Feature::CustomConditions)],
        decided_races::judged_inside,
        "between the judgement of a condition and the write nobody else appends"
    ),
    check!(
        "idem.duplicate_race",
        [A7 A1],
        Stochastic,
        [],
        decided_races::duplicate_race,
        "events appended several times at once are stored once, and are duplicates for all others"
    ),
];

/// What writers contend for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contest {
    NewStream,
    ExistingStream,
    All,
    Any,
    Query,
    Custom,
    /// Two streams, both of which are contended for.
    TwoStreams,
    /// Two streams, of which each writer has one to itself.
    OneOfTwo,
}

impl Contest {
    fn all(store: &Subject) -> Vec<Self> {
        let can = store.capabilities;
        let mut all = vec![Self::NewStream, Self::ExistingStream, Self::All, Self::Any];
        all.extend(can.query_conditions.then_some(Self::Query));
        all.extend(can.custom_conditions.then_some(Self::Custom));
        if can.multi_stream_append && most(store) >= 4 {
            all.extend([Self::TwoStreams, Self::OneOfTwo]);
        }
        all
    }

    /// That a stream with these events still is where it is.
    fn condition(self, stream: &StreamId, events: &[StoredEvent]) -> WriteCondition {
        let Some(last) = events.last() else { return WriteCondition::StreamIsEmpty };
        let here = WriteCondition::PositionIs(last.position);
        match self {
            Self::All => WriteCondition::StreamExists & here,
            Self::Any => WriteCondition::StreamIsEmpty | here,
            Self::Query => WriteCondition::no_match(stream.clone(), last.sequence_number),
            Self::Custom => WriteCondition::custom(LastIs(Some(last.clone()))),
            _ => here,
        }
    }
}

/// A race for one stream: how it ended for each writer.
struct Race {
    stream: StreamId,
    ended: Vec<Ended>,
}

impl Race {
    fn winners(&self) -> usize {
        self.ended.iter().filter(|(_, outcome)| outcome.is_ok()).count()
    }
}

/// Lets writers contend, through two handles in turn. `patience`: a store that is too busy is asked again.
async fn contend(
    ledger: &mut Ledger,
    other: &Subject,
    contest: Contest,
    round: Round,
    patience: bool,
) -> Outcome<Vec<Race>> {
    let stream = |ledger: &Ledger, category: &str, heat: usize| {
        ledger.store.stream(category, &format!("{}-{heat}", round.nth))
    };
    let mut heats = Vec::new();
    for heat in 0..round.heats {
        let first = stream(ledger, "races", heat);
        let second = stream(ledger, "runs", heat);
        if contest != Contest::NewStream {
            for _ in 0..=round.nth % 3 {
                ledger.one(&first, light(1), WriteCondition::Always).await?;
            }
        }
        let room = most(&ledger.store);
        let write = |writer: usize| {
            let write = |to: &StreamId, condition| {
                let size = if room < 4 { 1 } else { 1 + writer % 2 };
                Append::new(to.clone(), light(size), condition)
            };
            let contended = |to: &StreamId| write(to, contest.condition(to, ledger.stream(to)));
            let mut call = vec![contended(&first)];
            match contest {
                Contest::TwoStreams => call.push(contended(&second)),
                Contest::OneOfTwo => {
                    let own = stream(ledger, &format!("own-{writer}"), heat);
                    call.push(write(&own, WriteCondition::StreamIsEmpty));
                }
                _ => {}
            }
            let places = call.len();
            call.rotate_left(writer % places);
            call
        };
        heats.push((0..round.clients()).map(write).collect());
    }
    let what = format!("a race ({contest:?}, {:?})", round.start);
    let ended = race(round, &what, [&ledger.store, other], heats, patience).await?;
    for (call, outcome) in ended.iter().flatten() {
        if let Ok(stored) = outcome {
            ledger.record(call, stored).map_err(|failure| {
                failure.in_context(format!("what a winner of a race ({contest:?}) was given"))
            })?;
        }
    }
    let race = |(heat, ended)| Race { stream: stream(ledger, "races", heat), ended };
    Ok(ended.into_iter().enumerate().map(race).collect())
}

async fn one_winner(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let contests = Contest::all(&ledger.store);
    for round in rounds(&cx, contests.len()) {
        let contest = contests[round.nth / 3 % contests.len()];
        let races = contend(&mut ledger, &other, contest, round, true).await?;
        for race in &races {
            let (winners, all) = (race.winners(), race.ended.len());
            ensure!(
                winners == 1,
                "of {all} writers that contend ({contest:?}) {winners} won, expected one"
            );
        }
        let stream = &races[0].stream;
        let found = ledger.store.stream_events(stream).await?;
        ledger.store.same(
            &found,
            ledger.stream(stream),
            "the events of the stream after a race",
        )?;
    }
    ledger.verify_wide("after races").await?;
    ledger.verify_no_hole("after races").await
}

async fn loser_error(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let contests = Contest::all(&ledger.store);
    for round in rounds(&cx, contests.len()) {
        let contest = contests[round.nth / 3 % contests.len()];
        let races = contend(&mut ledger, &other, contest, round, false).await?;
        for (call, outcome) in races.into_iter().flat_map(|race| race.ended) {
            let error = match outcome {
                Ok(_) => continue,
                Err(Error::ConditionFailed(unmet)) => unmet,
                Err(error) => {
                    return Err(Failure::new(format!(
                        "a loser of a race ({contest:?}): expected ConditionFailed, found: {}",
                        chain(&error)
                    )));
                }
            };
            let Some(write) = call.iter().find(|write| write.stream == error.stream) else {
                return Err(Failure::new(format!(
                    "a loser of a race is told of stream {}, which it does not write to",
                    error.stream
                )));
            };
            // Only the winner has appended since, so there is one state that refuses.
            let head = ledger.stream(&write.stream).last().map(|last| last.position);
            ensure_eq!(
                error.actual,
                head,
                "where a loser of a race ({contest:?}) is told that the stream is"
            );
        }
    }
    Ok(())
}

async fn progress(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let contests = Contest::all(&ledger.store);
    for round in rounds(&cx, contests.len()) {
        let contest = contests[round.nth / 3 % contests.len()];
        for race in contend(&mut ledger, &other, contest, round, true).await? {
            if race.winners() == 0 {
                let first = race.ended.into_iter().find_map(|(_, outcome)| outcome.err());
                let error = first.map(|error| chain(&error)).unwrap_or_default();
                return Err(Failure::new(format!(
                    "all writers that contend ({contest:?}) lost: {error}"
                )));
            }
        }
    }
    Ok(())
}

async fn counter(cx: Context) -> Outcome {
    let (store, other) = (cx.open().await?, cx.open().await?);
    for round in rounds(&cx, 2) {
        let stream = store.stream("counters", &round.nth.to_string());
        let turns = 3 + round.heats as u64;
        let clients = (0..round.clients()).map(|client| {
            let store = if client % 2 == 0 { store.clone() } else { other.clone() };
            let by_query = store.capabilities.query_conditions && (client + round.nth) % 2 == 0;
            let (stream, others) = (stream.clone(), round.clients() as u64 - 1);
            async move { count_up(&store, &stream, by_query, (turns, others)).await }
        });
        let ended = at_once(round.start, "counting together", clients).await?;
        let mut refusals = 0;
        for outcome in ended {
            refusals += outcome?;
        }
        let found = store.stream_events(&stream).await?;
        let total = round.clients() as u64 * turns;
        let counts: Vec<_> =
            found.iter().map(|event| event.event.payload.to_json::<u64>().ok()).collect();
        let expected: Vec<_> = (1..=total).map(Some).collect();
        ensure_eq!(counts, expected, "what {total} updates with {refusals} refusals counted");
    }
    Ok(())
}

/// Adds one to the last number of the stream, some times; returns how often it was refused.
async fn count_up(
    store: &Subject,
    stream: &StreamId,
    by_query: bool,
    (turns, others): (u64, u64),
) -> Outcome<u64> {
    let mut refusals = 0;
    for _ in 0..turns {
        loop {
            let last = store.latest(stream.clone()).await?;
            let count = match &last {
                Some(last) => last.event.payload.to_json::<u64>(),
                None => Ok(0),
            };
            let count = count
                .map_err(|error| Failure::new(format!("a payload is not as appended: {error}")))?;
            let condition = match &last {
                None => WriteCondition::StreamIsEmpty,
                Some(last) if by_query => {
                    WriteCondition::no_match(stream.clone(), last.sequence_number)
                }
                Some(last) => WriteCondition::PositionIs(last.position),
            };
            let mut next = event("counted");
            next.payload = Payload::json(&(count + 1)).map_err(Error::from)?;
            let call = [Append::new(stream.clone(), [next], condition)];
            match patient(store, &call).await {
                Ok(_) => break,
                Err(Error::ConditionFailed(unmet)) => {
                    refusals += 1;
                    // Behind each refusal is an append of somebody else's since the last read.
                    ensure!(
                        refusals <= others * turns,
                        "refused {refusals} times, though others appended {} times at most: {unmet}",
                        others * turns
                    );
                }
                Err(error) => {
                    return Err(Failure::from(error).in_context("an update under contention"));
                }
            }
        }
    }
    Ok(refusals)
}

async fn no_spurious(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let shared = ledger.filled("shared", 1).await?;
    let store = ledger.store.clone();
    for round in rounds(&cx, 2) {
        let clients = (0..round.clients()).map(|client| {
            let store = if client % 2 == 0 { store.clone() } else { other.clone() };
            let own = store.stream("orders", &format!("{}-{client}", round.nth));
            let shared = shared.clone();
            async move { undisturbed(&store, &own, &shared, client).await }
        });
        for outcome in
            at_once(round.start, "appends that do not disturb each other", clients).await?
        {
            outcome?;
        }
    }
    Ok(())
}

/// Appends under conditions that hold whatever others do: on a stream of its own, and on one that they share.
async fn undisturbed(store: &Subject, own: &StreamId, shared: &StreamId, client: usize) -> Outcome {
    let queries = store.capabilities.query_conditions;
    let mut last = SequenceNumber::START;
    for turn in 0..4 {
        let here = match u64::try_from(turn).unwrap_or_default().checked_sub(1) {
            None => WriteCondition::StreamIsEmpty,
            Some(head) => WriteCondition::PositionIs(Position::new(head)),
        };
        let here = match (turn + client) % 3 {
            0 if queries => WriteCondition::no_match(own.clone(), last),
            1 => WriteCondition::All(vec![here, WriteCondition::Any(vec![WriteCondition::Always])]),
            _ => here,
        };
        let stays = match (turn + client) % 4 {
            0 => WriteCondition::Always,
            1 => WriteCondition::StreamExists,
            2 if queries => {
                let empty = store.stream("orders", "nobody's");
                WriteCondition::no_match(empty, SequenceNumber::START)
            }
            _ => WriteCondition::StreamIsEmpty | WriteCondition::StreamExists,
        };
        let mine = [Append::new(own.clone(), light(1), here)];
        let ours = [Append::new(shared.clone(), light(1), stays)];
        for call in [mine, ours] {
            let stored = patient(store, &call).await.map_err(|error| {
                Failure::from(error).in_context("an append whose condition holds, beside others")
            })?;
            last = last.max(stored.last().map_or(last, |event| event.sequence_number));
            if store.capabilities.multi_stream_append && most(store) > 1 && turn == 3 {
                let both = [
                    always(shared, light(1)),
                    Append::guard(own.clone(), WriteCondition::StreamExists),
                ];
                patient(store, &both).await.map_err(|error| {
                    Failure::from(error)
                        .in_context("an append with a guard that holds, beside others")
                })?;
            }
        }
    }
    let found = store.stream_events(own).await?;
    ensure_eq!(found.len(), 4, "the number of events of stream {own}");
    Ok(())
}
