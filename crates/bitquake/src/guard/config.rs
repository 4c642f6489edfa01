//! What a guard file says.

use std::path::PathBuf;

use bitquake_config::{ConfigError, Layout, ModelConfig, check_name, read_layers};
use bitquake_data::DataConfig;
use bitquake_graph::guard::GuardAction;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Version of the file.
const SCHEMA: u32 = 1;

/// A guard file, every default filled in.
///
/// ```
/// use bitquake::guard::{GuardAction, read_guard};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("guard.toml");
/// std::fs::write(&path, r#"
///     schema = 1
///     [model]
///     path = "model.onnx"
///     [data]
///     format = "npz"
///     images = "train.npz"
/// "#)?;
/// let file = read_guard(&[path], &["guard.margin=0.1".into()])?;
/// assert_eq!((file.guard.action, file.guard.margin), (GuardAction::Clip, 0.1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardFile {
    /// Version of this format; 1.
    pub schema: u32,
    /// What to call the guards.
    #[serde(default = "default_name")]
    pub name: String,
    /// The root of the random choice of images.
    #[serde(default)]
    pub seed: u64,
    /// The model.
    pub model: ModelConfig,
    /// The images; their labels are not looked at.
    pub data: DataConfig,
    /// What is guarded, and how.
    #[serde(default)]
    pub guard: GuardConfig,
}

/// `[guard]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// The operators whose values are guarded, by name; by default all
    /// [activation functions](bitquake_graph::guard::ACTIVATION_FUNCTIONS). Each one that is named must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<Vec<String>>,
    /// Globs over the names of those values; `!glob` leaves out. Default: all of them.
    pub select: Vec<String>,
    /// Whether values that only [pass on](bitquake_graph::guard::PASSING) guarded ones are guarded too, with the bounds of those,
    /// as in Ranger (Chen, Li, Pattabiraman, "A Low-cost Fault Corrector for Deep Neural Networks through Range Restriction", DSN
    /// 2021). Off by default: faults in stored weights do not arise there.
    pub follow: bool,
    /// What becomes of elements beyond an end of the range.
    pub action: GuardAction,
    /// By how much the range is wider than what was seen, at each end, as a share of its width; from 0, the default.
    pub margin: f64,
    /// Images to calibrate on, drawn; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Images that are computed at once; 32 by default. No result depends on it but by rounding.
    pub batch: u64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            ops: None,
            select: vec!["*".into()],
            follow: false,
            action: GuardAction::Clip,
            margin: 0.0,
            images: None,
            batch: 32,
        }
    }
}

fn default_name() -> String {
    "guard".into()
}

const LAYOUT: Layout<'static> =
    Layout { paths: &["model.path", "data.images", "data.more", "data.labels"], faults: &[] };

/// Reads guard files, later ones on top of earlier ones, then `key=value` settings on top of all, and checks what can be checked
/// without the model and the data. Paths in a file are relative to that file, paths in settings to the working directory.
///
/// # Errors
/// [`Error::Config`].
pub fn read_guard(files: &[PathBuf], settings: &[String]) -> Result<GuardFile, Error> {
    let file: GuardFile = read_layers(files, settings, LAYOUT)?;
    file.check().map_err(|reason| ConfigError::in_files(files, reason))?;
    Ok(file)
}

impl GuardFile {
    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema {} is not known, this version reads schema {SCHEMA}", self.schema));
        }
        check_name(&self.name)?;
        self.data.validate_images().map_err(|error| format!("[data] {error}"))?;
        self.guard.check()
    }
}

impl GuardConfig {
    /// That the numbers make sense.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.ops.as_ref().is_some_and(Vec::is_empty) {
            return Err("[guard] ops is empty; name operators, such as \"Relu\", or leave it out".into());
        }
        if self.images == Some(0) || self.batch == 0 {
            let key = if self.batch == 0 { "batch" } else { "images" };
            return Err(format!("[guard] {key} is 0; it must be at least 1"));
        }
        if !(self.margin.is_finite() && self.margin >= 0.0) {
            return Err(format!("[guard] margin {} is not a number from 0", self.margin));
        }
        Ok(())
    }
}
