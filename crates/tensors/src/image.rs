//! The model as a runtime gets it: bytes in which every weight is a plain range of words.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bitquake_bits::{Format, WordStore, Words, WordsMut};

use crate::onnx::{ModelLayout, parse};
use crate::{AlignedBytes, TensorsError};

/// Weights of the main graph of at least this many bytes are external parts of an [`EngineImage`], which a runtime can
/// read in place.
///
/// Of a weight inside the model, a runtime makes up to three copies: a parsed message, a tensor, and a repacked one; of
/// an external one, only the last. Below this size the copies matter less than one more part would: a hundred such
/// weights take at most 6.25 MiB a copy.
pub const LENT_FROM: usize = 64 << 10;

/// One file of an [`EngineImage`].
#[derive(Clone, Debug)]
pub struct ImagePart {
    /// The location of external data as the model in the image gives it; empty for the model itself.
    pub location: String,
    /// The content.
    pub bytes: AlignedBytes,
}

/// Where the words of a tensor are in an [`EngineImage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordRange {
    /// The format of the words.
    pub format: Format,
    /// How many words there are.
    pub elements: u64,
    /// The index of the part.
    pub part: usize,
    /// The bytes of the part: packed little-endian words, in the model itself at any alignment.
    pub range: Range<usize>,
}

/// An ONNX model, ready for a runtime, in which every tensor of a known format is an in-place range of words.
///
/// Faults are applied through [`WordStore`] and the bytes handed to the runtime as they are: nothing is encoded
/// between trials. Each large weight is a part of its own, which the model names as external data, wherever the source
/// kept it; no such file exists. Everything else is in the model, what the source kept in external files too. Tensors
/// that the file stores as varints have become plain words; the model means the same, and everything else is as in the
/// file. Cloning copies the bytes and shares the index.
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
/// let file = TensorFile::open(&path)?;
/// let image = file.clone().into_engine_image()?;
/// let place = image.locate("w").ok_or("no such tensor")?;
/// assert_eq!(&image.main()[place.range.clone()], &[1, 0xff]);
///
/// let image = file.into_engine_image_lending(1)?; // even the smallest are parts of their own
/// assert_eq!(*image.externals()[0].bytes, [1, 0xff]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EngineImage {
    pub(crate) parts: Vec<ImagePart>,
    pub(crate) words: Arc<BTreeMap<String, WordRange>>,
}

impl EngineImage {
    /// The model's bytes: a whole ONNX file.
    pub fn main(&self) -> &[u8] {
        self.parts.first().map_or(&[], |part| &part.bytes)
    }

    /// All files: the model first, then its external data.
    pub fn parts(&self) -> &[ImagePart] {
        &self.parts
    }

    /// The external data: the large weights.
    pub fn externals(&self) -> &[ImagePart] {
        self.parts.get(1..).unwrap_or_default()
    }

    /// All stored bytes, of the model and of its external data.
    pub fn size(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// Where the words of a tensor are; `None` if there is no tensor of that name and of a known format.
    pub fn locate(&self, tensor: &str) -> Option<&WordRange> {
        self.words.get(tensor)
    }

    /// The model as the image holds it: the thin graph, and where in [`main`](Self::main) each tensor's message stands.
    /// It is read anew at each call.
    ///
    /// # Errors
    /// [`TensorsError`] if the model is malformed, which it is not unless its bytes were changed elsewhere than in words,
    /// or if the names of its tensors are out of all proportion to its size without the large weights.
    pub fn model_layout(&self) -> Result<ModelLayout, TensorsError> {
        let bytes = self.main();
        let parsed = parse(bytes).map_err(|problem| problem.in_file(Path::new("engine image")))?;
        let body = |message| parsed.nesting.body(message, bytes.len());
        let tensors = parsed.tensors.iter().map(|found| (found.name.clone(), body(found.message))).collect();
        Ok(ModelLayout { model: parsed.model, tensors })
    }

    /// All tensors with words, by name.
    pub fn words_index(&self) -> &BTreeMap<String, WordRange> {
        &self.words
    }
}

impl WordStore for EngineImage {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        let place = self.words.get(tensor)?;
        let bytes = self.parts.get(place.part)?.bytes.get(place.range.clone())?;
        Words::packed(place.format, bytes).first(place.elements).ok()
    }

    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        let place = self.words.get(tensor)?;
        let bytes = self.parts.get_mut(place.part)?.bytes.get_mut(place.range.clone())?;
        WordsMut::packed(place.format, bytes).first(place.elements).ok()
    }
}
