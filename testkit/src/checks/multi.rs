//! Appends to several streams at once.

use std::time::Duration;

use annals::{Append, Error, Position, Query, SequenceNumber, StreamId, WriteCondition};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::checks::support::ledger::{Ledger, always, light, most, needs_room, patient};
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, events, within};

const MULTI: Need = Need::Has(Feature::MultiStreamAppend);

pub(super) const CHECKS: &[Check] = &[
    check!(
        "multi.all_written",
        [A1],
        Required,
        [MULTI],
        all_written,
        "every write of a call is stored, each in its stream"
    ),
    check!(
        "multi.all_or_nothing",
        [A1 A5],
        Required,
        [MULTI],
        all_or_nothing,
        "one refused write, at any place and for any reason, keeps all the others out"
    ),
    check!("multi.order", [A3 R3], Required, [MULTI], order, "events are returned and numbered in the order given"),
    check!(
        "multi.conditions_before",
        [A4],
        Required,
        [MULTI],
        conditions_before,
        "all conditions of a call are judged on the store before it, each on its own stream"
    ),
    check!("multi.guards", [A7 A4], Required, [MULTI], guards, "guards on other streams decide, and store nothing"),
    check!("multi.many_streams", [A1 A2], Required, [MULTI], many_streams, "a call may name thousands of streams"),
    check!("multi.categories", [A1 A2], Required, [MULTI], categories, "a call may span categories, with equal names in them"),
    check!(
        "multi.disjoint",
        [A4],
        Stochastic,
        [MULTI],
        disjoint,
        "calls at once on different streams all succeed"
    ),
    check!(
        "multi.crossing",
        [A4],
        Stochastic,
        [MULTI],
        crossing,
        "calls at once that name the same streams in different orders do not block each other for ever"
    ),
];

fn streams<const N: usize>(store: &Subject, names: [&str; N]) -> [StreamId; N] {
    names.map(|name| {
        let (category, name) = name.split_once('/').unwrap_or(("orders", name));
        store.stream(category, name)
    })
}

async fn all_written(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    needs_room(&ledger.store, 12)?;
    let all = streams(&ledger.store, ["a", "b", "users/a", "c"]);
    for counts in [[1, 1, 1, 1], [3, 1, 2, 5], [0, 2, 0, 1], [1, 0, 0, 0], [1, 4, 1, 6]] {
        let writes = all.iter().zip(counts);
        let writes = writes.map(|(stream, count)| always(stream, events(count)));
        ledger.append(writes.collect()).await?;
        ledger.verify(&format!("after a call with {counts:?} events")).await?;
    }
    // With single appends in between, conditions that hold, and fewer streams.
    for nth in 0..4 {
        ledger.one(&all[nth], events(2), ledger.as_it_is(&all[nth])).await?;
        let two = [&all[nth], &all[(nth + 1) % 4]];
        let writes = two.map(|to| Append::new(to.clone(), events(2), ledger.as_it_is(to)));
        ledger.append(writes.to_vec()).await?;
    }
    ledger.verify("after single and multiple appends in turn").await
}

async fn all_or_nothing(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    needs_room(&ledger.store, 8)?;
    let [a, b, c] = streams(&ledger.store, ["a", "users/b", "c"]);
    let fresh = streams(&ledger.store, ["x", "users/y", "a/z"]);
    for stream in [&a, &b, &c] {
        ledger.one(stream, events(2), WriteCondition::Always).await?;
    }
    let known = ledger.stream(&b)[1].event.clone();
    let existing = [a, b, c];
    for set in [&existing, &fresh] {
        for bad in 0..3 {
            // The others without a condition, and with one that holds.
            for judged in [false, true] {
                let call = |count: usize| -> Vec<Append> {
                    let one = |stream: &StreamId| {
                        let holds =
                            if judged { ledger.as_it_is(stream) } else { WriteCondition::Always };
                        Append::new(stream.clone(), light(count), holds)
                    };
                    set.iter().map(one).collect()
                };
                let when = format!("write {bad} of three was refused");
                let is_new = ledger.stream(&set[bad]).is_empty();
                let mut unmet = vec![
                    WriteCondition::PositionIs(Position::new(7)),
                    WriteCondition::Any(Vec::new()),
                ];
                unmet.push(if is_new {
                    WriteCondition::StreamExists
                } else {
                    WriteCondition::StreamIsEmpty
                });
                if ledger.store.capabilities.query_conditions {
                    let query = Query::from(existing[0].clone());
                    unmet.push(WriteCondition::no_match(query, SequenceNumber::START));
                }
                for condition in unmet {
                    for guard in [false, true] {
                        let mut writes = call(2);
                        writes[bad].condition = condition.clone();
                        if guard {
                            writes[bad].events.clear();
                        }
                        refused_for(&ledger, writes, &set[bad], &when).await?;
                    }
                }
                for place in 0..2 {
                    let mut writes = call(2);
                    writes[bad].events[place] = known.clone();
                    ledger.duplicate(writes, &[known.id], &when).await?;
                }
                ledger.verify_with(&[&fresh[0], &fresh[1], &fresh[2]], &when).await?;
            }
        }
    }
    for set in [&existing, &fresh] {
        let writes = set.iter().map(|to| Append::new(to.clone(), events(1), ledger.as_it_is(to)));
        ledger.append(writes.collect()).await?;
    }
    ledger.verify("after refused calls and one that was done").await?;
    ledger.verify_no_hole("after refused calls").await
}

/// The call is refused for the condition on `stream`.
async fn refused_for(
    ledger: &Ledger,
    writes: Vec<Append>,
    stream: &StreamId,
    when: &str,
) -> Outcome {
    match ledger.refused(writes, when).await? {
        Error::ConditionFailed(unmet) => {
            let found = (&unmet.stream, unmet.actual);
            let head = ledger.stream(stream).last().map(|last| last.position);
            ensure_eq!(
                found,
                (stream, head),
                "{when}: the stream that the refusal names, its head"
            );
            Ok(())
        }
        other => Err(Failure::new(format!("{when}: expected ConditionFailed, found: {other}"))),
    }
}

async fn order(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    needs_room(&ledger.store, 12)?;
    let mut all = streams(&ledger.store, ["m", "users/z", "a", "a/a", "z"]);
    for seed in cx.cases(10) {
        let mut random = StdRng::seed_from_u64(seed);
        all.shuffle(&mut random);
        let writes = all.iter().take(random.random_range(2..=5)).map(|stream| {
            let mut batch = light(random.random_range(0..=2_usize));
            batch.shuffle(&mut random);
            always(stream, batch)
        });
        // The ledger proves the order of what is returned, and of the numbers.
        let writes = writes.collect();
        ledger.append(writes).await?;
    }
    ledger.verify("after calls with shuffled streams").await
}

async fn conditions_before(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    needs_room(&ledger.store, 4)?;
    let queries = ledger.store.capabilities.query_conditions;
    for turn in 0..2 {
        let [old, new, other] = [("orders", "old"), ("orders", "new"), ("users", "new")]
            .map(|(category, name)| ledger.store.stream(category, &format!("{name}{turn}")));
        ledger.one(&old, events(3), WriteCondition::Always).await?;
        let write = |stream: &StreamId, condition: &WriteCondition| {
            Append::new(stream.clone(), events(1), condition.clone())
        };
        let at = |position| WriteCondition::PositionIs(Position::new(position));
        let (empty, exists) = (WriteCondition::StreamIsEmpty, WriteCondition::StreamExists);
        // What another write of the call makes true does not count, and no stream stands in for another.
        let unmet = [
            [write(&old, &at(2)), write(&new, &exists)],
            [write(&new, &WriteCondition::Always), write(&old, &at(3))],
            [write(&old, &empty), write(&new, &empty)],
            [write(&old, &at(2)), write(&new, &at(2))],
            [write(&old, &at(2)), write(&new, &at(0))],
            [write(&old, &exists), write(&other, &exists)],
        ];
        for call in unmet {
            let mut turned = call.to_vec();
            turned.rotate_left(turn);
            ledger.unmet(turned, "a condition that the call itself could make true").await?;
            ledger.verify_with(&[&new, &other], "after unmet conditions").await?;
        }
        // What another write of the call makes false does not count either.
        let mut met = vec![write(&old, &at(2)), write(&new, &empty)];
        if queries {
            let none = WriteCondition::no_match(new.clone(), SequenceNumber::START);
            met[0].condition = at(2) & none.clone();
            met.push(write(&other, &(empty & none)));
        }
        met.rotate_left(turn);
        ledger.append(met).await?;
        if queries {
            let first = ledger.stream(&new)[0].sequence_number;
            let none = WriteCondition::no_match(new.clone(), SequenceNumber::START);
            let call = vec![write(&new, &at(0)), write(&old, &none)];
            ledger.unmet(call, &format!("event {first} matches")).await?;
        }
        ledger.verify("after conditions judged before the call").await?;
    }
    Ok(())
}

async fn guards(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    needs_room(&ledger.store, 4)?;
    let [a, b, guarded, fresh] = streams(&ledger.store, ["a", "users/b", "guarded", "users/fresh"]);
    for stream in [&a, &b, &guarded] {
        ledger.one(stream, events(2), WriteCondition::Always).await?;
    }
    let last = Position::new(1);
    let cases = [
        (&guarded, WriteCondition::PositionIs(last), true),
        (&guarded, WriteCondition::PositionIs(Position::new(0)), false),
        (&guarded, WriteCondition::StreamExists, true),
        (&guarded, WriteCondition::StreamIsEmpty, false),
        (&fresh, WriteCondition::StreamIsEmpty, true),
        (&fresh, WriteCondition::StreamExists, false),
        (&fresh, WriteCondition::PositionIs(last), false),
    ];
    for (stream, condition, holds) in cases {
        for place in 0..3 {
            let mut call = vec![always(&a, events(1)), always(&b, events(2))];
            call.insert(place, Append::guard(stream.clone(), condition.clone()));
            if holds {
                ledger.append(call).await?;
            } else {
                refused_for(&ledger, call, stream, &format!("guard at place {place}")).await?;
            }
            ledger.verify_with(&[&fresh], "after a call with a guard").await?;
        }
    }
    let both = |first, second| {
        vec![Append::guard(guarded.clone(), first), Append::guard(fresh.clone(), second)]
    };
    let (empty, exists) = (WriteCondition::StreamIsEmpty, WriteCondition::StreamExists);
    ledger.append(both(exists.clone(), empty.clone())).await?;
    refused_for(&ledger, both(exists.clone(), exists), &fresh, "two guards").await?;
    refused_for(&ledger, both(empty.clone(), empty), &guarded, "two guards").await?;
    ledger.verify_with(&[&fresh], "after calls of guards only").await?;
    ledger.verify_no_hole("after guards").await
}

async fn many_streams(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    for count in [1, 2, 17, 100, 1_665, 2_000].into_iter().filter(|count| *count <= room) {
        let name = |nth: usize| ledger.store.stream("many", &format!("{count}-{nth}"));
        let all: Vec<_> = (0..count).map(name).collect();
        let writes = |ledger: &Ledger| -> Vec<Append> {
            let batch = light(count).into_iter().zip(&all);
            let one = |(event, to): (_, &StreamId)| {
                Append::new(to.clone(), vec![event], ledger.as_it_is(to))
            };
            batch.map(one).collect()
        };
        let first = writes(&ledger);
        ledger.append(first).await?;
        let mut unmet = writes(&ledger);
        let Some(last) = unmet.last_mut() else { continue };
        last.condition = WriteCondition::StreamIsEmpty;
        ledger.unmet(unmet, "the last of many streams has an event").await?;
        let second = writes(&ledger);
        ledger.append(second).await?;
        for stream in [&all[0], &all[count / 2], &all[count - 1]] {
            let found = ledger.store.stream_events(stream).await?;
            let what = format!("one of {count} streams, {stream}");
            ledger.store.same(&found, ledger.stream(stream), &what)?;
        }
    }
    ledger.verify_wide("after appends to many streams").await?;
    ledger.verify_no_hole("after appends to many streams").await
}

async fn categories(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    needs_room(&ledger.store, 10)?;
    let all = streams(&ledger.store, ["a/x", "b/x", "a/y", "ab/x", "c/a"]);
    for round in 0..3 {
        let writes = all.iter().enumerate().map(|(nth, to)| {
            let count = (nth + round) % 3;
            Append::new(to.clone(), light(count), ledger.as_it_is(to))
        });
        ledger.append(writes.collect()).await?;
        ledger.verify(&format!("after call {round} over categories")).await?;
    }
    // Equal names in two categories hold different numbers of events, so a mix-up of them is refused.
    ledger.one(&all[0], events(3), WriteCondition::Always).await?;
    let writes = all[..2].iter().rev();
    let writes = writes.map(|to| Append::new(to.clone(), events(1), ledger.as_it_is(to)));
    ledger.append(writes.collect()).await?;
    ledger.verify("after a call on equal names").await
}

async fn joined(mut writers: JoinSet<Outcome>, what: &str) -> Outcome {
    let all = async {
        while let Some(done) = writers.join_next().await {
            done.map_err(|error| Failure::new(error.to_string()))??;
        }
        Ok(())
    };
    within(Duration::from_secs(20), what, all).await?
}

async fn disjoint(cx: Context) -> Outcome {
    for (nth, seed) in cx.cases(3).enumerate() {
        let store = cx.open().await?;
        needs_room(&store, 2)?;
        let mut writers = JoinSet::new();
        for writer in 0..8_u64 {
            let store = if writer % 2 == 0 { store.clone() } else { cx.open().await? };
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(writer));
            let own = ["a", "b"].map(|to| store.stream(to, &format!("{nth}-{writer}")));
            writers.spawn(async move {
                for round in 0..6_u64 {
                    let condition = match round.checked_sub(1) {
                        None => WriteCondition::StreamIsEmpty,
                        Some(last) => WriteCondition::PositionIs(Position::new(last)),
                    };
                    let mut call =
                        own.clone().map(|to| Append::new(to, events(1), condition.clone()));
                    call.shuffle(&mut random);
                    patient(&store, &call).await.map_err(|error| {
                        Failure::from(error).in_context("an append beside others to other streams")
                    })?;
                }
                for stream in &own {
                    let found = store.stream_events(stream).await?;
                    ensure_eq!(found.len(), 6, "the number of events of stream {stream}");
                }
                Ok(())
            });
        }
        joined(writers, "appends to different streams").await?;
    }
    Ok(())
}

async fn crossing(cx: Context) -> Outcome {
    for (nth, seed) in cx.cases(4).enumerate() {
        let store = cx.open().await?;
        needs_room(&store, 3)?;
        let all = [0, 1, 2].map(|at| store.stream(["a", "b", "a"][at], &format!("{nth}-{at}")));
        let mut writers = JoinSet::new();
        for writer in 0..6_u64 {
            let store = if writer % 2 == 0 { store.clone() } else { cx.open().await? };
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(writer));
            let mut own = all.clone();
            writers.spawn(async move {
                for _ in 0..8 {
                    own.shuffle(&mut random);
                    let call: Vec<_> = own.iter().map(|to| always(to, events(1))).collect();
                    // They wait for each other: none is given up for the others.
                    let stored = store.adapter.append(call).await.map_err(|error| {
                        Failure::from(error).in_context("an append to streams in another order")
                    })?;
                    ensure_eq!(stored.len(), 3, "the events returned by an append of three");
                }
                Ok(())
            });
        }
        joined(writers, "appends that cross").await?;
        for stream in &all {
            let found = store.stream_events(stream).await?;
            ensure_eq!(found.len(), 48, "the number of events of stream {stream}");
            let whole = found.iter().zip(0..).all(|(event, at)| event.position.value() == at);
            ensure!(whole, "the positions of stream {stream} have a hole or a repeat");
        }
    }
    Ok(())
}
