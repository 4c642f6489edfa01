//! What can go wrong with a training.

use std::io;
use std::path::{Path, PathBuf};

use bitquake_data::DataError;
use bitquake_grad::GradError;
use bitquake_record::RecordError;
use bitquake_tensors::TensorsError;

use crate::method::MethodError;

/// Why a training cannot be run, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe is wrong, or cannot be read.
    #[error(transparent)]
    Config(#[from] bitquake_config::ConfigError),
    /// The recipe does not fit the model or the data.
    #[error("{place}: {reason}")]
    Recipe {
        /// The section.
        place: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// The model file.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// The network: an operator that is not supported, or a device that is not there.
    #[error(transparent)]
    Grad(#[from] GradError),
    /// The data set.
    #[error("{place}: {source}")]
    Data {
        /// The section.
        place: &'static str,
        /// What is wrong.
        source: DataError,
    },
    /// The method.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// Numbers are not finite any more.
    #[error(
        "diverged: {what} in epoch {epoch}, step {step} (loss {loss}){}; the last snapshot is kept. Lower [optimiser] rate, or add [schedule] warm_up",
        place.as_ref().map_or(String::new(), |name| format!("; the first value that is not finite is `{name}`"))
    )]
    Diverged {
        /// What is not finite.
        what: &'static str,
        /// The epoch, from 0.
        epoch: u64,
        /// The step of the training, from 0.
        step: u64,
        /// The loss.
        loss: f64,
        /// The first value of the network that is not finite, in the order of computation; none if all are.
        place: Option<String>,
    },
    /// The folder holds the training of another recipe.
    #[error("{}: holds the training of another recipe; {difference}", dir.display())]
    OtherRecipe {
        /// The output folder.
        dir: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A snapshot that is damaged, or that does not fit.
    #[error("the snapshot cannot be resumed: {0}")]
    Snapshot(String),
    /// A file cannot be written, on a full disk for example; the snapshot before it is whole.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the output folder.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl TrainError {
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }

    pub(crate) fn recipe(place: &'static str, reason: impl Into<String>) -> Self {
        Self::Recipe { place, reason: reason.into() }
    }

    pub(crate) fn data(place: &'static str) -> impl FnOnce(DataError) -> Self {
        move |source| Self::Data { place, source }
    }
}
