//! Making an [`EngineImage`]: large weights are parted from the model, everything else goes into it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bitquake_bits::Format;

use crate::edits::{Edits, Nesting, Splice};
use crate::external::Part;
use crate::file::Storage;
use crate::image::{ImagePart, LENT_FROM, WordRange};
use crate::wire::{Fields, WireError, Writer};
use crate::{AlignedBytes, EngineImage, FileKind, Place, Role, TensorFile, TensorInfo, TensorsError};

/// The external files that the model in an image names start so. None is ever looked for, and no others are named.
const LOCATION: &str = "lent-by-bitquake";

impl TensorFile {
    /// The model as a runtime gets it, edits included; weights of the main graph from [`LENT_FROM`] on are external parts.
    /// While it is made, the source and the image exist side by side.
    ///
    /// # Errors
    /// [`TensorsError::NotOnnx`] for a file of another kind; [`TensorsError::BadTensor`] if tensors share bytes of an
    /// external file, unless they are weights of the main graph and share all of them.
    pub fn into_engine_image(self) -> Result<EngineImage, TensorsError> {
        self.into_engine_image_lending(LENT_FROM)
    }

    /// The same with another threshold: weights of the main graph are external parts if they take at least `from` bytes,
    /// or if several share external data; empty ones never are.
    ///
    /// # Errors
    /// As [`into_engine_image`](Self::into_engine_image).
    pub fn into_engine_image_lending(mut self, from: usize) -> Result<EngineImage, TensorsError> {
        if self.kind != FileKind::Onnx {
            return Err(TensorsError::NotOnnx { path: self.path, kind: self.kind });
        }
        let lendable = self.lendable();
        let shared = self.shared(&lendable)?;
        let mut parting = Parting::new(self.main(), &self.nesting);
        for (index, (info, storage)) in self.tensors.iter().zip(&self.storage).enumerate() {
            let lend = |length| length > 0 && lendable[index] && (length >= from || shared[index]);
            let message = self.messages.get(index).copied().unwrap_or(Nesting::ROOT);
            let parted = match storage {
                Storage::Words { part, range, .. } if lend(range.len()) => {
                    parting.lend(info, message, (*part, range.start, range.end))
                }
                Storage::Words { part: 0, range, .. } => {
                    parting.stay(info, range.start, 0, range.len());
                    Ok(())
                }
                Storage::Words { part, range, .. } => {
                    parting.bring_in(info, message, &self.parts[*part].bytes[range.clone()])
                }
                Storage::Encoded(encoded) if lend(encoded.words.len()) => {
                    parting.lend_copy(info, message, &encoded.words)
                }
                Storage::Encoded(encoded) => encoded
                    .make_contiguous(parting.main, &self.nesting, &mut parting.edits)
                    .map(|(position, distance)| parting.stay(info, position, distance, encoded.words.len())),
                Storage::Opaque => Ok(()),
            };
            parted.map_err(|source| TensorsError::Wire { path: self.path.clone(), source })?;
        }
        let parted = parting.finish();
        Ok(parted.image(std::mem::take(&mut self.parts)))
    }

    /// Of each tensor, whether it may be an external part: weights that are initializers of the main graph. Settings may
    /// not, because a runtime needs them early, to infer shapes.
    fn lendable(&self) -> Vec<bool> {
        let initializers = self.onnx.iter().flat_map(|model| &model.graph.initializers);
        let names: BTreeSet<&str> = initializers.map(|stored| stored.tensor.as_str()).collect();
        let lendable = |info: &TensorInfo| {
            let is_weight = info.role != Role::Attribute && info.dtype.format().is_some();
            is_weight && info.origin.place == Place::Initializer && names.contains(info.name.as_str())
        };
        self.tensors.iter().map(lendable).collect()
    }

    /// Of each tensor, whether it shares its external data with another: those must stay one, because a fault in one
    /// is a fault in the other. Settings, which no glob selects, may be shared in any way, as long as bringing them in does
    /// not make the model larger than its files; each gets bytes of its own.
    fn shared(&self, lendable: &[bool]) -> Result<Vec<bool>, TensorsError> {
        let mut shared = vec![false; self.tensors.len()];
        let size: usize = self.parts.iter().map(|part| part.bytes.len()).sum();
        let is_setting = |index: usize| self.tensors[index].role == Role::Attribute;
        let mut settings = 0_usize;
        // The range that reaches furthest so far: what overlaps any range before, overlaps this one.
        let mut furthest: Option<(Source, usize)> = None;
        for (next, index) in self.external_ranges() {
            let (part, start, end) = next;
            settings = settings.saturating_add(if is_setting(index) { end - start } else { 0 });
            let Some((before, other)) = furthest.filter(|(before, _)| before.0 == part && before.2 > start)
            else {
                furthest = Some((next, index));
                continue;
            };
            let is_same = before == next && lendable[index] && lendable[other];
            if !(is_same || is_setting(index) && is_setting(other) && settings <= size) {
                return Err(self.bad_sharing(index, other));
            }
            shared[index] |= is_same;
            shared[other] |= is_same;
            furthest = Some(if end > before.2 { (next, index) } else { (before, other) });
        }
        Ok(shared)
    }

    /// Where external tensors are, in the order of the files, and which tensors they are; empty ones are left out.
    fn external_ranges(&self) -> Vec<(Source, usize)> {
        let range = |(index, storage): (usize, &Storage)| match storage {
            Storage::Words { part: part @ 1.., range, .. } if !range.is_empty() => {
                Some(((*part, range.start, range.end), index))
            }
            _ => None,
        };
        let mut ranges: Vec<_> = self.storage.iter().enumerate().filter_map(range).collect();
        ranges.sort_unstable();
        ranges
    }

    fn bad_sharing(&self, index: usize, other: usize) -> TensorsError {
        let other = &self.tensors[other].name;
        TensorsError::BadTensor {
            path: self.path.clone(),
            tensor: self.tensors[index].name.clone(),
            what: format!(
                "shares external data with tensor {other}; a model can be run if tensors that do are weights of the \
                 main graph and share all their data"
            ),
        }
    }
}

/// A range of a file of the source: part, start, end.
type Source = (usize, usize, usize);

/// Where words stand in the model.
struct Stay {
    name: String,
    format: Format,
    elements: u64,
    /// A position in the old file that moves with them.
    position: usize,
    /// How far after it they start.
    distance: usize,
    length: usize,
}

/// Words that become an external part.
struct Loan {
    location: String,
    /// All tensors that have them.
    tensors: Vec<(String, Format, u64)>,
    /// The words, where they are not a range of a file.
    words: Option<AlignedBytes>,
}

/// The model on its way to being an image.
struct Parting<'a> {
    main: &'a [u8],
    nesting: &'a Nesting,
    edits: Edits,
    stay: Vec<Stay>,
    loans: Vec<Loan>,
    /// The loans that are ranges of files, in the order of the files.
    sources: BTreeMap<Source, usize>,
}

impl<'a> Parting<'a> {
    fn new(main: &'a [u8], nesting: &'a Nesting) -> Self {
        let (stay, loans, sources) = (Vec::new(), Vec::new(), BTreeMap::new());
        Parting { main, nesting, edits: Edits::new(), stay, loans, sources }
    }

    /// The words stay in the model, `distance` bytes after what now stands at `position`.
    fn stay(&mut self, info: &TensorInfo, position: usize, distance: usize, length: usize) {
        if let Some(format) = info.dtype.format() {
            let (name, elements) = (info.name.clone(), info.elements());
            self.stay.push(Stay { name, format, elements, position, distance, length });
        }
    }

    /// External data go into the model.
    fn bring_in(&mut self, info: &TensorInfo, message: usize, data: &[u8]) -> Result<(), WireError> {
        let mut field = Writer::new();
        field.bytes(9, data);
        let field = field.into_bytes();
        let distance = field.len() - data.len();
        let position = self.replace_data(message, field)?;
        self.stay(info, position, distance, data.len());
        Ok(())
    }

    /// A range of a file becomes an external part, one for all tensors there.
    fn lend(&mut self, info: &TensorInfo, message: usize, source: Source) -> Result<(), WireError> {
        let loan = match self.sources.get(&source) {
            Some(&loan) => loan,
            None => {
                let loan = self.loan(None);
                self.sources.insert(source, loan);
                loan
            }
        };
        self.refer(info, message, loan, source.2 - source.1)
    }

    /// Words that were decoded become an external part.
    fn lend_copy(&mut self, info: &TensorInfo, message: usize, words: &[u8]) -> Result<(), WireError> {
        let loan = self.loan(Some(AlignedBytes::copy_of(words)));
        self.refer(info, message, loan, words.len())
    }

    fn loan(&mut self, words: Option<AlignedBytes>) -> usize {
        let index = self.loans.len();
        self.loans.push(Loan { location: format!("{LOCATION}-{index}"), tensors: Vec::new(), words });
        index
    }

    /// Says in the model that the data are external.
    fn refer(
        &mut self,
        info: &TensorInfo,
        message: usize,
        loan: usize,
        length: usize,
    ) -> Result<(), WireError> {
        let loan = &mut self.loans[loan];
        let named = |format| (info.name.clone(), format, info.elements());
        loan.tensors.extend(info.dtype.format().map(named));
        let mut fields = Writer::new();
        let length = length.to_string();
        for (key, value) in [("location", loan.location.as_str()), ("offset", "0"), ("length", &length)] {
            let mut entry = Writer::new();
            entry.bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
            fields.message(13, &entry);
        }
        fields.varint(14, 1);
        self.replace_data(message, fields.into_bytes()).map(|_| ())
    }

    /// Replaces all data fields of a `TensorProto`, of which there is at least one, by `fields`; the position in the
    /// old file that moves with them.
    fn replace_data(&mut self, message: usize, mut fields: Vec<u8>) -> Result<usize, WireError> {
        let body = self.nesting.body(message, self.main.len());
        let mut spans: Vec<Range<usize>> = Vec::new();
        for field in Fields::new(self.main, body.clone()) {
            let field = field?;
            if !matches!(field.number, 4..=7 | 9..=11 | 13 | 14) {
                continue;
            }
            match spans.last_mut() {
                Some(last) if last.end == field.span.start => last.end = field.span.end,
                _ => spans.push(field.span),
            }
        }
        let position = spans.first().map_or(body.end, |span| span.start);
        for span in spans {
            self.edits.replace(span, std::mem::take(&mut fields)); // the first becomes the new fields, the rest go
        }
        self.edits.within(self.nesting, message);
        Ok(position)
    }

    fn finish(self) -> Parted {
        Parted { splice: self.edits.finish(), stay: self.stay, loans: self.loans, sources: self.sources }
    }
}

/// A [`Parting`] of which everything is known.
struct Parted {
    splice: Splice,
    stay: Vec<Stay>,
    loans: Vec<Loan>,
    sources: BTreeMap<Source, usize>,
}

impl Parted {
    /// The image; `files` are the source's, and are freed one after the other.
    fn image(self, mut files: Vec<Part>) -> EngineImage {
        let Parted { splice, stay, mut loans, sources } = self;
        let model = files.first().map_or(AlignedBytes::copy_of(&[]), |file| {
            if splice.is_empty() {
                AlignedBytes::copy_of(&file.bytes)
            } else {
                AlignedBytes::copy_of(&splice.apply(&file.bytes))
            }
        });
        let mut done = 0;
        for ((file, start, end), loan) in sources {
            files[done..file].iter_mut().for_each(|file| file.bytes = Vec::new().into());
            done = file;
            loans[loan].words = Some(AlignedBytes::copy_of(&files[file].bytes[start..end]));
        }
        drop(files);
        let stay = stay.into_iter().map(|Stay { name, format, elements, position, distance, length }| {
            let start = splice.moved(position) + distance;
            (name, WordRange { format, elements, part: 0, range: start..start + length })
        });
        let mut words: BTreeMap<String, WordRange> = stay.collect();
        let mut parts = vec![ImagePart { location: String::new(), bytes: model }];
        for Loan { location, tensors, words: bytes } in loans {
            let Some(bytes) = bytes else { continue }; // every loan has got its words by now
            let (part, length) = (parts.len(), bytes.len());
            let place = |format, elements| WordRange { format, elements, part, range: 0..length };
            words.extend(tensors.into_iter().map(|(name, format, elements)| (name, place(format, elements))));
            parts.push(ImagePart { location, bytes });
        }
        EngineImage { parts, words: Arc::new(words) }
    }
}
