//! npy: a mark, a version, the length of the header, the header, the elements (NEP 1 of NumPy).

use std::io::Read;

use bitquake_tensors::npy::{CUT_SHORT, Dictionary, HeaderError, MARK, NO_MARK, length, length_bytes};

use crate::array::{Array, Header, Order, fill};
use crate::element::{Element, KINDS, Kind};
use crate::error::{DataError, Place};

/// The longest header taken, in bytes; NumPy refuses longer ones too.
const LONGEST_HEADER: u64 = 10_000;

/// Reads the header; `wanted` says in an error which element types would do.
pub(crate) fn open<'a>(
    place: Place,
    reader: &'a mut dyn Read,
    wanted: &'static str,
) -> Result<Array<'a>, DataError> {
    let text = header_text(reader, &place)?;
    let Dictionary { descr, is_fortran, shape } = Dictionary::parse(&text).map_err(wrong(&place))?;
    let Some(element) = element(descr) else {
        return Err(DataError::ElementType { place, found: descr.to_owned(), wanted });
    };
    let order = if is_fortran { Order::Fortran } else { Order::C };
    Array::new(place, Header { element, shape, order }, reader)
}

fn wrong(place: &Place) -> impl Fn(HeaderError) -> DataError {
    |problem| DataError::Header { place: place.clone(), problem }
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

fn header_text(reader: &mut dyn Read, place: &Place) -> Result<Vec<u8>, DataError> {
    let mut next = |count: u64| {
        let mut bytes = Vec::new();
        fill(reader, count, &mut bytes).map_err(|source| DataError::Read { place: place.clone(), source })?;
        if bytes.len() as u64 == count { Ok(bytes) } else { Err(wrong(place)(CUT_SHORT)) }
    };
    if next(MARK.len() as u64)? != MARK {
        return Err(wrong(place)(NO_MARK));
    }
    let version = next(2)?;
    let bytes = length_bytes([version[0], version[1]]).map_err(wrong(place))?;
    let length = length(&next(bytes as u64)?);
    if length > LONGEST_HEADER {
        return Err(wrong(place)(HeaderError::Malformed("it is longer than 10,000 bytes")));
    }
    next(length)
}

#[cfg(test)]
mod tests {
    use super::*;

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
