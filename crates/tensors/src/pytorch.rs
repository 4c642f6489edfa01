//! PyTorch checkpoints, `.pt` and `.pth`: zip archives and the legacy form, with any objects in them.
//!
//! The pickle is read as data; nothing is executed, see [`crate::pickle`]. Tensors are found in dictionaries, lists and
//! objects of any kind, modules that were pickled whole included, and are named as `state_dict()` would name them:
//! `model.conv1.weight`, `optimizer.state.0.exp_avg`.
//!
//! Tensors are views of storages, and several may share one: tied weights, or slices of one buffer. Each is listed; a flip
//! in one shows in the others, as in the program's memory. What is transposed or otherwise not contiguous is read by its
//! strides. Along an axis of stride 0 nothing is stored but one element, so the axis is listed as 1 long. A tensor whose
//! own elements overlap in any other way (`as_strided` makes such) is listed and can not be changed. Complex numbers
//! have one axis more, of real and imaginary part. Quantized tensors are their codes; scales and zero points of channels
//! are `NAME@scale` and `NAME@zero_point`, those of whole tensors are numbers in the pickle and are not listed.

mod archive;
mod element;
mod error;
mod legacy;
mod rebuild;
mod view;
mod walk;

use std::collections::HashMap;
use std::path::Path;

use bitquake_bits::Layout;

use crate::file::Storage;
use crate::file_bytes::FileBytes;
use crate::info::{Origin, Place, StorageForm};
use crate::zip::{self, Archive, Inflated, Span};
use crate::{Dtype, FileKind, Role, TensorFile, TensorInfo, TensorsError};

use error::CheckpointError;
use view::View;

/// What a checkpoint holds.
struct Checkpoint {
    /// In the order of the pickle.
    tensors: Vec<(String, View)>,
    /// Where the storages are, by key.
    storages: HashMap<String, Span>,
    is_big_endian: bool,
    /// The parts from 1 on.
    inflated: Inflated,
}

/// Whether the content is a checkpoint: an archive with a `data.pkl`, or the magic number of the legacy form.
pub(crate) fn is_pytorch(bytes: &[u8]) -> bool {
    legacy::is_checkpoint(bytes)
        || bytes.starts_with(zip::MARK)
            && Archive::read(bytes).is_ok_and(|archive| archive::is_checkpoint(&archive))
}

/// The name of a tensor that is a checkpoint by itself: not the file's, so that a pattern fits whatever that is called.
const LONE: &str = "tensor";

/// Makes a file of `bytes`, read from `path`.
pub(crate) fn open(path: &Path, bytes: FileBytes) -> Result<TensorFile, TensorsError> {
    let read = if bytes.starts_with(zip::MARK) { archive::read } else { legacy::read };
    let entries = read(&bytes, LONE).and_then(|checkpoint| Ok((checkpoint.entries()?, checkpoint.inflated)));
    let (entries, inflated) = entries.map_err(|error| TensorsError::BadFile {
        path: path.to_owned(),
        kind: FileKind::Pytorch,
        source: Box::new(error),
    })?;
    let parts = zip::parts(path, bytes, inflated);
    Ok(TensorFile::assemble(path, FileKind::Pytorch, parts, entries))
}

impl Checkpoint {
    fn entries(&self) -> Result<Vec<(TensorInfo, Storage)>, CheckpointError> {
        self.tensors.iter().map(|(name, view)| self.entry(name, view)).collect()
    }

    fn entry(&self, name: &str, view: &View) -> Result<(TensorInfo, Storage), CheckpointError> {
        let view = view.clone().without_repetition();
        let missing = || {
            let what = format!("its storage {:?} is missing", view.key);
            CheckpointError::Tensor { tensor: name.to_owned(), what }
        };
        let storage = self.storages.get(&view.key).ok_or_else(missing)?;
        let reach = view.reach(name, storage.range.len() as u64)?;
        let start = storage.range.start;
        let range = start + reach.start as usize..start + reach.end as usize;
        let (shape, strides) = view.in_words();
        let layout = view.element.format.filter(|_| view.is_injective()).and_then(|format| {
            let layout = view.element.layout(format, self.is_big_endian);
            Some((format, strided(layout, &shape, &strides)?))
        });
        let (dtype, storage) = match layout {
            Some((format, layout)) => {
                (Dtype::Known(format), Storage::Words { part: storage.part, range, layout })
            }
            None => (Dtype::Other(view.other_dtype()), Storage::Opaque),
        };
        Ok((info(name, dtype, shape), storage))
    }
}

/// Elements without strides that matter have none: every axis of an empty tensor, axes of one element.
fn strided(layout: Layout, shape: &[u64], strides: &[u64]) -> Option<Layout> {
    if shape.contains(&0) { Some(layout) } else { layout.strided(shape, strides, 0) }
}

fn info(name: &str, dtype: Dtype, shape: Vec<u64>) -> TensorInfo {
    let role = if dtype.format().is_some() { Role::Weight } else { Role::Attribute };
    let origin = Origin { place: Place::Entry, storage: StorageForm::Words };
    TensorInfo { name: name.to_owned(), dtype, shape, role, origin }
}

impl View {
    /// The name of a dtype that is no format, or whose words overlap.
    fn other_dtype(&self) -> String {
        match self.element.format {
            Some(format) => format!("overlapping {format}"),
            None => self.element.name.to_owned(),
        }
    }
}
