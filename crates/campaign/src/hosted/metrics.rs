//! Numbers that a host judges its network by itself.

use std::collections::BTreeMap;

use bitquake_config::hex;
use bitquake_record::{Counts, HostRecord, METRICS, TrialRecord};
use sha2::{Digest, Sha256};

use super::error::{HostedError, MetricProblem};

/// Metrics that are counts of images, by the names of the fields of a [`TrialRecord`].
pub const KNOWN_COUNTS: [&str; 5] = ["images", "correct", "top5_correct", "golden_mismatch", "nonfinite"];
const IMAGES: &str = "images";
const CORRECT: &str = "correct";
const ACCURACY: &str = "accuracy";
const LOSS: &str = "loss";
/// An `f64` counts as far as that.
const MOST: f64 = (1_u64 << 53) as f64;
/// How far an accuracy may lie from a number of images, for each of them: some roundings of a 32-bit float.
const ROUNDING: f64 = 1e-6;

/// What a host told of one run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HostMetrics {
    /// All numbers as they were given.
    given: BTreeMap<String, f64>,
    counts: BTreeMap<&'static str, u64>,
    /// Mean cross-entropy, if it is there and finite.
    loss: Option<f64>,
    own: BTreeMap<String, Option<f64>>,
}

/// Whether a number would stand in the place of a metric that every campaign has.
fn is_ours(name: &str) -> bool {
    let is_told = KNOWN_COUNTS.contains(&name) || [ACCURACY, LOSS].contains(&name);
    !is_told && METRICS.iter().any(|metric| metric.name == name)
}

impl HostMetrics {
    /// Sorts what a host told: counts of images ([`KNOWN_COUNTS`]), `accuracy`, `loss`, and numbers of its own.
    pub(super) fn new<N: Into<String>>(
        told: impl IntoIterator<Item = (N, f64)>,
    ) -> Result<Self, HostedError> {
        let mut given = BTreeMap::new();
        for (name, value) in told {
            let name = name.into();
            let problem = match given.contains_key(&name) {
                _ if name.trim().is_empty() => MetricProblem::NoName,
                true => MetricProblem::Repeated,
                false if is_ours(&name) => MetricProblem::Taken,
                false => {
                    given.insert(name, value);
                    continue;
                }
            };
            return Err(HostedError::Metric { name, value, problem });
        }
        if given.is_empty() {
            return Err(HostedError::NoMetrics);
        }
        let mut counts = counts(&given)?;
        let is_own = |name: &str| !KNOWN_COUNTS.contains(&name) && ![ACCURACY, LOSS].contains(&name);
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let own = given.iter().filter(|(name, _)| is_own(name));
        let mut own: BTreeMap<_, _> = own.map(|(name, value)| (name.clone(), finite(*value))).collect();
        if let Some(&accuracy) = given.get(ACCURACY) {
            match counts.get(IMAGES) {
                Some(&images) => {
                    let correct = correct_of(accuracy, images, counts.get(CORRECT).copied())?;
                    counts.insert(CORRECT, correct);
                }
                None => drop(own.insert(ACCURACY.into(), Some(checked_share(accuracy)?))),
            }
        }
        check_order(&counts)?;
        let loss = given.get(LOSS).copied().and_then(finite);
        Ok(Self { given, counts, loss, own })
    }

    /// That the names are those of the golden run.
    pub(super) fn check_names(&self, golden: &Self) -> Result<(), HostedError> {
        let lacks = |of: &Self, other: &Self| -> Vec<String> {
            of.given.keys().filter(|name| !other.given.contains_key(*name)).cloned().collect()
        };
        let (missing, unknown) = (lacks(golden, self), lacks(self, golden));
        if missing.is_empty() && unknown.is_empty() {
            return Ok(());
        }
        Err(HostedError::MetricNames { missing, unknown })
    }

    /// The first number, by name, that differs from the golden run's: its name, the golden number and this one. One NaN is as good as
    /// another.
    pub(super) fn difference(&self, golden: &Self) -> Option<(String, f64, f64)> {
        let differs = |a: f64, b: f64| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
        let mut pairs =
            golden.given.iter().filter_map(|(name, value)| Some((name, *value, *self.given.get(name)?)));
        pairs.find(|(_, a, b)| differs(*a, *b)).map(|(name, a, b)| (name.clone(), a, b))
    }

    /// SHA-256 over names and numbers, bit for bit.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in &self.given {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update(value.to_bits().to_le_bytes());
        }
        hex(&hash.finalize())
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    fn host(&self) -> HostRecord {
        HostRecord { counts: self.counts.keys().map(ToString::to_string).collect(), own: self.own.clone() }
    }

    /// A record with these numbers.
    pub(super) fn record(&self, faults: TrialRecord) -> TrialRecord {
        TrialRecord {
            images: self.count(IMAGES),
            correct: self.count(CORRECT),
            top5_correct: self.count("top5_correct"),
            golden_mismatch: self.count("golden_mismatch"),
            nonfinite: self.count("nonfinite"),
            loss: self.loss,
            host: Some(self.host()),
            ..faults
        }
    }

    /// The same as those of a golden run.
    pub(super) fn golden_counts(&self) -> Counts {
        Counts {
            images: self.count(IMAGES),
            classes: 0,
            correct: self.count(CORRECT),
            top5_correct: self.count("top5_correct"),
            nonfinite: self.count("nonfinite"),
            loss: self.loss,
            host: Some(self.host()),
        }
    }
}

fn wrong(name: &str, value: f64, problem: MetricProblem) -> HostedError {
    HostedError::Metric { name: name.into(), value, problem }
}

/// The counts of images.
fn counts(given: &BTreeMap<String, f64>) -> Result<BTreeMap<&'static str, u64>, HostedError> {
    let mut counts = BTreeMap::new();
    // `images` comes first in the table.
    for name in KNOWN_COUNTS {
        let Some(&value) = given.get(name) else { continue };
        let is_count = value.fract() == 0.0 && (0.0..=MOST).contains(&value);
        let problem = match counts.get(IMAGES) {
            _ if !is_count => MetricProblem::NoCount,
            _ if name == IMAGES && value == 0.0 => MetricProblem::NoImages,
            None if name != IMAGES => MetricProblem::NeedsImages,
            Some(&images) if value as u64 > images => MetricProblem::BeyondImages { images },
            _ => {
                counts.insert(name, value as u64);
                continue;
            }
        };
        return Err(wrong(name, value, problem));
    }
    Ok(counts)
}

/// That the images whose label is the best class are among those whose label is among the best five.
fn check_order(counts: &BTreeMap<&'static str, u64>) -> Result<(), HostedError> {
    match (counts.get(CORRECT), counts.get("top5_correct")) {
        (Some(&correct), Some(&top5)) if top5 < correct => {
            Err(wrong("top5_correct", top5 as f64, MetricProblem::BelowCorrect { correct }))
        }
        _ => Ok(()),
    }
}

fn checked_share(accuracy: f64) -> Result<f64, HostedError> {
    match (0.0..=1.0).contains(&accuracy) {
        true => Ok(accuracy),
        false => Err(wrong(ACCURACY, accuracy, MetricProblem::NoShare)),
    }
}

/// The number of images that an accuracy stands for, `counted` if that was told besides.
fn correct_of(accuracy: f64, images: u64, counted: Option<u64>) -> Result<u64, HostedError> {
    let exact = checked_share(accuracy)? * images as f64;
    let nearest = exact.round();
    let correct = nearest as u64;
    if let Some(counted) = counted.filter(|counted| *counted != correct) {
        let counted = counted as f64 / images as f64;
        return Err(wrong(ACCURACY, accuracy, MetricProblem::Disagrees { counted }));
    }
    if (exact - nearest).abs() > ROUNDING * images as f64 {
        return Err(wrong(ACCURACY, accuracy, MetricProblem::NoShareOf { images }));
    }
    Ok(correct)
}
