//! Tensor files, read and rewritten byte for byte except for the flipped bits.
//!
//! [`TensorFile::open`] reads a file of any [`FileKind`] into memory, lists its tensors ([`TensorInfo`]), and gives their words for reading and editing in place through
//! [`WordStore`](bitquake_bits::WordStore). [`TensorFile::save`] writes the file back: what was not edited keeps
//! every byte, unknown fields and odd encodings included. [`TensorFile::into_engine_image`] makes of an ONNX model
//! the bytes that a runtime gets, with every weight in place. [`onnx`] holds the thin graph.
//!
//! | kind | read |
//! | --- | --- |
//! | ONNX | every storage form, subgraphs, external data |
//! | safetensors | every dtype |
//! | PyTorch | zip and legacy checkpoints: nested dicts, whole modules, strided and tied tensors; no code is executed |
//! | npy, npz | every numeric dtype, both byte orders, Fortran order, compressed archives |
//! | HDF5, Keras | contiguous, compact and regular chunked datasets without filters |
//! | GGUF | plain types, and the blocks Q4_0, Q4_1, Q8_0, Q8_1, MXFP4 as codes and scales |
//!
//! Files are not trusted: nothing is allocated on a header's word alone, nesting is limited, and every length, offset
//! and location is checked. Small files are read whole, large ones are mapped: only pages that are changed take memory.

mod aliases;
mod aligned;
mod edits;
mod error;
mod external;
mod file;
mod file_bytes;
mod gguf;
mod hdf5;
mod image;
mod info;
mod keras;
mod lend;
pub mod npy;
mod numpy;
pub mod onnx;
mod open_onnx;
mod open_safetensors;
mod pickle;
mod pytorch;
mod save;
mod sniff;
pub mod wire;
mod words;
mod zip;

pub use aligned::AlignedBytes;
pub use error::TensorsError;
pub use file::TensorFile;
pub use file_bytes::{open_to_read, read_text};
pub use gguf::GgufError;
pub use hdf5::Hdf5Error;
pub use image::{EngineImage, ImagePart, LENT_FROM, WordRange};
pub use info::{Dtype, FileKind, Origin, Place, Role, StorageForm, TensorInfo};
