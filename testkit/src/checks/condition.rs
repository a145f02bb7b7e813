//! Write conditions on the stream that is appended to, and their compositions.

use std::time::Duration;

use annals::{Append, StreamId, WriteCondition};

use crate::checks::support::judged_conditions::{Form, Judged, at};
use crate::checks::support::ledger::Ledger;
use crate::checks::support::{composed_conditions, unmet_conditions};
use crate::engine::Outcome;
use crate::storage::{Check, check};
use crate::subject::{Context, events, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "cond.always",
        [A4],
        Required,
        [],
        always_holds,
        "an append without a condition is never refused"
    ),
    check!("cond.stream_is_empty", [A4], Required, [], stream_is_empty, "the stream must be empty"),
    check!("cond.stream_exists", [A4], Required, [], stream_exists, "the stream must have events"),
    check!(
        "cond.position_is",
        [A4],
        Required,
        [],
        position_is,
        "the last event must be at this very position, neither lower nor higher, also of an empty stream"
    ),
    check!(
        "cond.scope",
        [A4],
        Required,
        [],
        scope,
        "no other stream counts, however alike its name or category"
    ),
    check!(
        "cond.composite",
        [A4],
        Required,
        [],
        composed_conditions::composite,
        "all of and any of hold as their parts do, nested and empty ones too"
    ),
    check!(
        "cond.error_detail",
        [A4],
        Required,
        [],
        unmet_conditions::error_detail,
        "a refusal names the stream, the leaf that failed, and what was found instead"
    ),
    check!(
        "cond.unmet_stores_nothing",
        [A5 A3],
        Required,
        [],
        unmet_conditions::stores_nothing,
        "a refused append leaves nothing behind, now or later"
    ),
    check!(
        "cond.fail_releases",
        [A5 A6],
        Required,
        [],
        fail_releases,
        "hundreds of refusals leave nothing locked or used up"
    ),
    check!(
        "cond.depth",
        [A5],
        Required,
        [],
        composed_conditions::depth,
        "conditions may nest as deep as the contract says, and be wide; deeper is invalid"
    ),
];

/// A second handle to the store of the ledger.
async fn other_handle(cx: &Context, ledger: Ledger) -> Outcome<Ledger> {
    Ok(ledger.through(cx.open().await?))
}

async fn always_holds(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let case = |_: &Ledger, _: &StreamId| vec![Judged::new(WriteCondition::Always, true)];
    ledger.judge_all(ledger.fresh("orders"), case).await?;
    let existing = ledger.filled("existing", 5).await?;
    for turn in 0..4 {
        ledger.judge_all(|| existing.clone(), case).await?;
        let wrong = Append::new(existing.clone(), events(1), WriteCondition::StreamIsEmpty);
        ledger.unmet(vec![wrong], "the stream has events").await?;
        ledger.one(&existing, events(1), WriteCondition::Always).await?;
        ledger = other_handle(&cx, ledger).await?;
        ledger.verify(&format!("after appends without a condition, turn {turn}")).await?;
    }
    Ok(())
}

/// Conditions on streams of 0 to many events through handles in turn, judged again after refusals.
async fn on_lengths(
    cx: &Context,
    cases: impl Fn(&Ledger, &StreamId) -> Vec<Judged> + Copy,
) -> Outcome {
    let mut ledger = Ledger::open(cx).await?;
    let store = ledger.store.clone();
    // Sequence numbers, and positions of the category, are ahead of positions from the beginning.
    ledger.filled("before", 4).await?;
    ledger.judge_all(ledger.fresh("orders"), cases).await?;
    let mut count = 0;
    let alone = || {
        count += 1;
        store.stream(&format!("category-{count}"), "o-1")
    };
    ledger.judge_all(alone, cases).await?;
    // What was refused again and again leaves a stream as empty as before.
    let never = ledger.store.stream("orders", "never");
    let failing = |ledger: &Ledger, stream: &StreamId| {
        cases(ledger, stream).into_iter().filter(|case| !case.holds).collect()
    };
    for _ in 0..2 {
        ledger.judge_all(|| never.clone(), failing).await?;
    }
    let handles = [store, cx.open().await?];
    for length in [1, 2, 10, 101, 1_030] {
        let stream = ledger.filled(&format!("o-{length}"), length).await?;
        // Each handle is asked again after the other has appended: what it remembers must not count.
        for turn in 0..if length < 10 { 4 } else { 2 } {
            ledger = ledger.through(handles[turn % 2].clone());
            ledger.judge_all(|| stream.clone(), cases).await?;
        }
    }
    ledger.verify("after conditions of each outcome").await?;
    ledger.verify_no_hole("after conditions of each outcome").await
}

async fn stream_is_empty(cx: Context) -> Outcome {
    on_lengths(&cx, |ledger, stream| {
        let is_empty = ledger.stream(stream).is_empty();
        vec![Judged::new(WriteCondition::StreamIsEmpty, is_empty); 2]
    })
    .await
}

async fn stream_exists(cx: Context) -> Outcome {
    on_lengths(&cx, |ledger, stream| {
        let is_empty = ledger.stream(stream).is_empty();
        vec![Judged::new(WriteCondition::StreamExists, !is_empty); 2]
    })
    .await
}

async fn position_is(cx: Context) -> Outcome {
    on_lengths(&cx, |ledger, stream| {
        let length = ledger.stream(stream).len() as u64;
        let head = length.checked_sub(1);
        let last = head.unwrap_or(0);
        let number = ledger.stream(stream).last().map(|event| event.sequence_number.value());
        let mut positions = vec![0, 1, 2, 3, last, length, length + 1, length + 100];
        positions.extend([last.saturating_sub(1), last / 2, number.unwrap_or(1)]);
        // What is the same or next to it when bits are lost, or the sign is mistaken.
        for bits in [8, 16, 31, 32, 53, 63] {
            positions.extend([last, length].map(|low| (1 << bits) + low));
            positions.push((1 << bits) - 1);
        }
        positions.extend([u64::MAX, u64::MAX - 1, u64::MAX - last, u64::MAX - length]);
        positions.sort_unstable();
        positions.dedup();
        let case = |position| Judged::new(at(position), Some(position) == head);
        positions.into_iter().map(case).collect()
    })
    .await
}

async fn scope(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let names = [
        ("orders", "o-1"),
        ("orders", "o-10"),
        ("orders", "o"),
        ("orders", "O-1"),
        ("orders", "o_1"),
        ("orders", "o%"),
        ("orders2", "o-1"),
        ("order", "so-1"),
        ("Orders", "o-1"),
        ("orders-o", "1"),
        ("orders", "orders"),
        ("o-1", "orders"),
    ];
    let streams = names.map(|(category, name)| ledger.store.stream(category, name));
    let heads: Vec<u64> = (0..=streams.len() as u64).collect();
    let cases = |ledger: &Ledger, stream: &StreamId| {
        let head = ledger.stream(stream).last().map(|last| last.position.value());
        let mut cases = vec![
            Judged::new(WriteCondition::StreamIsEmpty, head.is_none()),
            Judged::new(WriteCondition::StreamExists, head.is_some()),
        ];
        cases.extend(heads.iter().map(|other| Judged::new(at(*other), Some(*other) == head)));
        cases
    };
    let forms = Form::all(&ledger.store);
    // Each stream gets a length of its own, so that no condition on one holds of another; and each is judged
    // before it has events and after.
    for round in 0..2 {
        for (nth, stream) in streams.iter().enumerate() {
            for (turn, case) in cases(&ledger, stream).into_iter().enumerate() {
                let form = forms[(turn + nth + round) % forms.len()];
                let form = if case.holds { Form::Guard } else { form };
                ledger.judge(stream, &case, form).await?;
            }
            if round == 0 {
                for _ in 0..=nth {
                    ledger.one(stream, events(1), ledger.as_it_is(stream)).await?;
                }
            }
        }
        ledger.verify("after conditions on streams with names alike").await?;
    }
    Ok(())
}

async fn fail_releases(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let existing = ledger.filled("existing", 2).await?;
    let fresh = ledger.store.stream("orders", "fresh");
    let forms = Form::all(&ledger.store);
    let limit = Duration::from_secs(5);
    let unmet = |nth: usize, stream: &StreamId, ledger: &Ledger| {
        let leaves = ledger.leaves(stream, false);
        Judged::new(leaves[nth % leaves.len()].clone(), false)
    };
    // More than any usual pool, one after the other and then all at once.
    for nth in 0..300 {
        let stream = if nth % 3 == 0 { &fresh } else { &existing };
        let case = unmet(nth, stream, &ledger);
        let refused = ledger.judge(stream, &case, forms[nth % forms.len()]);
        within(limit, &format!("an append after {nth} refusals"), refused).await??;
    }
    within(
        limit,
        "an append after 300 refusals",
        ledger.one(&existing, events(1), WriteCondition::Always),
    )
    .await??;
    let at_once = (0..64).map(|nth| {
        let stream = if nth % 3 == 0 { &fresh } else { &existing };
        let condition = unmet(nth, stream, &ledger).condition;
        ledger.unmet(vec![Append::new(stream.clone(), events(1), condition)], "it is unmet")
    });
    let all = futures_util::future::try_join_all(at_once);
    within(Duration::from_secs(20), "64 refusals at once", all).await??;
    for stream in [&existing, &fresh] {
        let append = ledger.one(stream, events(1), ledger.as_it_is(stream));
        within(limit, "an append after refusals at once", append).await??;
    }
    let mut second = other_handle(&cx, ledger).await?;
    let append = second.one(&existing, events(1), second.as_it_is(&existing));
    within(limit, "an append by a second handle after refusals", append).await??;
    second.verify("after refusals").await
}
