//! The report as one self-contained page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::engine::{Entry, Flavour, Profile, Report, Rule, Tally, Verdict};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8883; --soft: #8881; --pass: #1a7f37; --fail: #cf222e; --none: #8a8d91; }
@media (prefers-color-scheme: dark) { :root { --pass: #3fb950; --fail: #f85149; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.75rem; margin: 0; letter-spacing: -.01em; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .7rem; }
a { color: inherit; text-decoration: none; } code, pre { font: 13px/1.45 ui-monospace, monospace; }
.soft { opacity: .72; } .sub { margin: .2rem 0 1.2rem; }
.bar { display: flex; gap: 2px; height: .7rem; border-radius: .35rem; overflow: hidden; }
.bar div { min-width: 0; } .pass { --c: var(--pass); } .fail { --c: var(--fail); } .none { --c: var(--none); }
.bar div, .dot { background: var(--c); } .bar .none, .dot.none { opacity: .35; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .6rem 0 0; padding: 0; list-style: none; }
.legend b { font-size: 1.35rem; margin-right: .35rem; color: var(--c); font-variant-numeric: tabular-nums; }
.chips { display: flex; flex-wrap: wrap; gap: .4rem; }
.chip { border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .7rem; font-size: .9rem; }
.chip.no { opacity: .5; text-decoration: line-through; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(15.5rem, 1fr)); gap: .6rem; }
.rule { border: 1px solid var(--line); border-left: .3rem solid var(--c); border-radius: .4rem; padding: .45rem .8rem; }
.rule b { margin-right: .4rem; } .rule div { font-size: .88rem; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; overflow: hidden; }
summary { cursor: pointer; display: flex; align-items: center; gap: .8rem; padding: .45rem .8rem; }
summary b { min-width: 5.5rem; } summary .count { margin-left: auto; white-space: nowrap; font-variant-numeric: tabular-nums; }
.dots { display: flex; flex-wrap: wrap; gap: 3px; } .dot { width: .72rem; height: .72rem; border-radius: .15rem; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; } th { text-align: left; font-weight: 600; font-size: .85rem; }
td, th { border-top: 1px solid var(--line); padding: .35rem .8rem; vertical-align: top; overflow-wrap: anywhere; }
.w1 { width: 6.5rem; } .w2 { width: 7.5rem; } .w3 { width: 8.5rem; } .n { width: 5rem; text-align: right; font-variant-numeric: tabular-nums; }
.v { font-weight: 600; color: var(--c); } .none .v { font-weight: 400; } tr:target { background: var(--soft); }
pre { background: var(--soft); padding: .8rem; margin: .4rem 0; overflow: auto; border-radius: .4rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.failure { border: 1px solid var(--fail); border-radius: .4rem; padding: .6rem .9rem; margin: .6rem 0; }
@media (max-width: 40rem) { .w1, .w2, .hide { display: none; } }
";

/// One HTML page that needs nothing else.
pub(crate) fn page(title: &str, style: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

impl Report {
    /// The report as one HTML page that needs nothing else.
    #[must_use]
    pub fn to_html(&self) -> String {
        let body = html! {
            h1 { (self.adapter) }
            p.soft.sub { (self.suite) " suite " (self.suite_version) " · " (self.conditions()) " · seed " code { (self.seed) }
                @if self.left_out > 0 { " · " (self.left_out) " checks left out" }
            }
            (summary(self.tally()))
            (self.declares())
            h2 { "The promises" }
            div.grid { @for rule in &self.rules { (promise(rule, self.tally_of(&rule.id))) } }
            (self.failed())
            h2 { "The checks" }
            @for group in self.groups() { (self.group(group)) }
            @if !self.unproven.is_empty() {
                p.soft { "No specimen proves these checks: " @for id in &self.unproven { code { (id) } " " } }
            }
        };
        page(&format!("{} · {}", self.adapter, self.suite), STYLE, &body)
    }

    /// How it was run.
    fn conditions(&self) -> String {
        let runtime = match self.runtime {
            Flavour::CurrentThread => "current-thread runtime".to_owned(),
            Flavour::MultiThread(workers) => format!("runtime of {workers} workers"),
        };
        match self.profile {
            Profile::Quick => format!("quick profile, {runtime}"),
            Profile::Full => format!("full profile, {runtime}"),
            Profile::Soak(time) => format!("soak of {} s a check, {runtime}", time.as_secs()),
        }
    }

    fn declares(&self) -> Markup {
        let declared = self.capabilities.as_ref().and_then(|can| can.as_object());
        html! {
            @if let Some(declared) = declared {
                h2 { "Declares" }
                div.chips {
                    @for (name, value) in declared {
                        @match value {
                            serde_json::Value::Bool(true) => span.chip { (words(name)) },
                            serde_json::Value::Bool(false) => span.chip.no { (words(name)) },
                            serde_json::Value::Null => {},
                            other => span.chip { (words(name)) ": " (other.to_string().trim_matches('"')) },
                        }
                    }
                }
            }
        }
    }

    fn failed(&self) -> Markup {
        html! {
            @if self.tally().failed > 0 {
                h2 { "What failed" }
                p.soft { "Repeat it with " code { "ANNALS_TESTKIT_SEED=" (self.seed) } }
                @for entry in &self.checks {
                    @if let Verdict::Fail(message, counterexample) = &entry.verdict {
                        div.failure {
                            a href={ "#" (entry.id) } { code { b { (entry.id) } } } " " span.soft { (entry.rules(", ")) ": " (entry.about) }
                            pre { (message) @if let Some(text) = counterexample { "\n\n" (text) } }
                        }
                    }
                }
            }
        }
    }

    fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for entry in &self.checks {
            if !groups.contains(&entry.group()) {
                groups.push(entry.group());
            }
        }
        groups
    }

    fn group(&self, group: &str) -> Markup {
        let entries: Vec<&Entry> =
            self.checks.iter().filter(|entry| entry.group() == group).collect();
        let tally: Tally = entries.iter().copied().collect();
        html! {
            details open[tally.failed > 0] {
                summary {
                    b { (group) }
                    span.dots {
                        @for entry in &entries {
                            span class={ "dot " (color(&entry.verdict)) } title={ (entry.id) ": " (entry.verdict.parts().0) } {}
                        }
                    }
                    span.count.soft { (passed(tally)) }
                }
                table {
                    tr { th { "check" } th.w1 { "rules" } th.w2 { "class" } th.w3 { "verdict" } th.n.hide { "cases" } th.n { "ms" } }
                    @for entry in &entries { (row(entry)) }
                }
            }
        }
    }
}

fn summary(tally: Tally) -> Markup {
    let parts = [
        ("pass", "passed", tally.passed),
        ("fail", "failed", tally.failed),
        ("none", "not applicable", tally.not_applicable),
        ("none", "not run", tally.not_run),
        ("none", "inconclusive", tally.inconclusive),
    ];
    html! {
        div.bar { @for (color, what, count) in parts { div class=(color) style={ "flex: " (count) } title={ (count) " " (what) } {} } }
        ul.legend { @for (color, what, count) in parts { li class=(if count == 0 { "none" } else { color }) { b { (count) } (what) } } }
    }
}

fn promise(rule: &Rule, tally: Tally) -> Markup {
    let color = match tally {
        Tally { failed: 1.., .. } => "fail",
        Tally { passed: 1.., .. } => "pass",
        _ => "none",
    };
    html! {
        div class={ "rule " (color) } {
            b { (rule.id) } (rule.title)
            div.soft {
                (passed(tally))
                @if tally.not_run > 0 { ", " (tally.not_run) " not run" }
                @if tally.inconclusive > 0 { ", " (tally.inconclusive) " inconclusive" }
            }
        }
    }
}

fn passed(tally: Tally) -> String {
    match tally.run() {
        0 => "nothing run".to_owned(),
        run => format!("{} of {run} passed", tally.passed),
    }
}

fn row(entry: &Entry) -> Markup {
    let (verdict, detail) = entry.verdict.parts();
    html! {
        tr id=(entry.id) class=(color(&entry.verdict)) {
            td {
                code { (entry.id) } div.soft { (entry.about) }
                @if !detail.is_empty() { div.soft { "— " (detail.lines().next().unwrap_or_default()) } }
            }
            td.w1 { (entry.rules(" ")) }
            td.w2 { (entry.class.as_str()) }
            td.w3 { span.v { (verdict) } }
            td.n.hide { (entry.cases) }
            td.n { (entry.time.as_millis()) }
        }
    }
}

fn color(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail(..) => "fail",
        Verdict::Skipped(_) | Verdict::NotRun(_) | Verdict::Inconclusive(_) => "none",
    }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}
