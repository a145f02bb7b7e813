//! The report as one self-contained page.

use maud::{DOCTYPE, PreEscaped, html};

use crate::report::{Report, Verdict};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8883; --soft: #8881; --pass: #1a7f37; --fail: #cf222e; --none: #7d7f82; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } .sub { opacity: .75; margin: .2rem 0 1.5rem; }
.bar { display: flex; height: .6rem; border-radius: .3rem; overflow: hidden; margin: 1rem 0; background: var(--line); }
.bar .pass { background: var(--pass); } .bar .fail { background: var(--fail); }
.cards { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1rem 0; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .3rem .8rem; }
.card b { display: block; font-size: 1.3rem; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
td, th { border-bottom: 1px solid var(--line); padding: .35rem .6rem .35rem 0; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { font: 13px/1.45 ui-monospace, monospace; } pre { background: var(--soft); padding: .8rem; overflow: auto; border-radius: .4rem; white-space: pre-wrap; }
.v { font-weight: 600; white-space: nowrap; } .v.pass { color: var(--pass); } .v.fail { color: var(--fail); } .v.none { color: var(--none); font-weight: 400; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; } .about { opacity: .8; }
";

impl Report {
    /// The report as one HTML page that needs nothing else.
    #[must_use]
    pub fn to_html(&self) -> String {
        let passed = self.count(|verdict| *verdict == Verdict::Pass);
        let failed = self.failures().count();
        let skipped = self.count(|verdict| matches!(verdict, Verdict::Skipped(_)));
        let not_run = self.checks.len() - passed - failed - skipped;
        let mut groups: Vec<&str> = Vec::new();
        for entry in &self.checks {
            let group = entry.id.split('.').next().unwrap_or_default();
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let capabilities = self.capabilities.and_then(|can| serde_json::to_value(can).ok());
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.adapter) " · annals-testkit" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.adapter) }
                    p.sub { (self.badge()) " · seed " code { (self.seed) } }
                    div.bar {
                        div.pass style=(format!("flex: {passed}")) {}
                        div.fail style=(format!("flex: {failed}")) {}
                        div style=(format!("flex: {}", skipped + not_run)) {}
                    }
                    div.cards {
                        @for (what, count) in [("passed", passed), ("failed", failed), ("not applicable", skipped), ("not run", not_run)] {
                            div.card { b { (count) } (what) }
                        }
                    }
                    @if let Some(capabilities) = capabilities.as_ref().and_then(|can| can.as_object()) {
                        h2 { "Declares" }
                        table {
                            @for (name, value) in capabilities {
                                tr { td { code { (name) } } td { (value.to_string().trim_matches('"')) } }
                            }
                        }
                    }
                    @for group in groups {
                        h2 { (group) }
                        table {
                            tr { th { "check" } th { "rules" } th { "class" } th { "verdict" } th.n { "cases" } th.n { "ms" } }
                            @for entry in self.checks.iter().filter(|entry| entry.id.split('.').next() == Some(group)) {
                                @let (verdict, detail) = entry.verdict.parts();
                                @let class = match entry.verdict { Verdict::Pass => "pass", Verdict::Fail(..) => "fail", _ => "none" };
                                tr {
                                    td { code { (entry.id) } div.about { (entry.about) }
                                        @if let Verdict::Fail(message, counterexample) = &entry.verdict {
                                            pre { (message) @if let Some(text) = counterexample { "\n\n" (text) } }
                                        } @else if !detail.is_empty() { div.about { (detail) } }
                                    }
                                    td { @for rule in &entry.rules { (format!("{rule:?} ")) } }
                                    td { (entry.class.as_str()) }
                                    td { span class={ "v " (class) } { (verdict) } }
                                    td.n { (entry.cases) }
                                    td.n { (entry.time.as_millis()) }
                                }
                            }
                        }
                    }
                }
            }
        };
        page.into_string()
    }
}
