//! Random operations against a model.

use std::sync::Arc;

use annals::Capabilities;

use crate::checks::support::random_decisions::decisions;
use crate::engine::{Failure, Outcome};
use crate::harness::Store;
use crate::model::Program;
use crate::storage::{Check, check};
use crate::subject::Context;

pub(super) const CHECKS: &[Check] = &[check!(
    "model.sequential",
    [A1 A2 A3 A4 A7 R1 R3],
    Required,
    [],
    sequential,
    "random operations, and decisions on random conditions, are answered as a pure model answers them, through one handle and two"
)];

/// What a program is made of, in turn from case to case.
const MIX: [Mix; 4] = [Mix::OneHandle, Mix::Decisions, Mix::TwoHandles, Mix::Decisions];

#[derive(Debug, Clone, Copy)]
enum Mix {
    /// All there is.
    OneHandle,
    /// The same through two handles.
    TwoHandles,
    /// Appends under nested conditions, through two handles.
    Decisions,
}

async fn sequential(cx: Context) -> Outcome {
    let handles = [cx.open().await?.adapter, cx.open().await?.adapter];
    let can = handles[0].capabilities();
    for (seed, mix) in cx.cases(64).zip(MIX.into_iter().cycle()) {
        let program = match mix {
            Mix::OneHandle => Program::random(seed, can, 1, 25),
            Mix::TwoHandles => Program::random(seed, can, 2, 25),
            Mix::Decisions => decisions(seed, can, false),
        };
        is_answered(&cx, &program, &handles).await?;
    }
    Ok(())
}

/// Decisions on random queries.
pub(super) async fn on_queries(cx: Context) -> Outcome {
    let handles = [cx.open().await?.adapter, cx.open().await?.adapter];
    let can: Capabilities = handles[0].capabilities();
    for seed in cx.cases(8) {
        is_answered(&cx, &decisions(seed, can, true), &handles).await?;
    }
    Ok(())
}

/// The store answers the program as the model does.
async fn is_answered(cx: &Context, program: &Program, handles: &[Store; 2]) -> Outcome {
    let checked = program.check_in(cx.namespace(), &handles.each_ref().map(Arc::clone)).await;
    checked.map_err(|found| Failure::new(&found.message).with_counterexample(found.to_source()))
}
