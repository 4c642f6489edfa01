//! What can go wrong with a campaign.

use std::path::PathBuf;

use bitquake_config::ConfigError;
use bitquake_data::DataError;
use bitquake_engine::{EngineError, SelfCheckError};
use bitquake_fault::{DrawError, SelectorError, SpaceError};
use bitquake_record::RecordError;
use bitquake_storage::StorageError;
use bitquake_tensors::TensorsError;

/// Why a campaign cannot be run, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CampaignError {
    /// A campaign file cannot be read, or the configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The selection of tensors or bits.
    #[error("[fault]: {0}")]
    Space(#[from] SpaceError),
    /// A pattern of the selection.
    #[error("[fault] select: {0}")]
    Selector(#[from] SelectorError),
    /// More flips than bits, for example.
    #[error("[fault]: {0}")]
    Draw(#[from] DrawError),
    /// The model file.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// What the memory is to hold.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The campaign did not prove itself.
    #[error(transparent)]
    SelfCheck(#[from] SelfCheckError),
    /// The golden run differs from the one that the finished trials were compared with.
    #[error("{}: the golden run gives other outputs here than when these results were begun (engine, processor or threads differ): its trials cannot be continued", dir.display())]
    GoldenDiffers {
        /// The result directory.
        dir: PathBuf,
    },
    /// The directory holds results of another campaign.
    #[error("{}: holds the results of another campaign; {difference}", dir.display())]
    OtherCampaign {
        /// The result directory.
        dir: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A result file.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A finished trial could not be written; what was written before can be resumed.
    #[error("stopped, because a trial could not be recorded: {0}")]
    NotRecorded(RecordError),
    /// A replayed pattern is not the recorded one.
    #[error(
        "point {point}, trial {trial}: the pattern drawn now is not the one recorded ({recorded}, now {drawn})"
    )]
    ReplayDiffers {
        /// The point.
        point: u32,
        /// The trial.
        trial: u64,
        /// The digest recorded.
        recorded: String,
        /// The digest of what was drawn.
        drawn: String,
    },
}

impl CampaignError {
    pub(crate) fn config(place: impl Into<String>, reason: impl Into<String>) -> Self {
        ConfigError::wrong(place, reason).into()
    }
}
