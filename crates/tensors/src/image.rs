//! The model as a runtime gets it: bytes in which every weight is a plain range of words.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bitquake_bits::{Format, WordStore};

use crate::edits::Edits;
use crate::file::Storage;
use crate::{FileKind, TensorFile, TensorsError};

/// One file of an [`EngineImage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePart {
    /// The location of an external data file exactly as the model gives it; empty for the model itself.
    pub location: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Where the words of a tensor are in an [`EngineImage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordRange {
    /// The format of the words.
    pub format: Format,
    /// The index of the part.
    pub part: usize,
    /// The bytes of the part: contiguous little-endian words, at any alignment.
    pub range: Range<usize>,
}

/// An ONNX model, ready for a runtime, in which every tensor of a known format is an in-place range of words.
///
/// Faults are applied through [`WordStore`] and the bytes handed to the runtime as they are: nothing is encoded
/// between trials. Tensors that the file stores as varints have been rewritten as `raw_data`; the model means the
/// same, and everything else is as in the file. Cloning copies the bytes and shares the index.
///
/// ```
/// use bitquake_bits::WordStore;
/// use bitquake_tensors::{TensorFile, wire::Writer};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("m.onnx");
/// // A model whose only tensor is the i8 list [1, -1], written as varints.
/// let mut tensor = Writer::new();
/// tensor.varint(1, 2).varint(2, 3).packed_varints(5, [1, -1_i64 as u64]).bytes(8, b"w");
/// let mut graph = Writer::new();
/// graph.message(5, &tensor);
/// let mut model = Writer::new();
/// model.varint(1, 8).message(7, &graph);
/// std::fs::write(&path, model.into_bytes())?;
///
/// let image = TensorFile::open(&path)?.into_engine_image()?;
/// let place = image.locate("w").ok_or("no such tensor")?;
/// assert_eq!(&image.main()[place.range.clone()], &[1, 0xff]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EngineImage {
    parts: Vec<ImagePart>,
    words: Arc<BTreeMap<String, WordRange>>,
}

impl EngineImage {
    /// The model's bytes: a whole ONNX file.
    pub fn main(&self) -> &[u8] {
        self.parts.first().map_or(&[], |part| &part.bytes)
    }

    /// All files: the model first, then its external data files.
    pub fn parts(&self) -> &[ImagePart] {
        &self.parts
    }

    /// The external data files.
    pub fn externals(&self) -> &[ImagePart] {
        self.parts.get(1..).unwrap_or_default()
    }

    /// Where the words of a tensor are; `None` if there is no tensor of that name and of a known format.
    pub fn locate(&self, tensor: &str) -> Option<&WordRange> {
        self.words.get(tensor)
    }

    /// All tensors with words, by name.
    pub fn words_index(&self) -> &BTreeMap<String, WordRange> {
        &self.words
    }
}

impl WordStore for EngineImage {
    fn words(&self, tensor: &str) -> Option<(Format, &[u8])> {
        let place = self.words.get(tensor)?;
        Some((place.format, self.parts.get(place.part)?.bytes.get(place.range.clone())?))
    }

    fn words_mut(&mut self, tensor: &str) -> Option<(Format, &mut [u8])> {
        let place = self.words.get(tensor)?;
        Some((place.format, self.parts.get_mut(place.part)?.bytes.get_mut(place.range.clone())?))
    }
}

impl TensorFile {
    /// The model as a runtime gets it, edits included. The bytes are moved, not copied, unless a tensor stored as
    /// varints has to be rewritten; then both copies exist for a moment.
    ///
    /// # Errors
    /// [`TensorsError::NotOnnx`] for a file of another kind.
    pub fn into_engine_image(mut self) -> Result<EngineImage, TensorsError> {
        if self.kind != FileKind::Onnx {
            return Err(TensorsError::NotOnnx { path: self.path, kind: self.kind });
        }
        let main = self.parts.first_mut().map(|part| std::mem::take(&mut part.bytes)).unwrap_or_default();
        let mut edits = Edits::new();
        let mut places = Vec::new();
        for (info, storage) in self.tensors.iter().zip(&self.storage) {
            let Some(format) = info.dtype.format() else { continue };
            let (part, position, distance, length) = match storage {
                Storage::Words { part, range } => (*part, range.start, 0, range.len()),
                Storage::Encoded(encoded) => {
                    let (position, distance) = encoded
                        .make_contiguous(&main, &self.nesting, &mut edits)
                        .map_err(|source| TensorsError::Wire { path: self.path.clone(), source })?;
                    (0, position, distance, encoded.words.len())
                }
                Storage::Opaque => continue,
            };
            places.push((info.name.clone(), format, part, position, distance, length));
        }
        let splice = edits.finish();
        let words = places.into_iter().map(|(name, format, part, position, distance, length)| {
            let start = if part == 0 { splice.moved(position) } else { position } + distance;
            (name, WordRange { format, part, range: start..start + length })
        });
        let words = Arc::new(words.collect());
        let bytes = if splice.is_empty() { main } else { splice.apply(&main) };
        let main = ImagePart { location: String::new(), bytes };
        let externals = self.parts.into_iter().skip(1);
        let externals = externals.map(|part| ImagePart { location: part.location, bytes: part.bytes });
        Ok(EngineImage { parts: std::iter::once(main).chain(externals).collect(), words })
    }
}
