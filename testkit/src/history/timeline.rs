//! A history as a picture: one lane for each client.

use std::fmt::Write as _;

use maud::html;

use crate::engine::page;
use crate::history::{History, Operation, Violation};
use crate::model::{Condition, Mark, Op, Outcome, Stored};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --ok: #1a7f37; --read: #0969da; --refused: #9a6700; --unknown: #8250df; --failed: #6e7781; --bad: #cf222e; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; } h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
.sub { opacity: .75; margin: .2rem 0 1rem; } .verdict { border-left: .3rem solid var(--bad); padding: .5rem .9rem; background: var(--soft); margin: 1rem 0; overflow-wrap: anywhere; } .verdict.ok { border-color: var(--ok); }
.key { display: flex; gap: 1.2rem; flex-wrap: wrap; margin: 1rem 0; } .key i { display: inline-block; width: .9rem; height: .9rem; border-radius: .2rem; margin-right: .4rem; vertical-align: -.1rem; }
.scroll { overflow-x: auto; } .lanes { position: relative; } .lane { display: flex; border-top: 1px solid var(--line); }
.lane > b { flex: 0 0 5.5rem; position: sticky; left: 0; background: Canvas; z-index: 1; font-weight: 600; padding: .7rem .4rem 0 0; } .track { position: relative; flex: 1; height: 3rem; }
.op { position: absolute; top: .4rem; height: 2.2rem; box-sizing: border-box; border-radius: .3rem; color: #fff; font: 12px/1.1rem ui-monospace, monospace; padding: 0 .3rem; overflow: hidden; white-space: nowrap; }
.op small { display: block; opacity: .85; text-overflow: ellipsis; overflow: hidden; }
.appended { background: var(--ok); } .read { background: var(--read); } .refused { background: var(--refused); } .unknown { background: var(--unknown); } .failed { background: var(--failed); }
.bad { outline: 3px solid var(--bad); outline-offset: 2px; z-index: 2; }
table { border-collapse: collapse; } td, th { text-align: left; border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; font-variant-numeric: tabular-nums; vertical-align: top; } tr.row-bad td { color: var(--bad); font-weight: 600; }
td.d { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; } pre { background: var(--soft); padding: .8rem; overflow: auto; border-radius: .4rem; white-space: pre-wrap; overflow-wrap: anywhere; }
";

impl History {
    /// The history as one HTML page that needs nothing else: a lane for each client, a bar for each operation
    /// from call to answer, the operation at fault marked; the log in the end; and the JSON to check it again.
    #[must_use]
    pub fn to_html(&self) -> String {
        let violation = self.check().err();
        let fault = violation.as_ref().and_then(|violation| violation.operation);
        let clients =
            self.operations.iter().map(|operation| operation.client + 1).max().unwrap_or(0);
        let end = self.operations.iter().map(|operation| operation.returned).max().unwrap_or(0) + 1;
        let body = html! {
            h1 { "Concurrent history" }
            p.sub { (clients) " clients · " (self.operations.len()) " operations · " (self.log.len()) " events · order: " (format!("{:?}", self.order).to_lowercase()) }
            (verdict(violation.as_ref()))
            div.key {
                @for (class, what) in [("appended", "appended"), ("read", "read"), ("refused", "refused"), ("unknown", "outcome unknown"), ("failed", "failed"), ] {
                    span { i class=(class) {} (what) }
                }
            }
            div.scroll {
                div.lanes style=(format!("min-width: {}rem", end * 4 + 6)) {
                    @for client in 0..clients {
                        div.lane { b { "client " (client) } div.track {
                            @for (nth, operation) in self.operations.iter().enumerate().filter(|(_, operation)| operation.client == client) {
                                (bar(nth, operation, end, fault == Some(nth)))
                            }
                        } }
                    }
                }
            }
            h2 { "Log in the end" }
            table {
                tr { th { "number" } th { "stream" } th { "position" } th { "event" } th { "name" } th { "tags" } }
                @for stored in &self.log {
                    tr { td { "#" (stored.number) } td { "s" (stored.stream) } td { (stored.position) } td { "e" (stored.event.id) } td { (stored.event.name) } td { (format!("{:?}", stored.event.tags)) } }
                }
            }
            h2 { "Operations" }
            table {
                tr { th { "" } th { "client" } th { "time" } th { "call" } th { "answer" } }
                @for (nth, operation) in self.operations.iter().enumerate() {
                    tr class=[(fault == Some(nth)).then_some("row-bad")] {
                        td { (nth) } td { (operation.client) } td { (operation.invoked) "–" (operation.returned) }
                        td.d { (call(&operation.op)) } td.d { (answer(&operation.outcome)) }
                    }
                }
            }
            h2 { "To check it again" }
            p.sub { code { "annals_testkit::history::History::from_json(text)?.check()" } }
            pre { (self.to_json()) }
        };
        page("history · annals-testkit", STYLE, &body)
    }
}

fn verdict(violation: Option<&Violation>) -> maud::Markup {
    html! {
        @if let Some(violation) = violation {
            div.verdict { b { (format!("{:?}", violation.anomaly)) } @if let Some(nth) = violation.operation { " · operation " (nth) } div { (violation.message) } }
        } @else {
            div.verdict.ok { "One order of commits explains all answers." }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a picture")]
fn bar(nth: usize, operation: &Operation, end: u64, bad: bool) -> maud::Markup {
    let share = |tick: u64| tick as f64 * 100.0 / end as f64;
    let width = share(operation.returned - operation.invoked.min(operation.returned));
    let style = format!("left: {:.3}%; width: {width:.3}%", share(operation.invoked));
    let class = match &operation.outcome {
        Outcome::Appended(_) => "appended",
        Outcome::Read(_) => "read",
        Outcome::ConditionFailed | Outcome::Duplicate | Outcome::Invalid => "refused",
        Outcome::Unknown => "unknown",
        Outcome::Unavailable | Outcome::Failed(_) => "failed",
    };
    let (call, answer) = (call(&operation.op), answer(&operation.outcome));
    let title = format!("operation {nth}\n{call}\n{answer}");
    html! {
        div class={ "op " (class) @if bad { " bad" } } style=(style) title=(title) { (call) small { (answer) } }
    }
}

fn call(op: &Op) -> String {
    let events = |events: &[crate::model::Event]| {
        events.iter().map(|event| format!("e{}", event.id)).collect::<Vec<_>>().join(" ")
    };
    match op {
        Op::Append(writes) => {
            let write = |write: &crate::model::Write| {
                let what = if write.events.is_empty() {
                    "guard".to_owned()
                } else {
                    events(&write.events)
                };
                match condition(&write.condition) {
                    always if always == "always" => format!("s{} ← {what}", write.stream),
                    only => format!("s{} ← {what} if {only}", write.stream),
                }
            };
            writes.iter().map(write).collect::<Vec<_>>().join("; ")
        }
        Op::Read(items, part) => {
            let mut text = format!("read {}", query(items));
            if part.after != Mark::At(0) {
                let _ = write!(text, " after #{}", number(part.after));
            }
            if let Some(until) = part.until {
                let _ = write!(text, " until #{}", number(until));
            }
            if let Some(limit) = part.limit {
                let _ = write!(text, " limit {limit}");
            }
            if part.backward {
                text.push_str(" backward");
            }
            text
        }
    }
}

fn query(items: &[crate::model::Item]) -> String {
    use crate::model::Scope;
    if items.is_empty() {
        return "log".to_owned();
    }
    let item = |item: &crate::model::Item| {
        let mut text = match item.source {
            Scope::Log => "log".to_owned(),
            Scope::Category(category) => format!("c{category}"),
            Scope::Stream(stream) => format!("s{stream}"),
        };
        if !item.names.is_empty() {
            let _ = write!(text, " named {:?}", item.names);
        }
        if !item.tags.is_empty() {
            let _ = write!(text, " tagged {:?}", item.tags);
        }
        text
    };
    items.iter().map(item).collect::<Vec<_>>().join(" or ")
}

fn number(mark: Mark) -> String {
    match mark {
        Mark::Start => "0".to_owned(),
        Mark::Seen => "seen".to_owned(),
        Mark::At(number) => number.to_string(),
    }
}

fn condition(of: &Condition) -> String {
    let join = |parts: &[Condition], word: &str| {
        format!("({})", parts.iter().map(condition).collect::<Vec<_>>().join(word))
    };
    match of {
        Condition::Always => "always".to_owned(),
        Condition::StreamIsEmpty => "empty".to_owned(),
        Condition::StreamExists => "exists".to_owned(),
        Condition::PositionIs(position) => format!("at {position}"),
        Condition::AsSeen => "as seen".to_owned(),
        Condition::NoMatch { query: items, after } => {
            format!("no {} after #{}", query(items), number(*after))
        }
        Condition::All(parts) => join(parts, " and "),
        Condition::Any(parts) => join(parts, " or "),
    }
}

fn answer(outcome: &Outcome) -> String {
    let numbers = |events: &[Stored]| {
        events.iter().map(|stored| format!("#{}", stored.number)).collect::<Vec<_>>().join(" ")
    };
    match outcome {
        Outcome::Appended(events) if events.is_empty() => "done".to_owned(),
        Outcome::Read(events) if events.is_empty() => "nothing".to_owned(),
        Outcome::Appended(events) | Outcome::Read(events) => numbers(events),
        Outcome::ConditionFailed => "condition failed".to_owned(),
        Outcome::Duplicate => "duplicate".to_owned(),
        Outcome::Invalid => "invalid".to_owned(),
        Outcome::Unavailable => "unavailable".to_owned(),
        Outcome::Unknown => "unknown".to_owned(),
        Outcome::Failed(error) => error.clone(),
    }
}
