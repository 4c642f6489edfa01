//! What a campaign file says.

use std::path::{Path, PathBuf};

pub use bitquake_config::ModelConfig;
use bitquake_config::{
    ConfigError, FaultConfig, Layout, Target, check_name, check_storage, default_dir, explain, fill_storage,
    read_layers,
};
use bitquake_data::DataConfig;
use bitquake_record::DistanceMeasure;
use bitquake_storage::StorageSpec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::activation_codes::ActivationsConfig;
use crate::error::CampaignError;
use crate::run_config::{RunConfig, SamplingConfig};

/// A campaign file, every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format; 1.
    pub schema: u32,
    /// What to call the campaign; not part of its identity.
    #[serde(default = "default_name")]
    pub name: String,
    /// The root of all random choices.
    #[serde(default)]
    pub seed: u64,
    /// The model.
    pub model: ModelConfig,
    /// The labelled images.
    pub data: DataConfig,
    /// What the memory holds.
    #[serde(default)]
    pub storage: StorageSpec,
    /// Which activations and inputs are stored as codes, and how.
    #[serde(default, skip_serializing_if = "ActivationsConfig::is_absent")]
    pub activations: ActivationsConfig,
    /// The faults.
    pub fault: FaultConfig,
    /// For models that are no classifiers: when outputs count as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeConfig>,
    /// How to run.
    #[serde(default)]
    pub run: RunConfig,
    /// Where the results go.
    #[serde(default)]
    pub output: OutputConfig,
    /// What the report is told beside the results.
    #[serde(default, skip_serializing_if = "ReportConfig::is_empty")]
    pub report: ReportConfig,
}

/// `[report]`: what changes no result, and is no part of the campaign's identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportConfig {
    /// The memory's raw soft-error rate: failures in 10^9 hours of 10^6 bits. For FIT and MTBF of single upsets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_fit_per_mbit: Option<f64>,
}

impl ReportConfig {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(self) -> Result<(), String> {
        match self.raw_fit_per_mbit {
            Some(fit) if !(0.0..=MOST_FIT).contains(&fit) => {
                Err(format!("[report] raw_fit_per_mbit {fit} is not a number from 0 to {MOST_FIT:e}"))
            }
            _ => Ok(()),
        }
    }
}

/// `[outcome]`: outputs are compared with the golden run's, labels play no part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeConfig {
    /// Which distance: `max_abs`, `rel_l2` or `cosine`.
    pub distance: DistanceMeasure,
    /// The largest distance, or the smallest cosine similarity, that is no failure.
    pub threshold: f64,
}

impl OutcomeConfig {
    pub(crate) fn check(self) -> Result<(), String> {
        let threshold = self.threshold;
        if !threshold.is_finite() {
            return Err(format!("[outcome] threshold {threshold} is not a number"));
        }
        match self.distance {
            DistanceMeasure::Cosine if !(-1.0..=1.0).contains(&threshold) => {
                Err(format!("[outcome] threshold {threshold} is no cosine similarity, which lies in [-1, 1]"))
            }
            DistanceMeasure::MaxAbs | DistanceMeasure::RelL2 if threshold < 0.0 => {
                Err(format!("[outcome] threshold {threshold} is no distance, which is 0 or more"))
            }
            _ => Ok(()),
        }
    }
}

/// `[output]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// The result directory, relative to the campaign file. Default: `results/<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Also write the files of another project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
}

/// Whose files to write besides our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compat {
    /// `<model>.csv` and `detail-<model>.csv` of NN-Error-Injection.
    NnErrorInjection,
}

pub(crate) const SCHEMA: u32 = 1;
/// Every bit fails a thousand times an hour; the failures of any memory are then still a number.
const MOST_FIT: f64 = 1e18;
pub(crate) fn default_name() -> String {
    "campaign".into()
}

#[expect(
    clippy::derivable_impls,
    reason = "the defaults of a section are written out, like those of the others"
)]
impl Default for OutputConfig {
    fn default() -> Self {
        Self { dir: None, compat: None }
    }
}

/// What `[fault]` and the paths of a campaign file are.
pub(crate) const LAYOUT: Layout<'static> = Layout {
    paths: &["model.path", "data.images", "data.more", "data.labels", "output.dir"],
    faults: &["fault"],
};

/// Reads campaign files, later ones on top of earlier ones, then `key=value` settings on top of all; checks everything that
/// can be checked without the model and the data; makes all paths absolute. Paths in a file are relative to that file, paths
/// in settings to the working directory.
///
/// # Errors
/// [`CampaignError::Config`].
pub fn read_config(files: &[PathBuf], settings: &[String]) -> Result<Config, CampaignError> {
    let all: Table = read_layers(files, settings, LAYOUT)?;
    refuse_hosted(&all, files)?;
    let mut config: Config = all.try_into().map_err(|error| ConfigError::in_files(files, explain(&error)))?;
    config.fault.load_patterns()?;
    finished(config, files)
}

/// The file of a result directory, which has all defaults and patterns, and is good for looking at results where no input is left.
///
/// # Errors
/// [`CampaignError::Config`].
pub(crate) fn read_saved(file: &Path) -> Result<Config, CampaignError> {
    let files = [file.to_owned()];
    finished(read_layers(&files, &[], LAYOUT)?, &files)
}

/// That the network is one that is run here: a file with `[host]` is a result's, whose host ran it.
fn refuse_hosted(all: &Table, files: &[PathBuf]) -> Result<(), ConfigError> {
    let Some(host) = all.get("host") else { return Ok(()) };
    let engine = host.get("engine").and_then(Value::as_str).filter(|engine| !engine.is_empty());
    let engine = engine.map_or(String::new(), |engine| format!(" ({engine})"));
    let reason = format!(
        "[host]: the network of this campaign is run by its caller{engine}, which alone can go on with it; \
         report, export, status and merge read what it recorded"
    );
    Err(ConfigError::in_files(files, reason))
}

/// As [`read_config`], of files that have another table beside those of a campaign: its paths are those keys of it, and without it all its keys have their
/// defaults.
///
/// # Errors
/// [`CampaignError::Config`].
pub fn read_config_beside<T: DeserializeOwned>(
    files: &[PathBuf],
    settings: &[String],
    table: &str,
    paths: &[&str],
) -> Result<(Config, T), CampaignError> {
    let paths: Vec<String> = paths.iter().map(|key| format!("{table}.{key}")).collect();
    let paths: Vec<&str> = LAYOUT.paths.iter().copied().chain(paths.iter().map(String::as_str)).collect();
    let mut all: Table = read_layers(files, settings, Layout { paths: &paths, ..LAYOUT })?;
    refuse_hosted(&all, files)?;
    let beside = all.remove(table).unwrap_or(Value::Table(Table::new()));
    let wrong = |error: &toml::de::Error| ConfigError::in_files(files, explain(error));
    let mut config: Config = all.try_into().map_err(|error| wrong(&error))?;
    config.fault.load_patterns()?;
    let beside = beside.try_into().map_err(|error| wrong(&error))?;
    Ok((finished(config, files)?, beside))
}

fn finished(mut config: Config, files: &[PathBuf]) -> Result<Config, CampaignError> {
    fill_metric(&mut config);
    config.check().map_err(|reason| ConfigError::in_files(files, reason))?;
    fill_defaults(&mut config);
    config.output.dir.get_or_insert_with(|| default_dir(files, "results", &config.name));
    Ok(config)
}

/// The configuration as a file that gives the same campaign, every default visible.
///
/// # Errors
/// [`CampaignError::Config`] when a path is not Unicode.
pub fn resolved_toml(config: &Config) -> Result<String, CampaignError> {
    toml::to_string(config).map_err(|error| CampaignError::config("campaign", error.to_string()))
}

impl Config {
    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema {} is not known, this version reads schema {SCHEMA}", self.schema));
        }
        check_name(&self.name)?;
        check_storage(&self.storage)?;
        self.activations.quantizer()?;
        self.report.check()?;
        self.fault.check()?;
        let data = match &self.outcome {
            Some(_) => self.data.validate_images(),
            None => self.data.validate(),
        };
        data.map_err(|error| format!("[data] {error}"))?;
        self.outcome.map_or(Ok(()), OutcomeConfig::check)?;
        self.run.check(self.outcome.is_none())?;
        self.check_sampling()
    }

    /// That trials are single upsets of weights where they are not drawn uniformly.
    fn check_sampling(&self) -> Result<(), String> {
        let fault = &self.fault;
        let is_upset = fault.model_name() == "bit-flip"
            && fault.target() == Target::Weights
            && fault.counts.as_deref() == Some(&[1])
            && fault.at_least.is_none()
            && fault.also.is_none();
        match self.run.sampling {
            SamplingConfig::Uniform => Ok(()),
            _ if !is_upset => {
                Err("[run] sampling goes with single upsets of weights: model = \"bit-flip\", counts = [1]"
                    .into())
            }
            SamplingConfig::Exhaustive
                if self.run.stop.as_ref().is_some_and(|stop| !stop.is_time_alone()) =>
            {
                Err("[run] sampling = \"exhaustive\" runs every bit: stop takes max_seconds alone".into())
            }
            _ => Ok(()),
        }
    }
}

/// The metric that a stopping rule looks at unless told otherwise: what the campaign is told by.
pub(crate) fn default_metric(has_classes: bool) -> &'static str {
    if has_classes { "err" } else { "exceeded" }
}

fn fill_metric(config: &mut Config) {
    let metric = default_metric(config.outcome.is_none());
    if let Some(stop) = config.run.stop.as_mut().filter(|stop| stop.metric.is_empty()) {
        stop.metric = metric.into();
    }
}

/// Every default in its place, so that the file saved with the results shows them.
fn fill_defaults(config: &mut Config) {
    config.fault.fill_defaults();
    config.activations.fill_defaults();
    fill_storage(&mut config.storage);
}
