//! What a campaign asks for whose network a host runs.

use std::path::Path;

use bitquake_config::{
    FaultConfig, Target, absolute_paths, check_name, check_storage, explain, fill_storage,
};
use bitquake_engine::OutputKind;
use bitquake_storage::StorageSpec;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::error::HostedError;
use crate::config::{LAYOUT, OutcomeConfig, ReportConfig, SCHEMA, default_metric, default_name};
use crate::error::CampaignError;
use crate::run_config::{RunConfig, StopConfig};

/// A campaign file of a host: `[host]` stands in place of `[model]` and `[data]`.
///
/// ```
/// use bitquake_campaign::hosted::HostedConfig;
///
/// let config = HostedConfig::from_toml("seed = 7\n[host]\nengine = 'PyTorch'\n[fault]\nrates = [1e-5]\n[run]\ntrials = 9")?;
/// assert_eq!((config.seed, config.run.trials, config.host.batch), (7, 9, 1));
/// let wrong = HostedConfig::from_toml("[host]\n[fault]\nrates = [1e-5]\n[run]\nimages = 9").unwrap_err();
/// assert!(wrong.to_string().contains("unknown key `images`"));
/// # Ok::<(), bitquake_campaign::hosted::HostedError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostedConfig {
    /// Version of this format; 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// What to call the campaign; not part of its identity.
    #[serde(default = "default_name")]
    pub name: String,
    /// The root of all random choices.
    #[serde(default)]
    pub seed: u64,
    /// What the host says of itself.
    #[serde(default)]
    pub host: HostConfig,
    /// What the memory holds that the host's words come from; left out where it is the words themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
    /// The faults, in stored words.
    pub fault: FaultConfig,
    /// For models that are no classifiers: when outputs count as failed. Then labels play no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeConfig>,
    /// How many trials, and how sure to be of what they come to.
    #[serde(default)]
    pub run: HostedRunConfig,
    /// What the report is told beside the results.
    #[serde(default, skip_serializing_if = "ReportConfig::is_empty")]
    pub report: ReportConfig,
}

/// `[host]`: what the host says of itself. Nothing but [`outputs`](Self::outputs) is part of the campaign's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostConfig {
    /// What to call the model.
    pub model: String,
    /// What to call the data.
    pub data: String,
    /// What evaluates the network, such as `PyTorch`.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// How it is set up, for people: device, precision and the like.
    pub settings: String,
    /// Images in one call of the network, at least 1.
    pub batch: u64,
    /// Threads that the network takes, as far as the host knows; 0 where it does not.
    pub threads: u64,
    /// What computes, such as the name of a GPU; by default the processor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub machine: String,
    /// What rows of outputs are; for classifiers.
    pub outputs: OutputsConfig,
}

/// What the rows of a classifier's outputs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputsConfig {
    /// Unnormalised scores.
    #[default]
    Logits,
    /// What comes out of a softmax.
    Probabilities,
}

/// `[run]` of a campaign whose network a host runs. A trial is on all images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostedRunConfig {
    /// Trials at each point, when no rule stops them; 1 to 2^32.
    pub trials: u64,
    /// Confidence of the intervals, in (0, 1).
    pub confidence: f64,
    /// A trial counts as dropped when its accuracy lies more than this below the golden run's; a fraction.
    pub margin: f64,
    /// When to stop before all trials are run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopConfig>,
}

fn schema() -> u32 {
    SCHEMA
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            model: String::new(),
            data: String::new(),
            engine: String::new(),
            version: String::new(),
            settings: String::new(),
            batch: 1,
            threads: 0,
            machine: String::new(),
            outputs: OutputsConfig::default(),
        }
    }
}

impl Default for HostedRunConfig {
    fn default() -> Self {
        let RunConfig { trials, confidence, margin, stop, .. } = RunConfig::default();
        Self { trials, confidence, margin, stop }
    }
}

impl HostedRunConfig {
    /// The same as the section of a campaign whose network is run here, all else at its default.
    #[must_use]
    pub fn as_run(&self) -> RunConfig {
        let Self { trials, confidence, margin, stop } = self.clone();
        RunConfig { trials, confidence, margin, stop, ..RunConfig::default() }
    }
}

impl From<OutputsConfig> for OutputKind {
    fn from(outputs: OutputsConfig) -> Self {
        match outputs {
            OutputsConfig::Logits => Self::Logits,
            OutputsConfig::Probabilities => Self::Probabilities,
        }
    }
}

impl HostedConfig {
    /// A campaign of these faults, with every other key at its default.
    #[must_use]
    pub fn new(fault: FaultConfig) -> Self {
        Self {
            schema: SCHEMA,
            name: default_name(),
            seed: 0,
            host: HostConfig::default(),
            storage: None,
            fault,
            outcome: None,
            run: HostedRunConfig::default(),
            report: ReportConfig::default(),
        }
    }

    /// Reads the text of a file. Paths in it are relative to the working directory.
    ///
    /// # Errors
    /// [`CampaignError::Config`] for what is not TOML, or not a campaign of a host. What the keys say is checked by
    /// [`Hosted::prepare`](super::Hosted::prepare).
    pub fn from_toml(text: &str) -> Result<Self, HostedError> {
        let wrong = |error: &toml::de::Error| CampaignError::config("campaign", explain(error));
        Ok(toml::from_str(text).map_err(|error| wrong(&error))?)
    }

    /// The text of a file that gives the same campaign, every default visible.
    ///
    /// # Errors
    /// [`CampaignError::Config`] when a path is not Unicode.
    pub fn to_toml(&self) -> Result<String, HostedError> {
        Ok(toml::to_string(self).map_err(|error| CampaignError::config("campaign", error.to_string()))?)
    }

    /// The same with every default in its place, files of patterns read and paths absolute, if it can be run.
    pub(super) fn settled(mut self) -> Result<Self, HostedError> {
        let wrong = |reason: String| CampaignError::config("campaign", reason);
        let has_classes = self.outcome.is_none();
        if let Some(stop) = self.run.stop.as_mut().filter(|stop| stop.metric.is_empty()) {
            stop.metric = default_metric(has_classes).into();
        }
        self.fault = with_absolute_paths(&self.fault)?;
        self.fault.load_patterns().map_err(CampaignError::from)?;
        self.check().map_err(wrong)?;
        if self.fault.target() != Target::Weights || self.fault.also.is_some() {
            return Err(HostedError::Target);
        }
        self.fault.fill_defaults();
        self.storage.iter_mut().for_each(fill_storage);
        Ok(self)
    }

    /// That `[storage]` is there where a memory gives the host its words, and only there.
    pub(super) fn check_memory(&self, is_there: bool) -> Result<(), HostedError> {
        let reason = match (is_there, &self.storage) {
            (true, None) => "[storage] is not there: it says what the memory holds",
            (false, Some(_)) => "[storage] is of a host whose words come from a memory: there is none",
            _ => return Ok(()),
        };
        Err(CampaignError::config("campaign", reason).into())
    }

    /// Everything that can be checked without the tensors.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema {} is not known, this version reads schema {SCHEMA}", self.schema));
        }
        check_name(&self.name)?;
        if i64::try_from(self.seed).is_err() {
            return Err(format!(
                "seed {} is above 2^63 - 1, the largest that a campaign file can hold",
                self.seed
            ));
        }
        if self.host.batch == 0 {
            return Err("[host] batch is 0: give the number of images in one call of the network".into());
        }
        self.storage.as_ref().map_or(Ok(()), check_storage)?;
        self.fault.check()?;
        self.outcome.map_or(Ok(()), OutcomeConfig::check)?;
        self.report.check()?;
        self.run.as_run().check(self.outcome.is_none())
    }
}

/// The files of a table of faults are relative to the working directory until they are saved.
fn with_absolute_paths(fault: &FaultConfig) -> Result<FaultConfig, CampaignError> {
    let wrong = |reason: String| CampaignError::config("campaign", reason);
    let table = Table::try_from(fault).map_err(|error| wrong(error.to_string()))?;
    let all = Table::from_iter([("fault".to_owned(), table.into())]);
    let mut all = absolute_paths(all, LAYOUT, Path::new("."));
    let fault = all.remove("fault").unwrap_or(Table::new().into());
    fault.try_into().map_err(|error| wrong(explain(&error)))
}
