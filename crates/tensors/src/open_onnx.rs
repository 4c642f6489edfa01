//! Opening an ONNX model: the walk's findings become tensors with checked places.

use std::ops::Range;
use std::path::Path;

use bitquake_bits::{Format, Layout};

use crate::external::{Part, Request, locate};
use crate::file::Storage;
use crate::file_bytes::FileBytes;
use crate::info::{Origin, StorageForm, element_count};
use crate::onnx::{Data, ExternalRecord, Found, Parsed, Problem, assign_roles, opaque_size, parse};
use crate::sniff::looks_like;
use crate::words::{DecodeProblem, Encoded};
use crate::{Dtype, FileKind, Role, TensorFile, TensorInfo, TensorsError, open_safetensors};

/// Makes a file of the model in `bytes`, read from `path`.
pub(crate) fn open(path: &Path, bytes: FileBytes) -> Result<TensorFile, TensorsError> {
    let Parsed { model, tensors: found, nesting } = match parse(&bytes) {
        Ok(parsed) if parsed.model.ir_version == 0 && looks_like(&bytes).is_some() => {
            return Err(not_onnx(path, &bytes, Problem::NoGraph));
        }
        Ok(parsed) => parsed,
        Err(problem) => return Err(not_onnx(path, &bytes, problem)),
    };
    let roles = assign_roles(&model, &found);
    let mut opening = Opening { path, parts: vec![Part::main(path, bytes)] };
    let messages = found.iter().map(|found| found.message).collect();
    let entries = found.into_iter().zip(roles).map(|(found, role)| opening.tensor(found, role));
    let entries = entries.collect::<Result<_, _>>()?;
    let file = TensorFile::assemble(path, FileKind::Onnx, opening.parts, entries);
    Ok(TensorFile { messages, onnx: Some(model), nesting, ..file })
}

/// The most helpful error for bytes that do not parse: what they look like, if that is known.
fn not_onnx(path: &Path, bytes: &[u8], problem: Problem) -> TensorsError {
    match looks_like(bytes) {
        Some(looks_like) => TensorsError::NotATensorFile { path: path.to_owned(), looks_like },
        None if path.extension().is_some_and(|extension| extension == "safetensors") => {
            open_safetensors::not_safetensors(path, bytes)
        }
        None => problem.in_file(path),
    }
}

struct Opening<'a> {
    path: &'a Path,
    parts: Vec<Part>,
}

impl Opening<'_> {
    fn tensor(&mut self, mut found: Found, mut role: Role) -> Result<(TensorInfo, Storage), TensorsError> {
        if let (Data::Numbers(..), Dtype::Known(format)) = (&found.data, &found.dtype)
            && format.width() < 8
        {
            // Writers disagree on how many narrow words go into one number.
            (found.dtype, role) = (Dtype::Other(format.name()), Role::Attribute);
        }
        let Some(elements) = element_count(&found.shape) else {
            return Err(self.bad(&found, format!("the product of its shape {:?} overflows", found.shape)));
        };
        let format = found.dtype.format();
        let expected = match format.map(|format| Layout::packed(format).bytes_needed(elements)) {
            Some(None) => return Err(self.bad(&found, format!("its shape {:?} overflows", found.shape))),
            Some(size) => size,
            None => None,
        };
        let words = |range: &Range<usize>, format| Storage::Words {
            part: 0,
            range: range.clone(),
            layout: Layout::packed(format),
        };
        let (storage, form) = match (&found.data, format, expected) {
            (Data::Bad(what), ..) => return Err(self.bad(&found, what.clone())),
            (Data::External(record), ..) => self.external(&found, record, expected)?,
            (Data::Words(range), Some(format), Some(size)) => {
                self.check_size(&found, size, range.len() as u64)?;
                (words(range, format), StorageForm::Words)
            }
            (Data::Numbers(..), Some(format), Some(size)) => {
                (Storage::Encoded(self.decode(&found, format, size)?), StorageForm::Encoded)
            }
            _ => (Storage::Opaque, StorageForm::Words),
        };
        let origin = Origin { place: found.place, storage: form };
        Ok((TensorInfo { name: found.name, dtype: found.dtype, shape: found.shape, role, origin }, storage))
    }

    fn external(
        &mut self,
        found: &Found,
        record: &ExternalRecord,
        expected: Option<u64>,
    ) -> Result<(Storage, StorageForm), TensorsError> {
        let assumed = expected.or_else(|| opaque_size(&found.dtype, &found.shape));
        let request = Request { path: self.path, tensor: &found.name, record, expected: assumed };
        let (part, range) = locate(&mut self.parts, &request)?;
        let form = StorageForm::External(self.parts[part].location.clone());
        if let Some(size) = expected {
            self.check_size(found, size, range.len() as u64)?;
        }
        let layout = Layout::packed(found.dtype.format().unwrap_or(Format::U8));
        Ok((Storage::Words { part, range, layout }, form))
    }

    fn decode(&self, found: &Found, format: Format, expected: u64) -> Result<Encoded, TensorsError> {
        let Data::Numbers(numbers, rewrite) = &found.data else {
            return Err(self.bad(found, "has no numbers".to_owned()));
        };
        let source = (numbers.clone(), *rewrite, found.message);
        Encoded::decode(&self.parts[0].bytes, format, expected, source).map_err(|problem| match problem {
            DecodeProblem::Wire(source) => TensorsError::Wire { path: self.path.to_owned(), source },
            DecodeProblem::Size(actual) => self.wrong_size(found, expected, actual),
            DecodeProblem::TooLarge { at, value } => {
                self.bad(found, format!("the number {value} at byte {at} does not fit {format}"))
            }
        })
    }

    fn check_size(&self, found: &Found, expected: u64, actual: u64) -> Result<(), TensorsError> {
        if expected == actual { Ok(()) } else { Err(self.wrong_size(found, expected, actual)) }
    }

    fn wrong_size(&self, found: &Found, expected: u64, actual: u64) -> TensorsError {
        TensorsError::PayloadSize {
            path: self.path.to_owned(),
            tensor: found.name.clone(),
            dtype: found.dtype.to_string(),
            shape: found.shape.clone(),
            expected,
            actual,
        }
    }

    fn bad(&self, found: &Found, what: String) -> TensorsError {
        TensorsError::BadTensor { path: self.path.to_owned(), tensor: found.name.clone(), what }
    }
}
