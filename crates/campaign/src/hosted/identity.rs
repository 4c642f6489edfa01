//! What makes a host's campaign the same campaign.

use std::collections::BTreeMap;

use bitquake_config::{Identity, hex};
use bitquake_sample::STREAM_VERSION;
use sha2::{Digest, Sha256};

use super::config::{HostedConfig, OutputsConfig};
use super::error::HostedError;
use super::tensor::{Digests, HostTensor};
use crate::error::CampaignError;
use crate::identity::{METRICS_VERSION, as_table};

/// Everything that decides results, as far as it is known here: what the host computes is known by its golden run alone, whose
/// digest a resumed campaign must reproduce.
pub(super) fn identity(
    config: &HostedConfig,
    tensors: &[HostTensor],
    digests: &Digests,
) -> Result<Identity, HostedError> {
    let mut parts = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(parts.insert(key.to_owned(), value));
    put("words", digests.words.clone());
    put("tensors", tensors_text(tensors));
    if let Some(data) = &digests.data {
        put("data", data.clone());
    }
    put("seed", config.seed.to_string());
    if let Some(storage) = &config.storage {
        as_table(storage)?.iter().for_each(|(key, value)| put(&format!("storage {key}"), value.to_string()));
    }
    let fault = config.fault.with_digests().map_err(CampaignError::from)?;
    as_table(&fault)?.iter().for_each(|(key, value)| put(&format!("fault {key}"), value.to_string()));
    if let Some(outcome) = &config.outcome {
        put("outcome", format!("{outcome:?}"));
    } else if config.host.outputs != OutputsConfig::default() {
        put("outputs", format!("{:?}", config.host.outputs));
    }
    put("streams", STREAM_VERSION.to_string());
    put("metrics", METRICS_VERSION.to_string());
    Ok(Identity::new(parts))
}

/// The tensors in short: their number, and a digest over names, formats and shapes.
fn tensors_text(tensors: &[HostTensor]) -> String {
    let mut hash = Sha256::new();
    for tensor in tensors {
        for text in [tensor.name.as_str(), &tensor.format.name()] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.update((tensor.dims.len() as u64).to_le_bytes());
        tensor.dims.iter().for_each(|dim| hash.update(dim.to_le_bytes()));
        hash.update([u8::from(tensor.by_name_only)]);
    }
    format!("{}, {}", tensors.len(), hex(&hash.finalize()[..16]))
}
