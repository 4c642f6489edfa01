//! HDF5 files, as Keras, QKeras and h5py write them: every dataset of numbers is a tensor.
//!
//! The format is read from the public "HDF5 File Format Specification": superblocks 0 to 3, object headers 1 and 2, groups
//! as symbol tables, as links in the header, or in a fractal heap; data in one piece, in the header, or in chunks that
//! are listed in a B-tree of version 1, a fixed array, one after the other, or that are just one. Tensors are named by
//! their path without the first slash (`dense/dense/kernel:0`), listed group by group in the order of their names, and
//! under one name each: of several hard links to a dataset the first counts, and soft links do not.
//!
//! What else a file holds is listed as [`Dtype::Other`](crate::Dtype), whose name says why its words are not read: text and
//! records, data behind filters (`f32 (filtered by shuffle, deflate)`), data that were never written, data in other files,
//! chunks that lie at irregular distances or cut another dimension than the first unevenly.
//! An optimiser's slots are datasets like any other, and weights: exclude them by name (`!optimizer*`).

mod checksum;
mod chunks;
mod cursor;
mod dataset;
mod dataspace;
mod datatype;
mod error;
mod file;
mod filters;
mod fractal;
mod group;
mod header;
mod heap;
mod layout;
mod overlaps;
mod sorted;
mod superblock;
mod tree;
mod walk;

use std::path::Path;

pub use error::Hdf5Error;
use overlaps::Overlaps;

use crate::external::Part;
use crate::file::Storage;
use crate::file_bytes::FileBytes;
use crate::info::{Origin, Place, StorageForm};
use crate::{Dtype, FileKind, Role, TensorFile, TensorInfo, TensorsError, zip};

use dataset::{Data, Dataset};

/// Whether the content is an HDF5 file, perhaps behind bytes of the user's own. An archive that happens to hold one at
/// such a place is none.
pub(crate) fn is_hdf5(bytes: &[u8]) -> bool {
    superblock::find(bytes).is_some() && !bytes.starts_with(zip::MARK)
}

/// Makes a file of `bytes`, read from `path`.
pub(crate) fn open(path: &Path, bytes: FileBytes) -> Result<TensorFile, TensorsError> {
    let entries = entries(&bytes, (0, 0)).map_err(|source| TensorsError::BadFile {
        path: path.to_owned(),
        kind: FileKind::Hdf5,
        source: Box::new(source),
    })?;
    Ok(TensorFile::assemble(path, FileKind::Hdf5, vec![Part::main(path, bytes)], entries))
}

/// The tensors of an HDF5 file that stands at byte `shift` of `part`.
pub(crate) fn entries(
    bytes: &[u8],
    (part, shift): (usize, usize),
) -> Result<Vec<(TensorInfo, Storage)>, Hdf5Error> {
    let datasets = walk::datasets(bytes)?;
    Ok(datasets.into_iter().map(|dataset| entry(dataset, (part, shift))).collect())
}

fn entry(dataset: Dataset, (part, shift): (usize, usize)) -> (TensorInfo, Storage) {
    let (dtype, role, storage) = match dataset.data {
        Data::Words { format, layout, range } => {
            let range = range.start + shift..range.end + shift;
            (Dtype::Known(format), Role::Weight, Storage::Words { part, range, layout })
        }
        Data::Unread(why) if why.is_empty() => {
            (Dtype::Other(dataset.dtype), Role::Attribute, Storage::Opaque)
        }
        Data::Unread(why) => {
            (Dtype::Other(format!("{} ({why})", dataset.dtype)), Role::Attribute, Storage::Opaque)
        }
    };
    let origin = Origin { place: Place::Entry, storage: StorageForm::Words };
    (TensorInfo { name: dataset.name, dtype, shape: dataset.shape, role, origin }, storage)
}
