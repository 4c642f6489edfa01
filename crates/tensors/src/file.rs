//! A tensor file in memory.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bitquake_bits::{Format, Layout, WordStore, Words, WordsMut};

use crate::aliases::mark_aliases;
use crate::edits::Nesting;
use crate::external::Part;
use crate::file_bytes::{FileBytes, MAPPED_FROM};
use crate::onnx::OnnxModel;
use crate::words::Encoded;
use crate::{
    FileKind, TensorInfo, TensorsError, gguf, hdf5, keras, numpy, open_onnx, open_safetensors, pytorch,
};

/// A tensor file, with the external data files of an ONNX model, in memory (large files mapped) and editable.
///
/// Words are read and changed through [`WordStore`], by element of the flattened tensor, whatever the file's own order
/// and storage. [`save`](TensorFile::save) writes the file back, byte for byte except for what was changed. Two tensors that a model stores at the same place of an external file share their words.
///
/// ```
/// use bitquake_bits::{Format, WordStore};
/// use bitquake_tensors::{FileKind, TensorFile};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("w.safetensors");
/// # let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// # let words = [1.0_f32, 0.5].map(f32::to_le_bytes).concat();
/// # std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header, &words].concat())?;
/// let mut file = TensorFile::open(&path)?;
/// assert_eq!(file.kind(), FileKind::Safetensors);
/// assert_eq!((file.tensors()[0].name.as_str(), file.tensors()[0].bits()), ("w", Some(64)));
///
/// let mut words = file.words_mut("w").ok_or("no such tensor")?;
/// assert_eq!(words.format(), Format::F32);
/// words.flip(32 + 22)?; // bit 22 of element 1: 0.5 becomes 0.75
/// file.save(&path)?;
/// assert_eq!(std::fs::read(&path)?.last_chunk(), Some(&0.75_f32.to_le_bytes()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TensorFile {
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
    /// The main file, then the external files in the order in which tensors name them.
    pub(crate) parts: Vec<Part>,
    pub(crate) tensors: Vec<TensorInfo>,
    /// Of each tensor, in the same order.
    pub(crate) storage: Vec<Storage>,
    /// Of each tensor of an ONNX model, the message that holds its data, in `nesting`.
    pub(crate) messages: Vec<usize>,
    pub(crate) index: HashMap<String, usize>,
    pub(crate) onnx: Option<OnnxModel>,
    pub(crate) nesting: Nesting,
}

/// Where the words of a tensor are.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// In a part. Of ONNX tensors the words are packed, so that the range holds nothing else.
    Words { part: usize, range: Range<usize>, layout: Layout },
    /// Decoded beside the file.
    Encoded(Encoded),
    /// In the main file, with a dtype that is no format; such a tensor in an external file has words.
    Opaque,
}

/// A kind of file: whether the content starts as one does, and how to open it.
type Kind = (fn(&[u8]) -> bool, fn(&Path, FileBytes) -> Result<TensorFile, TensorsError>);

/// The kinds that can be told by their start, first match first. What is none of them is tried as ONNX, which cannot.
const KINDS: &[Kind] = &[
    (open_safetensors::is_safetensors, open_safetensors::open),
    (gguf::is_gguf, gguf::open),
    (hdf5::is_hdf5, hdf5::open),
    (keras::is_keras, keras::open),
    (pytorch::is_pytorch, pytorch::open),
    (numpy::is_npy, numpy::open_npy),
    (numpy::is_npz, numpy::open_npz),
];

impl TensorFile {
    /// Reads a file, and for ONNX the external data files that it names.
    ///
    /// The kind is told by the content; the name's extension only helps to word an error. Large files are mapped.
    ///
    /// # Errors
    /// [`TensorsError`] if a file is missing, truncated, malformed or something else, if a tensor's size disagrees
    /// with its shape, or if external data lie outside the model's folder.
    pub fn open(path: &Path) -> Result<TensorFile, TensorsError> {
        let bytes = FileBytes::open(path, MAPPED_FROM)
            .map_err(|source| TensorsError::Read { path: path.to_owned(), source })?;
        let kind = KINDS.iter().find(|(is_kind, _)| is_kind(&bytes));
        kind.map_or(open_onnx::open as fn(_, _) -> _, |(_, open)| *open)(path, bytes)
    }

    /// An ONNX model that is in memory and in no file.
    ///
    /// # Errors
    /// As [`open`](Self::open) of an ONNX file that is named `model.onnx` in a folder `(in memory)`, so that external data, which
    /// bytes cannot hold, are not found.
    pub fn from_onnx_bytes(bytes: Vec<u8>) -> Result<TensorFile, TensorsError> {
        open_onnx::open(Path::new("(in memory)/model.onnx"), FileBytes::from(bytes))
    }

    /// A file whose tensors lie in `parts`, in file order.
    pub(crate) fn assemble(
        path: &Path,
        kind: FileKind,
        parts: Vec<Part>,
        mut entries: Vec<(TensorInfo, Storage)>,
    ) -> TensorFile {
        mark_aliases(&mut entries, kind == FileKind::Gguf);
        let (tensors, storage): (Vec<TensorInfo>, Vec<Storage>) = entries.into_iter().unzip();
        let index = tensors.iter().enumerate().map(|(index, info)| (info.name.clone(), index)).collect();
        let (path, messages, nesting) = (path.to_owned(), Vec::new(), Nesting::new());
        TensorFile { path, kind, parts, tensors, storage, messages, index, onnx: None, nesting }
    }

    /// The kind of the file.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of a name; `None` if there is none.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&index| &self.tensors[index])
    }

    /// The thin graph of an ONNX model; `None` for other files.
    pub fn onnx(&self) -> Option<&OnnxModel> {
        self.onnx.as_ref()
    }

    /// The bytes that define the content, for hashing: pairs of a label and bytes. The main file has the label `""`,
    /// an external file its location.
    ///
    /// For a file as opened these are exactly the bytes on the disk, and the inflated content of compressed members. Edits
    /// show in them; edits of a tensor that is
    /// stored as varints show as one more pair each, the tensor's name and its words.
    pub fn content_hash_parts(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let parts = self.parts.iter().map(|part| (part.location.as_str(), &*part.bytes));
        let edited = self.encoded().filter(|(_, format, encoded)| encoded.is_changed(self.main(), *format));
        parts.chain(edited.map(|(info, _, encoded)| (info.name.as_str(), encoded.words.as_slice())))
    }

    /// The main file's bytes.
    pub(crate) fn main(&self) -> &[u8] {
        self.parts.first().map_or(&[], |part| &part.bytes)
    }

    /// The tensors whose words are kept beside the file.
    pub(crate) fn encoded(&self) -> impl Iterator<Item = (&TensorInfo, Format, &Encoded)> {
        self.tensors.iter().zip(&self.storage).filter_map(|(info, storage)| match storage {
            Storage::Encoded(encoded) => Some((info, info.dtype.format()?, encoded)),
            _ => None,
        })
    }
}

impl WordStore for TensorFile {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        let &index = self.index.get(tensor)?;
        let info = &self.tensors[index];
        let (format, elements) = (info.dtype.format()?, info.elements());
        match &self.storage[index] {
            Storage::Words { part, range, layout } => {
                Words::new(format, elements, layout, self.parts.get(*part)?.bytes.get(range.clone())?).ok()
            }
            Storage::Encoded(encoded) => Words::packed(format, &encoded.words).first(elements).ok(),
            Storage::Opaque => None,
        }
    }

    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        let &index = self.index.get(tensor)?;
        let info = &self.tensors[index];
        let (format, elements) = (info.dtype.format()?, info.elements());
        match &mut self.storage[index] {
            Storage::Words { part, range, layout } => {
                let part = self.parts.get_mut(*part)?;
                part.touched = true;
                WordsMut::new(format, elements, layout, part.bytes.get_mut(range.clone())?).ok()
            }
            Storage::Encoded(encoded) => WordsMut::packed(format, &mut encoded.words).first(elements).ok(),
            Storage::Opaque => None,
        }
    }
}

impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TensorFile");
        out.field("path", &self.path).field("kind", &self.kind).field("tensors", &self.tensors);
        out.finish_non_exhaustive()
    }
}
