//! What makes a campaign the same campaign.

use std::collections::BTreeMap;
use std::path::Path;

use bitquake_config::{Identity, hex};
use bitquake_data::source_digests;
use bitquake_sample::STREAM_VERSION;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::error::CampaignError;
use crate::run_config::EngineConfig;

/// Version of what the metrics mean.
pub(crate) const METRICS_VERSION: u32 = 2;

/// What an identity says of the model: a key for each of its files, and the SHA-256 of the contents.
pub fn model_digests<'a>(
    model: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> impl Iterator<Item = (String, String)> {
    model.map(|(location, bytes)| {
        (format!("model {location}").trim_end().to_owned(), hex(&Sha256::digest(bytes)))
    })
}

/// Everything that decides results. `model` are the model's files: a location (empty for the main file) and its bytes.
pub(crate) fn identity<'a>(
    config: &Config,
    model: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<Identity, CampaignError> {
    let mut parts = BTreeMap::new();
    let mut put = |key: &str, value: String| parts.insert(key.to_owned(), value);
    for (key, digest) in model_digests(model) {
        put(&key, digest);
    }
    for (place, digest) in source_digests(&config.data, Path::new(""))?.iter().enumerate() {
        put(&format!("data {place}"), hex(digest));
    }
    let data = &config.data;
    put("data format", data.format.to_string());
    put("data keys", format!("{} {}", data.images_key, data.labels_key));
    // Only where they are set, so that the identities of older campaigns stay what they were.
    if data.resize.is_some() || data.channels.is_some() {
        put("data images", format!("{:?} {:?}", data.resize, data.channels));
    }
    if data.skip > 0 {
        put("data skip", data.skip.to_string());
    }
    put("data limit", data.limit.map_or("all".into(), |limit| limit.to_string()));
    put("data preprocess", format!("{:?}", data.preprocess));
    put("seed", config.seed.to_string());
    let fault = config.fault.with_digests()?;
    for (section, table) in [("storage", as_table(&config.storage)?), ("fault", as_table(&fault)?)] {
        table.iter().for_each(|(key, value)| drop(put(&format!("{section} {key}"), value.to_string())));
    }
    if !config.activations.is_native() {
        let table = as_table(&config.activations)?;
        table.iter().for_each(|(key, value)| drop(put(&format!("activations {key}"), value.to_string())));
    }
    if let Some(outcome) = &config.outcome {
        put("outcome", format!("{outcome:?}"));
    }
    let run = &config.run;
    put("images", format!("{:?}", run.images));
    put("sampling", format!("{:?}", run.sampling));
    // Short cuts are exact, but where the network is cut, sums may be rounded otherwise.
    put("reuse", format!("prefix {}, splice {}", run.reuse.prefix, run.reuse.splice));
    put("batch", run.batch.to_string());
    match run.engine {
        // As in the identities of older campaigns.
        EngineConfig::OnnxRuntime => {}
        EngineConfig::Native => drop(put("engine", "native".into())),
        EngineConfig::Auto => drop(put("engine", "auto".into())),
    }
    put("streams", STREAM_VERSION.to_string());
    put("metrics", METRICS_VERSION.to_string());
    Ok(Identity::new(parts))
}

pub(crate) fn as_table(section: &impl serde::Serialize) -> Result<toml::Table, CampaignError> {
    toml::Table::try_from(section).map_err(|error| CampaignError::config("campaign", error.to_string()))
}
