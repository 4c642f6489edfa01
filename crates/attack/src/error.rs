//! What can go wrong with an attack.

use std::io;
use std::path::{Path, PathBuf};

use bitquake_bits::Format;
use bitquake_config::ConfigError;
use bitquake_data::DataError;
use bitquake_fault::{DrawError, PatternError, SpaceError};
use bitquake_grad::GradError;
use bitquake_record::RecordError;
use bitquake_stats::StatsError;
use bitquake_storage::StorageError;
use bitquake_tensors::TensorsError;

/// Why an attack cannot be run, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttackError {
    /// The configuration is wrong, or cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration does not fit the model or the data.
    #[error("{place}: {reason}")]
    Setting {
        /// The section and the key.
        place: &'static str,
        /// What does not fit, and what would.
        reason: String,
    },
    /// The model file.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// The network: an operator that is not supported, or a device that is not there.
    #[error(transparent)]
    Grad(#[from] GradError),
    /// The data set.
    #[error("[data]: {0}")]
    Data(#[from] DataError),
    /// What the memory holds.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The selection of tensors or bits.
    #[error("[attack]: {0}")]
    Space(#[from] SpaceError),
    /// A pattern that does not fit.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Which bits can be flipped at all.
    #[error("[attack.feasible]: {0}")]
    Draw(#[from] DrawError),
    /// A selected tensor whose bits cannot be attacked.
    #[error("[attack] select: tensor `{tensor}` ({format}) cannot be attacked: {reason}")]
    NotAttackable {
        /// The tensor.
        tensor: String,
        /// How its words are stored.
        format: Format,
        /// Why not.
        reason: String,
    },
    /// The loss of the network without flips is no finite number: there is nothing to raise.
    #[error(
        "the loss of the clean network is {loss}{}",
        place.as_ref().map_or(String::new(), |name| format!("; the first value that is not finite is `{name}`"))
    )]
    CleanLoss {
        /// The loss.
        loss: f64,
        /// The first value of the network that is not finite; none if all are.
        place: Option<String>,
    },
    /// Second derivatives, or the gradients that they are made of, are no finite numbers.
    #[error(
        "{what} is not finite, though the loss is: derivatives overflow, so these weights cannot be ranked by them"
    )]
    Curvature {
        /// What is not finite.
        what: &'static str,
    },
    /// What single upsets were found to do cannot be read, or is of another memory.
    #[error("[rank] measured: {}: {reason}", path.display())]
    Measured {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder holds other rankings.
    #[error("{}: holds other rankings; {difference}", dir.display())]
    OtherRankings {
        /// The output folder.
        dir: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The folder holds another attack.
    #[error("{}: holds another attack; {difference}", dir.display())]
    OtherAttack {
        /// The output folder.
        dir: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The records of a folder are no attack that can be resumed.
    #[error("{}: {reason}", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What the network computed with is not what the pattern makes of the memory.
    #[error(
        "self-check of trial {trial}: tensor `{tensor}` of the network is not what the memory holds under the flips"
    )]
    SelfCheck {
        /// The trial.
        trial: u64,
        /// The tensor.
        tensor: String,
    },
    /// A file of the output folder.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file cannot be written, on a full disk for example; what was recorded before is whole.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Statistics could not be computed.
    #[error(transparent)]
    Stats(#[from] StatsError),
}

impl AttackError {
    pub(crate) fn setting(place: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { place, reason: reason.into() }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}
