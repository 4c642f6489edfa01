//! The table that a run prints at its end.

use bitquake_record::{Overview, PointSummary};

use crate::number::{NONE, align_points, counted, percent, percent_decimals, plain};
use crate::view::{View, estimate_text, interval_text, is_degenerate, summary, trials_of_planned};

/// How to print a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStyle {
    /// Whether to use ANSI colours. They repeat what the text says.
    pub colour: bool,
    /// Most characters in a line; columns of less importance are left out to keep to it. `None`: as wide as it takes.
    pub width: Option<u16>,
}

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const RESET: &str = "\u{1b}[0m";
const GAP: &str = "  ";

/// One row a point, below a row for the golden run, as lines of text with an end.
///
/// Columns: the rate or fault count; finished trials (`12 of 50` while some are missing); mean number of faults; mean accuracy
/// with its interval over trials; the worst trial's accuracy; mean share of images whose best class differs from the golden
/// run's (SDC-1); mean share of images with non-finite outputs; share of trials that dropped by more than the margin, with
/// its interval. Shares are in percent. What does not exist is `–`. The lines below tell method and confidence, and which
/// columns did not fit.
#[must_use]
pub fn table(overview: &Overview, style: TableStyle) -> String {
    let view = View::new(overview);
    let mut columns = columns(&view);
    let left_out = fit(&mut columns, style.width);
    let mut lines = vec![paint(&line(&columns, |column| &column.title), BOLD, style.colour)];
    let rule: usize = columns.iter().map(Column::width).sum::<usize>() + GAP.len() * (columns.len() - 1);
    lines.push("─".repeat(rule));
    lines.push(line(&columns, |column| &column.golden));
    for (place, point) in view.points.iter().enumerate() {
        let text = line(&columns, |column| &column.cells[place]);
        let is_low = view.is_within_margin(point) == Some(false);
        lines.push(if is_low { paint(&text, RED, style.colour) } else { text });
    }
    lines.extend(notes(&view, &left_out));
    lines.join("\n") + "\n"
}

struct Column {
    title: String,
    golden: String,
    /// One a point.
    cells: Vec<String>,
    /// Texts that begin together, not numbers that end together.
    left: bool,
    /// The higher, the sooner it is left out; 0 stays.
    spare: u8,
}

impl Column {
    fn width(&self) -> usize {
        let texts = self.cells.iter().chain([&self.title, &self.golden]);
        texts.map(|text| text.chars().count()).max().unwrap_or(0)
    }
}

fn columns(view: &View<'_>) -> Vec<Column> {
    let cells = |text: &dyn Fn(&PointSummary) -> String| view.points.iter().map(text).collect::<Vec<_>>();
    let column = |title: &str, golden: String, spare, text: &dyn Fn(&PointSummary) -> String| Column {
        title: title.into(),
        golden,
        cells: cells(text),
        left: false,
        spare,
    };
    let counts = &view.golden.metrics;
    let golden_nonfinite = counts.nonfinite as f64 / counts.images.max(1) as f64;
    let golden_nonfinite = match counts.knows("nonfinite") {
        true => format!("{} %", percent(golden_nonfinite, view.decimals("nonfinite", 1))),
        false => NONE.into(),
    };
    let share = |metric: &'static str| {
        let decimals = view.decimals(metric, 1);
        move |point: &PointSummary| {
            summary(point, metric)
                .map_or(NONE.into(), |summary| format!("{} %", percent(summary.mean, decimals)))
        }
    };
    let worst = |point: &PointSummary| {
        summary(point, view.headline())
            .map_or(NONE.into(), |summary| format!("{} %", percent(summary.min, 1)))
    };
    let kind = view.points.first().map_or("rate", |point| point.amount.kind());
    let failure = view.failure_name();
    let mut columns = vec![
        column(kind, "golden".into(), 0, &|point| point.amount.to_string()),
        column("trials", NONE.into(), 1, &|point| view.trials_text(point)),
        faults_column(view),
        accuracy_column(view),
        column("worst", NONE.into(), 2, &worst),
        column(failure, NONE.into(), 4, &share(view.failure())),
        column("non-finite", golden_nonfinite, 5, &share("nonfinite")),
        dropped_column(view),
    ];
    if view.is_protected() {
        let words = |metric: &'static str| {
            move |point: &PointSummary| summary(point, metric).map_or(NONE.into(), |words| plain(words.mean))
        };
        columns.push(column("corrected", NONE.into(), 6, &words("corrected")));
        columns.push(column("detected", NONE.into(), 6, &words("detected")));
        if has_guarded(view) {
            columns.push(column("guarded", NONE.into(), 6, &words("guarded")));
        }
    }
    if view.is_conditioned() {
        let weight =
            |point: &PointSummary| point.weight.map_or(NONE.into(), |weight| format!("{weight:.2e}"));
        columns.insert(2, column("P(fault)", NONE.into(), 1, &weight));
        let added = |point: &PointSummary| {
            let Some(overall) = point.metric("err").and_then(|metric| metric.overall) else {
                return NONE.into();
            };
            let ends = overall.change_interval.map(|ends| format!(" [{:.1e}, {:.1e}]", ends.lo, ends.hi));
            format!("{:.2e}{}", overall.change, ends.unwrap_or_default())
        };
        columns.push(Column { left: true, ..column("added error over all trials", "0".into(), 0, &added) });
    }
    columns
}

fn faults_column(view: &View<'_>) -> Column {
    let mean = |point| summary(point, "faults").map_or(NONE.into(), |summary| plain(summary.mean));
    let mut cells: Vec<String> = std::iter::once("0".into()).chain(view.points.iter().map(mean)).collect();
    align_points(&mut cells, ' ');
    Column { title: "faults".into(), golden: cells.remove(0), cells, left: false, spare: 3 }
}

fn accuracy_column(view: &View<'_>) -> Column {
    let decimals = view.decimals(view.headline(), 1);
    let mark = |point| if is_degenerate(point) { "*" } else { "" };
    let text = |point| estimate_text(point, view.headline(), decimals) + mark(point);
    let golden = view.golden.score();
    let golden = golden.map_or(NONE.into(), |score| format!("{} %", percent(score, decimals)));
    let cells = std::iter::once(golden).chain(view.points.iter().map(text)).collect();
    let mut cells = align_estimates(cells);
    let title = if view.golden.distance.is_some() { "within" } else { "accuracy" };
    Column { title: title.into(), golden: cells.remove(0), cells, left: true, spare: 0 }
}

fn dropped_column(view: &View<'_>) -> Column {
    let shares = view.points.iter().filter_map(|point| Some(point.dropped?.value));
    let decimals = percent_decimals(shares, 1);
    let text = |point: &PointSummary| {
        let Some(share) = point.dropped else { return NONE.into() };
        let interval = share
            .interval
            .map_or(String::new(), |interval| format!(" {}", interval_text(interval, decimals)));
        format!("{} %{interval}", percent(share.value, decimals))
    };
    let cells = align_estimates(view.points.iter().map(text).collect());
    Column { title: "dropped".into(), golden: NONE.into(), cells, left: true, spare: 1 }
}

/// Makes the percent signs of `91.2 % [90.8, 91.5]` stand below each other.
fn align_estimates(cells: Vec<String>) -> Vec<String> {
    let before = |cell: &str| cell.split_once('%').map(|(mean, _)| mean.chars().count());
    let most = cells.iter().filter_map(|cell| before(cell)).max().unwrap_or(0);
    let aligned = |cell: String| before(&cell).map_or(cell.clone(), |n| " ".repeat(most - n) + &cell);
    cells.into_iter().map(aligned).collect()
}

/// Leaves out what does not fit; returns the titles.
fn fit(columns: &mut Vec<Column>, width: Option<u16>) -> Vec<String> {
    let mut left_out = Vec::new();
    let Some(width) = width else { return left_out };
    loop {
        let wide = columns.iter().map(|column| column.width() + GAP.len()).sum::<usize>() - GAP.len();
        let spare = (0..columns.len()).max_by_key(|place| columns[*place].spare);
        match spare.filter(|place| columns[*place].spare > 0) {
            Some(place) if wide > usize::from(width) => left_out.push(columns.remove(place).title),
            _ => return left_out,
        }
    }
}

fn line<'a>(columns: &'a [Column], text: impl Fn(&'a Column) -> &'a str) -> String {
    let cell = |column: &'a Column| {
        let (text, width) = (text(column), column.width());
        if column.left { format!("{text:<width$}") } else { format!("{text:>width$}") }
    };
    columns.iter().map(cell).collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

fn paint(text: &str, colour: &str, wanted: bool) -> String {
    if wanted { format!("{colour}{text}{RESET}") } else { text.to_owned() }
}

fn intervals_note(view: &View<'_>) -> String {
    let (confidence, dropped) = (view.confidence(), view.dropped_kind());
    if !view.is_anytime() {
        return format!("[..]: {confidence} intervals over trials: t for means, {dropped} for dropped");
    }
    let looked = view.options.stop.map_or(String::new(), |goal| format!("{}, ", goal.metric));
    format!(
        "[..]: {confidence} intervals over trials, anytime-valid: betting for {looked}accuracy and SDC-1, empirical Bernstein for \
         other shares, {dropped} for dropped"
    )
}

/// Whether range guards had anything to do.
fn has_guarded(view: &View<'_>) -> bool {
    let is_any = |point| summary(point, "guarded").is_some_and(|guarded| guarded.max > 0.0);
    view.is_protected() && view.points.iter().any(is_any)
}

/// What a stopping rule asks for, and whether it got it.
fn rule_notes(view: &View<'_>) -> Vec<String> {
    let Some(rule) = view.rule_text() else { return Vec::new() };
    let mut notes = vec![format!("stopping rule: {rule}")];
    for point in view.points {
        let Some(stop) = point.stop else { continue };
        let verdict = if stop.is_met { "met" } else { "not met" };
        let [estimate, lo, hi] =
            [stop.estimate, stop.interval.lo, stop.interval.hi].map(|share| plain(100.0 * share));
        notes.push(format!(
            "  {} {}: {verdict} after {}, {} = {estimate} % [{lo}, {hi}]",
            point.amount.kind(),
            point.amount,
            counted(point.trials, "trial"),
            stop.metric,
        ));
    }
    notes
}

fn notes(view: &View<'_>, left_out: &[String]) -> Vec<String> {
    let mut notes = vec![
        intervals_note(view),
        format!("dropped: share of trials that lie more than {} below golden", view.margin()),
    ];
    if view.points.iter().any(is_degenerate) {
        notes.push("*: all trials equal; an interval without width is no certainty, see dropped".into());
    }
    notes.extend(rule_notes(view));
    if view.has_subsets() {
        notes.push(
            "trials ran on some of the images; means are over all, single trials may leave 0 to 100 %".into(),
        );
    }
    if view.is_weighted() {
        notes.push(
            "bits that matter were drawn more often; means are weighted, over the whole fault space".into(),
        );
    }
    if view.is_protected() {
        notes.push(
            "corrected, detected: code words a trial whose faults were corrected, or only detected".into(),
        );
    }
    if has_guarded(view) {
        notes.push("guarded: values a trial that range guards replaced".into());
    }
    if view.is_conditioned() {
        notes.push(
            "each trial has a fault; P(fault): how likely that is; over all trials: those without included"
                .into(),
        );
    }
    if view.is_partial() {
        let (done, planned) = view.progress();
        notes.push(format!("not finished: {}", trials_of_planned(done, planned)));
    }
    if view.points.is_empty() {
        notes.push(format!("no points; {}", counted(view.overview.trials, "trial")));
    }
    if !left_out.is_empty() {
        notes.push(format!("left out for width: {}", left_out.join(", ")));
    }
    notes
}
