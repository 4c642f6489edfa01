//! The header of a `.npy` array (NEP 1): a mark, a version, the length of a Python dictionary, the dictionary.
//!
//! The dictionary is read without recursion: general parsers of Python literals can be brought to exhaust the stack or the memory by a few
//! kilobytes.

use thiserror::Error;

/// The first bytes of every array.
pub const MARK: &[u8] = b"\x93NUMPY";

/// The most dimensions that are read, as many as NumPy has.
const MOST_DIMENSIONS: usize = 64;

/// What is wrong with a header.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// It is no header of an array.
    #[error("{0}")]
    Malformed(&'static str),
    /// The array is one of records, whose fields would need names.
    #[error("arrays of records are not read, of {descr}")]
    Records {
        /// The beginning of its element type.
        descr: String,
    },
}

/// The file does not start with [`MARK`].
pub const NO_MARK: HeaderError = HeaderError::Malformed("the mark \\x93NUMPY is missing");

/// The header ends before it should.
pub const CUT_SHORT: HeaderError = HeaderError::Malformed("it is cut short");

/// How many bytes, the lowest first, hold the length of the dictionary; they follow the two of the version.
///
/// # Errors
/// [`HeaderError::Malformed`] for an unknown version.
pub fn length_bytes(version: [u8; 2]) -> Result<usize, HeaderError> {
    match version {
        [1, 0] => Ok(2),
        [2 | 3, 0] => Ok(4),
        _ => Err(HeaderError::Malformed("its version is not 1, 2 or 3")),
    }
}

/// The number that such bytes hold, at most four.
#[must_use]
pub fn length(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte))
}

/// The three entries of the dictionary.
///
/// ```
/// use bitquake_tensors::npy::Dictionary;
///
/// let found = Dictionary::parse(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n")?;
/// assert_eq!(found, Dictionary { descr: "<f4", is_fortran: false, shape: vec![3, 4] });
/// # Ok::<(), bitquake_tensors::npy::HeaderError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dictionary<'a> {
    /// The element type as NumPy writes it: byte order, kind, bytes.
    pub descr: &'a str,
    /// Whether the first index moves fastest.
    pub is_fortran: bool,
    /// The lengths of the axes, at most 64.
    pub shape: Vec<u64>,
}

impl<'a> Dictionary<'a> {
    /// Reads the text of a header.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn parse(text: &'a [u8]) -> Result<Self, HeaderError> {
        let text = std::str::from_utf8(text).map_err(|_| HeaderError::Malformed("it is not UTF-8"))?;
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
                    return malformed("it has a key other than descr, fortran_order and shape");
                }
            };
            if is_repeated {
                return malformed("a key is there twice");
            }
            if !rest.take(',') && !rest.peek('}') {
                return malformed("a comma is missing");
            }
        }
        if !rest.rest.trim_ascii().is_empty() {
            return malformed("something follows the dictionary");
        }
        match (descr, is_fortran, shape) {
            (Some(descr), Some(is_fortran), Some(shape)) => Ok(Dictionary { descr, is_fortran, shape }),
            _ => malformed("descr, fortran_order or shape is missing"),
        }
    }
}

fn malformed<T>(problem: &'static str) -> Result<T, HeaderError> {
    Err(HeaderError::Malformed(problem))
}

/// The part of the dictionary that is not read yet.
struct Cursor<'a> {
    rest: &'a str,
}

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

    fn expect(&mut self, mark: char, problem: &'static str) -> Result<(), HeaderError> {
        if self.take(mark) { Ok(()) } else { malformed(problem) }
    }

    /// A string in single or double quotes. Escapes are not undone: no known key or element type has one.
    fn string(&mut self, problem: &'static str) -> Result<&'a str, HeaderError> {
        self.skip_space();
        let problem = HeaderError::Malformed(problem);
        let Some(quote) = self.rest.chars().next().filter(|quote| matches!(quote, '\'' | '"')) else {
            return Err(problem);
        };
        let (content, rest) = self.rest[1..].split_once(quote).ok_or(problem)?;
        self.rest = rest;
        Ok(content)
    }

    /// The element type. A list is one of records.
    fn descr(&mut self) -> Result<&'a str, HeaderError> {
        if self.peek('[') || self.peek('(') {
            return Err(HeaderError::Records { descr: self.rest.chars().take(80).collect() });
        }
        self.string("descr is no element type")
    }

    fn boolean(&mut self) -> Result<bool, HeaderError> {
        self.skip_space();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        malformed("fortran_order is neither True nor False")
    }

    /// A tuple of whole numbers; Python 2 wrote an `L` after long ones.
    fn shape(&mut self) -> Result<Vec<u64>, HeaderError> {
        const PROBLEM: &str = "shape is no tuple of whole numbers";
        self.expect('(', PROBLEM)?;
        let mut shape = Vec::new();
        while !self.take(')') {
            self.skip_space();
            let end = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            shape.push(self.rest[..end].parse().map_err(|_| HeaderError::Malformed(PROBLEM))?);
            if shape.len() > MOST_DIMENSIONS {
                return malformed("shape has more than 64 dimensions");
            }
            self.rest = self.rest[end..].strip_prefix('L').unwrap_or(&self.rest[end..]);
            if !self.take(',') && !self.peek(')') {
                return malformed(PROBLEM);
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Dictionary<'_>, HeaderError> {
        Dictionary::parse(text.as_bytes())
    }

    #[test]
    fn dictionaries_of_all_writers_are_understood() {
        let found =
            |descr, is_fortran, shape: &[u64]| Ok(Dictionary { descr, is_fortran, shape: shape.to_vec() });
        let cases = [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  \n", found("<f4", false, &[3, 4])),
            ("{'shape':(5,),'fortran_order':True,'descr':\"|u1\"}", found("|u1", true, &[5])),
            ("{'descr': '>i8', 'fortran_order': False, 'shape': (10L, 2L)}", found(">i8", false, &[10, 2])),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': ()}\n", found("<f8", false, &[])),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn damaged_dictionaries_are_refused() {
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
            assert_eq!(parse(text), Err(HeaderError::Malformed(problem)), "{text}");
        }
        let deep = format!("{{'shape': ({})", "1,".repeat(65));
        assert_eq!(parse(&deep), Err(HeaderError::Malformed("shape has more than 64 dimensions")));
        let records = parse("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}");
        assert!(matches!(records, Err(HeaderError::Records { .. })));
        assert_eq!(Dictionary::parse(b"\xff"), Err(HeaderError::Malformed("it is not UTF-8")));
    }

    #[test]
    fn versions_and_lengths() {
        for (version, bytes) in [([1, 0], 2), ([2, 0], 4), ([3, 0], 4)] {
            assert_eq!(length_bytes(version), Ok(bytes));
        }
        for version in [[0, 0], [4, 0], [1, 1]] {
            assert!(length_bytes(version).is_err(), "{version:?}");
        }
        assert_eq!(length(&[0x34, 0x12]), 0x1234);
        assert_eq!(length(&[1, 0, 0, 0x80]), 0x8000_0001);
    }
}
