//! Tensor files of every kind, read into arrays.

use std::path::PathBuf;

use bitquake::bits::{Format, Layout, WordStore, Words, WordsMut};
use bitquake::tensors::TensorFile;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::error::{of, usage};
use crate::threads::detached;

/// A tensor of a file: name, format, dimensions, and its words one after the other.
type Loaded = (String, String, Vec<u64>, Vec<u8>);
type LoadedArray<'py> = (String, String, Vec<u64>, Bound<'py, PyArray1<u8>>);

/// The tensors of a file whose words have a format, in file order.
#[pyfunction]
pub fn read_tensors<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Vec<LoadedArray<'py>>> {
    let loaded = detached(py, || -> Result<Vec<Loaded>, bitquake::Error> {
        let file = TensorFile::open(&path)?;
        let tensors = file.tensors().iter().filter_map(|tensor| {
            let words = file.words(&tensor.name)?;
            Some((tensor.name.clone(), words.format().name(), tensor.shape.clone(), plain_bytes(&words)))
        });
        Ok(tensors.collect())
    })?;
    let loaded = loaded.map_err(|error| of(py, error))?;
    if loaded.is_empty() {
        return Err(usage(py, "the file has no tensor whose words have a format"));
    }
    let array = |(name, format, shape, bytes): Loaded| (name, format, shape, bytes.into_pyarray(py));
    Ok(loaded.into_iter().map(array).collect())
}

/// The words one after the other, little-endian, whatever their layout in the file.
fn plain_bytes(words: &Words<'_>) -> Vec<u8> {
    let (format, elements): (Format, u64) = (words.format(), words.elements());
    let needed = Layout::packed(format).bytes_needed(elements).unwrap_or(0) as usize;
    if let Some(bytes) = words.packed_bytes() {
        return bytes[..needed].to_vec();
    }
    let mut bytes = vec![0; needed];
    let mut plain = WordsMut::packed(format, &mut bytes);
    for (element, word) in (0..).zip(words.iter()) {
        plain.set(element, word);
    }
    bytes
}
