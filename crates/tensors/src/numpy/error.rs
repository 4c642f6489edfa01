//! What can be wrong with an array.

use thiserror::Error;

use crate::npy::HeaderError;
use crate::zip::ZipError;

/// Why a NumPy file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ArrayError {
    #[error(transparent)]
    Zip(#[from] ZipError),
    #[error("member {member:?}: {source}")]
    Member { member: String, source: Box<ArrayError> },
    #[error(
        "it has no data.pkl of PyTorch's, and member {member:?} is no array of NumPy's, whose names end with .npy"
    )]
    NoArray { member: String },
    #[error("the header of the array: {0}")]
    Header(#[from] HeaderError),
    #[error("arrays of Python objects are pickles, which are not read")]
    Objects,
    #[error("elements of type {descr:?} are unknown")]
    ElementType { descr: String },
    #[error("{shape:?} has more than 2^64 bytes")]
    TooLarge { shape: Vec<u64> },
    #[error("{shape:?} of {descr} takes {expected} bytes, but {actual} are stored")]
    Size { shape: Vec<u64>, descr: String, expected: u64, actual: u64 },
}
