//! npy: a mark, a version, the length of the header, the header, the elements (NEP 1 of NumPy).
//!
//! The header is a Python dictionary of three entries: `descr` (the element type), `fortran_order` and `shape`. It is
//! read here without recursion and with a bound on its length; general parsers of Python literals can be brought to
//! exhaust the stack or the memory by a few kilobytes.

use std::io::Read;

use crate::array::{Array, Header, Order, fill};
use crate::element::{Element, KINDS, Kind};
use crate::error::{DataError, Place};

/// The first bytes of every npy file.
const MARK: &[u8] = b"\x93NUMPY";

/// The longest header taken, in bytes; NumPy refuses longer ones too.
const LONGEST_HEADER: u64 = 10_000;

/// Reads the header; `wanted` says in an error which element types would do.
pub(crate) fn open<'a>(
    place: Place,
    reader: &'a mut dyn Read,
    wanted: &'static str,
) -> Result<Array<'a>, DataError> {
    let text = header_text(reader, &place)?;
    let entries = match Entries::parse(&text) {
        Ok(entries) => entries,
        Err(problem) => return Err(DataError::Header { place, problem }),
    };
    let Some(element) = element(entries.descr) else {
        return Err(DataError::ElementType { place, found: entries.descr.to_owned(), wanted });
    };
    let order = if entries.is_fortran { Order::Fortran } else { Order::C };
    Array::new(place, Header { element, shape: entries.shape, order }, reader)
}

/// NumPy writes `<` for little-endian, `>` for big-endian, `|` where it does not matter, `=` for the writer's own.
fn element(descr: &str) -> Option<Element> {
    let order = descr.chars().next()?;
    let (_, kind) = *KINDS.iter().find(|(name, _)| Some(*name) == descr.get(1..))?;
    match order {
        '<' | '>' => Some(Element { kind, is_big_endian: order == '>' }),
        '|' if matches!(kind, Kind::U8 | Kind::I8) => Some(Element { kind, is_big_endian: false }),
        _ => None,
    }
}

fn header_text(reader: &mut dyn Read, place: &Place) -> Result<String, DataError> {
    let problem = |problem| DataError::Header { place: place.clone(), problem };
    let mut next = |count: u64| {
        let mut bytes = Vec::new();
        fill(reader, count, &mut bytes).map_err(|source| DataError::Read { place: place.clone(), source })?;
        match bytes.len() as u64 == count {
            true => Ok(bytes),
            false => Err(problem("it is cut short")),
        }
    };
    if next(MARK.len() as u64)? != MARK {
        return Err(problem("the mark \\x93NUMPY is missing"));
    }
    let length_bytes = match next(2)?[0] {
        1 => 2,
        2 | 3 => 4,
        _ => return Err(problem("its version is not 1, 2 or 3")),
    };
    let length = next(length_bytes)?.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
    if length > LONGEST_HEADER {
        return Err(problem("it is longer than 10,000 bytes"));
    }
    String::from_utf8(next(length)?).map_err(|_| problem("it is not UTF-8"))
}

/// The three entries of the dictionary.
#[derive(Debug, PartialEq)]
struct Entries<'a> {
    descr: &'a str,
    is_fortran: bool,
    shape: Vec<u64>,
}

type Parsed<T> = Result<T, &'static str>;

impl<'a> Entries<'a> {
    fn parse(text: &'a str) -> Parsed<Entries<'a>> {
        let (mut descr, mut is_fortran, mut shape) = (None, None, None);
        let mut rest = Cursor { rest: text };
        rest.expect('{', "it is no dictionary")?;
        while !rest.take('}') {
            let key = rest.string("a key is no string")?;
            rest.expect(':', "a key has no value")?;
            let is_repeated = match key {
                "descr" => descr.replace(rest.string("descr is no plain element type")?).is_some(),
                "fortran_order" => is_fortran.replace(rest.boolean()?).is_some(),
                "shape" => shape.replace(rest.shape()?).is_some(),
                _ => return Err("it has a key other than descr, fortran_order and shape"),
            };
            if is_repeated {
                return Err("a key is there twice");
            }
            if !rest.take(',') && !rest.peek('}') {
                return Err("a comma is missing");
            }
        }
        if !rest.rest.trim_ascii().is_empty() {
            return Err("something follows the dictionary");
        }
        let entries = descr.zip(is_fortran).zip(shape);
        let ((descr, is_fortran), shape) = entries.ok_or("descr, fortran_order or shape is missing")?;
        Ok(Entries { descr, is_fortran, shape })
    }
}

/// The part of the header that is not read yet.
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

    fn expect(&mut self, mark: char, problem: &'static str) -> Parsed<()> {
        if self.take(mark) { Ok(()) } else { Err(problem) }
    }

    /// A string in single or double quotes. Escapes are not undone: no known key or element type has one.
    fn string(&mut self, problem: &'static str) -> Parsed<&'a str> {
        self.skip_space();
        let quote = self.rest.chars().next().filter(|quote| matches!(quote, '\'' | '"')).ok_or(problem)?;
        let (content, rest) = self.rest[1..].split_once(quote).ok_or(problem)?;
        self.rest = rest;
        Ok(content)
    }

    fn boolean(&mut self) -> Parsed<bool> {
        self.skip_space();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err("fortran_order is neither True nor False")
    }

    /// A tuple of whole numbers; Python 2 wrote an `L` after long ones.
    fn shape(&mut self) -> Parsed<Vec<u64>> {
        const PROBLEM: &str = "shape is no tuple of whole numbers";
        self.expect('(', PROBLEM)?;
        let mut shape = Vec::new();
        while !self.take(')') {
            self.skip_space();
            let end = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            shape.push(self.rest[..end].parse().map_err(|_| PROBLEM)?);
            self.rest = self.rest[end..].strip_prefix('L').unwrap_or(&self.rest[end..]);
            if !self.take(',') && !self.peek(')') {
                return Err(PROBLEM);
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_writers_are_understood() {
        let entries =
            |descr, is_fortran, shape: &[u64]| Ok(Entries { descr, is_fortran, shape: shape.to_vec() });
        let cases = [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  \n",
                entries("<f4", false, &[3, 4]),
            ),
            ("{'shape':(5,),'fortran_order':True,'descr':\"|u1\"}", entries("|u1", true, &[5])),
            ("{'descr': '>i8', 'fortran_order': False, 'shape': (10L, 2L)}", entries(">i8", false, &[10, 2])),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': ()}\n", entries("<f8", false, &[])),
        ];
        for (text, expected) in cases {
            assert_eq!(Entries::parse(text), expected, "{text}");
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
            ("{'descr': [('a', '<f4')]}", "descr is no plain element type"),
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
            assert_eq!(Entries::parse(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn element_types() {
        for (name, kind) in KINDS {
            for (mark, is_big_endian) in [('<', false), ('>', true)] {
                assert_eq!(element(&format!("{mark}{name}")), Some(Element { kind, is_big_endian }));
            }
            let size: usize = name[1..].parse().unwrap();
            let single = element(&format!("|{name}"));
            assert_eq!(single.is_some(), size == 1);
            assert_eq!(Element { kind, is_big_endian: false }.bytes(), size);
        }
        for text in ["", "<", "f4", "<f16", "|b1", "<U3", "|O", "<c8", "=f4", "\u{e9}f4"] {
            assert_eq!(element(text), None, "{text}");
        }
    }
}
