//! The results as a table and as lines of JSON.

use comfy_table::{CellAlignment, Table, presets::UTF8_BORDERS_ONLY};

use crate::measure::{Entry, Spread};
use crate::run::Cell;

/// One figure beside the limits of the same workload.
#[must_use]
pub fn ratios(cell: &Cell, entry: &Entry) -> Vec<(&'static str, f64)> {
    let Some(rate) = entry.rate() else { return Vec::new() };
    let limits = cell.entries.iter().filter(|limit| limit.about.is_limit());
    limits
        .filter(|limit| limit.about.peer != entry.about.peer)
        .filter_map(|limit| Some((limit.about.peer, rate.median / limit.rate()?.median)))
        .collect()
}

/// The ratios as text.
#[must_use]
pub fn ratio_text(cell: &Cell, entry: &Entry) -> String {
    if entry.about.is_limit() {
        return String::new();
    }
    let ratios = ratios(cell, entry).into_iter();
    let texts = ratios.map(|(limit, ratio)| {
        format!("{ratio:.2} {}", limit.strip_prefix("limit-").unwrap_or(limit))
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// A number with separators, to about three digits.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and far below 2⁶⁴"
)]
pub fn short(figure: f64) -> String {
    if figure < 100.0 {
        return format!("{figure:.1}");
    }
    let digits = (figure.round() as u64).to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The least and the greatest as text.
#[must_use]
pub fn range(spread: Spread) -> String {
    format!("{}–{}", short(spread.min), short(spread.max))
}

/// The columns of both tables.
pub const HEADER: [&str; 9] = [
    "workload",
    "clients",
    "who",
    "unit",
    "median",
    "min–max",
    "p50 µs",
    "p99 µs",
    "ratio to limits",
];

/// The text of one row of both tables.
#[must_use]
pub fn columns(cell: &Cell, entry: &Entry) -> [String; 9] {
    let (median, spread) = match (&entry.outcome, entry.rate()) {
        (Err(reason), _) => (format!("failed: {reason}"), String::new()),
        (Ok(_), None) => ("none".into(), String::new()),
        (Ok(_), Some(rate)) => (short(rate.median), range(rate)),
    };
    let latency =
        |quantile| entry.latency(quantile).map_or_else(String::new, |spread| short(spread.median));
    let clients = cell.workload.concurrency().to_string();
    [
        cell.workload.name(),
        clients,
        entry.about.peer.into(),
        cell.workload.metric().into(),
        median,
        spread,
        latency(0.5),
        latency(0.99),
        ratio_text(cell, entry),
    ]
}

/// All as a table for a terminal.
#[must_use]
pub fn table(cells: &[Cell]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(HEADER);
    for cell in cells {
        for (nth, entry) in cell.entries.iter().enumerate() {
            let mut columns = columns(cell, entry);
            if nth > 0 {
                let [workload, clients, ..] = &mut columns;
                workload.clear();
                clients.clear();
            }
            table.add_row(columns);
        }
    }
    for column in table.column_iter_mut().skip(4).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// All as lines of JSON, one figure each.
///
/// # Errors
/// Never: all of it has a form in JSON.
pub fn json_lines(cells: &[Cell]) -> serde_json::Result<String> {
    let mut text = String::new();
    for row in cells.iter().flat_map(Cell::rows) {
        text += &serde_json::to_string(&row)?;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_separated() {
        assert_eq!(short(0.123), "0.1");
        assert_eq!(short(999.6), "1,000");
        assert_eq!(short(1_234_567.0), "1,234,567");
    }
}
