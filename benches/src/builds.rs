//! Two builds of the comparison beside each other: their runs take turns, so that drift of the machine hits both.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use annals::BoxError;
use serde::Deserialize;

use crate::measure::Spread;

/// What is compared of a line of `compare --json`.
#[derive(Debug, Clone, Deserialize)]
struct Figure {
    peer: String,
    workload: String,
    concurrency: usize,
    metric: String,
    median: f64,
}

type Key = (String, String, usize, String);

/// Runs `old` and `new` by turns, `rounds` times each, and returns a line for each figure: the median of the ratios of
/// new to old within a round, with the least and the greatest.
///
/// # Errors
/// A build that does not run, ends with a failure, or reports what is no figure; builds without a figure in common.
pub fn compare(
    old: &Path,
    new: &Path,
    rounds: usize,
    arguments: &[String],
) -> Result<Vec<String>, BoxError> {
    let mut ratios: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        // Each goes first in every second round.
        let (before, after) = if round % 2 == 0 {
            let before = run(old, arguments)?;
            (before, run(new, arguments)?)
        } else {
            let after = run(new, arguments)?;
            (run(old, arguments)?, after)
        };
        eprintln!("round {} of {rounds}", round + 1);
        for (key, ratio) in ratios_of(&before, &after) {
            ratios.entry(key).or_default().push(ratio);
        }
    }
    let lines: Vec<_> = ratios.into_iter().filter_map(|(key, ratios)| line(&key, ratios)).collect();
    if lines.is_empty() {
        return Err("the two builds have no figure in common".into());
    }
    Ok(lines)
}

fn line((peer, workload, clients, metric): &Key, ratios: Vec<f64>) -> Option<String> {
    let rounds = ratios.len();
    let Spread { median, min, max } = Spread::of(ratios)?;
    Some(format!(
        "| {workload} | {clients} | {peer} | {metric} | {median:.3} | {min:.3}–{max:.3} | {rounds} |"
    ))
}

fn run(program: &Path, arguments: &[String]) -> Result<Vec<Figure>, BoxError> {
    let file = tempfile::NamedTempFile::new()?;
    let status = Command::new(program)
        .arg("compare")
        .args(arguments)
        .arg("--json")
        .arg(file.path())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if !status.success() {
        return Err(format!("{} ended with {status}", program.display()).into());
    }
    figures(&std::fs::read_to_string(file.path())?)
}

fn figures(lines: &str) -> Result<Vec<Figure>, BoxError> {
    Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// Rates only: a higher ratio is better in all.
fn ratios_of(before: &[Figure], after: &[Figure]) -> Vec<(Key, f64)> {
    let key = |figure: &Figure| {
        let Figure { peer, workload, concurrency, metric, .. } = figure.clone();
        (peer, workload, concurrency, metric)
    };
    let before: BTreeMap<_, _> = before.iter().map(|figure| (key(figure), figure.median)).collect();
    let rates = after.iter().filter(|figure| figure.metric.ends_with("/s"));
    rates
        .filter_map(|figure| {
            let old = before.get(&key(figure)).filter(|old| **old > 0.0)?;
            Some((key(figure), figure.median / old))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_rates_that_both_builds_measured() {
        let line = |workload: &str, metric: &str, median: f64| {
            format!(
                r#"{{"peer":"p","version":"1","backend":"b","workload":"{workload}","concurrency":8,"events_per_append":1,"metric":"{metric}","median":{median},"min":0.0,"max":9.0}}"#
            )
        };
        let before = [
            line("W1", "appends/s", 100.0),
            line("W1", "p50 µs", 5.0),
            line("W2", "events/s", 0.0),
        ];
        let after = [
            line("W1", "appends/s", 150.0),
            line("W1", "p50 µs", 4.0),
            line("W2", "events/s", 3.0),
            line("W4", "events/s", 1.0),
        ];
        let before = figures(&before.join("\n")).expect("lines of JSON");
        let after = figures(&after.join("\n")).expect("lines of JSON");
        let key = ("p".to_owned(), "W1".to_owned(), 8, "appends/s".to_owned());
        assert_eq!(ratios_of(&before, &after), [(key.clone(), 1.5)]);
        let text = super::line(&key, vec![1.5, 0.5, 1.0]).expect("has ratios");
        assert_eq!(text, "| W1 | 8 | p | appends/s | 1.000 | 0.500–1.500 | 3 |");
        assert!(figures("no JSON").is_err());
    }

    #[test]
    fn a_build_that_does_not_run_is_an_error() {
        let nowhere = Path::new("/nowhere/annals-benches");
        assert!(compare(nowhere, nowhere, 1, &[]).is_err());
    }
}
