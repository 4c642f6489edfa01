//! The header of an array (NEP 1): a mark, a version, the length of a Python dictionary, the dictionary.
//!
//! It is read without recursion; general parsers of Python literals can be brought to exhaust the stack or the memory by
//! a few kilobytes.

use bitquake_bits::Layout;

use super::ArrayError;
use super::element::Element;
use crate::info::element_count;

/// The first bytes of every npy file.
pub(super) const MARK: &[u8] = b"\x93NUMPY";

/// The most dimensions that are read, as many as NumPy has.
const MOST_DIMENSIONS: usize = 64;

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
        const CUT: ArrayError = ArrayError::Header("it is cut short");
        let rest = bytes.strip_prefix(MARK).ok_or(ArrayError::Header("the mark \\x93NUMPY is missing"))?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(CUT)?;
        let width = match version {
            [1, 0] => 2,
            [2 | 3, 0] => 4,
            _ => return Err(ArrayError::Header("its version is not 1, 2 or 3")),
        };
        let (length, rest) = rest.split_at_checked(width).ok_or(CUT)?;
        let length = length.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
        let text = rest.get(..length).ok_or(CUT)?;
        let text = std::str::from_utf8(text).map_err(|_| ArrayError::Header("it is not UTF-8"))?;
        Header::parse(text, bytes.len() - rest.len() + length)
    }

    fn parse(text: &str, data: usize) -> Result<Header, ArrayError> {
        let (mut descr, mut is_fortran, mut shape) = (None, None, None);
        let mut rest = Cursor { rest: text };
        rest.expect('{', "it is no dictionary")?;
        while !rest.take('}') {
            let key = rest.string("a key is no string")?;
            rest.expect(':', "a key has no value")?;
            let is_repeated = match key {
                "descr" => descr.replace(rest.descr()?).is_some(),
                "fortran_order" => is_fortran.replace(rest.boolean()?).is_some(),
                "shape" => shape.replace(rest.shape()?).is_some(),
                _ => {
                    return Err(ArrayError::Header("it has a key other than descr, fortran_order and shape"));
                }
            };
            if is_repeated {
                return Err(ArrayError::Header("a key is there twice"));
            }
            if !rest.take(',') && !rest.peek('}') {
                return Err(ArrayError::Header("a comma is missing"));
            }
        }
        if !rest.rest.trim_ascii().is_empty() {
            return Err(ArrayError::Header("something follows the dictionary"));
        }
        match (descr, is_fortran, shape) {
            (Some(descr), Some(is_fortran), Some(shape)) => {
                Ok(Header { element: Element::parse(descr)?, shape, is_fortran, data })
            }
            _ => Err(ArrayError::Header("descr, fortran_order or shape is missing")),
        }
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

/// The part of the header that is not read yet.
struct Cursor<'a> {
    rest: &'a str,
}

type Parsed<T> = Result<T, ArrayError>;

impl<'a> Cursor<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn peek(&mut self, mark: char) -> bool {
        self.skip_space();
        self.rest.starts_with(mark)
    }

    fn take(&mut self, mark: char) -> bool {
        self.skip_space();
        self.rest.strip_prefix(mark).map(|rest| self.rest = rest).is_some()
    }

    fn expect(&mut self, mark: char, problem: &'static str) -> Parsed<()> {
        if self.take(mark) { Ok(()) } else { Err(ArrayError::Header(problem)) }
    }

    /// A string in single or double quotes. Escapes are not undone: no known key or element type has one.
    fn string(&mut self, problem: &'static str) -> Parsed<&'a str> {
        self.skip_space();
        let problem = || ArrayError::Header(problem);
        let quote =
            self.rest.chars().next().filter(|quote| matches!(quote, '\'' | '"')).ok_or_else(problem)?;
        let (content, rest) = self.rest[1..].split_once(quote).ok_or_else(problem)?;
        self.rest = rest;
        Ok(content)
    }

    /// The element type. A list is one of records.
    fn descr(&mut self) -> Parsed<&'a str> {
        if self.peek('[') || self.peek('(') {
            return Err(ArrayError::Records { descr: self.rest.chars().take(80).collect() });
        }
        self.string("descr is no element type")
    }

    fn boolean(&mut self) -> Parsed<bool> {
        self.skip_space();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(ArrayError::Header("fortran_order is neither True nor False"))
    }

    /// A tuple of whole numbers; Python 2 wrote an `L` after long ones.
    fn shape(&mut self) -> Parsed<Vec<u64>> {
        const PROBLEM: &str = "shape is no tuple of whole numbers";
        self.expect('(', PROBLEM)?;
        let mut shape = Vec::new();
        while !self.take(')') {
            self.skip_space();
            let end = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            shape.push(self.rest[..end].parse().map_err(|_| ArrayError::Header(PROBLEM))?);
            if shape.len() > MOST_DIMENSIONS {
                return Err(ArrayError::Header("shape has more than 64 dimensions"));
            }
            self.rest = self.rest[end..].strip_prefix('L').unwrap_or(&self.rest[end..]);
            if !self.take(',') && !self.peek(')') {
                return Err(ArrayError::Header(PROBLEM));
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use bitquake_bits::Format;

    use super::*;

    fn parse(text: &str) -> Result<Header, ArrayError> {
        Header::parse(text, 0)
    }

    #[test]
    fn headers_of_all_writers_are_understood() {
        let cases: &[(&str, Format, bool, &[u64])] = &[
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  \n", Format::F32, false, &[3, 4]),
            ("{'shape':(5,),'fortran_order':True,'descr':\"|u1\"}", Format::U8, true, &[5]),
            ("{'descr': '>i8', 'fortran_order': False, 'shape': (10L, 2L)}", Format::I64, false, &[10, 2]),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': ()}\n", Format::F64, false, &[]),
        ];
        for &(text, format, is_fortran, shape) in cases {
            let header = parse(text).unwrap();
            assert_eq!(
                (header.element.format, header.is_fortran, &*header.shape),
                (Some(format), is_fortran, shape)
            );
        }
    }

    #[test]
    fn damaged_headers_are_refused() {
        let cases = [
            ("", "it is no dictionary"),
            ("[]", "it is no dictionary"),
            ("{}", "descr, fortran_order or shape is missing"),
            ("{'descr': '<f4', 'shape': (1,)}", "descr, fortran_order or shape is missing"),
            ("{descr: '<f4'}", "a key is no string"),
            ("{'descr", "a key is no string"),
            ("{'descr' '<f4'}", "a key has no value"),
            ("{'descr': 4}", "descr is no element type"),
            ("{'descr': '<f4' 'shape': (1,)}", "a comma is missing"),
            ("{'descr': '<f4', 'descr': '<f4'}", "a key is there twice"),
            ("{'other': 1}", "it has a key other than descr, fortran_order and shape"),
            ("{'fortran_order': 0}", "fortran_order is neither True nor False"),
            ("{'shape': 3}", "shape is no tuple of whole numbers"),
            ("{'shape': (-3,)}", "shape is no tuple of whole numbers"),
            ("{'shape': (3 4)}", "shape is no tuple of whole numbers"),
            ("{'shape': (99999999999999999999,)}", "shape is no tuple of whole numbers"),
            ("{'shape': ((((((", "shape is no tuple of whole numbers"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "something follows the dictionary"),
        ];
        for (text, problem) in cases {
            assert_eq!(parse(text), Err(ArrayError::Header(problem)), "{text}");
        }
        let deep = format!("{{'shape': ({})", "1,".repeat(65));
        assert_eq!(parse(&deep), Err(ArrayError::Header("shape has more than 64 dimensions")));
        let records = parse("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}");
        assert!(matches!(records, Err(ArrayError::Records { .. })));
    }

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
        assert_eq!(Header::read(&header(4, 4)), Err(ArrayError::Header("its version is not 1, 2 or 3")));
    }

    #[test]
    fn fortran_order_is_a_matter_of_strides() {
        let text = |descr| format!("{{'descr': '{descr}', 'fortran_order': True, 'shape': (2, 3)}}");
        let layout = |descr| parse(&text(descr)).unwrap().layout().unwrap();
        let real = layout("<f4");
        let slots: Vec<u64> = (0..6).map(|element| real.position(element * 32) / 32).collect();
        assert_eq!(slots, [0, 2, 4, 1, 3, 5]);
        let complex = layout("<c8");
        let slots: Vec<u64> = (0..12).map(|element| complex.position(element * 32) / 32).collect();
        assert_eq!(slots, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
        assert_eq!(layout(">f4").position(0), 24);
    }
}
