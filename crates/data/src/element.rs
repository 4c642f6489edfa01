//! The element types of stored arrays.

use bitquake_bits::Format;

/// What an element is; the variant's name has its size in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

/// NumPy's names: a letter and the size in bytes.
pub(crate) const KINDS: [(&str, Kind); 11] = [
    ("u1", Kind::U8),
    ("i1", Kind::I8),
    ("u2", Kind::U16),
    ("i2", Kind::I16),
    ("u4", Kind::U32),
    ("i4", Kind::I32),
    ("u8", Kind::U64),
    ("i8", Kind::I64),
    ("f2", Kind::F16),
    ("f4", Kind::F32),
    ("f8", Kind::F64),
];

/// An element type with its byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) kind: Kind,
    pub(crate) is_big_endian: bool,
}

impl Element {
    /// Unsigned bytes.
    pub(crate) const U8: Element = Element { kind: Kind::U8, is_big_endian: false };

    /// NumPy's name of the type, without the byte order.
    pub(crate) fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name)
    }

    /// Size in bytes.
    pub(crate) fn bytes(self) -> usize {
        match self.kind {
            Kind::U8 | Kind::I8 => 1,
            Kind::U16 | Kind::I16 | Kind::F16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 => 8,
        }
    }

    /// Whether every value has an `f32` for which it may be taken in an image: all but the wide integers.
    pub(crate) fn is_image(self) -> bool {
        !matches!(self.kind, Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64)
    }

    /// Whether it is a whole number.
    pub(crate) fn is_integer(self) -> bool {
        !matches!(self.kind, Kind::F16 | Kind::F32 | Kind::F64)
    }

    /// Appends the values of `bytes` as `f32`; nothing for types that are not for images.
    pub(crate) fn append_f32(self, bytes: &[u8], values: &mut Vec<f32>) {
        let big = self.is_big_endian;
        match self.kind {
            Kind::U8 => values.extend(bytes.iter().map(|&byte| f32::from(byte))),
            Kind::I8 => values.extend(bytes.iter().map(|&byte| f32::from(byte.cast_signed()))),
            Kind::U16 => values.extend(words(bytes, big).map(|word| f32::from(u16::from_le_bytes(word)))),
            Kind::I16 => values.extend(words(bytes, big).map(|word| f32::from(i16::from_le_bytes(word)))),
            Kind::F16 => values.extend(words(bytes, big).map(half_to_f32)),
            Kind::F32 => values.extend(words(bytes, big).map(f32::from_le_bytes)),
            Kind::F64 => values.extend(words(bytes, big).map(|word| f64::from_le_bytes(word) as f32)),
            Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64 => {}
        }
    }

    /// Appends the values of `bytes` as integers wide enough for all; nothing for floats.
    pub(crate) fn append_integers(self, bytes: &[u8], values: &mut Vec<i128>) {
        let big = self.is_big_endian;
        match self.kind {
            Kind::U8 => values.extend(bytes.iter().map(|&byte| i128::from(byte))),
            Kind::I8 => values.extend(bytes.iter().map(|&byte| i128::from(byte.cast_signed()))),
            Kind::U16 => values.extend(words(bytes, big).map(|word| i128::from(u16::from_le_bytes(word)))),
            Kind::I16 => values.extend(words(bytes, big).map(|word| i128::from(i16::from_le_bytes(word)))),
            Kind::U32 => values.extend(words(bytes, big).map(|word| i128::from(u32::from_le_bytes(word)))),
            Kind::I32 => values.extend(words(bytes, big).map(|word| i128::from(i32::from_le_bytes(word)))),
            Kind::U64 => values.extend(words(bytes, big).map(|word| i128::from(u64::from_le_bytes(word)))),
            Kind::I64 => values.extend(words(bytes, big).map(|word| i128::from(i64::from_le_bytes(word)))),
            Kind::F16 | Kind::F32 | Kind::F64 => {}
        }
    }
}

/// The whole words of `bytes`, turned to little-endian.
fn words<const N: usize>(bytes: &[u8], is_big_endian: bool) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().map(move |word: &[u8; N]| {
        let mut word = *word;
        if is_big_endian {
            word.reverse();
        }
        word
    })
}

fn half_to_f32(word: [u8; 2]) -> f32 {
    Format::F16.decode(u64::from(u16::from_le_bytes(word))) as f32
}
