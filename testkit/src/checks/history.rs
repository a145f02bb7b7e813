//! Random clients at the same time, and whether one order of commits explains what they were told.

use std::path::PathBuf;

use crate::engine::{Failure, Outcome};
use crate::harness::Store;
use crate::history::Clients;
use crate::model::{Condition, Item, Mark, Op, Part, Scope};
use crate::op::Generator;
use crate::storage::{Check, check};
use crate::subject::Context;

pub(super) const CHECKS: &[Check] = &[check!(
    "lin.history",
    [A1 A2 A3 A4 A5 A7 R1 R2],
    Stochastic,
    [],
    history,
    "one order of commits explains what random clients were answered, and each read is the log as it was at an instant"
)];

/// So many streams are few.
const FEW: u8 = 2;

/// What clients do at once, in turn from case to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// All there is.
    All,
    /// Many decide on what they saw of few streams.
    Contended,
    /// Appends to several streams.
    Multi,
    /// Most read.
    Reads,
    /// Most read few streams, whole and from both ends: what one end shows the other has.
    Ends,
    /// All there is, through two handles.
    TwoHandles,
}

impl Mix {
    const ALL: [Self; 6] =
        [Self::All, Self::Contended, Self::Multi, Self::Reads, Self::Ends, Self::TwoHandles];

    fn op(self, make: &mut Generator) -> Op {
        match self {
            Self::All | Self::TwoHandles => make.op(),
            Self::Contended => contended(make),
            Self::Multi => multi(make),
            Self::Reads if make.below(3) == 0 => make.append(),
            Self::Reads => make.read(),
            Self::Ends => ends(make),
        }
    }
}

fn contended(make: &mut Generator) -> Op {
    if make.below(4) == 0 {
        return make.read();
    }
    of_few_streams(make, &Condition::AsSeen)
}

fn ends(make: &mut Generator) -> Op {
    if make.below(3) == 0 {
        return of_few_streams(make, &Condition::Always);
    }
    let source = Scope::Stream(make.below(FEW));
    let backward = make.below(2) == 0;
    let item = Item { source, names: Vec::new(), tags: Vec::new() };
    Op::Read(vec![item], Part { after: Mark::Start, until: None, limit: None, backward })
}

/// An append to one of the few streams.
fn of_few_streams(make: &mut Generator, condition: &Condition) -> Op {
    let mut op = make.append();
    if let Op::Append(writes) = &mut op {
        writes.truncate(1);
        for write in writes {
            write.stream %= FEW;
            write.condition = condition.clone();
        }
    }
    op
}

fn multi(make: &mut Generator) -> Op {
    for _ in 0..20 {
        let op = make.op();
        if !matches!(&op, Op::Append(writes) if writes.len() < 2) {
            return op;
        }
    }
    make.read()
}

async fn history(cx: Context) -> Outcome {
    let store = cx.open().await?;
    let capabilities = store.capabilities;
    let two: [Store; 2] = [store.adapter, cx.open().await?.adapter];
    let mixes: Vec<_> = Mix::ALL
        .into_iter()
        .filter(|mix| *mix != Mix::Multi || capabilities.multi_stream_append)
        .collect();
    let cases = 8 * u64::try_from(mixes.len()).unwrap_or(1);
    for (seed, mix) in cx.cases(cases).zip(mixes.into_iter().cycle()) {
        let shape = (4, if matches!(mix, Mix::Reads | Mix::Ends) { 10 } else { 8 });
        let handles = if mix == Mix::TwoHandles { &two[..] } else { &two[..1] };
        let clients = Clients::generate(seed, capabilities, shape, |make| mix.op(make));
        if let Err(found) = clients.check_in(cx.namespace(), handles).await? {
            let written = match picture(&cx, &found.history.to_html()) {
                None => String::new(),
                Some(Ok(path)) => format!("; its timeline is {}", path.display()),
                Some(Err(error)) => format!("; its timeline could not be written: {error}"),
            };
            let message = format!("{mix:?}: {}{written}", found.violation);
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
