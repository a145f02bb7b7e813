//! Random clients at the same time, and whether one order of commits explains what they were told.

use std::path::PathBuf;
use std::sync::Arc;

use annals::Capabilities;

use crate::engine::{Failure, Outcome};
use crate::harness::Store;
use crate::history::Clients;
use crate::model::{Condition, Op};
use crate::op::Generator;
use crate::storage::{Check, Feature, Need, check};
use crate::subject::Context;

pub(super) const CHECKS: &[Check] = &[
    check!(
        "lin.history",
        [A1 A2 A3 A4 A5 A7 R1 R2],
        Stochastic,
        [],
        mixed,
        "one order of commits explains what random clients were answered"
    ),
    check!(
        "lin.contended",
        [A2 A4 A5],
        Stochastic,
        [],
        contended,
        "the same where many decide on what they saw of few streams"
    ),
    check!(
        "lin.multi",
        [A1 A3 A4],
        Stochastic,
        [Need::Has(Feature::MultiStreamAppend)],
        multi,
        "the same of appends to several streams"
    ),
    check!(
        "lin.reads",
        [R1 R2],
        Stochastic,
        [],
        reads,
        "the same where most clients read: each read is the log as it was at an instant"
    ),
    check!(
        "lin.two_handles",
        [A4 R1 R2],
        Stochastic,
        [],
        two_handles,
        "the same through two handles to one store"
    ),
];

async fn mixed(cx: Context) -> Outcome {
    run(&cx, 1, (4, 8), 8, Generator::op).await
}

async fn contended(cx: Context) -> Outcome {
    let op = |make: &mut Generator| {
        if make.below(4) == 0 {
            return make.read();
        }
        let mut op = make.append();
        if let Op::Append(writes) = &mut op {
            writes.truncate(1);
            for write in writes {
                write.stream %= 2;
                write.condition = Condition::AsSeen;
            }
        }
        op
    };
    run(&cx, 1, (4, 8), 8, op).await
}

async fn multi(cx: Context) -> Outcome {
    let op = |make: &mut Generator| {
        for _ in 0..20 {
            let op = make.op();
            if !matches!(&op, Op::Append(writes) if writes.len() < 2) {
                return op;
            }
        }
        make.read()
    };
    run(&cx, 1, (4, 8), 8, op).await
}

async fn reads(cx: Context) -> Outcome {
    let op = |make: &mut Generator| if make.below(3) == 0 { make.append() } else { make.read() };
    run(&cx, 1, (4, 10), 8, op).await
}

async fn two_handles(cx: Context) -> Outcome {
    run(&cx, 2, (4, 8), 8, Generator::op).await
}

async fn run(
    cx: &Context,
    count: usize,
    shape: (usize, usize),
    cases: u64,
    op: impl Fn(&mut Generator) -> Op,
) -> Outcome {
    let mut handles: Vec<Store> = Vec::new();
    let mut capabilities = Capabilities::NONE;
    for _ in 0..count {
        let subject = cx.open().await?;
        capabilities = subject.capabilities;
        handles.push(Arc::clone(&subject.adapter));
    }
    for seed in cx.cases(cases) {
        let clients = Clients::generate(seed, capabilities, shape, &op);
        if let Err(found) = clients.check_in(cx.namespace(), &handles).await? {
            let written = match picture(cx, &found.history.to_html()) {
                None => String::new(),
                Some(Ok(path)) => format!("; its timeline is {}", path.display()),
                Some(Err(error)) => format!("; its timeline could not be written: {error}"),
            };
            let message = format!("{}{written}", found.violation);
            return Err(Failure::new(message).with_counterexample(found.history.to_json()));
        }
    }
    Ok(())
}

/// Writes the timeline where reports go, if they are asked for.
fn picture(cx: &Context, html: &str) -> Option<std::io::Result<PathBuf>> {
    let folder = PathBuf::from(std::env::var_os("ANNALS_TESTKIT_REPORT")?);
    let path = folder.join(format!("history-{}.html", cx.namespace()));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, html));
    Some(written.map(|()| path))
}
