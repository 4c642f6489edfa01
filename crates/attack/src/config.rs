//! What an attack file says.

use std::path::PathBuf;

use bitquake_bits::BitSelection;
use bitquake_config::{
    ConfigError, FaultConfig, Layout, ModelConfig, Target, default_dir, fill_storage, read_layers,
};
use bitquake_data::DataConfig;
use bitquake_grad::Device;
use bitquake_stats::check_confidence;
use bitquake_storage::StorageSpec;
use serde::{Deserialize, Serialize};

use crate::ascent::AscentConfig;
use crate::error::AttackError;
use crate::limits::Limits;
use crate::objective::Objective;
use crate::search::SearchConfig;
use crate::stored::check_head;

/// An attack file, every default filled in.
///
/// ```
/// use bitquake_attack::{AttackKind, read_attack};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("attack.toml");
/// std::fs::write(&path, r#"
///     schema = 1
///     [model]
///     path = "model.onnx"
///     [data]
///     format = "npz"
///     images = "test.npz"
///     [attack]
///     images = 64
/// "#)?;
/// let config = read_attack(&[path], &["attack.trials=5".into()])?;
/// assert_eq!(config.attack.kind, AttackKind::Progressive);
/// assert_eq!((config.attack.images, config.attack.trials), (64, 5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackFile {
    /// Version of this format; 1.
    pub schema: u32,
    /// What to call the attack; no part of its identity.
    #[serde(default = "default_name")]
    pub name: String,
    /// The root of all random choices: which images are attacked and which are judged, random flips.
    #[serde(default)]
    pub seed: u64,
    /// The model.
    pub model: ModelConfig,
    /// The labelled images: some are attacked, the others are judged.
    pub data: DataConfig,
    /// What the memory holds.
    #[serde(default)]
    pub storage: StorageSpec,
    /// How flips are chosen.
    #[serde(default)]
    pub attack: AttackConfig,
    /// When a trial is over.
    #[serde(default)]
    pub stop: StopConfig,
    /// How the damage is measured.
    #[serde(default)]
    pub evaluate: EvaluateConfig,
    /// Where the results go.
    #[serde(default)]
    pub output: AttackOutput,
}

/// `[attack]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttackConfig {
    /// How flips are chosen.
    pub kind: AttackKind,
    /// How often the attack is run, each time with other images and other random choices; 1 by default.
    pub trials: u64,
    /// Images that the attacker computes gradients and losses on; 128 by default. They are drawn in each trial, and are not judged.
    pub images: u64,
    /// What the attacker takes for right.
    pub labels: Labels,
    /// Globs over tensor names; `!glob` leaves out. Default: everything.
    pub select: Vec<String>,
    /// Which bits of a word: `all` (the default), `30`, `23..30`, `sign`, `exponent`, `mantissa`, `msb`.
    pub bits: String,
    /// Where to compute: `cpu` (the default), `cuda`, `cuda:1`, `wgpu`.
    pub device: Device,
    /// What the attacker wants.
    pub objective: Objective,
    /// How a progressive bit search goes.
    pub search: SearchConfig,
    /// How an ascent goes.
    pub ascent: AscentConfig,
    /// Which bits can be flipped at all: those that a draw of this fault model changes, others in each trial. All by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feasible: Option<FaultConfig>,
    /// What the attacker may not do.
    pub limits: Limits,
}

impl Default for AttackConfig {
    fn default() -> Self {
        Self {
            kind: AttackKind::Progressive,
            trials: 1,
            images: 128,
            labels: Labels::Predicted,
            select: vec!["*".into()],
            bits: "all".into(),
            device: Device::Cpu,
            objective: Objective::default(),
            search: SearchConfig::default(),
            ascent: AscentConfig::default(),
            feasible: None,
            limits: Limits::default(),
        }
    }
}

/// How flips are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttackKind {
    /// Progressive bit search.
    Progressive,
    /// The best single flip, again and again, by trying every bit.
    Exhaustive,
    /// All flips of the budget at once, at most one a word: projected gradient ascent over codes.
    Ascent,
    /// Random bits, each as likely as the others.
    Random,
    /// Random bits of random tensors, each tensor as likely as the others.
    RandomByTensor,
}

impl AttackKind {
    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Progressive => "progressive",
            Self::Exhaustive => "exhaustive",
            Self::Ascent => "ascent",
            Self::Random => "random",
            Self::RandomByTensor => "random-by-tensor",
        }
    }
}

/// What the attacker takes for right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "LabelsKey")]
pub enum Labels {
    /// What the clean network says: the attacker needs no labels.
    Predicted,
    /// The labels of the data.
    True,
}

/// `"true"`, or the truth value, which is easily written for it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "\"true\" or \"predicted\" is expected")]
enum LabelsKey {
    Value(bool),
    Word(String),
}

impl TryFrom<LabelsKey> for Labels {
    type Error = String;

    fn try_from(key: LabelsKey) -> Result<Self, String> {
        match key {
            LabelsKey::Value(true) => Ok(Self::True),
            LabelsKey::Word(word) if word == "true" => Ok(Self::True),
            LabelsKey::Word(word) if word == "predicted" => Ok(Self::Predicted),
            LabelsKey::Value(other) => Err(format!("labels is \"true\" or \"predicted\", not {other}")),
            LabelsKey::Word(other) => Err(format!("labels is \"true\" or \"predicted\", not `{other}`")),
        }
    }
}

/// `[stop]`: a trial ends with the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopConfig {
    /// Accuracy on the judged images, as a share: at or below it the target is reached. Of untargeted attacks; 1.1 / classes by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Share of the exposed images that get the class that the attacker wants: at or above it the target is reached. Of targeted
    /// attacks; 0.9 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<f64>,
    /// The flip budget; 1000 by default.
    pub flips: u64,
    /// Steps of the search; no bound by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
}

impl Default for StopConfig {
    fn default() -> Self {
        Self { accuracy: None, success: None, flips: 1000, iterations: None }
    }
}

/// `[evaluate]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateConfig {
    /// Flips after which the network is judged; 1 by default: after every step.
    pub every: u64,
    /// Images of which it then is; 1000 by default, and all if there are fewer. Where their interval does not exclude the goal, and at
    /// the end, it is judged on all.
    pub images: u64,
    /// Images that are computed at once; 256 by default.
    pub batch: u64,
    /// Confidence of the intervals; 0.95 by default.
    pub confidence: f64,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { every: 1, images: 1000, batch: 256, confidence: 0.95 }
    }
}

/// `[output]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttackOutput {
    /// The output folder, relative to the attack file. Default: `attacks/<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

/// The share of chance that counts as lost: 1.1 / classes.
const ABOVE_CHANCE: f64 = 1.1;
/// The share of exposed images that counts as taken over.
const SUCCESS: f64 = 0.9;

fn default_name() -> String {
    "attack".into()
}

const LAYOUT: Layout<'static> = Layout {
    paths: &["model.path", "data.images", "data.more", "data.labels", "output.dir"],
    faults: &["attack.feasible"],
};

/// Reads attack files, later ones on top of earlier ones, then `key=value` settings on top of all; checks everything that can be
/// checked without the model and the data; makes all paths absolute. Paths in a file are relative to that file, paths in settings
/// to the working directory.
///
/// # Errors
/// [`AttackError::Config`].
pub fn read_attack(files: &[PathBuf], settings: &[String]) -> Result<AttackFile, AttackError> {
    let mut config: AttackFile = read_layers(files, settings, LAYOUT)?;
    if let Some(fault) = &mut config.attack.feasible {
        fault.load_patterns()?;
    }
    config.check().map_err(|reason| ConfigError::in_files(files, reason))?;
    fill_storage(&mut config.storage);
    config.output.dir.get_or_insert_with(|| default_dir(files, "attacks", &config.name));
    Ok(config)
}

/// The configuration as a file that gives the same attack, every default visible.
///
/// # Errors
/// [`AttackError::Config`] when a path is not Unicode.
pub fn attack_toml(config: &AttackFile) -> Result<String, AttackError> {
    toml::to_string(config).map_err(|error| ConfigError::wrong("attack", error.to_string()).into())
}

impl AttackFile {
    fn check(&self) -> Result<(), String> {
        check_head(self.schema, &self.name, &self.storage, &self.data)?;
        self.attack.check()?;
        self.check_stop()?;
        self.evaluate.check().map_err(|reason| format!("[evaluate] {reason}"))
    }

    fn check_stop(&self) -> Result<(), String> {
        let stop = &self.stop;
        let share = |key: &str, value: Option<f64>| match value {
            Some(value) if !(0.0..=1.0).contains(&value) => {
                Err(format!("[stop] {key} {value} is not a share from 0 to 1"))
            }
            _ => Ok(()),
        };
        share("accuracy", stop.accuracy)?;
        share("success", stop.success)?;
        let is_targeted = self.attack.objective.is_targeted();
        if is_targeted && stop.accuracy.is_some() {
            return Err("[stop] accuracy goes with an untargeted attack; this one has success = SHARE".into());
        }
        if !is_targeted && stop.success.is_some() {
            return Err("[stop] success goes with a targeted attack; this one has accuracy = SHARE".into());
        }
        if stop.flips == 0 {
            return Err("[stop] flips is 0; the budget must be at least 1".into());
        }
        if stop.iterations == Some(0) {
            return Err("[stop] iterations is 0; it must be at least 1".into());
        }
        Ok(())
    }
}

impl AttackConfig {
    fn check(&self) -> Result<(), String> {
        if self.trials == 0 {
            return Err("[attack] trials is 0; it must be at least 1".into());
        }
        if self.images == 0 {
            return Err("[attack] images is 0; it must be at least 1".into());
        }
        self.bit_selection()?;
        self.objective.check().map_err(|reason| format!("[attack.objective] {reason}"))?;
        self.search.check().map_err(|reason| format!("[attack.search] {reason}"))?;
        self.ascent.check().map_err(|reason| format!("[attack.ascent] {reason}"))?;
        self.check_feasible().map_err(|reason| format!("[attack.feasible] {reason}"))?;
        self.check_ascent()?;
        self.limits.check().map_err(|reason| format!("[attack.limits] {reason}"))
    }

    fn check_feasible(&self) -> Result<(), String> {
        let Some(fault) = &self.feasible else { return Ok(()) };
        fault.check()?;
        if fault.target() != Target::Weights || fault.also.is_some() {
            return Err("target and also are no keys here: weights are attacked".into());
        }
        if fault.select.is_some()
            || fault.bits.is_some()
            || fault.protect.is_some()
            || fault.at_least.is_some()
        {
            return Err(
                "select, bits, protect and at_least are no keys here; those of [attack] select".into()
            );
        }
        match fault.amounts().len() {
            1 => Ok(()),
            amounts => Err(format!("one amount is needed here, not {amounts}")),
        }
    }

    /// That an ascent, which makes all flips at once, has no limits that it does not look at.
    fn check_ascent(&self) -> Result<(), String> {
        let is_limited = self.limits.per_tensor.is_some() || self.limits.per_page.is_some();
        if self.kind == AttackKind::Ascent && (is_limited || self.feasible.is_some()) {
            return Err("[attack] kind = \"ascent\" takes a budget and selections; per_tensor, per_page and feasible go with the other kinds".into());
        }
        Ok(())
    }

    pub(crate) fn bit_selection(&self) -> Result<BitSelection, String> {
        self.bits.parse().map_err(|error| format!("[attack] bits: {error}"))
    }
}

impl EvaluateConfig {
    fn check(&self) -> Result<(), String> {
        for (key, value) in [("every", self.every), ("images", self.images), ("batch", self.batch)] {
            if value == 0 {
                return Err(format!("{key} is 0; it must be at least 1"));
            }
        }
        check_confidence(self.confidence).map_err(|error| error.to_string())
    }
}

/// What counts as reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Accuracy at or below this share.
    Accuracy(f64),
    /// Success at or above this share.
    Success(f64),
}

impl StopConfig {
    /// The goal on a network with this many classes.
    #[must_use]
    pub fn goal(&self, objective: Objective, classes: u32) -> Goal {
        if objective.is_targeted() {
            Goal::Success(self.success.unwrap_or(SUCCESS))
        } else {
            Goal::Accuracy(self.accuracy.unwrap_or(ABOVE_CHANCE / f64::from(classes)))
        }
    }
}
