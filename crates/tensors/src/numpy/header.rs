//! The header of an array, and where it says that the elements are.

use bitquake_bits::Layout;

use super::ArrayError;
use super::element::Element;
use crate::info::element_count;
use crate::npy::{CUT_SHORT, Dictionary, MARK, NO_MARK, length, length_bytes};

/// What the header says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) element: Element,
    pub(super) shape: Vec<u64>,
    is_fortran: bool,
    /// Where the elements start.
    pub(super) data: usize,
}

impl Header {
    /// Reads the header that `bytes` start with.
    pub(super) fn read(bytes: &[u8]) -> Result<Header, ArrayError> {
        let rest = bytes.strip_prefix(MARK).ok_or(NO_MARK)?;
        let (&version, rest) = rest.split_first_chunk().ok_or(CUT_SHORT)?;
        let (bytes_of_length, rest) = rest.split_at_checked(length_bytes(version)?).ok_or(CUT_SHORT)?;
        let end = usize::try_from(length(bytes_of_length)).map_err(|_| CUT_SHORT)?;
        let text = rest.get(..end).ok_or(CUT_SHORT)?;
        Header::parse(text, bytes.len() - rest.len() + end)
    }

    fn parse(text: &[u8], data: usize) -> Result<Header, ArrayError> {
        let Dictionary { descr, is_fortran, shape } = Dictionary::parse(text)?;
        Ok(Header { element: Element::parse(descr)?, shape, is_fortran, data })
    }

    /// The bytes of all elements; `None` if they overflow.
    pub(super) fn data_size(&self) -> Option<u64> {
        element_count(&self.shape)?.checked_mul(self.element.bytes)
    }

    /// The shape, with one axis more if an element has several words.
    pub(super) fn shape_in_words(&self) -> Vec<u64> {
        let words = Some(self.element.words).filter(|&words| words > 1);
        self.shape.iter().copied().chain(words).collect()
    }

    /// Where the words are; `None` if the elements are no numbers.
    pub(super) fn layout(&self) -> Option<Layout> {
        let layout = self.element.layout()?;
        if !self.is_fortran || self.shape.contains(&0) {
            return Some(layout);
        }
        let words = self.element.words;
        let mut next = words;
        let mut stride = |dim: &u64| {
            let stride = next;
            next = next.saturating_mul(*dim);
            stride
        };
        let strides = self.shape.iter().map(&mut stride);
        let strides: Vec<u64> = strides.chain(Some(1).filter(|_| words > 1)).collect();
        layout.strided(&self.shape_in_words(), &strides, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::HeaderError;

    #[test]
    fn every_version_and_every_cut() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n";
        let header = |version: u8, width: usize| {
            let length = (text.len() as u32).to_le_bytes();
            [MARK, &[version, 0], &length[..width], text.as_bytes()].concat()
        };
        for (version, width) in [(1, 2), (2, 4), (3, 4)] {
            let bytes = header(version, width);
            assert_eq!(Header::read(&bytes).map(|header| header.data), Ok(bytes.len()));
            for length in 0..bytes.len() {
                assert!(Header::read(&bytes[..length]).is_err());
            }
        }
        let wrong = HeaderError::Malformed("its version is not 1, 2 or 3");
        assert_eq!(Header::read(&header(4, 4)), Err(wrong.into()));
    }

    #[test]
    fn fortran_order_is_a_matter_of_strides() {
        let text = |descr| format!("{{'descr': '{descr}', 'fortran_order': True, 'shape': (2, 3)}}");
        let layout = |descr| Header::parse(text(descr).as_bytes(), 0).unwrap().layout().unwrap();
        let real = layout("<f4");
        let slots: Vec<u64> = (0..6).map(|element| real.position(element * 32) / 32).collect();
        assert_eq!(slots, [0, 2, 4, 1, 3, 5]);
        let complex = layout("<c8");
        let slots: Vec<u64> = (0..12).map(|element| complex.position(element * 32) / 32).collect();
        assert_eq!(slots, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
        assert_eq!(layout(">f4").position(0), 24);
    }
}
