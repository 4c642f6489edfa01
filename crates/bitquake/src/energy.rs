//! Energy: the crate, and what it takes to place the results of campaigns.

mod page;
mod reading;

pub use bitquake_energy::*;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitquake_config::Target;
use bitquake_record::{Amount, MetricSummary, PointSummary, RecordError, ResultDir, write_atomically};
use bitquake_report::trade_html;
use serde::Serialize;

use crate::error::Error;
use crate::results::summarised;

/// The metric that is traded for energy.
const METRIC: &str = "err";

/// The file with all numbers.
pub const ENERGY_JSON: &str = "energy.json";
/// The file with a row a point.
pub const ENERGY_CSV: &str = "energy.csv";
/// The page.
pub const ENERGY_HTML: &str = "energy.html";

const MIXED: &str =
    "the networks are judged on different images: intervals tell how trials differ, not how images do";

/// How a campaign judges its network.
struct Judged {
    /// What its identity says of the images.
    images: BTreeMap<String, String>,
    /// That of its intervals.
    confidence: f64,
}

/// What an energy file and the results of campaigns come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EnergyResults {
    /// The file.
    pub file: EnergyFile,
    /// The curve in words.
    pub curve: String,
    /// The curve at some points.
    pub points: Vec<CurvePoint>,
    /// The networks and their points; none without networks.
    pub trade: Option<Trade>,
    /// For each loss of the budget the lowest energy of each network.
    pub budget: Vec<Budget>,
    /// What to know before the networks are compared.
    pub warnings: Vec<String>,
}

/// The lowest energies within a loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Budget {
    /// By how much the error may rise.
    pub loss: f64,
    /// A network each.
    pub lowest: Vec<Lowest>,
}

/// Reads the curve, and places the results of the campaigns that the file names, and of `more`.
///
/// # Errors
/// [`Error::Energy`] for a curve that is none, networks of the same name, and one without a point on the curve. [`Error::Record`] and others for
/// results that cannot be read, of campaigns with faults elsewhere than in weights, with counts in place of rates or voltages, or without
/// labels, and for a model that is not the one that the campaign ran.
pub fn trade(file: EnergyFile, more: &[PathBuf]) -> Result<EnergyResults, Error> {
    let curve = Curve::new(&file.curve)?;
    let named = file.models.iter().map(|model| (model.results.as_path(), model.name.as_deref()));
    let entries = named.chain(more.iter().map(|dir| (dir.as_path(), None)));
    let mut judged: Vec<Judged> = Vec::new();
    let contenders = entries
        .map(|(dir, name)| contender(&ResultDir::at(dir), name, file.access.reads, &mut judged))
        .collect::<Result<Vec<_>, _>>()?;
    let warnings = warnings(&judged);
    let trade = if contenders.is_empty() { None } else { Some(Trade::new(&curve, contenders)?) };
    let budget = |trade: &Trade| {
        let of = |&loss: &f64| Budget { loss, lowest: trade.lowest(loss, file.budget.from) };
        file.budget.loss.iter().map(of).collect()
    };
    Ok(EnergyResults {
        curve: curve.told(),
        points: curve.points(),
        budget: trade.as_ref().map(budget).unwrap_or_default(),
        trade,
        file,
        warnings,
    })
}

fn warnings(judged: &[Judged]) -> Vec<String> {
    let mut warnings = Vec::new();
    if judged.windows(2).any(|pair| pair[0].images != pair[1].images) {
        warnings.push(MIXED.to_owned());
    }
    let mut confidences: Vec<f64> = judged.iter().map(|one| one.confidence).collect();
    confidences.sort_by(f64::total_cmp);
    confidences.dedup();
    if confidences.len() > 1 {
        let all: Vec<String> = confidences.iter().map(f64::to_string).collect();
        warnings.push(format!(
            "the intervals of the networks have different confidences ({}): give their campaigns one [run] confidence",
            all.join(", ")
        ));
    }
    warnings
}

/// The network of a campaign; how it is judged is added to a list.
fn contender(
    dir: &ResultDir,
    name: Option<&str>,
    reads: Reads,
    judged: &mut Vec<Judged>,
) -> Result<Contender, Error> {
    let (overview, config) = summarised(dir)?;
    let of_data = overview.golden.identity.iter().filter(|(key, _)| key.starts_with("data"));
    let images = of_data.map(|(key, value)| (key.clone(), value.clone())).collect();
    judged.push(Judged { images, confidence: overview.options.confidence });
    let invalid =
        |reason: &str| RecordError::Invalid { path: dir.path().to_owned(), reason: reason.to_owned() };
    let Some(config) = config.own() else {
        return Err(
            invalid("a host ran its network: energy needs the model file, to know how it is read").into()
        );
    };
    if config.fault.target() != Target::Weights || config.fault.also.is_some() {
        return Err(invalid(
            "faults in activations have no place here: energy is that of the memory of the weights",
        )
        .into());
    }
    if !config.fault.is_even() && config.fault.chips().next().is_none() {
        return Err(invalid(
            "its faults are no bit errors at one rate for every bit, nor those of a chip: a memory is set to neither",
        )
        .into());
    }
    if overview.golden.distance.is_some() {
        return Err(
            invalid("the network is no classifier: there is no test error to trade for energy").into()
        );
    }
    let points: Vec<Measured> = overview.points.iter().filter_map(measured).collect();
    if points.is_empty() {
        return Err(invalid("it has no finished trials").into());
    }
    if let Some(other) = points.iter().find(|point| !is_setting(point.amount)) {
        let reason = format!(
            "its points are {}s: energy needs bit error rates or voltages, which a memory can be set to",
            other.amount.kind()
        );
        return Err(invalid(&reason).into());
    }
    Ok(Contender {
        name: name.unwrap_or(&overview.golden.name).to_owned(),
        reading: reading::reading(config, &overview.golden, dir, reads)?,
        clean: 1.0 - overview.golden.metrics.accuracy(),
        points,
    })
}

fn is_setting(amount: Amount) -> bool {
    matches!(amount, Amount::Rate(_) | Amount::Voltage(_))
}

/// The error at a point; none before its first trial. Where trials were drawn given that they have a fault, that over all trials.
fn measured(point: &PointSummary) -> Option<Measured> {
    let MetricSummary { summary, interval, overall, .. } = point.metric(METRIC)?;
    let (error, interval) =
        overall.map_or((summary.as_ref()?.mean, *interval), |overall| (overall.mean, overall.interval));
    Some(Measured { amount: point.amount, error, interval })
}

/// Writes `energy.json`, and, if there are networks, `energy.csv` and `energy.html`; returns the files.
///
/// # Errors
/// [`Error::Record`] for a file that cannot be written, [`Error::Report`] for more networks than a picture can tell apart.
pub fn write(results: &EnergyResults, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    ResultDir::at(dir).create()?;
    let json = serde_json::to_string_pretty(results)
        .map_err(|error| RecordError::Invalid { path: dir.join(ENERGY_JSON), reason: error.to_string() })?;
    let mut texts = vec![(ENERGY_JSON, json + "\n")];
    if let Some(trade) = &results.trade {
        texts.push((ENERGY_CSV, page::csv(results, trade)));
        texts.push((ENERGY_HTML, trade_html(&page::page(results, trade))?));
    }
    for (name, text) in &texts {
        write_atomically(&dir.join(name), text.as_bytes())?;
    }
    Ok(texts.iter().map(|(name, _)| dir.join(name)).collect())
}
