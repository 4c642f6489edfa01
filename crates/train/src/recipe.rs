//! What a training recipe says.

mod data;
mod identity;
mod model;

use std::path::PathBuf;

use bitquake_config::{ConfigError, Layout, check_name, default_dir, read_layers};
use bitquake_data::{LastBatch, Step};
use bitquake_grad::Device;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::method::MethodConfig;
use crate::optimiser::OptimiserConfig;
use crate::schedule::ScheduleConfig;

pub use data::RecipeData;
pub(crate) use identity::identity;
pub(crate) use model::put;
pub use model::{Beginning, ModelFile, RecipeModel};

/// A recipe, every default filled in.
///
/// ```
/// use bitquake_train::read_recipe;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("recipe.toml");
/// std::fs::write(&path, r#"
///     schema = 1
///     name = "tiny"
///     [model]
///     architecture = "lenet5"
///     [data]
///     format = "npz"
///     images = "train.npz"
/// "#)?;
/// let recipe = read_recipe(&[path], &["train.epochs=3".into()])?;
/// assert_eq!(recipe.train.epochs, 3);
/// assert_eq!(recipe.optimiser.rate(), 0.05);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of this format; 1.
    pub schema: u32,
    /// What to call the training; no part of its identity.
    #[serde(default = "default_name")]
    pub name: String,
    /// The root of all random choices: initial weights, order of the images, augmentation, faults.
    #[serde(default)]
    pub seed: u64,
    /// The network.
    pub model: RecipeModel,
    /// The labelled images: what is learnt from, and what is kept from training.
    pub data: RecipeData,
    /// Random changes of the training images, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Step>,
    /// How gradients move weights.
    #[serde(default)]
    pub optimiser: OptimiserConfig,
    /// The learning rate over time.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// How long, in which batches, on which device.
    #[serde(default)]
    pub train: TrainConfig,
    /// What makes the network robust: quantization, clipping, faults.
    #[serde(default)]
    pub method: MethodConfig,
    /// Where everything goes.
    #[serde(default)]
    pub output: RecipeOutput,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training images; 10 by default.
    pub epochs: u64,
    /// Where a longer training is continued: the epochs before this one count as done, for schedules and curricula. 0 by default.
    pub first_epoch: u64,
    /// Images in a batch; 128 by default.
    pub batch: usize,
    /// Whether a smaller last batch is used (`keep`, the default) or left out (`drop`).
    pub last_batch: LastBatch,
    /// Targets are `(1 - label_smoothing) * onehot + label_smoothing / classes`; 0 by default.
    pub label_smoothing: f32,
    /// Where to compute: `cpu` (the default), `cuda`, `cuda:1`, `wgpu`.
    pub device: DeviceName,
    /// The MiB that a pass over a batch may work with, on the CPU in the project's own kernels; by default what the system has. It decides
    /// how much is computed again in the backward pass, and no weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<usize>,
    /// A line of `training.jsonl` for every so many steps; 50 by default, 0 for none but those of epochs.
    pub log_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            first_epoch: 0,
            batch: 128,
            last_batch: LastBatch::Keep,
            label_smoothing: 0.0,
            device: DeviceName::default(),
            memory: None,
            log_every: 50,
        }
    }
}

/// A device as a recipe names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceName(pub Device);

impl Default for DeviceName {
    fn default() -> Self {
        Self(Device::Cpu)
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse().map(Self).map_err(|error| format!("device: {error}"))
    }
}

impl From<DeviceName> for String {
    fn from(DeviceName(device): DeviceName) -> Self {
        device.to_string()
    }
}

/// `[output]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecipeOutput {
    /// The output folder, relative to the recipe. Default: `trained/<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Whether the snapshot of every epoch stays; false by default: only the newest and the best do.
    pub keep_all: bool,
}

const SCHEMA: u32 = 1;

fn default_name() -> String {
    "training".into()
}

/// The files that a recipe names, and its tables of faults.
const LAYOUT: Layout<'static> = Layout {
    paths: &[
        "model.path",
        "data.images",
        "data.more",
        "data.labels",
        "data.split.validation.images",
        "data.split.validation.more",
        "data.split.validation.labels",
        "data.split.test.images",
        "data.split.test.more",
        "data.split.test.labels",
        "output.dir",
    ],
    faults: &["method.bit_errors.fault"],
};

/// Reads recipes, later ones on top of earlier ones, then `key=value` settings on top of all; checks everything that can be checked
/// without the model and the data; makes all paths absolute. Paths in a file are relative to that file, paths in settings to the
/// working directory.
///
/// # Errors
/// [`TrainError::Config`].
pub fn read_recipe(files: &[PathBuf], settings: &[String]) -> Result<Recipe, TrainError> {
    let mut recipe: Recipe = read_layers(files, settings, LAYOUT)?;
    if let Some(fault) = recipe.method.bit_errors.as_mut().and_then(|errors| errors.fault.as_mut()) {
        fault.load_patterns()?;
    }
    recipe.check().map_err(|reason| ConfigError::in_files(files, reason))?;
    recipe.fill_defaults();
    recipe.output.dir.get_or_insert_with(|| default_dir(files, "trained", &recipe.name));
    Ok(recipe)
}

/// The recipe as a file that gives the same training, every default visible.
///
/// # Errors
/// [`TrainError::Config`] when a path is not Unicode.
pub fn recipe_toml(recipe: &Recipe) -> Result<String, TrainError> {
    toml::to_string(recipe).map_err(|error| ConfigError::wrong("recipe", error.to_string()).into())
}

impl Recipe {
    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema {} is not known, this version reads schema {SCHEMA}", self.schema));
        }
        check_name(&self.name)?;
        self.data.check()?;
        self.check_clamp()?;
        self.optimiser.check().map_err(|reason| format!("[optimiser] {reason}"))?;
        self.schedule.check().map_err(|reason| format!("[schedule] {reason}"))?;
        if let Some((place, problem)) = self.method.problem() {
            return Err(format!("[method] {place}: {problem}"));
        }
        self.train.check().map_err(|reason| format!("[train] {reason}"))
    }

    /// That pixels are not standardised before a network that limits them to 0..1.
    fn check_clamp(&self) -> Result<(), String> {
        let RecipeModel::Architecture(architecture) = &self.model else { return Ok(()) };
        let preprocess = &self.data.files.preprocess;
        let is_plain = preprocess.mean.is_empty() && preprocess.std.is_empty();
        if is_plain || !architecture.clamp {
            return Ok(());
        }
        Err("[data.preprocess] has mean or std, but the architecture limits pixels to 0..1 first: put them into [model] as whiten = { mean = [..], std = [..] } instead, or set [model] clamp = false".into())
    }

    fn fill_defaults(&mut self) {
        self.optimiser.fill_defaults();
        self.schedule.fill_defaults();
    }
}

impl TrainConfig {
    /// The most bytes of a pass.
    pub(crate) fn memory_limit(&self) -> Option<usize> {
        self.memory.map(|mib| mib.saturating_mul(1 << 20))
    }

    fn check(&self) -> Result<(), String> {
        if self.epochs <= self.first_epoch {
            let (first, epochs) = (self.first_epoch, self.epochs);
            return Err(format!("epochs {epochs} leaves none to train after first_epoch {first}"));
        }
        if self.batch == 0 {
            return Err("batch is 0; it must be at least 1".into());
        }
        if self.memory == Some(0) {
            return Err("memory is 0; it must be at least 1, in MiB".into());
        }
        if (0.0..1.0).contains(&self.label_smoothing) {
            Ok(())
        } else {
            Err(format!("label_smoothing {} is not from 0 to below 1", self.label_smoothing))
        }
    }
}
