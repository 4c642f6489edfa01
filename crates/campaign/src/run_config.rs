//! `[run]`: how to run.

use bitquake_record::METRICS;
use serde::{Deserialize, Serialize};

/// `[run]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Trials at each point, when no rule stops them.
    pub trials: u64,
    /// Images of a trial: `"all"`, a number (a random subset of its own for each trial), or `"auto"`: as many as the variances
    /// in a short pilot ask for.
    pub images: ImagesConfig,
    /// How the bits of single upsets are chosen.
    pub sampling: SamplingConfig,
    /// What computes the network.
    pub engine: EngineConfig,
    /// Images in one call of the engine.
    pub batch: u64,
    /// Threads; 0 stands for all cores.
    pub threads: u64,
    /// Confidence of the intervals, in (0, 1).
    pub confidence: f64,
    /// A trial counts as dropped when its accuracy lies more than this below the golden run's; a fraction.
    pub margin: f64,
    /// What need not be run again.
    pub reuse: ReuseConfig,
    /// When to stop before all trials are run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopConfig>,
}

/// `[run] images`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of images is expected, or \"all\" or \"auto\"")]
pub enum ImagesConfig {
    /// So many.
    Number(u64),
    /// By name.
    Named(ImagesRule),
}

/// Names of numbers of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImagesRule {
    /// All images of the data set.
    All,
    /// Chosen by a pilot.
    Auto,
}

/// `[run] sampling`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplingConfig {
    /// Every bit of the fault space alike.
    #[default]
    Uniform,
    /// Bits more often from strata (tensor and bit position) that earlier trials showed to matter, with weights that keep
    /// means unbiased. For single upsets of weights.
    Importance,
    /// Every bit of the fault space once. For single upsets of weights.
    Exhaustive,
}

/// `[run] engine`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineConfig {
    /// ONNX Runtime.
    #[default]
    OnnxRuntime,
    /// The project's own kernels: weights are edited where they are. Not for faults or codes in activations, which need a graph that is cut.
    Native,
    /// The faster of the two in a few trials before the golden run, which records it. Not for shards, whose clocks may disagree.
    Auto,
}

/// `[run.reuse]`: exact short cuts, each of which can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReuseConfig {
    /// Trials start at the first part of the network that their faults touch.
    pub prefix: bool,
    /// Images leave a trial where all their values are the golden ones again, bit for bit.
    pub reconvergence: bool,
    /// Where a trial has few images, a faulty weight's output channel is computed directly, so that many trials share one
    /// pass of the rest of the network.
    pub splice: bool,
    /// Mebibytes for golden values; beyond, they are computed again from those kept.
    pub memory_mb: u64,
}

/// `[run] stop`: a rule that looks at the results. Intervals are then such that looking does no harm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopConfig {
    /// The metric whose mean is asked for. By default `err`, the robust error; with `[outcome]`, `exceeded`.
    #[serde(default)]
    pub metric: String,
    /// Stop when the interval's half width is at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_width: Option<f64>,
    /// Stop when the half width is at most this share of the estimate; for rare events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<f64>,
    /// Confidence of the interval; that of `[run]` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Stop a point after so many trials in any case.
    #[serde(default = "default_max_trials")]
    pub max_trials: u64,
    /// Stop the run after so many seconds in any case; running it again goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
}

/// The missing trials of a point are told by a bit each.
const MOST_TRIALS: u64 = 1 << 32;
/// Beyond this the ends of intervals are lost in rounding.
const MOST_CONFIDENCE: f64 = 1.0 - 1e-9;
/// Each thread may hold a copy of the model.
const MOST_THREADS: u64 = 1024;

fn default_max_trials() -> u64 {
    1_000_000
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            trials: 50,
            images: ImagesConfig::Named(ImagesRule::All),
            sampling: SamplingConfig::Uniform,
            engine: EngineConfig::default(),
            batch: 16,
            threads: 0,
            confidence: 0.95,
            margin: 0.01,
            reuse: ReuseConfig::default(),
            stop: None,
        }
    }
}

impl Default for ReuseConfig {
    fn default() -> Self {
        Self { prefix: true, reconvergence: true, splice: true, memory_mb: 4096 }
    }
}

impl RunConfig {
    /// `has_classes`: whether the model is a classifier.
    pub(crate) fn check(&self, has_classes: bool) -> Result<(), String> {
        if self.trials == 0 {
            return Err("[run] trials is 0: there is nothing to run".into());
        }
        if self.trials > MOST_TRIALS {
            return Err(format!("[run] trials {} is more than {MOST_TRIALS}", self.trials));
        }
        if self.threads > MOST_THREADS {
            let threads = self.threads;
            return Err(format!("[run] threads {threads} is more than {MOST_THREADS}; 0 takes all cores"));
        }
        if self.batch == 0 {
            return Err("[run] batch is 0: give the number of images in one call of the engine".into());
        }
        if self.images == ImagesConfig::Number(0) {
            return Err("[run] images is 0: a trial needs images".into());
        }
        if self.images == ImagesConfig::Named(ImagesRule::Auto) && self.stop.is_none() {
            return Err("[run] images = \"auto\" needs stop: the interval asked for decides".into());
        }
        check_confidence(self.confidence).map_err(|reason| format!("[run] {reason}"))?;
        if !(0.0..=1.0).contains(&self.margin) {
            return Err(format!("[run] margin {} is not a fraction in [0, 1]", self.margin));
        }
        self.stop.as_ref().map_or(Ok(()), |stop| stop.check(has_classes))
    }

    /// The most trials that a point may get.
    #[must_use]
    pub fn most_trials(&self) -> u64 {
        self.stop.as_ref().map_or(self.trials, |stop| stop.max_trials)
    }

    /// Confidence of the interval that a stopping rule looks at.
    #[must_use]
    pub fn stop_confidence(&self) -> f64 {
        self.stop.as_ref().and_then(|stop| stop.confidence).unwrap_or(self.confidence)
    }
}

fn check_confidence(confidence: f64) -> Result<(), String> {
    bitquake_stats::check_confidence(confidence).map_err(|error| error.to_string())?;
    if confidence > MOST_CONFIDENCE {
        return Err(format!(
            "confidence {confidence} is above 1 - 1e-9: intervals cannot be told that surely"
        ));
    }
    Ok(())
}

impl StopConfig {
    /// Whether nothing is looked at but the time.
    pub(crate) fn is_time_alone(&self) -> bool {
        self.half_width.is_none() && self.relative.is_none()
    }

    fn check(&self, has_classes: bool) -> Result<(), String> {
        let positive = |key: &str, value: Option<f64>| match value {
            Some(value) if !(value > 0.0 && value.is_finite()) => {
                Err(format!("[run] stop: {key} {value} is not a positive number"))
            }
            _ => Ok(()),
        };
        positive("half_width", self.half_width)?;
        positive("relative", self.relative)?;
        positive("max_seconds", self.max_seconds)?;
        if self.half_width.is_none() && self.relative.is_none() && self.max_seconds.is_none() {
            return Err("[run] stop needs half_width, relative or max_seconds".into());
        }
        if !(1..=MOST_TRIALS).contains(&self.max_trials) {
            return Err(format!("[run] stop: max_trials {} is not in 1..={MOST_TRIALS}", self.max_trials));
        }
        if let Some(confidence) = self.confidence {
            check_confidence(confidence).map_err(|reason| format!("[run] stop: {reason}"))?;
        }
        self.check_metric(has_classes)
    }

    fn check_metric(&self, has_classes: bool) -> Result<(), String> {
        let found = METRICS.iter().find(|metric| metric.name == self.metric);
        if found.is_some_and(|metric| metric.is_of(has_classes)) {
            return Ok(());
        }
        let what = match found {
            None => "is not known",
            Some(metric) if !metric.is_share => "has no bounds",
            Some(_) if has_classes => "goes with [outcome]",
            Some(_) => "is of classifiers, without [outcome]",
        };
        let shares = METRICS.iter().filter(|metric| metric.is_of(has_classes));
        let shares = shares.map(|metric| metric.name).collect::<Vec<_>>().join(", ");
        Err(format!("[run] stop: metric `{}` {what}; a rule can look at {shares}", self.metric))
    }
}
