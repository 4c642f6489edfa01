//! Why a tensor file could not be read, edited or written.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::FileKind;
use crate::wire::WireError;

/// Every error of this crate. The messages name the file, the tensor and the numbers.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorsError {
    /// The file cannot be read: missing, a folder, no permission.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file cannot be written; nothing was left at its path that was not there before.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The content is recognisably something else.
    #[error("{} {looks_like}: not a tensor file that bitquake reads (onnx, safetensors, pt, npy, npz, h5, keras, gguf)", .path.display())]
    NotATensorFile {
        /// The file.
        path: PathBuf,
        /// What it looks like, for example `is text`.
        looks_like: &'static str,
    },
    /// The file is of a kind that can be told, and malformed.
    #[error("{} is not a whole {kind} file: {source}", .path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What it starts as.
        kind: FileKind,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bytes are not a well-formed ONNX message; a truncated file is reported here too.
    #[error("{} is not a whole ONNX model: {source}", .path.display())]
    Wire {
        /// The file.
        path: PathBuf,
        /// What is wrong, and at which byte.
        source: WireError,
    },
    /// Well-formed bytes that make no ONNX model.
    #[error("{}: at byte {at}: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The absolute offset of the message at fault.
        at: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The model holds no graph.
    #[error("{} has no graph: it is not an ONNX model", .path.display())]
    NoGraph {
        /// The file.
        path: PathBuf,
    },
    /// Subgraphs nested deeper than the reader follows.
    #[error("{} nests graphs more than {limit} deep", .path.display())]
    TooDeep {
        /// The file.
        path: PathBuf,
        /// The deepest nesting that is read.
        limit: usize,
    },
    /// A tensor whose stored bytes are more or fewer than its shape and dtype ask.
    #[error(
        "{}: tensor {tensor}: {dtype} {shape:?} takes {expected} bytes, but {actual} are stored",
        .path.display()
    )]
    PayloadSize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Elements times the width in bytes.
        expected: u64,
        /// The bytes found, counted after decoding.
        actual: u64,
    },
    /// A tensor that is stored in a way which has no one meaning.
    #[error("{}: tensor {tensor}: {what}", .path.display())]
    BadTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        what: String,
    },
    /// An external data file that is not there.
    #[error("{}: tensor {tensor}: cannot read its external data file {}", .path.display(), .file.display())]
    ExternalMissing {
        /// The model.
        path: PathBuf,
        /// The first tensor that names the file.
        tensor: String,
        /// The external file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An external location outside the model's folder.
    #[error("{}: tensor {tensor}: external data location {location:?} {why}", .path.display())]
    ExternalLocation {
        /// The model.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The location as the model gives it.
        location: String,
        /// Why it is refused.
        why: &'static str,
    },
    /// An external range that leaves its file.
    #[error(
        "{}: tensor {tensor}: external data file {} has {size} bytes, but bytes {offset} to {} are asked of it",
        .path.display(), .file.display(), .offset.saturating_add(*.length)
    )]
    ExternalRange {
        /// The model.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The external file.
        file: PathBuf,
        /// The first byte asked for.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// The file's size in bytes.
        size: u64,
    },
    /// The header of a safetensors file is wrong.
    #[error("{} is not a whole safetensors file: {what}", .path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Saving would overwrite external data: the source model's own, or a file of that name which may be another model's. Nothing was
    /// written.
    #[error(
        "saving {} would overwrite {}, the source model's external data or another file of that name: choose another folder",
        .path.display(), .file.display()
    )]
    WouldOverwriteExternal {
        /// Where the model was to be saved.
        path: PathBuf,
        /// The external file in the way.
        file: PathBuf,
    },
    /// Something that only ONNX models have was asked of another file.
    #[error("{} is a {kind} file: only an ONNX model can be run", .path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// Its kind.
        kind: FileKind,
    },
}
