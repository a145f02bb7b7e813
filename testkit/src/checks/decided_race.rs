//! Writers at once to different streams, of which one may win: decisions on a query, guards, and repeated ids.

use annals::{
    Append, Error, EventName, NewEvent, Query, QueryItem, SequenceNumber, Source, StreamId,
    WriteCondition,
};

use crate::check::{Failure, Outcome, chain, ensure};
use crate::checks::clients::{Round, at_once, rounds};
use crate::checks::ledger::{Ledger, describe, light, most, needs_room, patient};
use crate::context::{Context, Subject, event};

/// Makes all calls at once, through two handles in turn: one must be done, and each other refused as `loses` tells.
async fn one_of(
    ledger: &mut Ledger,
    other: &Subject,
    round: Round,
    what: &str,
    calls: Vec<Vec<Append>>,
    loses: impl Fn(&Error) -> bool,
) -> Outcome {
    let clients = calls.into_iter().enumerate().map(|(writer, call)| {
        let store = if writer % 2 == 0 { ledger.store.clone() } else { other.clone() };
        async move {
            let outcome = patient(&store, &call).await;
            (call, outcome)
        }
    });
    let ended = at_once(round.start, what, clients).await?;
    let (count, mut won) = (ended.len(), Vec::new());
    for (call, outcome) in ended {
        match outcome {
            Ok(stored) => {
                ledger.record(&call, &stored).map_err(|failure| failure.in_context(what))?;
                won.push(describe(&call));
            }
            Err(error) if loses(&error) => {}
            Err(error) => {
                return Err(Failure::new(format!("{what}: a loser was told: {}", chain(&error))));
            }
        }
    }
    ensure!(
        won.len() == 1,
        "{what}: expected one of {count} to win, {} did: {}",
        won.len(),
        won.join(" and ")
    );
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

pub(super) async fn no_match_race(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let mut boundaries =
        vec![Boundary::Category, Boundary::Names, Boundary::Streams, Boundary::OthersStreams];
    boundaries.extend(ledger.store.capabilities.tags.then_some(Boundary::Tags));
    for round in rounds(&cx, boundaries.len()) {
        let boundary = boundaries[round.nth / 3 % boundaries.len()];
        let category = format!("decisions-{}", round.nth);
        let name = EventName::new(format!("{}{category}", cx.namespace())).map_err(Error::from)?;
        let tags = ledger.store.capabilities.tags.then(|| ledger.store.tags(&[category.as_str()]));
        let streams: Vec<_> = (0..round.clients())
            .map(|writer| match boundary {
                Boundary::Names | Boundary::Tags => {
                    ledger.store.stream(&format!("c{writer}"), &category)
                }
                _ => ledger.store.stream(&category, &format!("s{writer}")),
            })
            .collect();
        let query = |writer: usize| match (boundary, &tags) {
            (Boundary::Names, _) => {
                Query::from(QueryItem { names: vec![name.clone()], ..QueryItem::new(Source::Log) })
            }
            (Boundary::Tags, Some(tags)) => {
                QueryItem::new(Source::Log).with_tags(tags.clone()).into()
            }
            (Boundary::Streams, _) => Query::any_of(streams.iter().cloned().map(QueryItem::new)),
            (Boundary::OthersStreams, _) => {
                let others = streams.iter().enumerate().filter(|(nth, _)| *nth != writer);
                Query::any_of(others.map(|(_, stream)| QueryItem::new(stream.clone())))
            }
            _ => ledger_category(&streams).into(),
        };
        // The first decision on nothing, the second on what the first left.
        for _ in 0..2 {
            let after = head(&ledger);
            let call = |(writer, stream): (usize, &StreamId)| {
                let event = NewEvent { name: name.clone(), ..event("decided") };
                let event = event.with_tags(tags.clone().unwrap_or_default());
                let condition = WriteCondition::no_match(query(writer), after);
                vec![Append::new(stream.clone(), [event], condition)]
            };
            let calls = streams.iter().enumerate().map(call).collect();
            let what = format!("decisions on one query ({boundary:?}) at once");
            one_of(&mut ledger, &other, round, &what, calls, Error::is_condition_failed).await?;
        }
    }
    ledger.verify_wide("after decisions at once").await
}

fn ledger_category(streams: &[StreamId]) -> annals::CategoryName {
    streams[0].category.clone()
}

pub(super) async fn guard_race(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    needs_room(&ledger.store, 2)?;
    for round in rounds(&cx, 3) {
        let name = |writer: usize| {
            ledger.store.stream(["a", "b"][writer % 2], &format!("{}-{writer}", round.nth))
        };
        let streams: Vec<_> = (0..round.clients()).map(name).collect();
        for turn in 0..2 {
            let call = |writer: usize| {
                let mut call: Vec<_> = streams
                    .iter()
                    .map(|to| Append::guard(to.clone(), ledger.as_it_is(to)))
                    .collect();
                call[writer].events = light(1);
                if turn == 1 {
                    // Its own stream is not asked about: only the guards keep the others out.
                    call[writer].condition = WriteCondition::Always;
                }
                call.rotate_left(writer);
                call
            };
            let calls = (0..streams.len()).map(call).collect();
            let what = "writers that guard the streams of the others, at once";
            one_of(&mut ledger, &other, round, what, calls, Error::is_condition_failed).await?;
        }
    }
    ledger.verify_wide("after writers that guard each other's streams").await
}

pub(super) async fn duplicate_race(cx: Context) -> Outcome {
    let (mut ledger, other) = (Ledger::open(&cx).await?, cx.open().await?);
    let room = most(&ledger.store).min(3);
    let store = ledger.store.clone();
    let multi = store.capabilities.multi_stream_append && most(&store) >= 4;
    for round in rounds(&cx, 4) {
        let kind = round.nth / 3 % if multi { 5 } else { 4 };
        let stream = |writer: usize| store.stream("repeats", &format!("{}-{writer}", round.nth));
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
                    let own = stream(writer + 100);
                    vec![
                        Append::new(own, light(1), always.clone()),
                        Append::new(stream(writer), mixed, always),
                    ]
                }
            }
        };
        let calls: Vec<_> = (0..round.clients()).map(call).collect();
        let ids: Vec<_> =
            if kind < 3 { batch.iter().map(|event| event.id).collect() } else { vec![shared.id] };
        let duplicate =
            |error: &Error| matches!(error, Error::DuplicateEvent(id) if ids.contains(id));
        let what = "appends of the same events at once";
        one_of(&mut ledger, &other, round, what, calls, duplicate).await?;
        let again = Append::new(stream(0), vec![shared.clone()], WriteCondition::Always);
        ledger.duplicate(vec![again], &[shared.id], "after it was appended at once").await?;
    }
    ledger.verify_wide("after appends of the same events at once").await?;
    ledger.verify_no_hole("after appends of the same events at once").await
}
