//! What makes a training the same training.

use std::collections::BTreeMap;
use std::path::Path;

use bitquake_config::{Identity, hex};
use bitquake_data::{DataConfig, Held, source_digests};
use bitquake_grad::Device;
use bitquake_sample::STREAM_VERSION;
use bitquake_tensors::TensorFile;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Recipe;
use crate::error::TrainError;
use crate::method::MethodConfig;

/// Version of the steps of training: a change of what the same recipe gives raises it.
const STEPS_VERSION: u32 = 3;

/// Everything that decides the weights and which of them are best, by key, and nothing else: no names, folders or number of
/// log lines. `model` is the model that the training starts from.
pub(crate) fn identity(recipe: &Recipe, model: &TensorFile) -> Result<Identity, TrainError> {
    let mut parts = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(parts.insert(key.to_owned(), value));
    for (location, bytes) in model.content_hash_parts() {
        put(format!("model {location}").trim_end(), hex(&Sha256::digest(bytes)));
    }
    put("seed", recipe.seed.to_string());
    put("streams", STREAM_VERSION.to_string());
    put("steps", STEPS_VERSION.to_string());
    let train = &recipe.train;
    put("train epochs", train.epochs.to_string());
    put("train first_epoch", train.first_epoch.to_string());
    put("train batch", train.batch.to_string());
    put("train last_batch", text(&train.last_batch)?);
    put("train label_smoothing", train.label_smoothing.to_string());
    put("train device", backend(train.device.0).to_owned());
    put("augment", text(&recipe.augment)?);
    put("data split stratified", recipe.data.split.stratified.to_string());
    for (section, table) in [
        ("optimiser", table(&recipe.optimiser)?),
        ("schedule", table(&recipe.schedule)?),
        ("method", table(&method(recipe)?)?),
    ] {
        table.iter().for_each(|(key, value)| put(&format!("{section} {key}"), value.to_string()));
    }
    put_files(&mut put, "data", &recipe.data.files)?;
    let split = &recipe.data.split;
    for (part, held) in [("validation", &split.validation), ("test", &split.test)] {
        match held {
            Some(Held::Out(amount)) => put(&format!("data split {part}"), amount.to_string()),
            Some(Held::Files(files)) if part == "validation" => {
                put_files(&mut put, "data split validation", files)?;
            }
            // Images that only the last table is about.
            Some(Held::Files(_)) | None => {}
        }
    }
    Ok(Identity::new(parts))
}

/// The method, its fault tables with digests in the place of files.
fn method(recipe: &Recipe) -> Result<MethodConfig, TrainError> {
    let mut method = recipe.method.clone();
    if let Some(fault) = method.bit_errors.as_mut().and_then(|errors| errors.fault.as_mut()) {
        *fault = fault.with_digests()?;
    }
    Ok(method)
}

/// What rounds sums alike: the kind of device, not which one of its kind.
fn backend(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Wgpu(_) => "wgpu",
    }
}

/// A data set: digests of its files, and what is made of them.
fn put_files(put: &mut impl FnMut(&str, String), place: &str, data: &DataConfig) -> Result<(), TrainError> {
    let digests = source_digests(data, Path::new("")).map_err(TrainError::data("[data]"))?;
    for (number, digest) in digests.iter().enumerate() {
        put(&format!("{place} file {number}"), hex(digest));
    }
    let mut fields = table(data)?;
    ["images", "more", "labels"].iter().for_each(|path| drop(fields.remove(*path)));
    fields.iter().for_each(|(key, value)| put(&format!("{place} {key}"), value.to_string()));
    Ok(())
}

fn table(section: &impl Serialize) -> Result<serde_json::Map<String, serde_json::Value>, TrainError> {
    match serde_json::to_value(section) {
        Ok(serde_json::Value::Object(table)) => Ok(table),
        Ok(_) => Ok(serde_json::Map::new()),
        Err(error) => Err(TrainError::Snapshot(error.to_string())),
    }
}

fn text(value: &impl Serialize) -> Result<String, TrainError> {
    serde_json::to_string(value).map_err(|error| TrainError::Snapshot(error.to_string()))
}
