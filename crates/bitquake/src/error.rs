//! Whatever went wrong, and whose fault it is.

use std::path::PathBuf;

use bitquake_attack::AttackError;
use bitquake_campaign::CampaignError;
use bitquake_campaign::hosted::HostedError;
use bitquake_campaign::slurm::SlurmError;
use bitquake_config::ConfigError;
use bitquake_data::DataError;
use bitquake_energy::EnergyError;
use bitquake_engine::{EngineError, SelfCheckError};
use bitquake_fault::{DrawError, PatternError, PatternFileError, SelectorError, SpaceError};
use bitquake_grad::GradError;
use bitquake_protect::ProtectionError;
use bitquake_record::RecordError;
use bitquake_report::ReportError;
use bitquake_storage::StorageError;
use bitquake_tensors::TensorsError;
use bitquake_train::TrainError;

use crate::guard::GuardingError;
use crate::merge::MergeError;

/// Everything that can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A campaign.
    #[error(transparent)]
    Campaign(#[from] CampaignError),
    /// A campaign whose network a host runs.
    #[error(transparent)]
    Hosted(#[from] HostedError),
    /// A tensor file.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A selection of tensors.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// A selection of tensors or bits.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A tensor whose bits have no meaning here.
    #[error("tensor `{tensor}` is {dtype}: its words can be listed, not read or flipped")]
    NoFormat {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: String,
    },
    /// Sites or counts outside the fault space.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// A pattern that does not fit.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A file that is no pattern.
    #[error("{}: {source}", path.display())]
    PatternFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PatternFileError,
    },
    /// A file that cannot be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Result files.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Results that do not belong together.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Slurm.
    #[error(transparent)]
    Slurm(#[from] SlurmError),
    /// A training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A curve, or networks on it.
    #[error(transparent)]
    Energy(#[from] EnergyError),
    /// A plan of protections.
    #[error(transparent)]
    Protection(#[from] ProtectionError),
    /// Campaigns that were stopped; the same call resumes.
    #[error("stopped with {missing} trials of this campaign to go; run the same command again to resume")]
    Unfinished {
        /// Trials of the campaign that was running.
        missing: u64,
    },
    /// An attack.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// What a memory holds of a model.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Guards on the values of a model.
    #[error(transparent)]
    Guard(#[from] GuardingError),
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong: options, configuration, a directory that cannot be written.
    Usage,
    /// An input file is bad or missing.
    BadInput,
    /// Work was cut short and can be resumed.
    Stopped,
    /// A self-check failed: results would not be trustworthy.
    SelfCheck,
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Campaign(error) | Self::Hosted(HostedError::Campaign(error)) => campaign_kind(error),
            Self::Hosted(error) => hosted_kind(error),
            Self::Engine(error) => engine_kind(error),
            Self::Record(error) => record_kind(error),
            Self::Train(error) => train_kind(error),
            Self::Attack(error) => attack_kind(error),
            Self::Energy(EnergyError::Csv(_))
            | Self::Protection(ProtectionError::Damage { .. } | ProtectionError::Unknown { .. }) => {
                ErrorKind::BadInput
            }
            Self::Unfinished { .. } => ErrorKind::Stopped,
            Self::Data(error) if error.is_configuration() => ErrorKind::Usage,
            Self::Data(_) | Self::Guard(GuardingError::Insert { .. } | GuardingError::Nothing { .. }) => {
                ErrorKind::BadInput
            }
            Self::Guard(GuardingError::Differs { .. })
            | Self::Protection(ProtectionError::OtherCost { .. }) => ErrorKind::SelfCheck,
            Self::Tensors(error) => tensors_kind(error),
            Self::PatternFile { .. } | Self::Read { .. } => ErrorKind::BadInput,
            Self::Config(error) => config_kind(error),
            Self::Selector(_)
            | Self::Space(_)
            | Self::NoFormat { .. }
            | Self::Draw(_)
            | Self::Pattern(_)
            | Self::Slurm(_)
            | Self::Storage(_)
            | Self::Energy(_)
            | Self::Protection(_)
            | Self::Guard(_)
            | Self::Report(_) => ErrorKind::Usage,
            Self::Merge(MergeError::Nothing | MergeError::OtherCampaign { .. }) => ErrorKind::Usage,
            Self::Merge(
                MergeError::OtherEngine { .. }
                | MergeError::OtherGolden { .. }
                | MergeError::OtherImages { .. }
                | MergeError::Disagree { .. },
            ) => ErrorKind::SelfCheck,
        }
    }
}

fn config_kind(error: &ConfigError) -> ErrorKind {
    if error.is_of_input() { ErrorKind::BadInput } else { ErrorKind::Usage }
}

fn grad_kind(error: &GradError) -> ErrorKind {
    match error {
        GradError::Device { .. } | GradError::MemoryLimit { .. } | GradError::NoMemoryLimit { .. } => {
            ErrorKind::Usage
        }
        _ => ErrorKind::BadInput,
    }
}

fn campaign_kind(error: &CampaignError) -> ErrorKind {
    match error {
        CampaignError::Config(error) => config_kind(error),
        CampaignError::Tensors(error) => tensors_kind(error),
        CampaignError::Data(error) if error.is_configuration() => ErrorKind::Usage,
        CampaignError::Data(_) => ErrorKind::BadInput,
        CampaignError::Engine(error) | CampaignError::SelfCheck(SelfCheckError::Engine(error)) => {
            engine_kind(error)
        }
        CampaignError::SelfCheck(_)
        | CampaignError::GoldenDiffers { .. }
        | CampaignError::ReplayDiffers { .. } => ErrorKind::SelfCheck,
        CampaignError::Record(error) => record_kind(error),
        CampaignError::NotRecorded(_) => ErrorKind::Stopped,
        _ => ErrorKind::Usage,
    }
}

fn hosted_kind(error: &HostedError) -> ErrorKind {
    match error {
        HostedError::SelfCheck(_) | HostedError::NotReproducible { .. } | HostedError::NotProven { .. } => {
            ErrorKind::SelfCheck
        }
        _ => ErrorKind::Usage,
    }
}

fn train_kind(error: &TrainError) -> ErrorKind {
    match error {
        TrainError::Config(error) => config_kind(error),
        TrainError::Snapshot(_) => ErrorKind::BadInput,
        TrainError::Data { source, .. } if source.is_configuration() => ErrorKind::Usage,
        TrainError::Data { .. } => ErrorKind::BadInput,
        TrainError::Grad(error) => grad_kind(error),
        TrainError::Write { source, .. } if is_full(source) => ErrorKind::Stopped,
        TrainError::Tensors(error) => tensors_kind(error),
        TrainError::Record(error) => record_kind(error),
        _ => ErrorKind::Usage,
    }
}

fn attack_kind(error: &AttackError) -> ErrorKind {
    match error {
        AttackError::Config(error) => config_kind(error),
        AttackError::Data(error) if error.is_configuration() => ErrorKind::Usage,
        AttackError::Data(_)
        | AttackError::Records { .. }
        | AttackError::CleanLoss { .. }
        | AttackError::Curvature { .. }
        | AttackError::Measured { .. } => ErrorKind::BadInput,
        AttackError::Grad(error) => grad_kind(error),
        AttackError::Tensors(error) => tensors_kind(error),
        AttackError::Write { source, .. } if is_full(source) => ErrorKind::Stopped,
        AttackError::SelfCheck { .. } => ErrorKind::SelfCheck,
        AttackError::Record(error) => record_kind(error),
        _ => ErrorKind::Usage,
    }
}

fn tensors_kind(error: &TensorsError) -> ErrorKind {
    match error {
        TensorsError::Write { source, .. } if is_full(source) => ErrorKind::Stopped,
        TensorsError::Write { .. } | TensorsError::WouldOverwriteExternal { .. } => ErrorKind::Usage,
        _ => ErrorKind::BadInput,
    }
}

fn engine_kind(error: &EngineError) -> ErrorKind {
    match error {
        EngineError::NoRuntime { .. } | EngineError::Runtime { .. } | EngineError::Pattern(_) => {
            ErrorKind::Usage
        }
        _ => ErrorKind::BadInput,
    }
}

fn record_kind(error: &RecordError) -> ErrorKind {
    match error {
        RecordError::Invalid { .. } | RecordError::Line { .. } | RecordError::Newer { .. } => {
            ErrorKind::BadInput
        }
        RecordError::Io { source, .. } if is_full(source) => ErrorKind::Stopped,
        RecordError::Io { action: "read", .. } => ErrorKind::BadInput,
        _ => ErrorKind::Usage,
    }
}

/// Whether there is no more room for a file. What was recorded before stays, and the same command goes on from it.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_a_person_sets_are_usage() {
        let limit = GradError::MemoryLimit { batch: 4, needed: 9, limit: 8 };
        assert_eq!(Error::from(TrainError::Grad(limit)).kind(), ErrorKind::Usage);
        let none = GradError::NoMemoryLimit { because: "it is so".into() };
        assert_eq!(Error::from(TrainError::Grad(none)).kind(), ErrorKind::Usage);
    }
}
