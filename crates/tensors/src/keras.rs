//! Keras 3 archives, `.keras`: a zip archive of the network's configuration and of its weights as an HDF5 file.
//!
//! The tensors are those of the member `model.weights.h5`, under their paths there: `layers/dense/vars/0`. The optimiser's
//! slots are among them (`optimizer/vars/...`): they are weights too, and are excluded by name. Keras stores members as
//! they are; archives that were packed anew by deflating are read and written as well.

use std::path::Path;

use thiserror::Error;

use crate::file::Storage;
use crate::file_bytes::FileBytes;
use crate::hdf5::{self, Hdf5Error};
use crate::zip::{self, Archive, Contents, ZipError};
use crate::{FileKind, TensorFile, TensorInfo, TensorsError};

/// The member with the weights.
const WEIGHTS: &str = "model.weights.h5";

/// Why an archive cannot be read.
#[derive(Debug, Error)]
enum KerasError {
    #[error(transparent)]
    Zip(#[from] ZipError),
    #[error("member {WEIGHTS:?}: {0}")]
    Weights(#[from] Hdf5Error),
    #[error("there is no member {WEIGHTS:?}")]
    NoWeights,
}

/// Whether the content is an archive with a network's weights.
pub(crate) fn is_keras(bytes: &[u8]) -> bool {
    bytes.starts_with(zip::MARK)
        && Archive::read(bytes).is_ok_and(|archive| archive.member(WEIGHTS).is_some())
}

/// Makes a file of `bytes`, read from `path`.
pub(crate) fn open(path: &Path, bytes: FileBytes) -> Result<TensorFile, TensorsError> {
    let (entries, inflated) = read(&bytes).map_err(|source| TensorsError::BadFile {
        path: path.to_owned(),
        kind: FileKind::Keras,
        source: Box::new(source),
    })?;
    Ok(TensorFile::assemble(path, FileKind::Keras, zip::parts(path, bytes, inflated), entries))
}

/// The tensors, and the names and data of the members that were deflated.
type Weights = (Vec<(TensorInfo, Storage)>, zip::Inflated);

fn read(bytes: &[u8]) -> Result<Weights, KerasError> {
    let mut contents = Contents::read(bytes)?;
    let span = contents.locate(WEIGHTS)?.ok_or(KerasError::NoWeights)?;
    let entries = hdf5::entries(contents.slice(&span), (span.part, span.range.start))?;
    Ok((entries, contents.into_inflated()))
}
