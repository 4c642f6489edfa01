//! What can be wrong with a checkpoint.

use thiserror::Error;

use crate::pickle::PickleError;
use crate::zip::ZipError;

/// Why a PyTorch checkpoint cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum CheckpointError {
    #[error(transparent)]
    Zip(#[from] ZipError),
    #[error("{place}: {source}")]
    Pickle { place: &'static str, source: PickleError },
    #[error("there is no data.pkl in the archive")]
    NoPickle,
    #[error(
        "it is a TorchScript archive with tensors among the constants, which are not read: save the state dict instead"
    )]
    TorchScript,
    #[error("its byte order is {0:?}, neither little nor big")]
    ByteOrder(String),
    #[error("its {what} is not that of a legacy checkpoint")]
    Legacy { what: &'static str },
    #[error("storage {key:?} is listed, but no tensor has it")]
    UnknownStorage { key: String },
    #[error("storage {key:?}: at byte {at}: {elements} elements are stored, the pickle has {declared}")]
    StorageCount { key: String, at: usize, elements: i64, declared: u64 },
    #[error("cut short within storage {key:?} of {size} bytes at byte {at}")]
    StorageCut { key: String, at: usize, size: u64 },
    #[error("tensor {tensor}: {what}")]
    Tensor { tensor: String, what: String },
    #[error(
        "tensor {tensor}: {shape:?} with strides {strides:?} from element {offset} on reaches byte {needed} of storage \
         {key:?}, which has {size} bytes"
    )]
    Reach {
        tensor: String,
        shape: Vec<u64>,
        strides: Vec<u64>,
        offset: u64,
        key: String,
        needed: Number,
        size: u64,
    },
    #[error("values are nested more than {limit} deep at {at}")]
    TooDeep { at: String, limit: usize },
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
}

/// A number, or the fact that it is larger than any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) Option<u64>);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("2^64 and more"),
        }
    }
}
