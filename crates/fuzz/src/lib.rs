//! What is fuzzed: each parser with whatever follows it, as functions of bytes. Development only.
//!
//! A function here never fails on bad input: it panics if bitquake broke a promise. Two callers give it bytes: the targets in
//! `fuzz/` (`cargo fuzz run NAME`), and the corpus run in `tests/corpus`, which every `cargo test` does.

mod data;
mod folder;
mod records;
mod tensors;
mod texts;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of `fuzz/fuzz_targets/NAME.rs` and of the folder `fuzz/corpus/NAME`.
    pub name: &'static str,
    /// What is done with the bytes.
    pub run: fn(&[u8]),
    /// Folders with more seeds, which are fixtures of other tests, relative to the repository.
    pub fixtures: &'static [&'static str],
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target { name: "onnx", run: onnx, fixtures: &[] },
    Target { name: "safetensors", run: safetensors, fixtures: &[] },
    Target { name: "pytorch", run: pytorch, fixtures: &["crates/tensors/tests/pytorch"] },
    Target { name: "numpy", run: numpy, fixtures: &["crates/tensors/tests/numpy"] },
    Target { name: "hdf5", run: hdf5, fixtures: &["crates/tensors/tests/hdf5"] },
    Target { name: "gguf", run: gguf, fixtures: &["crates/tensors/tests/gguf"] },
    Target { name: "data", run: data, fixtures: &[] },
    Target { name: "texts", run: texts, fixtures: &[] },
];

/// An ONNX model, with a data file of 64 bytes, `w.bin`, beside it.
///
/// # Panics
/// As every tensor file: if bits flip that were not to, or undoing does not undo.
pub fn onnx(bytes: &[u8]) {
    tensors::check("m.onnx", bytes);
}

/// A safetensors file.
///
/// # Panics
/// As [`onnx`].
pub fn safetensors(bytes: &[u8]) {
    tensors::check("m.safetensors", bytes);
}

/// A PyTorch checkpoint: an archive or a legacy file.
///
/// # Panics
/// As [`onnx`].
pub fn pytorch(bytes: &[u8]) {
    tensors::check("m.pt", bytes);
}

/// A NumPy array or an archive of arrays.
///
/// # Panics
/// As [`onnx`].
pub fn numpy(bytes: &[u8]) {
    tensors::check("m.npz", bytes);
}

/// An HDF5 file or a `.keras` archive with one in it.
///
/// # Panics
/// As [`onnx`].
pub fn hdf5(bytes: &[u8]) {
    tensors::check("m.h5", bytes);
}

/// A GGUF file.
///
/// # Panics
/// As [`onnx`].
pub fn gguf(bytes: &[u8]) {
    tensors::check("m.gguf", bytes);
}

/// Images or labels of a data set: IDX, npy, npz, plain or gzip.
///
/// # Panics
/// If the data set that was read contradicts itself.
pub fn data(bytes: &[u8]) {
    data::check(bytes);
}

/// Every text that bitquake reads: patterns, chips, sites, formats, words, campaigns, quantizers, records.
///
/// # Panics
/// If what was read is not read back from what is written for it.
pub fn texts(bytes: &[u8]) {
    records::check(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        texts::check(text);
    }
}
