//! `bitquake compare`.

use std::path::PathBuf;

use bitquake::compare::{Comparison, PointComparison, compare};
use bitquake::record::{METRICS, ResultDir};
use clap::builder::PossibleValuesParser;

use crate::exit::Failure;
use crate::output::{Output, grouped, table};

/// Compare two campaigns trial by trial: the mean difference with its interval, and an exact test
///
/// Trials pair that have the same amount of faults and the same number. In campaigns with the same seed they have their random choices
/// in common, so that small differences can be told. Differences are second minus first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Result directory of the first campaign
    first: PathBuf,
    /// Result directory of the second campaign
    second: PathBuf,
    /// The metric to compare
    #[arg(long, default_value = "err", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(METRICS.iter().map(|metric| metric.name)))]
    metric: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let found = compare(&ResultDir::at(&args.first), &ResultDir::at(&args.second), &args.metric)?;
    if args.json {
        return output.json(&found);
    }
    let header = [
        "point",
        "pairs",
        "same patterns",
        "first",
        "second",
        "difference",
        "p",
        "dropped only in first / second",
    ];
    let rows = found.points.iter().map(|point| row(&found, point));
    output.data(&format!("{}\n{}", table(&header, &[1, 2, 3, 4, 6], rows), notes(&found)))
}

fn row(found: &Comparison, point: &PointComparison) -> Vec<String> {
    let number =
        |value: f64| if found.is_share { format!("{:.2} %", 100.0 * value) } else { format!("{value:.4}") };
    let scale = if found.is_share { 100.0 } else { 1.0 };
    // Enough digits for the interval's width.
    let half_width = point.difference.interval.map(|interval| scale * interval.half_width());
    let digits = half_width
        .filter(|width| *width > 0.0)
        .map_or(2.0, |width| (1.0 - width.log10().floor()).clamp(2.0, 8.0));
    let digits = digits as usize;
    let difference = format!("{:+.digits$}", scale * point.difference.value);
    let ends = point
        .difference
        .interval
        .map(|ends| format!(" [{:+.digits$}, {:+.digits$}]", scale * ends.lo, scale * ends.hi));
    let p_value = point.test.map_or("–".into(), |test| {
        format!("{}{}", p_text(test.p_value), if test.exact { "" } else { "~" })
    });
    let dropped = point.dropped.map_or("–".into(), |dropped| {
        let p_value = dropped.p_value.map(|p_value| format!(" (p {})", p_text(p_value))).unwrap_or_default();
        format!("{} / {}{p_value}", grouped(dropped.first_only), grouped(dropped.second_only))
    });
    vec![
        format!("{} {}", point.amount.kind(), point.amount),
        grouped(point.pairs),
        grouped(point.same_patterns),
        number(point.first),
        number(point.second),
        format!("{difference}{}", ends.unwrap_or_default()),
        p_value,
        dropped,
    ]
}

/// `0.0123`, `1.2e-5`.
fn p_text(p_value: f64) -> String {
    if p_value < 1e-3 { format!("{p_value:.1e}") } else { format!("{p_value:.3}") }
}

fn notes(found: &Comparison) -> String {
    let unit = if found.is_share { ", in percentage points" } else { "" };
    let method = if found.is_stopped {
        "betting intervals, which hold although a rule ended the trials; a test would not, and is left out"
    } else {
        "t intervals; p: sign-flip test of no difference, exact where no ~ follows"
    };
    let mut notes = vec![
        format!("first: {}, second: {}", found.first, found.second),
        format!("difference: mean of second - first of {}{unit}", found.metric),
        format!("[..]: {} % {method}", 100.0 * found.confidence),
    ];
    if !found.is_stopped {
        notes.push("dropped: p of McNemar's exact test".into());
    }
    if !found.differences.is_empty() {
        notes.push(format!("the campaigns differ: {}", found.differences));
    }
    notes.join("\n")
}
