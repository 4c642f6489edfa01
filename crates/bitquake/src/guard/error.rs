//! Why a model cannot be guarded.

use std::path::PathBuf;

use bitquake_fault::SelectorError;
use bitquake_graph::guard::GuardError;
use thiserror::Error;

/// Why a model cannot be guarded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GuardingError {
    /// The model has no nodes of an operator.
    #[error("[guard] ops: {} has no operator `{op}`; it has {}", path.display(), .known.join(", "))]
    NoOperator {
        /// The model.
        path: PathBuf,
        /// The operator.
        op: String,
        /// The operators that it has.
        known: Vec<String>,
    },
    /// There is nothing to guard.
    #[error("{}: there is nothing to guard: {reason}", path.display())]
    Nothing {
        /// The model.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The globs.
    #[error("[guard] select, of the values that ops give: {0}")]
    Select(#[from] SelectorError),
    /// More images are wanted than there are.
    #[error("[guard] images: {wanted} images are wanted, and there are {available}")]
    Images {
        /// How many are wanted.
        wanted: u64,
        /// How many there are.
        available: u64,
    },
    /// The guarded model would replace the model.
    #[error("{}: the guarded model would overwrite the model; choose another output", path.display())]
    Overwrite {
        /// The file.
        path: PathBuf,
    },
    /// The nodes cannot be put into the model.
    #[error("{}: {source}", path.display())]
    Insert {
        /// The model.
        path: PathBuf,
        /// Why.
        source: GuardError,
    },
    /// The guarded model is not the model, on images without faults.
    #[error(
        "{}: with guards, element {element} of the output `{output}` on the calibration images is {found} instead of {wanted}; \
         nothing was written", path.display()
    )]
    Differs {
        /// The model.
        path: PathBuf,
        /// The output.
        output: String,
        /// The number of the element, over all images.
        element: u64,
        /// What the guarded model gives, as text.
        found: String,
        /// What the model gives, as text.
        wanted: String,
    },
}
