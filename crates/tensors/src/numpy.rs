//! NumPy arrays: `.npy`, a header and the elements, and `.npz`, a zip archive of such files.
//!
//! A lone array is called `array`, so that a pattern fits whatever the file is called; an array in an archive has the name of its
//! member, without `.npy`. Arrays in
//! Fortran order are listed by their shape and read by their strides. Complex numbers have one axis more, of real and
//! imaginary part. Text, dates and others that are no numbers are listed and can not be changed. Arrays of records
//! and of Python objects are errors: the one would need a name for each field, the other is a pickle.

mod element;
mod error;
mod header;

use std::path::Path;

use crate::external::Part;
use crate::file::Storage;
use crate::file_bytes::FileBytes;
use crate::info::{Origin, Place, StorageForm};
use crate::npy;
use crate::sniff::looks_like;
use crate::zip::{self, Contents, Inflated, Span};
use crate::{Dtype, FileKind, Role, TensorFile, TensorInfo, TensorsError};

use error::ArrayError;
use header::Header;

/// What the names of members end with.
const EXTENSION: &str = ".npy";

/// The name of the array of a `.npy` file.
const LONE: &str = "array";

/// Whether the content starts as an array does.
pub(crate) fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(npy::MARK)
}

/// Whether the content starts as a zip archive does, an empty one included. To be asked after all other kinds of
/// archives; what is none of them is told apart by its name when it comes to the error.
pub(crate) fn is_npz(bytes: &[u8]) -> bool {
    bytes.starts_with(zip::MARK) || bytes.starts_with(b"PK\x05\x06")
}

/// Makes a file of the array `bytes`, read from `path`.
pub(crate) fn open_npy(path: &Path, bytes: FileBytes) -> Result<TensorFile, TensorsError> {
    let span = Span { part: 0, range: 0..bytes.len() };
    let entry = entry(LONE, &bytes, span).map_err(bad(path, FileKind::Npy))?;
    Ok(TensorFile::assemble(path, FileKind::Npy, vec![Part::main(path, bytes)], vec![entry]))
}

/// Makes a file of the archive `bytes`, read from `path`.
pub(crate) fn open_npz(path: &Path, bytes: FileBytes) -> Result<TensorFile, TensorsError> {
    let (entries, inflated) = read_npz(&bytes).map_err(|error| bad_archive(path, &bytes, error))?;
    Ok(TensorFile::assemble(path, FileKind::Npz, zip::parts(path, bytes, inflated), entries))
}

fn bad(path: &Path, kind: FileKind) -> impl Fn(ArrayError) -> TensorsError {
    move |source| TensorsError::BadFile { path: path.to_owned(), kind, source: Box::new(source) }
}

/// What is no archive, or one of something else, is told by its name to be a damaged file of a kind, or is none.
fn bad_archive(path: &Path, bytes: &[u8], error: ArrayError) -> TensorsError {
    let is_strange = matches!(error, ArrayError::Zip(_) | ArrayError::NoArray { .. });
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("pt" | "pt2" | "pth" | "ckpt" | "bin") => FileKind::Pytorch,
        Some("keras") => FileKind::Keras,
        Some("npz") => FileKind::Npz,
        _ if is_strange => {
            let looks_like = looks_like(bytes).unwrap_or("is a zip archive");
            return TensorsError::NotATensorFile { path: path.to_owned(), looks_like };
        }
        _ => FileKind::Npz,
    };
    bad(path, kind)(error)
}

type Entries = Vec<(TensorInfo, Storage)>;

fn read_npz(bytes: &[u8]) -> Result<(Entries, Inflated), ArrayError> {
    let mut contents = Contents::read(bytes)?;
    let members = contents.archive().members().iter();
    let names: Vec<String> =
        members.map(|member| member.name.clone()).filter(|name| !name.ends_with('/')).collect();
    let mut entries = Vec::new();
    for member in names {
        let Some(name) = member.strip_suffix(EXTENSION) else {
            return Err(ArrayError::NoArray { member });
        };
        let Some(span) = contents.locate(&member)? else { continue };
        let entry = entry(name, contents.slice(&span), span.clone());
        entries.push(entry.map_err(|source| ArrayError::Member { member, source: Box::new(source) })?);
    }
    Ok((entries, contents.into_inflated()))
}

/// The array that is all of `bytes`, which stand at `span`.
fn entry(name: &str, bytes: &[u8], span: Span) -> Result<(TensorInfo, Storage), ArrayError> {
    let header = Header::read(bytes)?;
    let size = header.data_size().ok_or_else(|| ArrayError::TooLarge { shape: header.shape.clone() })?;
    let actual = (bytes.len() - header.data) as u64;
    if actual != size {
        let (shape, descr) = (header.shape.clone(), header.element.name.clone());
        return Err(ArrayError::Size { shape, descr, expected: size, actual });
    }
    let range = span.range.start + header.data..span.range.end;
    let storage = match header.layout() {
        Some(layout) => Storage::Words { part: span.part, range, layout },
        None => Storage::Opaque,
    };
    let dtype = match header.element.format {
        Some(format) => Dtype::Known(format),
        None => Dtype::Other(header.element.name.clone()),
    };
    let role = if header.element.format.is_some() { Role::Weight } else { Role::Attribute };
    let origin = Origin { place: Place::Entry, storage: StorageForm::Words };
    Ok((TensorInfo { name: name.to_owned(), dtype, shape: header.shape_in_words(), role, origin }, storage))
}
