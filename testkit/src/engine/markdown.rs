//! The report as Markdown.

use std::fmt::Write as _;

use crate::engine::Report;

impl Report {
    /// The report as Markdown, for a README or a build's summary: what to claim, the promises, and, folded, the
    /// checks.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.adapter, self.badge());
        text.push_str("| | promise | passed | not applicable | not run |\n|---|---|---|---|---|\n");
        for rule in &self.rules {
            let tally = self.tally_of(&rule.id);
            let _ = writeln!(
                text,
                "| {} | {} | {} of {} | {} | {} |",
                rule.id,
                rule.title,
                tally.passed,
                tally.run(),
                tally.not_applicable,
                tally.not_run,
            );
        }
        let failed = self.tally().failed > 0;
        let open = if failed { " open" } else { "" };
        let _ = write!(
            text,
            "\n<details{open}><summary>{} checks, seed {}</summary>\n\n\
             | check | rules | class | verdict | cases | ms | |\n|---|---|---|---|---|---|---|\n",
            self.checks.len(),
            self.seed,
        );
        for entry in &self.checks {
            let (verdict, detail) = entry.verdict.parts();
            let detail = detail.lines().next().unwrap_or_default().replace('|', "\\|");
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {verdict} | {} | {} | {detail} |",
                entry.id,
                entry.rules(" "),
                entry.class.as_str(),
                entry.cases,
                entry.time.as_millis(),
            );
        }
        if !self.unproven.is_empty() {
            let ids: Vec<_> = self.unproven.iter().map(|id| format!("`{id}`")).collect();
            let _ = writeln!(text, "\nNo specimen proves these checks: {}.", ids.join(", "));
        }
        text.push_str("\n</details>\n");
        text
    }
}
