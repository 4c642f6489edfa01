//! The configuration that stands beside results, whoever ran the network.

use std::borrow::Cow;
use std::path::Path;

use bitquake_config::{ConfigError, FaultConfig, explain, read_layers};
use toml::Table;

use crate::config::{Config, LAYOUT, ReportConfig, read_saved};
use crate::error::CampaignError;
use crate::hosted::HostedConfig;
use crate::run_config::RunConfig;

/// What `campaign.toml` of a result directory says.
#[derive(Clone, Debug, PartialEq)]
pub enum SavedConfig {
    /// A campaign whose network is run here.
    Own(Box<Config>),
    /// A campaign whose network a host runs.
    Hosted(Box<HostedConfig>),
}

impl SavedConfig {
    /// Reads the file of a result directory.
    ///
    /// # Errors
    /// [`CampaignError::Config`].
    pub fn read(path: &Path) -> Result<Self, CampaignError> {
        let files = [path.to_owned()];
        let all: Table = read_layers(&files, &[], LAYOUT)?;
        if !all.contains_key("host") {
            return Ok(Self::Own(Box::new(read_saved(path)?)));
        }
        let wrong = |reason| ConfigError::in_files(&files, reason);
        let config: HostedConfig = all.try_into().map_err(|error| wrong(explain(&error)))?;
        config.check().map_err(wrong)?;
        Ok(Self::Hosted(Box::new(config)))
    }

    /// The campaign's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Own(config) => &config.name,
            Self::Hosted(config) => &config.name,
        }
    }

    /// `[fault]`.
    #[must_use]
    pub fn fault(&self) -> &FaultConfig {
        match self {
            Self::Own(config) => &config.fault,
            Self::Hosted(config) => &config.fault,
        }
    }

    /// `[run]`; what a host's file does not have is at its default.
    #[must_use]
    pub fn run(&self) -> Cow<'_, RunConfig> {
        match self {
            Self::Own(config) => Cow::Borrowed(&config.run),
            Self::Hosted(config) => Cow::Owned(config.run.as_run()),
        }
    }

    /// `[report]`.
    #[must_use]
    pub fn report(&self) -> ReportConfig {
        match self {
            Self::Own(config) => config.report,
            Self::Hosted(config) => config.report,
        }
    }

    /// The whole file of a campaign whose network is run here.
    #[must_use]
    pub fn own(&self) -> Option<&Config> {
        match self {
            Self::Own(config) => Some(config),
            Self::Hosted(_) => None,
        }
    }
}
