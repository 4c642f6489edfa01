//! The HTML page.

use std::path::Path;

use bitquake_record::{Golden, HostRecord, Overview};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use crate::accuracy::accuracy_plot;
use crate::bit_flips::{BitFlips, bit_flips};
use crate::error::ReportError;
use crate::escape::write_escaped;
use crate::figure::Figure;
use crate::number::{NONE, counted, grouped, percent, plain};
use crate::outcomes::{OutcomeFigures, outcome_figures};
use crate::shares::shares_plot;
use crate::summary_tables::{MetricTable, PointRow, metric_tables, point_rows};
use crate::tensor_flips::{TensorFlips, tensor_flips};
use crate::verdict::{Verdict, verdict};
use crate::view::{Exposed, View, short_percent};
use crate::vulnerability::{VulnerabilitySection, vulnerability_section};
use crate::worst::{WorstRow, replay_text, worst_rows};

/// Templates by name; names that end in `.html` are escaped.
const TEMPLATES: [(&str, &str); 10] = [
    ("curves.html", include_str!("../templates/curves.html")),
    ("report.html", include_str!("../templates/report.html")),
    ("figures.html", include_str!("../templates/figures.html")),
    ("vulnerability.html", include_str!("../templates/vulnerability.html")),
    ("tables.html", include_str!("../templates/tables.html")),
    ("guide.html", include_str!("../templates/guide.html")),
    ("trade.html", include_str!("../templates/trade.html")),
    ("setup.html", include_str!("../templates/setup.html")),
    ("head.html", include_str!("../templates/head.html")),
    ("report.css", include_str!("../templates/report.css")),
];

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct ReportInput<'a> {
    /// What there is to show.
    pub overview: &'a Overview,
    /// The result directory, as replay commands shall name it.
    pub dir: &'a Path,
}

/// The whole page, self-contained: no scripts, nothing from the network, every text from a record escaped.
///
/// Partial campaigns, points without trials and trials without points all have a report.
///
/// # Errors
/// [`ReportError::Template`] when a template cannot be filled in, which no record should cause.
pub fn html(input: &ReportInput<'_>) -> Result<String, ReportError> {
    render("report.html", &Page::new(&View::new(input.overview), input.dir))
}

/// Fills in a template.
pub(crate) fn render(template: &str, page: &impl Serialize) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_formatter(write_escaped);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment.get_template(template)?.render(Serde(page))?)
}

/// What `report.html` shows.
#[derive(Debug, Serialize)]
struct Page<'a> {
    name: &'a str,
    model: &'a str,
    memory: &'a str,
    bitquake: &'a str,
    amount_name: &'static str,
    margin: String,
    confidence: String,
    verdict: Verdict,
    /// None where trials have no score.
    accuracy: Option<Figure>,
    /// None where a host tells no such shares.
    shares: Option<Figure>,
    outcomes: Option<OutcomeFigures>,
    /// Words for the intervals of means and of dropped trials.
    interval_kind: &'static str,
    dropped_kind: &'static str,
    is_anytime: bool,
    is_weighted: bool,
    has_subsets: bool,
    bits: BitFlips,
    tensors: TensorFlips,
    vulnerability: Option<VulnerabilitySection>,
    headline: &'static str,
    failure: &'static str,
    golden: GoldenRow,
    points: Vec<PointRow>,
    /// Whether the signs explained below the main table occur in it.
    has_low: bool,
    has_equal: bool,
    has_trials: bool,
    metrics: Vec<MetricTable>,
    worst: Vec<WorstRow>,
    replay_text: &'static str,
    /// A host ran the network.
    is_hosted: bool,
    /// Whether there are faulty models to write.
    has_models: bool,
    golden_facts: Vec<Fact>,
    setup: Vec<Fact>,
    identity: Vec<Fact>,
    campaign: &'a str,
}

/// The golden run's row in the main table; shares in percent.
#[derive(Debug, Serialize)]
struct GoldenRow {
    accuracy: String,
    nonfinite: String,
}

/// A name and its value.
#[derive(Debug, Serialize)]
struct Fact {
    name: String,
    value: String,
    /// A value made for machines, such as a digest.
    code: bool,
}

impl<'a> Page<'a> {
    fn new(view: &View<'a>, dir: &Path) -> Self {
        let golden = &view.golden;
        let points = point_rows(view);
        Self {
            name: &golden.name,
            model: &golden.storage.model,
            memory: &golden.storage.memory,
            bitquake: &golden.bitquake,
            amount_name: view.amount_name(),
            margin: view.margin(),
            confidence: short_percent(view.options.confidence),
            verdict: verdict(view),
            accuracy: view.has_score().then(|| accuracy_plot(view)),
            shares: view.has_shares().then(|| shares_plot(view)),
            outcomes: outcome_figures(view),
            interval_kind: view.interval_kind(),
            dropped_kind: view.dropped_kind(),
            is_anytime: view.is_anytime(),
            is_weighted: view.is_weighted(),
            has_subsets: view.has_subsets(),
            bits: bit_flips(view),
            tensors: tensor_flips(view),
            vulnerability: vulnerability_section(view.overview),
            headline: view.headline_name(),
            failure: view.failure_name(),
            golden: golden_row(view),
            has_low: points.iter().any(|row| row.low),
            has_equal: points.iter().any(|row| row.degenerate),
            has_trials: view.overview.trials > 0,
            points,
            metrics: metric_tables(view),
            worst: worst_rows(view, dir),
            replay_text: replay_text(view),
            is_hosted: view.is_hosted,
            has_models: view.exposed != Exposed::Values,
            golden_facts: golden_facts(view),
            setup: setup(golden),
            identity: golden.identity.iter().map(|(key, value)| code(key, value)).collect(),
            campaign: &view.overview.campaign,
        }
    }
}

fn fact(name: &str, value: impl ToString) -> Fact {
    Fact { name: name.into(), value: value.to_string(), code: false }
}

fn code(name: &str, value: &str) -> Fact {
    Fact { name: name.into(), value: value.into(), code: true }
}

fn golden_row(view: &View<'_>) -> GoldenRow {
    let counts = &view.golden.metrics;
    let nonfinite = Some(part(counts.nonfinite, counts.images)).filter(|_| counts.knows("nonfinite"));
    let text = |share: Option<f64>, metric| {
        share.map_or(NONE.into(), |share| percent(share, view.decimals(metric, 2)))
    };
    GoldenRow {
        accuracy: text(view.golden.score(), view.headline()),
        nonfinite: text(nonfinite, "nonfinite"),
    }
}

fn part(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn golden_facts(view: &View<'_>) -> Vec<Fact> {
    let golden = &view.golden;
    let counts = &golden.metrics;
    if let Some(host) = &counts.host {
        return told_facts(golden, host);
    }
    let share = |n: u64| {
        format!("{} % ({} of {})", percent(part(n, counts.images), 2), grouped(n), grouped(counts.images))
    };
    let of_labels = [
        fact("accuracy (top-1)", share(counts.correct)),
        fact("top-5 accuracy", share(counts.top5_correct)),
        fact(
            "cross-entropy loss",
            counts.loss.map_or("not finite".into(), |loss| format!("{} nats", plain(loss))),
        ),
    ];
    let rest = [
        fact("images with NaN or infinity", grouped(counts.nonfinite)),
        fact("images", grouped(counts.images)),
        fact("classes", grouped(counts.classes)),
        fact("wall time", format!("{} s", plain(golden.seconds))),
        code("outputs (SHA-256)", &golden.outputs),
    ];
    of_labels.into_iter().filter(|_| golden.distance.is_none()).chain(rest).collect()
}

/// What a host told of the golden run.
fn told_facts(golden: &Golden, host: &HostRecord) -> Vec<Fact> {
    let counts = &golden.metrics;
    let number = |name: &str| match name {
        "images" => counts.images,
        "correct" => counts.correct,
        "top5_correct" => counts.top5_correct,
        "nonfinite" => counts.nonfinite,
        _ => 0,
    };
    let told = host.counts.iter().map(|name| fact(name, grouped(number(name))));
    let loss = counts.loss.map(|loss| fact("loss", format!("{} nats", plain(loss))));
    let own = host.own.iter().map(|(name, value)| fact(name, value.map_or("not finite".into(), plain)));
    let rest = [
        fact("wall time", format!("{} s", plain(golden.seconds))),
        code("metrics (SHA-256)", &golden.outputs),
    ];
    told.chain(loss).chain(own).chain(rest).collect()
}

fn setup(golden: &Golden) -> Vec<Fact> {
    let (engine, machine, storage) = (&golden.engine, &golden.machine, &golden.storage);
    let tensors = counted(storage.tensors.len() as u64, "tensor");
    let or_none = |text: &str| if text.is_empty() { NONE.to_owned() } else { text.to_owned() };
    vec![
        fact("model", or_none(&storage.model)),
        fact("memory", or_none(&storage.memory)),
        fact("check bits and copies", counted(storage.check_bits, "bit")),
        fact("fault space", format!("{} in {tensors}", counted(storage.bits, "bit"))),
        fact("engine", format!("{} {}", engine.name, engine.version)),
        fact("engine settings", or_none(&engine.settings)),
        fact("batch", counted(engine.batch, "image")),
        fact("threads", grouped(machine.threads)),
        fact("processor", or_none(&machine.cpu)),
        fact("system", or_none(&machine.system)),
        fact("bitquake", &golden.bitquake),
        fact("schema of the records", golden.schema),
        code("campaign id", &golden.campaign),
    ]
}
