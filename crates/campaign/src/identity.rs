//! What makes a campaign the same campaign.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use bitquake_config::hex;
use bitquake_data::{DataError, source_files};
use bitquake_sample::STREAM_VERSION;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::error::CampaignError;

/// Version of what the metrics mean.
const METRICS_VERSION: u32 = 2;

/// Everything that decides results, by key, and nothing else: no names, paths or thread counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    parts: BTreeMap<String, String>,
}

impl Identity {
    /// Collects the parts. `model` are the model's files: a location (empty for the main file) and its bytes.
    pub(crate) fn new<'a>(
        config: &Config,
        model: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, CampaignError> {
        let mut parts = BTreeMap::new();
        let mut put = |key: &str, value: String| parts.insert(key.to_owned(), value);
        for (location, bytes) in model {
            put(format!("model {location}").trim_end(), hex(&Sha256::digest(bytes)));
        }
        for (place, file) in source_files(&config.data, Path::new("")).iter().enumerate() {
            put(&format!("data {place}"), hash_file(file)?);
        }
        let data = &config.data;
        put("data format", data.format.to_string());
        put("data keys", format!("{} {}", data.images_key, data.labels_key));
        put("data limit", data.limit.map_or("all".into(), |limit| limit.to_string()));
        put("data preprocess", format!("{:?}", data.preprocess));
        put("seed", config.seed.to_string());
        let fault = config.fault.with_digests().map_err(CampaignError::Chip)?;
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
        put("streams", STREAM_VERSION.to_string());
        put("metrics", METRICS_VERSION.to_string());
        Ok(Self { parts })
    }

    /// The parts by key.
    #[must_use]
    pub fn parts(&self) -> &BTreeMap<String, String> {
        &self.parts
    }

    /// SHA-256 over all parts, as 64 hex digits.
    #[must_use]
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        for (key, value) in &self.parts {
            for text in [key, value] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        hex(&hash.finalize())
    }

    /// In what another campaign's parts differ from these, for people.
    #[must_use]
    pub fn difference(&self, other: &BTreeMap<String, String>) -> String {
        identity_difference(&self.parts, other)
    }
}

/// In what the identities of two campaigns differ, for people: "seed is `1` here and `2` there".
#[must_use]
pub fn identity_difference(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> String {
    let mut keys: Vec<&String> = here.keys().chain(there.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let show = |value: Option<&String>| value.map_or("nothing".into(), |value| format!("`{value}`"));
    let differing = keys.into_iter().filter(|key| here.get(*key) != there.get(*key));
    let told: Vec<String> = differing
        .map(|key| format!("{key} is {} here and {} there", show(here.get(key)), show(there.get(key))))
        .collect();
    told.join("; ")
}

fn as_table(section: &impl serde::Serialize) -> Result<toml::Table, CampaignError> {
    toml::Table::try_from(section).map_err(|error| CampaignError::config("campaign", error.to_string()))
}

fn hash_file(path: &Path) -> Result<String, CampaignError> {
    let open = |source| DataError::Open { file: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(open)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(open)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}
