//! What makes an attack, or a ranking, the same one.

use std::collections::BTreeMap;
use std::path::Path;

use bitquake_config::{ConfigError, Identity, hex};
use bitquake_data::{DataConfig, source_digests};
use bitquake_grad::Device;
use bitquake_sample::STREAM_VERSION;
use bitquake_tensors::TensorFile;
use serde::Serialize;
use sha2::{Digest, Sha256};
use toml::Table;

use crate::config::AttackFile;
use crate::error::AttackError;

/// Version of the search: a change of what the same attack flips raises it.
const SEARCH_VERSION: u32 = 1;

/// Everything that decides the flips of a trial and what is recorded of it; not the number of trials, names and paths.
pub(crate) fn identity(config: &AttackFile, model: &TensorFile) -> Result<Identity, AttackError> {
    let mut attack = config.attack.clone();
    if let Some(fault) = &mut attack.feasible {
        *fault = fault.with_digests()?;
    }
    let mut attack = table(&attack)?;
    attack.remove("trials");
    attack.insert("device".into(), device_kind(config.attack.device).into());
    let sections = [
        ("storage", table(&config.storage)?),
        ("attack", attack),
        ("stop", table(&config.stop)?),
        ("evaluate", table(&config.evaluate)?),
    ];
    let version = ("search", SEARCH_VERSION);
    identity_of(model, &config.data, config.seed, version, &sections)
}

/// The identity of work on a model and data: their content, the seed, a version, and sections of the configuration.
pub(crate) fn identity_of(
    model: &TensorFile,
    data: &DataConfig,
    seed: u64,
    version: (&str, u32),
    sections: &[(&str, Table)],
) -> Result<Identity, AttackError> {
    let mut parts = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(parts.insert(key.trim_end().to_owned(), value));
    for (location, bytes) in model.content_hash_parts() {
        put(&format!("model {location}"), hex(&Sha256::digest(bytes)));
    }
    for (place, digest) in source_digests(data, Path::new(""))?.iter().enumerate() {
        put(&format!("data file {place}"), hex(digest));
    }
    put("seed", seed.to_string());
    put("streams", STREAM_VERSION.to_string());
    put(version.0, version.1.to_string());
    let mut data = table(data)?;
    ["images", "more", "labels"].iter().for_each(|path| drop(data.remove(*path)));
    for (section, table) in [("data", data)].iter().chain(sections) {
        table.iter().for_each(|(key, value)| put(&format!("{section} {key}"), value.to_string()));
    }
    Ok(Identity::new(parts))
}

/// What rounds sums alike: the kind of device, not which one of its kind.
pub(crate) fn device_kind(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Wgpu(_) => "wgpu",
    }
}

/// A section as TOML.
pub(crate) fn table(section: &impl Serialize) -> Result<Table, AttackError> {
    Table::try_from(section).map_err(|error| ConfigError::wrong("attack", error.to_string()).into())
}
