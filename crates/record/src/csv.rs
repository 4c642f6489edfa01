//! `summary.csv`, `trials.csv`, and the two files of the NN-Error-Injection project.
//!
//! Every file starts with one line of column names. Numbers are written so that reading them gives the same number;
//! what does not exist (the interval of a single trial) is empty.

mod row;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};

pub use row::{cells, quoted};

use crate::column::COLUMNS;
use crate::metric::METRICS;
use crate::own::OwnSummary;
use crate::summary::{MetricSummary, PointSummary};
use crate::trial::{Amount, TrialRecord};
use crate::vulnerability::{Cell, Vulnerability};

/// One row a point. After `point`, `rate`, `count`, `fraction`, `voltage` (of which one is filled), `trials`, `images`, `ci_method` and `ci_confidence`, each metric has
/// `_mean`, `_std`, `_min`, `_max`, `_ci_lo` and `_ci_hi`; `dropped` is the share of trials whose accuracy fell by more than
/// `dropped_margin`, with the interval `dropped_ci_lo` to `dropped_ci_hi` by `dropped_ci_method`. Where trials were drawn given
/// that they have a fault, `weight` follows, and for each metric `_overall_mean`, `_overall_ci_lo` and `_overall_ci_hi`: over all
/// trials, those without faults included. Where a stopping rule ended the trials, `stop_metric`, `stop_half_width`,
/// `stop_confidence` and `stop_met` tell of it, and for each metric `_ci_method`: `ci_method` is then that of the rule's metric.
/// Each number of a host's own ends the row with `own_NAME_mean`, `_std`, `_min`, `_max`, `_ci_lo`, `_ci_hi` and `_nonfinite`, the number of
/// trials that are in no mean because it is not finite there; conditioned points have `_overall_mean` and its interval besides.
#[must_use]
pub fn summary(points: &[PointSummary], margin: f64) -> String {
    let mut header: Vec<String> =
        ["point", "rate", "count", "fraction", "voltage", "trials", "images", "ci_method", "ci_confidence"]
            .map(String::from)
            .to_vec();
    for metric in METRICS {
        header.extend(
            ["mean", "std", "min", "max", "ci_lo", "ci_hi"].map(|part| format!("{}_{part}", metric.name)),
        );
    }
    let dropped = ["", "_margin", "_ci_method", "_ci_lo", "_ci_hi"];
    header.extend(dropped.map(|part| format!("dropped{part}")));
    header.push("worst_trial".into());
    let is_conditioned = points.iter().any(|point| point.weight.is_some());
    if is_conditioned {
        header.push("weight".into());
        for metric in METRICS {
            header.extend(["mean", "ci_lo", "ci_hi"].map(|part| format!("{}_overall_{part}", metric.name)));
        }
    }
    let has_rule = points.iter().any(|point| point.stop.is_some());
    if has_rule {
        header.extend(["metric", "half_width", "confidence", "met"].map(|part| format!("stop_{part}")));
        header.extend(METRICS.iter().map(|metric| format!("{}_ci_method", metric.name)));
    }
    let own: BTreeSet<&str> =
        points.iter().flat_map(|point| &point.own).map(|own| own.name.as_str()).collect();
    let parts: &[&str] = if is_conditioned { &OWN_PARTS } else { &OWN_PARTS[..7] };
    for name in &own {
        header.extend(parts.iter().map(|part| quoted(&format!("own_{name}_{part}")).into_owned()));
    }
    let summary_row = |point: &PointSummary, margin| {
        let mut row = summary_row(point, margin);
        if is_conditioned {
            row.extend(overall_cells(point));
        }
        if has_rule {
            row.extend(stop_cells(point));
        }
        for name in &own {
            let found = point.own.iter().find(|own| own.name == *name);
            row.extend(own_cells(found).into_iter().take(parts.len()));
        }
        row
    };
    table(header, points.iter().map(|point| summary_row(point, margin)))
}

fn summary_row(point: &PointSummary, margin: f64) -> Vec<String> {
    let [rate, count, fraction, voltage] = amount_cells(point.amount);
    let of_rule = point.stop.and_then(|stop| point.metric(stop.metric)?.interval);
    let first = of_rule.or_else(|| point.metrics.iter().find_map(|metric| metric.interval));
    let dropped = point.dropped.and_then(|share| share.interval);
    let mut row = vec![
        point.point.to_string(),
        rate,
        count,
        fraction,
        voltage,
        point.trials.to_string(),
        point.images.to_string(),
        optional(first.map(|interval| interval.method)),
        optional(first.or(dropped).map(|interval| interval.confidence)),
    ];
    row.extend(point.metrics.iter().flat_map(metric_cells));
    row.extend([
        optional(point.dropped.map(|share| share.value)),
        margin.to_string(),
        optional(dropped.map(|interval| interval.method)),
        optional(dropped.map(|interval| interval.lo)),
        optional(dropped.map(|interval| interval.hi)),
        optional(point.worst_trial),
    ]);
    row
}

fn stop_cells(point: &PointSummary) -> Vec<String> {
    let stop = point.stop;
    let mut cells = vec![
        optional(stop.map(|stop| stop.metric)),
        optional(stop.map(|stop| stop.interval.half_width())),
        optional(stop.map(|stop| stop.interval.confidence)),
        optional(stop.map(|stop| stop.is_met)),
    ];
    cells
        .extend(point.metrics.iter().map(|metric| optional(metric.interval.map(|interval| interval.method))));
    cells
}

fn overall_cells(point: &PointSummary) -> Vec<String> {
    let mut cells = vec![optional(point.weight)];
    for metric in &point.metrics {
        let interval = metric.overall.and_then(|overall| overall.interval);
        cells.extend([
            optional(metric.overall.map(|overall| overall.mean)),
            optional(interval.map(|interval| interval.lo)),
            optional(interval.map(|interval| interval.hi)),
        ]);
    }
    cells
}

/// The columns of a number of a host's own; the last three are of conditioned points.
const OWN_PARTS: [&str; 10] = [
    "mean",
    "std",
    "min",
    "max",
    "ci_lo",
    "ci_hi",
    "nonfinite",
    "overall_mean",
    "overall_ci_lo",
    "overall_ci_hi",
];

fn own_cells(own: Option<&OwnSummary>) -> [String; 10] {
    let summary = own.and_then(|own| own.summary);
    let interval = own.and_then(|own| own.interval);
    let overall = own.and_then(|own| own.overall);
    let of_all = overall.and_then(|overall| overall.interval);
    [
        optional(summary.map(|s| s.mean)),
        optional(summary.and_then(|s| s.std)),
        optional(summary.map(|s| s.min)),
        optional(summary.map(|s| s.max)),
        optional(interval.map(|interval| interval.lo)),
        optional(interval.map(|interval| interval.hi)),
        optional(own.map(|own| own.nonfinite)),
        optional(overall.map(|overall| overall.mean)),
        optional(of_all.map(|interval| interval.lo)),
        optional(of_all.map(|interval| interval.hi)),
    ]
}

fn metric_cells(metric: &MetricSummary) -> [String; 6] {
    let summary = metric.summary;
    [
        optional(summary.map(|s| s.mean)),
        optional(summary.and_then(|s| s.std)),
        optional(summary.map(|s| s.min)),
        optional(summary.map(|s| s.max)),
        optional(metric.interval.map(|interval| interval.lo)),
        optional(metric.interval.map(|interval| interval.hi)),
    ]
}

/// One row a trial, with the fields of the records; texts with commas, quotes or line ends stand in quotes.
#[must_use]
pub fn trials(trials: &[TrialRecord]) -> String {
    let mut text = trials_header() + "\n";
    for trial in trials {
        trial_row(trial, &mut text);
        text.push('\n');
    }
    text
}

/// A file with one row a trial, written trial by trial.
#[derive(Debug)]
pub struct TrialRows<W> {
    out: W,
    line: String,
    row: fn(&TrialRecord, &mut String),
    /// The host's own numbers that have a column.
    own: Vec<String>,
}

impl<W: Write> TrialRows<W> {
    /// The file of [`trials`], with its header.
    ///
    /// # Errors
    /// What `out` says.
    pub fn trials(out: W) -> io::Result<Self> {
        Self::trials_with_own(out, &[])
    }

    /// The same with a column `own_NAME` at the end for each of these numbers of a host's own; empty where one is not finite.
    ///
    /// # Errors
    /// What `out` says.
    pub fn trials_with_own(out: W, own: &[String]) -> io::Result<Self> {
        let mut header = trials_header();
        own.iter().for_each(|name| {
            header.push(',');
            header.push_str(&quoted(&own_column(name)));
        });
        Self::new(out, header, trial_row, own.to_vec())
    }

    /// The file of [`compat_detail`], with its header.
    ///
    /// # Errors
    /// What `out` says.
    pub fn compat_detail(out: W) -> io::Result<Self> {
        Self::new(out, compat_header().join(","), compat_row, Vec::new())
    }

    fn new(
        mut out: W,
        header: String,
        row: fn(&TrialRecord, &mut String),
        own: Vec<String>,
    ) -> io::Result<Self> {
        out.write_all((header + "\n").as_bytes())?;
        Ok(Self { out, line: String::new(), row, own })
    }

    /// Adds the row of a trial.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&mut self, trial: &TrialRecord) -> io::Result<()> {
        self.line.clear();
        (self.row)(trial, &mut self.line);
        for name in &self.own {
            self.line.push(',');
            self.line.push_str(&optional(trial.own(name)));
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

fn trials_header() -> String {
    COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>().join(",")
}

/// The column of a host's own number in `trials.csv` and `trials.parquet`.
pub(crate) fn own_column(name: &str) -> String {
    format!("own_{name}")
}

fn trial_row(trial: &TrialRecord, text: &mut String) {
    for (place, column) in COLUMNS.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        column.cell.write_text(trial, text);
    }
}

/// `<model>.csv` of NN-Error-Injection: the mean top-1 and top-5 accuracy at each rate. Three columns, fractions.
#[must_use]
pub fn compat_summary(points: &[PointSummary]) -> String {
    let mean = |point: &PointSummary, name: &str| {
        optional(point.metric(name).and_then(|metric| metric.summary).map(|summary| summary.mean))
    };
    let row = |point: &PointSummary| {
        vec![amount_cell(point.amount), mean(point, "accuracy"), mean(point, "top5_accuracy")]
    };
    table(compat_header(), points.iter().map(row))
}

/// `detail-<model>.csv` of NN-Error-Injection: top-1 and top-5 accuracy of each repetition. Three columns, fractions.
#[must_use]
pub fn compat_detail(trials: &[TrialRecord]) -> String {
    let mut text = compat_header().join(",") + "\n";
    for trial in trials {
        compat_row(trial, &mut text);
        text.push('\n');
    }
    text
}

fn compat_row(trial: &TrialRecord, text: &mut String) {
    let (amount, top5) = (amount_cell(trial.amount()), crate::trial::share(trial.top5_correct, trial.images));
    // Writing to a string cannot fail.
    let _ = write!(text, "{amount},{},{top5}", trial.accuracy());
}

/// `vulnerability.csv`: one row for each cell of `vulnerability.json`. `part` says which list it is of; `layer`, `tensor`, `channel` and
/// `bit` name it, as far as they apply.
#[must_use]
pub fn vulnerability(found: &Vulnerability) -> String {
    let header = [
        "part",
        "layer",
        "tensor",
        "channel",
        "bit",
        "bits",
        "trials",
        "sdc_rate",
        "sdc_lo",
        "sdc_hi",
        "change",
        "change_lo",
        "change_hi",
        "fit",
        "fit_lo",
        "fit_hi",
        "mtbf_hours",
        "mtbf_lo",
        "mtbf_hi",
    ];
    let parts: [(&str, &[Cell]); 6] = [
        ("whole", std::slice::from_ref(&found.whole)),
        ("tensor", &found.tensors),
        ("layer", &found.layers),
        ("channel", &found.channels),
        ("bit", &found.bits),
        ("tensor_bit", &found.tensor_bits),
    ];
    let rows = parts.into_iter().flat_map(|(part, cells)| cells.iter().map(move |cell| cell_row(part, cell)));
    table(header.map(String::from).to_vec(), rows)
}

fn cell_row(part: &str, cell: &Cell) -> Vec<String> {
    let text =
        |text: &Option<String>| text.as_deref().map_or(String::new(), |text| quoted(text).into_owned());
    let (tensor, rate) = (&cell.tensor, &cell.rate);
    let mut row = vec![
        part.to_owned(),
        text(&cell.layer),
        text(&tensor.tensor),
        optional(cell.channel),
        optional(cell.bit),
        optional(tensor.bits),
        rate.trials.to_string(),
    ];
    let rates = [rate.sdc_rate, rate.sdc_lo, rate.sdc_hi, rate.change, rate.change_lo, rate.change_hi];
    row.extend(rates.map(optional));
    row.extend([tensor.fit, tensor.fit_lo, tensor.fit_hi].map(optional));
    row.extend([tensor.mtbf_hours, tensor.mtbf_lo, tensor.mtbf_hi].map(optional));
    row
}

fn compat_header() -> Vec<String> {
    ["error_rate", "top1", "top5"].map(String::from).to_vec()
}

fn amount_cell(amount: Amount) -> String {
    match amount {
        Amount::Count(count) => count.to_string(),
        _ => amount.value().to_string(),
    }
}

/// The cells of `rate`, `count`, `fraction` and `voltage`, of which one is filled.
fn amount_cells(amount: Amount) -> [String; 4] {
    ["rate", "count", "fraction", "voltage"]
        .map(|kind| if amount.kind() == kind { amount_cell(amount) } else { String::new() })
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn table(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = header.join(",") + "\n";
    for row in rows {
        text.push_str(&row.join(","));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::golden;
    use crate::summary::{SummaryOptions, summarise};
    use crate::trial::tests::{full_record, record};

    /// A point of two trials, one of a single trial without a loss, and one that has not begun.
    fn campaign() -> (Vec<PointSummary>, Vec<TrialRecord>) {
        let mut trials = vec![record(0, 0, 90), record(0, 1, 80), record(1, 0, 10)];
        trials[2] = TrialRecord { rate: Some(0.25), loss: None, nonfinite: 100, ..trials[2].clone() };
        let amounts = [Amount::Rate(1e-5), Amount::Rate(0.25), Amount::Rate(0.5)];
        let points = summarise(&golden(&amounts), &trials, SummaryOptions::default()).unwrap();
        (points, trials)
    }

    /// The cells of a row that must have as many as the header.
    fn columns(text: &str) -> Vec<Vec<&str>> {
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
        rows
    }

    fn cell<'a>(text: &'a str, row: usize, name: &str) -> &'a str {
        let rows = columns(text);
        let place = rows[0].iter().position(|column| *column == name).unwrap();
        rows[row + 1][place]
    }

    #[test]
    fn the_summary_file() {
        let (points, _) = campaign();
        insta::assert_snapshot!(summary(&points, 0.01));
    }

    #[test]
    fn the_trials_file() {
        let (_, trials) = campaign();
        insta::assert_snapshot!(super::trials(&trials));
    }

    #[test]
    fn the_files_of_nn_error_injection_have_exactly_three_columns() {
        let (points, trials) = campaign();
        let (whole, detail) = (compat_summary(&points), compat_detail(&trials));
        assert_eq!(columns(&whole)[0], ["error_rate", "top1", "top5"]);
        assert_eq!(columns(&detail)[0], ["error_rate", "top1", "top5"]);
        insta::assert_snapshot!(format!("{whole}\n{detail}"));
    }

    #[test]
    fn conditioned_points_have_their_weight_and_the_means_over_all_trials() {
        let mut golden = golden(&[Amount::Rate(1e-10)]);
        golden.points[0].weight = Some(0.5);
        let trials = [record(0, 0, 80), record(0, 1, 60)];
        let text = summary(&summarise(&golden, &trials, SummaryOptions::default()).unwrap(), 0.01);
        assert_eq!((cell(&text, 0, "weight"), cell(&text, 0, "accuracy_mean")), ("0.5", "0.7"));
        assert_eq!(cell(&text, 0, "accuracy_overall_mean").parse(), Ok(0.8));
        assert_eq!(cell(&text, 0, "faults_overall_mean"), "1.5");
    }

    #[test]
    fn what_does_not_exist_is_empty() {
        let text = summary(&campaign().0, 0.01);
        assert_eq!(cell(&text, 1, "accuracy_ci_lo"), "");
        assert_eq!(cell(&text, 1, "loss_mean"), "");
        assert_eq!(cell(&text, 2, "accuracy_mean"), "");
        assert_eq!(cell(&text, 2, "trials"), "0");
        assert_eq!(cell(&text, 2, "worst_trial"), "");
    }

    #[test]
    fn a_single_trial_still_names_the_confidence_of_its_share() {
        let text = summary(&campaign().0, 0.01);
        assert_eq!(cell(&text, 1, "dropped_ci_method"), "clopper-pearson");
        assert_eq!((cell(&text, 1, "ci_method"), cell(&text, 1, "ci_confidence")), ("", "0.95"));
    }

    #[test]
    fn numbers_read_back_as_the_same_numbers() {
        let mut trial = record(0, 0, 1);
        trial.images = 3;
        trial.rate = Some(1.234_567_890_123_456_7e-13);
        trial.loss = Some(f64::MIN_POSITIVE);
        let text = trials(std::slice::from_ref(&trial));
        assert_eq!(cell(&text, 0, "rate").parse(), Ok(1.234_567_890_123_456_7e-13));
        assert_eq!(cell(&text, 0, "loss").parse(), Ok(f64::MIN_POSITIVE));
        assert_eq!(columns(&compat_detail(&[trial]))[1][1].parse(), Ok(1.0 / 3.0));
    }

    #[test]
    fn trial_by_trial_the_files_are_the_same() {
        let (_, trials) = campaign();
        for (mut rows, whole) in [
            (TrialRows::trials(Vec::new()).unwrap(), super::trials(&trials)),
            (TrialRows::compat_detail(Vec::new()).unwrap(), compat_detail(&trials)),
        ] {
            trials.iter().for_each(|trial| rows.write(trial).unwrap());
            assert_eq!(String::from_utf8(rows.into_inner()).unwrap(), whole);
        }
    }

    #[test]
    fn texts_that_hold_separators_stand_in_quotes() {
        let text = trials(&[full_record(0, 0, 90)]);
        assert!(text.contains(r#","conv1, ""weight""",12,30,4,,0123456789abcdef"#), "{text}");
    }

    #[test]
    fn rates_and_counts_have_a_column_each() {
        let mut trial = record(0, 0, 90);
        (trial.rate, trial.count) = (None, Some(7));
        let text = trials(&[trial]);
        assert_eq!((cell(&text, 0, "rate"), cell(&text, 0, "count")), ("", "7"));
    }
}
