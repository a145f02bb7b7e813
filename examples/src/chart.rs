//! The chart: commits by month, and by author.

use std::path::Path;

use annals::BoxError;
use plotters::coord::ranged1d::{IntoSegmentedCoord, SegmentedCoord};
use plotters::coord::types::RangedCoordusize;
use plotters::prelude::*;

use crate::activity::Activity;

const BLUE: RGBColor = RGBColor(37, 99, 172);
const GREEN: RGBColor = RGBColor(46, 125, 80);
const INK: RGBColor = RGBColor(60, 60, 60);

/// Draws `activity` as an SVG file.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(activity: &Activity, title: &str, file: &Path) -> Result<(), BoxError> {
    let root = SVGBackend::new(file, (1_000, 760)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 26).into_font().color(&INK))?;
    let (upper, lower) = root.split_vertically(370);
    months(activity, &upper)?;
    authors(activity, &lower)?;
    root.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Every month from the first to the last, also those without a commit.
fn every_month(activity: &Activity) -> Vec<(String, u64)> {
    let parse = |month: &String| {
        let (year, month) = month.split_once('-')?;
        Some(year.parse::<i64>().ok()? * 12 + month.parse::<i64>().ok()? - 1)
    };
    let first = activity.months.keys().next().and_then(parse).unwrap_or(0);
    let last = activity.months.keys().next_back().and_then(parse).unwrap_or(0);
    // A wrong clock can put a commit centuries away; a chart of the last 600 months stays readable.
    (first.max(last - 599)..=last)
        .map(|month| format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1))
        .map(|month| (month.clone(), activity.months.get(&month).copied().unwrap_or(0)))
        .collect()
}

/// An axis of `count` segments; of at least two, as one alone has no width.
fn segments(count: usize) -> SegmentedCoord<RangedCoordusize> {
    (0..count.saturating_sub(1).max(1)).into_segmented()
}

fn months(activity: &Activity, area: &Area<'_>) -> Result<(), BoxError> {
    let months = every_month(activity);
    let most = months.iter().map(|(_, commits)| *commits).max().unwrap_or(0).max(1);
    let mut chart = ChartBuilder::on(area)
        .caption("Commits by month", ("sans-serif", 18).into_font().color(&INK))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(70)
        .build_cartesian_2d(segments(months.len()), 0..most + most / 10 + 1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.15))
        .x_labels(months.len().clamp(2, 12))
        .x_label_formatter(&|at| match at {
            SegmentValue::CenterOf(nth) | SegmentValue::Exact(nth) => {
                months.get(*nth).map(|(month, _)| month.clone()).unwrap_or_default()
            }
            SegmentValue::Last => String::new(),
        })
        .y_desc("commits")
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .draw()?;
    chart.draw_series(months.iter().enumerate().map(|(nth, (_, commits))| {
        let gap = u32::from(months.len() < 200);
        let corners = [(SegmentValue::Exact(nth), 0), (SegmentValue::Exact(nth + 1), *commits)];
        let mut bar = Rectangle::new(corners, BLUE.filled());
        bar.set_margin(0, 0, gap, gap);
        bar
    }))?;
    Ok(())
}

fn authors(activity: &Activity, area: &Area<'_>) -> Result<(), BoxError> {
    let mut authors = activity.top_authors(12);
    authors.reverse();
    let most = authors.iter().map(|(_, author)| author.commits).max().unwrap_or(0).max(1);
    let mut chart = ChartBuilder::on(area)
        .caption("Commits by author", ("sans-serif", 18).into_font().color(&INK))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(220)
        .build_cartesian_2d(0..most + most / 10 + 1, segments(authors.len()))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.15))
        .y_labels(authors.len().max(2))
        .y_label_formatter(&|at| match at {
            SegmentValue::CenterOf(nth) | SegmentValue::Exact(nth) => authors
                .get(*nth)
                .map(|(name, _)| name.chars().take(28).collect())
                .unwrap_or_default(),
            SegmentValue::Last => String::new(),
        })
        .x_desc("commits")
        .label_style(("sans-serif", 14).into_font().color(&INK))
        .draw()?;
    chart.draw_series(authors.iter().enumerate().map(|(nth, (_, author))| {
        let corners =
            [(0, SegmentValue::Exact(nth)), (author.commits, SegmentValue::Exact(nth + 1))];
        let mut bar = Rectangle::new(corners, GREEN.filled());
        bar.set_margin(2, 2, 0, 0);
        bar
    }))?;
    Ok(())
}
