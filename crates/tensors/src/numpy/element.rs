//! The types of elements, as NumPy writes them: byte order, kind, bytes.

use bitquake_bits::{Format, Layout};

use super::ArrayError;

/// The type of an array's elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Element {
    /// A short name: `f32`, or what the file says.
    pub(super) name: String,
    /// The format of the words; `None` if they are no numbers.
    pub(super) format: Option<Format>,
    /// The bytes of an element.
    pub(super) bytes: u64,
    /// How many words make an element: 2 for complex numbers.
    pub(super) words: u64,
    is_big_endian: bool,
}

/// Kinds with their sizes in bytes.
const NUMBERS: &[(&str, Format, u64)] = &[
    ("f2", Format::F16, 1),
    ("f4", Format::F32, 1),
    ("f8", Format::F64, 1),
    ("i1", Format::I8, 1),
    ("i2", Format::I16, 1),
    ("i4", Format::I32, 1),
    ("i8", Format::I64, 1),
    ("u1", Format::U8, 1),
    ("u2", Format::U16, 1),
    ("u4", Format::U32, 1),
    ("u8", Format::U64, 1),
    ("c8", Format::F32, 2),
    ("c16", Format::F64, 2),
];

/// Kinds that are no numbers, with the bytes that the size counts in.
const OTHERS: &[(char, u64)] =
    &[('b', 1), ('S', 1), ('a', 1), ('U', 4), ('V', 1), ('M', 1), ('m', 1), ('f', 1), ('c', 1)];

impl Element {
    /// NumPy writes `<` for little-endian, `>` for big-endian, `|` where it does not matter.
    pub(super) fn parse(descr: &str) -> Result<Element, ArrayError> {
        let unknown = || ArrayError::ElementType { descr: descr.chars().take(40).collect() };
        let order =
            descr.chars().next().filter(|order| matches!(order, '<' | '>' | '|')).ok_or_else(unknown)?;
        let (kind, is_big_endian) = (&descr[1..], order == '>');
        if let Some(&(_, format, words)) = NUMBERS.iter().find(|(name, ..)| *name == kind) {
            if order == '|' && format.width() > 8 {
                return Err(unknown());
            }
            let bytes = format.bytes() as u64 * words;
            return Ok(Element { name: format.name(), format: Some(format), bytes, words, is_big_endian });
        }
        if kind.starts_with('O') {
            return Err(ArrayError::Objects);
        }
        let bytes = other_size(kind).ok_or_else(unknown)?;
        // Of the long doubles the size counts the bytes, not the bits.
        let name = match kind {
            "b1" => "bool",
            "f12" | "f16" => "longdouble",
            kind => kind,
        };
        Ok(Element { name: name.to_owned(), format: None, bytes, words: 1, is_big_endian })
    }

    /// Where the words of elements in memory order are.
    pub(super) fn layout(&self) -> Option<Layout> {
        let layout = Layout::packed(self.format?);
        Some(if self.is_big_endian { layout.big_endian() } else { layout })
    }
}

/// The bytes of an element of a kind such as `U12`, `b1` or `M8[ns]`.
fn other_size(kind: &str) -> Option<u64> {
    let (kind, size) = kind.split_at_checked(1)?;
    let (_, unit) = OTHERS.iter().find(|(name, _)| kind.starts_with(*name))?;
    let (size, rest) = size.split_at(size.bytes().take_while(u8::is_ascii_digit).count());
    let is_date = matches!(kind, "M" | "m");
    let is_plain = rest.is_empty() || is_date && rest.starts_with('[') && rest.ends_with(']');
    size.parse::<u64>().ok().filter(|_| is_plain)?.checked_mul(*unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (kind, format, words) in NUMBERS {
            for (mark, is_big_endian) in [('<', false), ('>', true)] {
                let element = Element::parse(&format!("{mark}{kind}")).unwrap();
                assert_eq!((element.format, element.words), (Some(*format), *words), "{kind}");
                assert_eq!(element.is_big_endian, is_big_endian);
                assert_eq!(kind[1..].parse(), Ok(element.bytes), "{kind}");
            }
            assert_eq!(Element::parse(&format!("|{kind}")).is_ok(), kind.ends_with('1'), "{kind}");
        }
    }

    #[test]
    fn others() {
        let cases = [
            ("|b1", "bool", 1),
            ("<U12", "U12", 48),
            ("|S7", "S7", 7),
            ("<M8[ns]", "M8[ns]", 8),
            ("<f16", "longdouble", 16),
            ("|V2", "V2", 2),
        ];
        for (descr, name, bytes) in cases {
            let element = Element::parse(descr).unwrap();
            assert_eq!(
                (element.name.as_str(), element.bytes, element.format),
                (name, bytes, None),
                "{descr}"
            );
        }
        assert_eq!(Element::parse("|O"), Err(ArrayError::Objects));
        assert_eq!(Element::parse("|O8"), Err(ArrayError::Objects));
        for descr in [
            "",
            "<",
            "f4",
            "=f4",
            "<q4",
            "<U",
            "<Ux",
            "<U3x",
            "\u{e9}f4",
            "<f\u{e9}",
            "<U99999999999999999999",
        ] {
            assert!(matches!(Element::parse(descr), Err(ArrayError::ElementType { .. })), "{descr}");
        }
    }
}
