//! What a training gives: models, and what the memory holds of them.

mod codes;

use std::path::{Path, PathBuf};

use bitquake_data::Held;
use bitquake_record::write_atomically;
use bitquake_storage::StorageSpec;
use bitquake_tensors::TensorFile;
use serde::Serialize;

use crate::error::TrainError;
use crate::learner::Learner;
use crate::method::Weights;
use crate::recipe::{Recipe, put};

/// A campaign on the test images.
pub const CAMPAIGN_FILE: &str = "campaign.toml";

/// The files of one model. Those of the last one are `model.onnx`, `storage.toml` and `codes.safetensors`; others have their name
/// in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The float model: the master weights after the last projection, and the running statistics.
    pub model: PathBuf,
    /// A layer for campaigns: the `[storage]` that makes of the float model the codes that training ended with.
    pub storage: PathBuf,
    /// Those codes, with the levels' scales and ranges, for other tools.
    pub codes: PathBuf,
}

impl Exported {
    fn new(dir: &Path, name: &str) -> Self {
        let (model, prefix) = match name {
            "last" => ("model.onnx".to_owned(), String::new()),
            other => (format!("{other}.onnx"), format!("{other}-")),
        };
        Self {
            model: dir.join(model),
            storage: dir.join(format!("{prefix}storage.toml")),
            codes: dir.join(format!("{prefix}codes.safetensors")),
        }
    }
}

/// Which of a learner's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that steps move.
    Trained,
    /// Their average.
    Averaged,
}

/// Writes the model of a learner. `start` is the file that training began with: all but the values of its weights and statistics
/// stays as it is.
///
/// # Errors
/// [`TrainError::Tensors`] and [`TrainError::Record`] when a file cannot be written.
pub(crate) fn write(
    start: &TensorFile,
    learner: &mut Learner,
    which: Which,
    dir: &Path,
    name: &str,
) -> Result<Exported, TrainError> {
    let files = Exported::new(dir, name);
    let weights = learner.weights(which).clone();
    let storage = learner.storage(&weights)?;
    let text = storage_toml(&storage)?;
    let stored = learner.stored(&weights)?;
    codes::write(&files.codes, &weights, stored.memory(), &text)?;
    write_atomically(&files.storage, text.as_bytes())?;
    write_model(start, &weights, learner, &files.model)?;
    Ok(files)
}

fn write_model(
    start: &TensorFile,
    weights: &Weights,
    learner: &Learner,
    path: &Path,
) -> Result<(), TrainError> {
    let mut file = start.clone();
    for tensor in &weights.tensors {
        put(&mut file, &tensor.name, &tensor.values);
    }
    for (name, values) in learner.statistics() {
        put(&mut file, name, values);
    }
    Ok(file.save(path)?)
}

#[derive(Serialize)]
struct StorageLayer<'a> {
    storage: &'a StorageSpec,
}

fn storage_toml(storage: &StorageSpec) -> Result<String, TrainError> {
    let text = toml::to_string(&StorageLayer { storage });
    let text = text.map_err(|error| TrainError::Snapshot(format!("storage: {error}")))?;
    Ok(format!(
        "# What training stored: a layer for campaigns, `bitquake run campaign.toml {{this file}}`.\n{text}"
    ))
}

/// Writes a campaign on the test images, at rates around that of training. Only if the test images are files of their own: rows that
/// were taken out of the training data cannot be named.
///
/// # Errors
/// [`TrainError::Record`] when the file cannot be written.
pub(crate) fn write_campaign(
    recipe: &Recipe,
    dir: &Path,
    select: &[String],
) -> Result<Option<PathBuf>, TrainError> {
    let Some(Held::Files(test)) = &recipe.data.split.test else { return Ok(None) };
    let mut campaign = toml::Table::new();
    let name = format!("{}-ber", recipe.name);
    let fault = toml::toml! {
        model = "bit-flip"
        rates = [1e-4, 1e-3, 1e-2]
    };
    campaign.insert("schema".into(), 1.into());
    campaign.insert("name".into(), name.into());
    campaign.insert("seed".into(), toml::Value::try_from(recipe.seed).unwrap_or(0.into()));
    campaign.insert("model".into(), toml::toml!(path = "model.onnx").into());
    let data = toml::Table::try_from(test).map_err(|error| TrainError::Snapshot(error.to_string()))?;
    campaign.insert("data".into(), data.into());
    let mut fault = fault;
    fault.insert("select".into(), select.to_vec().into());
    campaign.insert("fault".into(), fault.into());
    campaign.insert("run".into(), toml::toml!(trials = 50).into());
    campaign.insert("output".into(), toml::toml!(dir = "campaign").into());
    let path = dir.join(CAMPAIGN_FILE);
    let text = toml::to_string(&campaign).map_err(|error| TrainError::Snapshot(error.to_string()))?;
    write_atomically(&path, text.as_bytes())?;
    Ok(Some(path))
}
