//! What differs between two files, bit by bit.

use std::path::Path;

use bitquake_fault::{Explanation, FaultPattern};
use bitquake_tensors::{Dtype, TensorFile, TensorInfo};
use serde::Serialize;

use crate::error::Error;

/// The difference of two tensor files.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Bit flips that turn the first into the second, in the tensors that both have with the same format and shape.
    #[serde(flatten)]
    pub flips: Explanation,
    /// Tensors that cannot be compared bit by bit, and why.
    pub incomparable: Vec<Incomparable>,
    /// Whether all tensors are there in both and equal.
    pub identical: bool,
}

/// A tensor that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incomparable {
    /// Its name.
    pub tensor: String,
    /// Why.
    pub reason: String,
}

/// Compares two files, of whatever formats, tensor by tensor.
///
/// # Errors
/// [`Error`] when a file cannot be read.
pub fn diff(a: &Path, b: &Path) -> Result<Difference, Error> {
    let (a, b) = (TensorFile::open(a)?, TensorFile::open(b)?);
    let mut comparable = Vec::new();
    let mut incomparable = Vec::new();
    for tensor in a.tensors() {
        match why_incomparable(tensor, b.tensor(&tensor.name)) {
            Some(reason) => incomparable.push(Incomparable { tensor: tensor.name.clone(), reason }),
            None => comparable.push(tensor.name.as_str()),
        }
    }
    for tensor in b.tensors().iter().filter(|tensor| a.tensor(&tensor.name).is_none()) {
        incomparable
            .push(Incomparable { tensor: tensor.name.clone(), reason: "only in the second file".into() });
    }
    let flips = FaultPattern::between(comparable, &a, &b)?.explain(&a)?;
    let identical = flips.total.flips == 0 && incomparable.iter().all(|tensor| tensor.reason == SAME_UNKNOWN);
    Ok(Difference { flips, incomparable, identical })
}

const SAME_UNKNOWN: &str = "its format is not one that bits are compared in";

fn why_incomparable(a: &TensorInfo, b: Option<&TensorInfo>) -> Option<String> {
    let Some(b) = b else {
        return Some("only in the first file".into());
    };
    if a.dtype != b.dtype {
        Some(format!("{} in the first file, {} in the second", a.dtype, b.dtype))
    } else if a.shape != b.shape {
        Some(format!("shape {:?} in the first file, {:?} in the second", a.shape, b.shape))
    } else if matches!(a.dtype, Dtype::Other(_)) {
        Some(SAME_UNKNOWN.into())
    } else {
        None
    }
}
