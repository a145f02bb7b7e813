//! Compositions of conditions: every shape, deep ones and wide ones.

use annals::{Append, Error, MAX_CONDITION_DEPTH, StreamId, WriteCondition};

use crate::checks::support::judged_conditions::{Form, Judged, at};
use crate::checks::support::ledger::{Ledger, always, light, most};
use crate::engine::{Failure, Outcome, ensure};
use crate::subject::{Context, events};

/// A composition of leaves that hold or do not.
#[derive(Debug, Clone)]
enum Shape {
    Leaf(bool),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl Shape {
    /// As a condition on a stream. Which leaf stands for one that holds goes in turn.
    fn judged(
        &self,
        holding: &[WriteCondition],
        failing: &[WriteCondition],
        turn: &mut usize,
    ) -> Judged {
        let mut each = |parts: &[Self]| -> Vec<Judged> {
            parts.iter().map(|part| part.judged(holding, failing, turn)).collect()
        };
        match self {
            Self::All(parts) => Judged::all(each(parts)),
            Self::Any(parts) => Judged::any(each(parts)),
            Self::Leaf(holds) => {
                *turn += 1;
                let leaves = if *holds { holding } else { failing };
                Judged::new(leaves[*turn % leaves.len()].clone(), *holds)
            }
        }
    }
}

/// Up to four leaves with each outcome of each of them, flat and nested, and compositions of nothing.
fn shapes() -> Vec<Shape> {
    let bits = |pattern: usize, count: usize| -> Vec<Shape> {
        (0..count).map(|bit| Shape::Leaf(pattern >> bit & 1 == 1)).collect()
    };
    let both: [fn(Vec<Shape>) -> Shape; 2] = [Shape::All, Shape::Any];
    let mut shapes = Vec::new();
    for outer in both {
        for count in 0..=4 {
            shapes.extend((0..1 << count).map(|pattern| outer(bits(pattern, count))));
        }
        for inner in both {
            shapes.push(outer(vec![inner(Vec::new())]));
            for pattern in 0..2 {
                let mut parts = bits(pattern, 1);
                parts.push(inner(Vec::new()));
                shapes.push(outer(parts.clone()));
                parts.reverse();
                shapes.push(outer(parts));
            }
            for pattern in 0..16 {
                for place in 0..3 {
                    let mut parts = bits(pattern, 4);
                    let two = parts.split_off(2);
                    parts.insert(place, inner(two));
                    shapes.push(outer(parts));
                }
                // Three deep.
                for place in 0..2 {
                    let [first, second, third, fourth] =
                        [0, 1, 2, 3].map(|bit| Shape::Leaf(pattern >> bit & 1 == 1));
                    let mut middle = vec![second];
                    middle.insert(place, outer(vec![third, fourth]));
                    let mut parts = vec![first];
                    parts.insert(place, inner(middle));
                    shapes.push(outer(parts));
                }
            }
        }
    }
    shapes
}

pub(crate) async fn composite(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    ledger.filled("before", 2).await?;
    let existing = ledger.filled("existing", 3).await?;
    let mut fresh = ledger.fresh("orders");
    let forms = Form::all(&ledger.store);
    let mut turn = 0;
    for (nth, shape) in shapes().into_iter().enumerate() {
        for stream in [existing.clone(), fresh()] {
            // With an event, and in whatever form comes next.
            for form in [Form::Append(1), forms[nth % forms.len()]] {
                let [failing, holding] = [false, true].map(|holds| ledger.leaves(&stream, holds));
                let case = shape.judged(&holding, &failing, &mut turn);
                ledger.judge(&stream, &case, form).await?;
            }
        }
    }
    ledger.verify("after composed conditions").await
}

/// Wraps a condition so that it nests this deep.
fn nested(leaf: WriteCondition, depth: usize, any: bool) -> WriteCondition {
    let wrap = |inner, nth: usize| {
        if nth.is_multiple_of(2) == any {
            WriteCondition::Any(vec![inner])
        } else {
            WriteCondition::All(vec![inner])
        }
    };
    (1..depth).fold(leaf, wrap)
}

pub(crate) async fn depth(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.filled("existing", 1).await?;
    let forms = Form::all(&ledger.store);
    for any in [false, true] {
        for form in &forms {
            for depth in [2, 10, MAX_CONDITION_DEPTH - 1, MAX_CONDITION_DEPTH] {
                for holds in [false, true] {
                    let leaf = ledger.leaves(&stream, holds).swap_remove(0);
                    let case = Judged::new(nested(leaf, depth, any), holds);
                    ledger.judge(&stream, &case, *form).await.map_err(|failure| {
                        failure.in_context(format!("a condition {depth} deep in {form:?}"))
                    })?;
                }
            }
        }
        for depth in [MAX_CONDITION_DEPTH + 1, MAX_CONDITION_DEPTH + 2, 4 * MAX_CONDITION_DEPTH] {
            let deep = nested(ledger.as_it_is(&stream), depth, any);
            let mut parts = vec![ledger.as_it_is(&stream), deep.clone()];
            for _ in 0..2 {
                let compose = if any { WriteCondition::Any } else { WriteCondition::All };
                let mixed = compose(parts.clone());
                for condition in [deep.clone(), mixed] {
                    too_deep(&ledger, &stream, condition, depth).await?;
                }
                parts.reverse();
            }
        }
    }
    wide(&mut ledger, &stream).await?;
    ledger.verify("after deep and wide conditions").await?;
    ledger.verify_no_hole("after deep and wide conditions").await
}

async fn too_deep(
    ledger: &Ledger,
    stream: &StreamId,
    condition: WriteCondition,
    depth: usize,
) -> Outcome {
    let guard = Append::guard(stream.clone(), condition.clone());
    let mut calls = vec![vec![guard], vec![Append::new(stream.clone(), events(1), condition)]];
    if ledger.store.capabilities.multi_stream_append && most(&ledger.store) >= 2 {
        let another = always(&ledger.store.stream("beside", "another"), events(1));
        calls.push(vec![another, calls[1][0].clone()]);
    }
    for call in calls {
        match ledger.store.adapter.append(call).await {
            Err(Error::Invalid(_)) => {}
            Err(other) => {
                return Err(Failure::new(format!(
                    "a condition {depth} deep: expected Invalid, found: {other}"
                )));
            }
            Ok(_) => {
                return Err(Failure::new(format!(
                    "a condition {depth} deep was accepted, at most {MAX_CONDITION_DEPTH} are valid"
                )));
            }
        }
    }
    Ok(())
}

/// Compositions of many parts, of which the last, the first or one amid them decides.
async fn wide(ledger: &mut Ledger, stream: &StreamId) -> Outcome {
    for count in [17_usize, 100, 1_001, 2_500] {
        for place in [0, count / 2, count - 1] {
            for any in [false, true] {
                // Positions far above the head, all different.
                let far = |nth: usize| at(1_000_000 + nth as u64);
                let holds = |_: usize| WriteCondition::StreamExists;
                let mut parts: Vec<_> = (0..count).map(if any { far } else { holds }).collect();
                let compose = if any { WriteCondition::Any } else { WriteCondition::All };
                let same = Judged::new(compose(parts.clone()), !any);
                parts[place] =
                    if any { ledger.as_it_is(stream) } else { WriteCondition::StreamIsEmpty };
                let other = Judged::new(compose(parts), any);
                for case in [same, other] {
                    let call = vec![Append::new(stream.clone(), light(1), case.condition)];
                    let outcome = ledger.store.adapter.append(call.clone()).await;
                    let refused = matches!(&outcome, Err(error) if error.is_condition_failed());
                    ensure!(
                        outcome.is_ok() == case.holds && (outcome.is_ok() || refused),
                        "any ({any}) of {count} conditions of which number {place} decides: found {:?}",
                        outcome.as_ref().map_err(|error| error
                            .to_string()
                            .chars()
                            .take(200)
                            .collect::<String>())
                    );
                    if let Ok(stored) = outcome {
                        ledger.record(&call, &stored)?;
                    }
                }
            }
        }
    }
    Ok(())
}
