//! GGUF files, versions 2 and 3, as llama.cpp and its relatives write them.
//!
//! A tensor of plain numbers is one tensor. A tensor of blocks appears as its parts: `NAME` are the codes, in the tensor's
//! shape; `NAME@scale` and, where the format has one, `NAME@min` are the numbers of each block, with the last dimension
//! divided by the words of a block. All parts of a block can be faulted on their own. Which types these are is in the table
//! of `types.rs`. For `q4_0` the codes are `u4` and value = (code - 8) * scale, for `q4_1` they are `u4` and value =
//! code * scale + min, for `q8_0` they are `i8` and value = code * scale, for `mxfp4` they are `f4e2m1` and the scales are
//! powers of two.
//!
//! Other quantized types (K-quants, IQ) are listed as [`Dtype::Other`] under their name and never touched. Shapes are
//! outermost first; the file has them the other way round. The file's metadata are checked and skipped. Big-endian files
//! are refused.

mod error;
mod header;
mod reader;
mod types;

use std::path::Path;

use crate::external::Part;
use crate::file::Storage;
use crate::file_bytes::FileBytes;
use crate::info::{Origin, Place, StorageForm};
use crate::{Dtype, FileKind, Role, TensorFile, TensorInfo, TensorsError};

pub use error::GgufError;
use header::Entry;
use types::BlockPart;

/// Whether the content starts as a GGUF file does.
pub(crate) fn is_gguf(bytes: &[u8]) -> bool {
    bytes.starts_with(header::MAGIC)
}

/// Makes a file of `bytes`, read from `path`.
pub(crate) fn open(path: &Path, bytes: FileBytes) -> Result<TensorFile, TensorsError> {
    let entries = header::read(&bytes).and_then(|entries| with_parts(&entries)).map_err(|source| {
        TensorsError::BadFile { path: path.to_owned(), kind: FileKind::Gguf, source: Box::new(source) }
    })?;
    Ok(TensorFile::assemble(path, FileKind::Gguf, vec![Part::main(path, bytes)], entries))
}

/// The tensors, those of blocks as their parts.
fn with_parts(entries: &[Entry]) -> Result<Vec<(TensorInfo, Storage)>, GgufError> {
    let mut tensors = Vec::new();
    for entry in entries {
        let parts = entry.kind.map_or(&[][..], |kind| kind.parts);
        tensors.extend(parts.iter().map(|part| with_words(entry, part)));
        if parts.is_empty() {
            tensors.push((info(entry, "", Dtype::Other(entry.type_name())), Storage::Opaque));
        }
    }
    check_names(&tensors)?;
    Ok(tensors)
}

/// A tensor may be called what a part of another is called.
fn check_names(tensors: &[(TensorInfo, Storage)]) -> Result<(), GgufError> {
    let mut names: Vec<&str> = tensors.iter().map(|(info, _)| info.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(GgufError::Repeated { what: "tensor", name: pair[0].to_owned() }),
        None => Ok(()),
    }
}

fn with_words(entry: &Entry, part: &BlockPart) -> (TensorInfo, Storage) {
    let block_bytes = entry.kind.map_or(0, |kind| kind.block_bytes);
    let layout = part.layout(block_bytes);
    let mut info = info(entry, part.suffix, Dtype::Known(part.format));
    if let Some(last) = info.shape.last_mut() {
        *last = *last / entry.kind.map_or(1, |kind| kind.block_words) * part.words;
    }
    (info, Storage::Words { part: 0, range: entry.range.clone(), layout })
}

fn info(entry: &Entry, suffix: &str, dtype: Dtype) -> TensorInfo {
    let role = if dtype.format().is_some() { Role::Weight } else { Role::Attribute };
    let origin = Origin { place: Place::Entry, storage: StorageForm::Words };
    TensorInfo { name: format!("{}{suffix}", entry.name), dtype, shape: entry.shape.clone(), role, origin }
}
