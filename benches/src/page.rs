//! The results as one page, with a chart for each workload.

use annals::BoxError;
use maud::{DOCTYPE, PreEscaped, html};
use plotters::prelude::*;

use crate::machine::Machine;
use crate::measure::Entry;
use crate::report::{HEADER, columns, short};
use crate::run::Cell;

const STYLE: &str = "
:root { --line: #d8d8d8; --ink: #222; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin: 0; font-size: 1.6rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; } .sub { opacity: .75; margin: .2rem 0 1.5rem; }
table { border-collapse: collapse; width: 100%; } td, th { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } code { font: 13px ui-monospace, monospace; } svg { max-width: 100%; height: auto; }
";

const OURS: RGBColor = RGBColor(37, 99, 172);
const LIMIT: RGBColor = RGBColor(150, 150, 150);
const PEER: RGBColor = RGBColor(196, 120, 40);
const INK: RGBColor = RGBColor(60, 60, 60);

/// The page; it needs nothing else.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn page(machine: &Machine, cells: &[Cell]) -> Result<String, BoxError> {
    let charts = cells.iter().map(chart).collect::<Result<Vec<_>, _>>()?;
    let mut who: Vec<&Entry> = Vec::new();
    for entry in cells.iter().flat_map(|cell| &cell.entries) {
        let key = |entry: &Entry| (entry.about.peer, entry.about.backend);
        if who.iter().all(|known| key(known) != key(entry)) {
            who.push(entry);
        }
    }
    let gibibytes = machine.memory >> 30;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Annals beside its limits" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Annals beside its limits" }
                p.sub {
                    (machine.date) " · " (machine.processor) ", " (machine.cores) " cores, " (gibibytes) " GiB · "
                    (machine.system) br; code { (machine.command) }
                }
                p { "Medians of interleaved repetitions in one process. Compare within a workload; absolute figures are those of this machine at this hour." }
                h2 { "Who takes part" }
                table {
                    tr { th { "who" } th { "version" } th { "keeps events in" } th { "what it promises or does" } }
                    @for entry in who {
                        tr { td { (entry.about.peer) } td { (entry.about.version) } td { (entry.about.backend) } td { (entry.about.promises) } }
                    }
                }
                @for (cell, chart) in cells.iter().zip(&charts) {
                    h2 { (cell.workload.name()) " · " (cell.workload.concurrency()) " at once" }
                    (PreEscaped(chart))
                    table {
                        tr { @for (nth, name) in HEADER.iter().enumerate().skip(2) { th.n[is_figure(nth)] { (name) } } }
                        @for entry in &cell.entries {
                            tr { @for (nth, text) in columns(cell, entry).iter().enumerate().skip(2) { td.n[is_figure(nth)] { (text) } } }
                        }
                    }
                    @for entry in &cell.entries {
                        @if let Some(peak) = entry.peak() {
                            p { (entry.about.peer) ": memory grew by " (short(peak.median / 1_048_576.0)) " MiB at most during a scan" }
                        }
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn is_figure(column: usize) -> bool {
    (4..8).contains(&column)
}

/// Bars from the fastest to the slowest, with the least and the greatest as a line.
fn chart(cell: &Cell) -> Result<String, BoxError> {
    let mut bars: Vec<_> =
        cell.entries.iter().filter_map(|entry| Some((entry, entry.rate()?))).collect();
    bars.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    let most = bars.iter().map(|(_, rate)| rate.max).fold(f64::MIN_POSITIVE, f64::max);
    let height = 60 + 34 * u32::try_from(bars.len())?;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, height)).into_drawing_area();
        let rows = (0..bars.len().saturating_sub(1).max(1)).into_segmented();
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(90)
            .x_label_area_size(34)
            .y_label_area_size(170)
            .build_cartesian_2d(0.0..most * 1.05, rows)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .x_label_formatter(&|x| short(*x))
            .y_labels(bars.len().max(2))
            .y_label_formatter(&|at| match at {
                SegmentValue::CenterOf(nth) | SegmentValue::Exact(nth) => {
                    bars.get(*nth).map(|(entry, _)| entry.about.peer.into()).unwrap_or_default()
                }
                SegmentValue::Last => String::new(),
            })
            .x_desc(cell.workload.metric())
            .label_style(("sans-serif", 14).into_font().color(&INK))
            .draw()?;
        chart.draw_series(bars.iter().enumerate().map(|(nth, (entry, rate))| {
            let colour = match entry.about.peer {
                ours if ours.starts_with("annals-") => OURS,
                _ if entry.about.is_limit() => LIMIT,
                _ => PEER,
            };
            let corners =
                [(0.0, SegmentValue::Exact(nth)), (rate.median, SegmentValue::Exact(nth + 1))];
            let mut bar = Rectangle::new(corners, colour.filled());
            bar.set_margin(6, 6, 0, 0);
            bar
        }))?;
        chart.draw_series(bars.iter().enumerate().map(|(nth, (_, rate))| {
            let line = [rate.min, rate.max].map(|x| (x, SegmentValue::CenterOf(nth)));
            PathElement::new(line, INK.stroke_width(2))
        }))?;
        root.present()?;
    }
    Ok(svg)
}
