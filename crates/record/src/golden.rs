//! What is known before the first trial.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::HostRecord;
use crate::trial::{Amount, share};

/// Trials drawn with known probabilities count at most so much: [`TrialRecord::weight`](crate::TrialRecord::weight).
pub const LARGEST_WEIGHT: f64 = 5.0;

/// `golden.json`: the fault-free run, and everything that identifies the campaign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Version of the files in this directory.
    pub schema: u32,
    /// The bitquake that wrote it.
    pub bitquake: String,
    /// The campaign's name; not part of its identity.
    pub name: String,
    /// SHA-256 over [`identity`](Self::identity).
    pub campaign: String,
    /// Everything that decides results, by key.
    pub identity: BTreeMap<String, String>,
    /// What evaluated the model.
    pub engine: Engine,
    /// Where.
    pub machine: Machine,
    /// The model's file name and what is stored in it.
    pub storage: StorageRecord,
    /// The points, in order.
    pub points: Vec<PointPlan>,
    /// The parts of the fault space that stratified points draw from, in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strata: Vec<StratumRecord>,
    /// Whether a pilot settled how many images the trials of each point run on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub images_settled: bool,
    /// The activations and inputs that are stored as codes, with the ranges of their quantizers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activations: Vec<ActivationRecord>,
    /// For models that are no classifiers, when outputs count as failed; then the metrics that need labels do not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<DistanceRule>,
    /// How the golden run did.
    pub metrics: Counts,
    /// SHA-256 over all golden outputs, bit for bit: a resumed campaign must reproduce it.
    pub outputs: String,
    /// Wall time of the golden run.
    pub seconds: f64,
}

impl Golden {
    /// What [`TrialRecord::score`](crate::TrialRecord::score) gives without faults: the golden accuracy, or 1 for models that are
    /// no classifiers. None where a host tells no accuracy.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        if self.distance.is_some() { Some(1.0) } else { self.metrics.known_accuracy() }
    }
}

/// What evaluated the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it was set up.
    pub settings: String,
    /// Images in one call.
    pub batch: u64,
}

/// Where the campaign ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Threads used.
    pub threads: u64,
    /// Operating system and architecture.
    pub system: String,
}

/// The model and its fault space.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StorageRecord {
    /// The model's file name, without its folder.
    pub model: String,
    /// What the memory holds of it, for people: the quantizer and the protections.
    #[serde(default)]
    pub memory: String,
    /// Bits that the protections add to the memory.
    #[serde(default)]
    pub check_bits: u64,
    /// Bits that may be hit.
    pub bits: u64,
    /// The tensors that may be hit.
    pub tensors: Vec<SpaceTensorRecord>,
}

/// One tensor of the fault space.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpaceTensorRecord {
    /// Its name.
    pub tensor: String,
    /// Its number format.
    pub format: String,
    /// Its number of elements.
    pub elements: u64,
    /// How many of its bits may be hit.
    pub bits: u64,
    /// Its shape, if known: `elements` is the product. The first axis is that of channels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<u64>,
}

/// A value that is stored as codes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActivationRecord {
    /// Its name.
    pub value: String,
    /// The number format of its codes.
    pub format: String,
    /// The smallest and the largest number that quantizing leaves about where it is, of each unit with a scale of its own.
    pub ranges: Vec<(f32, f32)>,
    /// The distance of neighbouring levels, of each such unit.
    pub scales: Vec<f32>,
}

/// A part of the fault space: the selected bits of some tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StratumRecord {
    /// Its name, for people.
    pub name: String,
    /// The tensors.
    pub tensors: Vec<String>,
    /// The bit positions.
    pub bits: Vec<u32>,
    /// How many bits of the fault space it holds: the population that its trials stand for.
    pub sites: u64,
}

/// When the outputs of a model that is no classifier count as failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistanceRule {
    /// Which distance.
    pub measure: DistanceMeasure,
    /// The largest distance, or the smallest cosine similarity, that is no failure.
    pub threshold: f64,
}

/// A distance between outputs; [`DistanceRecord`](crate::DistanceRecord) says what each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistanceMeasure {
    /// Largest absolute difference.
    MaxAbs,
    /// Relative Euclidean distance.
    RelL2,
    /// Cosine similarity.
    Cosine,
}

/// How the trials of a point are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each trial independently, over the whole fault space, of which every bit is as likely to be hit as every other.
    #[default]
    Uniform,
    /// Each trial independently, by a fault model that hits some bits sooner than others, or with faults in other state at the same time:
    /// trials with a single fault tell nothing of how vulnerable the memory is.
    Uneven,
    /// Each trial within one of [`Golden::strata`]: means over trials are weighted by the strata's sites.
    Stratified,
    /// Trial after trial through every bit of the fault space.
    Exhaustive,
}

/// One point of the campaign.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointPlan {
    /// The point, from 0.
    pub point: u32,
    /// Its rate or count.
    pub amount: Amount,
    /// Bits expected to change in a trial; none where that depends on what is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_faults: Option<f64>,
    /// With `at_least = 1`, the probability that a trial has a fault at all: what means over trials are weighted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Images that each trial runs on, a random subset of its own; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// How its trials are drawn.
    #[serde(default, skip_serializing_if = "Sampling::is_uniform")]
    pub sampling: Sampling,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Sampling {
    fn is_uniform(&self) -> bool {
        *self == Self::Uniform
    }
}

impl PointPlan {
    /// A point whose trials are drawn uniformly and without a condition.
    #[must_use]
    pub fn new(point: u32, amount: Amount) -> Self {
        Self { point, amount, expected_faults: None, weight: None, images: None, sampling: Sampling::Uniform }
    }
}

/// How the golden run did, in images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Images evaluated.
    pub images: u64,
    /// Classes of the model.
    pub classes: u64,
    /// Images whose label is the best class.
    pub correct: u64,
    /// Images whose label is among the best five.
    pub top5_correct: u64,
    /// Images with a NaN or an infinity among their outputs.
    pub nonfinite: u64,
    /// Mean cross-entropy in nats; none when it is not finite.
    pub loss: Option<f64>,
    /// What the host told that ran the network and judged it itself, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostRecord>,
}

impl Counts {
    /// Share of images whose label is the best class.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        share(self.correct, self.images)
    }

    /// The same as far as it is known: what a host told as a bare number, none where it told none.
    #[must_use]
    pub fn known_accuracy(&self) -> Option<f64> {
        match &self.host {
            Some(host) if !host.knows("correct") => host.accuracy(),
            _ => Some(self.accuracy()),
        }
    }

    /// Whether a count, by the name of its field, is known: always, unless a host tells the numbers.
    #[must_use]
    pub fn knows(&self, count: &str) -> bool {
        self.host.as_ref().is_none_or(|host| host.knows(count))
    }
}
