//! The tables: one row a point, and every metric in full.

use std::collections::BTreeSet;

use bitquake_record::{METRICS, Metric, PointSummary};
use bitquake_stats::{Interval, Summary};
use serde::Serialize;

use crate::number::{NONE, align_points, amount, percent, percent_decimals, plain};
use crate::view::{View, interval, interval_text, is_degenerate, summary};

/// Fills a column so that decimal points stand below each other, as wide as a digit.
const FIGURE_SPACE: char = '\u{2007}';

/// One row of the main table.
#[derive(Debug, Serialize)]
pub(crate) struct PointRow {
    pub(crate) amount: String,
    pub(crate) trials: String,
    pub(crate) expected: String,
    pub(crate) faults: String,
    pub(crate) accuracy: String,
    pub(crate) interval: String,
    /// All trials are equal.
    pub(crate) degenerate: bool,
    pub(crate) worst: String,
    pub(crate) sdc: String,
    pub(crate) nonfinite: String,
    pub(crate) dropped: String,
    pub(crate) dropped_interval: String,
    /// The mean lies below the margin.
    pub(crate) low: bool,
}

/// One metric with a row for each point.
#[derive(Debug, Serialize)]
pub(crate) struct MetricTable {
    pub(crate) name: String,
    pub(crate) about: String,
    /// `%` or nothing.
    pub(crate) unit: &'static str,
    pub(crate) rows: Vec<MetricRow>,
}

/// One metric at one point.
#[derive(Debug, Serialize)]
pub(crate) struct MetricRow {
    pub(crate) amount: String,
    pub(crate) n: String,
    /// Mean, standard deviation, minimum, maximum, and the ends of the interval.
    pub(crate) cells: Vec<String>,
}

/// The main table below its row for the golden run.
pub(crate) fn point_rows(view: &View<'_>) -> Vec<PointRow> {
    let faults = aligned(view, |point| summary(point, "faults").map_or(NONE.into(), |s| plain(s.mean)));
    let expected = aligned(view, |point| expected_faults(view, point));
    let dropped_shares = view.points.iter().filter_map(|point| Some(point.dropped?.value));
    let dropped = percent_decimals(dropped_shares, 1);
    let headline = view.headline();
    let accuracy = view.decimals(headline, 2);
    let ends = |interval: Option<Interval>, decimals| {
        interval.map_or(NONE.into(), |interval| interval_text(interval, decimals))
    };
    let mean = |point: &PointSummary, metric| share_text(view, point, metric);
    let row = |(place, point): (usize, &PointSummary)| PointRow {
        amount: amount(point.amount),
        trials: view.trials_text(point),
        expected: expected[place].clone(),
        faults: faults[place].clone(),
        accuracy: mean(point, headline),
        interval: ends(interval(point, headline), accuracy),
        degenerate: is_degenerate(point),
        worst: summary(point, headline).map_or(NONE.into(), |s| percent(s.min, 2)),
        sdc: mean(point, view.failure()),
        nonfinite: mean(point, "nonfinite"),
        dropped: point.dropped.map_or(NONE.into(), |share| percent(share.value, dropped)),
        dropped_interval: ends(point.dropped.and_then(|share| share.interval), dropped),
        low: view.is_within_margin(point) == Some(false),
    };
    view.points.iter().enumerate().map(row).collect()
}

fn share_text(view: &View<'_>, point: &PointSummary, metric: &str) -> String {
    let decimals = view.decimals(metric, 2);
    summary(point, metric).map_or(NONE.into(), |summary| percent(summary.mean, decimals))
}

fn expected_faults(view: &View<'_>, point: &PointSummary) -> String {
    let plan = view.golden.points.iter().find(|plan| plan.point == point.point);
    plan.and_then(|plan| plan.expected_faults).map_or(NONE.into(), plain)
}

/// One text a point, their decimal points below each other.
fn aligned(view: &View<'_>, text: impl Fn(&PointSummary) -> String) -> Vec<String> {
    let mut cells: Vec<String> = view.points.iter().map(text).collect();
    align_points(&mut cells, FIGURE_SPACE);
    cells
}

pub(crate) fn metric_tables(view: &View<'_>) -> Vec<MetricTable> {
    let table = |metric: &Metric| MetricTable {
        name: metric.name.into(),
        about: metric.about.into(),
        unit: if metric.is_share { "%" } else { "" },
        rows: metric_rows(view, metric),
    };
    let metrics = METRICS.iter().filter(|metric| view.has_metric(metric)).map(table);
    metrics.chain(own_tables(view)).collect()
}

/// The numbers of a host's own.
fn own_tables(view: &View<'_>) -> impl Iterator<Item = MetricTable> {
    let names: BTreeSet<&str> =
        view.points.iter().flat_map(|point| &point.own).map(|own| own.name.as_str()).collect();
    names.into_iter().map(move |name| {
        let of = |point: &PointSummary| {
            let own = point.own.iter().find(|own| own.name == name);
            (own.and_then(|own| own.summary), own.and_then(|own| own.interval))
        };
        MetricTable {
            name: name.into(),
            about: "the host's own number, over the n trials in which it is finite".into(),
            unit: "",
            rows: rows(view, of, plain),
        }
    })
}

fn metric_rows(view: &View<'_>, metric: &Metric) -> Vec<MetricRow> {
    let decimals = view.decimals(metric.name, 2);
    let text = |value: f64| if metric.is_share { percent(value, decimals) } else { plain(value) };
    rows(view, |point| (summary(point, metric.name), interval(point, metric.name)), text)
}

/// One row a point, columns aligned.
fn rows(
    view: &View<'_>,
    of: impl Fn(&PointSummary) -> (Option<Summary>, Option<Interval>),
    text: impl Fn(f64) -> String,
) -> Vec<MetricRow> {
    let optional = |value: Option<f64>| value.map_or(NONE.into(), &text);
    let numbers = |point: &PointSummary| -> [String; 6] {
        let (summary, interval) = of(point);
        [
            optional(summary.map(|s| s.mean)),
            optional(summary.and_then(|s| s.std)),
            optional(summary.map(|s| s.min)),
            optional(summary.map(|s| s.max)),
            optional(interval.map(|i| i.lo)),
            optional(interval.map(|i| i.hi)),
        ]
    };
    let mut table: Vec<[String; 6]> = view.points.iter().map(numbers).collect();
    for column in 0..6 {
        let mut cells: Vec<String> = table.iter().map(|row| row[column].clone()).collect();
        align_points(&mut cells, FIGURE_SPACE);
        table.iter_mut().zip(cells).for_each(|(row, cell)| row[column] = cell);
    }
    let row = |(point, cells): (&PointSummary, [String; 6])| MetricRow {
        amount: amount(point.amount),
        n: of(point).0.map_or("0".into(), |summary| crate::number::grouped(summary.n)),
        cells: cells.into(),
    };
    view.points.iter().zip(table).map(row).collect()
}
