//! Arrays in files that the crate `tensors` reads: HDF5 and safetensors.

use std::io::{self, Read};
use std::path::Path;

use bitquake_bits::{Format, WordStore, Words};
use bitquake_tensors::{FileKind, TensorFile};

use crate::array::{Array, Header, Order};
use crate::config::DataFormat;
use crate::element::{Element, Kind};
use crate::error::{DataError, Place};

/// How many arrays an error lists.
const LISTED: usize = 32;

/// The number formats that images and labels may have.
const KINDS: [(Format, Kind); 11] = [
    (Format::U8, Kind::U8),
    (Format::I8, Kind::I8),
    (Format::U16, Kind::U16),
    (Format::I16, Kind::I16),
    (Format::U32, Kind::U32),
    (Format::I32, Kind::I32),
    (Format::U64, Kind::U64),
    (Format::I64, Kind::I64),
    (Format::F16, Kind::F16),
    (Format::F32, Kind::F32),
    (Format::F64, Kind::F64),
];

/// Opens a file that must be of the kind that the format says.
pub(crate) fn open(file: &Path, format: DataFormat, kind: FileKind) -> Result<TensorFile, DataError> {
    let tensors = TensorFile::open(file)?;
    match tensors.kind() {
        found if found == kind => Ok(tensors),
        found => Err(DataError::FileKind { file: file.to_owned(), found, wanted: format }),
    }
}

/// Hands over the array `key`; `wanted` says in an error which element types would do. Words come in the order of the
/// elements, whatever the file's own order and storage.
pub(crate) fn with_array<T>(
    tensors: &TensorFile,
    key: &str,
    wanted: &'static str,
    take: impl FnOnce(Array<'_>) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let file = tensors.path().to_owned();
    let Some(info) = tensors.tensor(key) else {
        let members = tensors.tensors().iter().take(LISTED).map(|info| info.name.clone()).collect();
        return Err(DataError::MissingMember { file, member: key.to_owned(), members });
    };
    let place = Place { file, member: Some(key.to_owned()) };
    let format = info.dtype.format();
    let kind = KINDS.iter().find(|(known, _)| Some(*known) == format).map(|(_, kind)| *kind);
    let (Some(kind), Some(words)) = (kind, tensors.words(key)) else {
        return Err(DataError::ElementType { place, found: info.dtype.to_string(), wanted });
    };
    let element = Element { kind, is_big_endian: false };
    let header = Header { element, shape: info.shape.clone(), order: Order::C };
    take(Array::new(place, header, &mut WordReader::new(&words))?)
}

/// Words as little-endian bytes, in the order of the elements.
struct WordReader<'a> {
    words: &'a Words<'a>,
    size: usize,
    /// The next byte.
    position: u64,
}

impl<'a> WordReader<'a> {
    fn new(words: &'a Words<'a>) -> Self {
        WordReader { words, size: words.format().bytes(), position: 0 }
    }
}

impl Read for WordReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < buffer.len() {
            let (element, start) =
                (self.position / self.size as u64, (self.position % self.size as u64) as usize);
            let Some(word) = self.words.get(element) else { break };
            let bytes = &word.to_le_bytes()[start..self.size];
            let count = bytes.len().min(buffer.len() - written);
            buffer[written..written + count].copy_from_slice(&bytes[..count]);
            written += count;
            self.position += count as u64;
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_of_any_length_give_the_words() {
        let bytes: Vec<u8> = (0..40).collect();
        let words = Words::packed(Format::F64, &bytes);
        for length in 1..50 {
            let (mut reader, mut read, mut buffer) = (WordReader::new(&words), Vec::new(), vec![0; length]);
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    count => read.extend_from_slice(&buffer[..count]),
                }
            }
            assert_eq!(read, bytes, "{length}");
        }
    }
}
