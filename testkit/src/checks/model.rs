//! Random operations against a model.

use std::sync::Arc;

use crate::engine::{Failure, Outcome};
use crate::model::Program;
use crate::storage::{Check, check};
use crate::subject::Context;

pub(super) const CHECKS: &[Check] = &[
    check!(
        "model.sequential",
        [A1 A2 A3 A4 A7 R1 R3],
        Required,
        [],
        sequential,
        "random operations are answered as a pure model answers them"
    ),
    check!(
        "model.two_handles",
        [A2 A4 A7 R1],
        Required,
        [],
        two_handles,
        "the same through two handles to one store"
    ),
];

async fn sequential(cx: Context) -> Outcome {
    programs(&cx, 1).await
}

async fn two_handles(cx: Context) -> Outcome {
    programs(&cx, 2).await
}

async fn programs(cx: &Context, count: usize) -> Outcome {
    let mut handles = Vec::new();
    for _ in 0..count {
        handles.push(Arc::clone(&cx.open().await?.adapter));
    }
    let Some(capabilities) = handles.first().map(|store| store.capabilities()) else {
        return Ok(());
    };
    for seed in cx.cases(12) {
        let program = Program::random(seed, capabilities, count, 25);
        if let Err(found) = program.check_in(cx.namespace(), &handles).await {
            return Err(Failure::new(&found.message).with_counterexample(found.to_source()));
        }
    }
    Ok(())
}
