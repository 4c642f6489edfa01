//! An array that is being read: its header, and a reader that stands at its first element.

use std::io::{self, Read};

use crate::element::Element;
use crate::error::{DataError, Place};

/// The order of elements in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The last index varies fastest.
    C,
    /// The first index varies fastest.
    Fortran,
}

/// What the file says about the array. Not to be believed before the data is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) element: Element,
    pub(crate) shape: Vec<u64>,
    pub(crate) order: Order,
}

/// An array whose elements are still to be read, in the order of the file.
pub(crate) struct Array<'a> {
    pub(crate) place: Place,
    pub(crate) header: Header,
    reader: &'a mut dyn Read,
    expected: u64,
    actual: u64,
}

impl<'a> Array<'a> {
    /// Errors if the array has no elements, or more bytes than can be counted.
    pub(crate) fn new(
        place: Place,
        header: Header,
        reader: &'a mut dyn Read,
    ) -> Result<Array<'a>, DataError> {
        if header.shape.contains(&0) {
            return Err(DataError::Empty { place, shape: header.shape });
        }
        let size = header.element.bytes() as u64;
        match header.shape.iter().try_fold(size, |product, &dim| product.checked_mul(dim)) {
            // No dimension is 0, so if the whole fits a `usize`, every part and product of dimensions does too.
            Some(expected) if usize::try_from(expected).is_ok() => {
                Ok(Array { place, header, reader, expected, actual: 0 })
            }
            _ => Err(DataError::TooLarge { place, shape: header.shape }),
        }
    }

    /// Number of bytes of the whole array, as declared.
    pub(crate) fn declared_bytes(&self) -> u64 {
        self.expected
    }

    /// Replaces the buffer's content by the next `count` bytes. It grows with what arrives.
    pub(crate) fn read(&mut self, count: u64, buffer: &mut Vec<u8>) -> Result<(), DataError> {
        buffer.clear();
        let place = &self.place;
        fill(self.reader, count, buffer)
            .map_err(|source| DataError::Read { place: place.clone(), source })?;
        self.actual += buffer.len() as u64;
        if (buffer.len() as u64) < count {
            let (expected, actual) = (self.expected, self.actual);
            return Err(DataError::Truncated { place: place.clone(), expected, actual });
        }
        Ok(())
    }

    /// Checks that nothing follows the last element. Reading on to the end also lets the checksums of gzip and zip
    /// be compared, so a stream that breaks off here is an error too.
    pub(crate) fn finish(self) -> Result<(), DataError> {
        let mut rest = Vec::new();
        match self.reader.take(1).read_to_end(&mut rest) {
            Err(source) => Err(DataError::Read { place: self.place, source }),
            Ok(0) => Ok(()),
            Ok(_) => {
                let (expected, actual) = (self.expected, self.expected.saturating_add(1));
                Err(DataError::Excess { place: self.place, expected, actual })
            }
        }
    }
}

/// Appends the next `count` bytes, or fewer if the data ends. A compressed stream that breaks off has ended too.
pub(crate) fn fill(reader: &mut dyn Read, count: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    match reader.take(count).read_to_end(buffer) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(()),
    }
}
